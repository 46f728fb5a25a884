import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { lintFiles, renderProblems } from '../../../src/cli/lint.ts';
import { planCommand } from '../../../src/cli/plan.ts';
import { from, type Log, type Plan, start, topology } from '../../../src/index.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { planHash, planToJson } from '../../../src/topology/plan-json.ts';

// A secret is a word that occurs nowhere else, so that finding it anywhere is a leak.
const planted = Array.from({ length: 16 }, (_, n) => `hush${String.fromCharCode(97 + n)}Xq7`);
const secret = (n: number) => planted[n]!;
const folder = mkdtempSync(join(tmpdir(), 'penstock-secrets-'));
const file = join(folder, 'topology.yaml');
let port = 0;

/** The planted secrets in what was printed. */
const leaksOf = (shown: readonly unknown[]): string[] => {
  const all = shown
    .flatMap((one) => [
      typeof one === 'string' ? one : '',
      inspect(one, { depth: 20, showHidden: true, maxStringLength: null, maxArrayLength: null }),
      inspect(one, { depth: 20, customInspect: false }),
      JSON.stringify(one) ?? '',
    ])
    .join('\n');
  return planted.filter((word) => all.includes(word) || all.includes(Buffer.from(word).toString('base64')));
};

const env: Record<string, string> = { MQTT_PASSWORD: secret(1), KAFKA_PASSWORD: secret(2), TOKEN: secret(3) };
const sound = () => `
version: 1
name: secrets
streams:
  readings:
    - mqtt: { url: "mqtt://127.0.0.1:${port}", topics: [a/+], time: arrival, username: u, password: ${secret(0)} }
    - mqtt: { url: "mqtt://127.0.0.1:${port}", topic: b, username: u, password: "\${MQTT_PASSWORD}" }
    - influx: { url: "http://127.0.0.1:${port}", org: o, bucket: b, measurement: m, token: "\${secret:file/keys/token}" }
    - influx: { url: "http://127.0.0.1:${port}", org: o, bucket: b, measurement: m, token: "\${TOKEN:-${secret(5)}}" }
    - kafka:
        brokers: 127.0.0.1:${port}
        topic: c
        sasl: { mechanism: plain, username: u, password: "\${secret:file/${folder}/keys/kafka}" }
  logged:
    - kafka:
        brokers: 127.0.0.1:${port}
        topic: c
        start: earliest
        sasl: { mechanism: scram-sha-256, username: u, password: "\${KAFKA_PASSWORD}" }
    - print
`;

beforeAll(async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  port = (server.address() as { port: number }).port;
  await new Promise((resolve) => server.close(resolve));
  mkdirSync(join(folder, 'keys'));
  writeFileSync(join(folder, 'keys/token'), `${secret(4)}\n`);
  writeFileSync(join(folder, 'keys/kafka'), secret(6));
  writeFileSync(file, sound());
});
afterAll(() => rmSync(folder, { recursive: true }));

function load(text: string, more: Record<string, string> = {}) {
  const { plan, problems, sources } = loadTopology({ text, file }, { catalogue, env: { ...env, ...more } });
  const formats = (['pretty', 'json', 'github'] as const).map((format) =>
    renderProblems(problems, sources, { format }),
  );
  return { plan, problems, shown: [problems, sources, ...formats] };
}

async function printed(act: () => Promise<void>): Promise<string> {
  let text = '';
  const write = (chunk: unknown) => {
    text += String(chunk);
    return true;
  };
  const spies = [process.stdout, process.stderr].map((stream) => vi.spyOn(stream, 'write').mockImplementation(write));
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    await act();
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
  }
  return text;
}

describe('no secret is shown', () => {
  test('by a plan, in any form, nor by `lint` and `plan`', async () => {
    const { plan, problems } = load(sound());
    expect(problems).toEqual([]);
    const { problems: linted } = lintFiles([file], { catalogue, env });
    const asText = await printed(() => planCommand(file, {}));
    const asJson = await printed(() => planCommand(file, { json: true }));
    expect([asText, asJson]).toEqual([expect.stringContaining('effectively once'), expect.stringContaining('"***"')]);
    expect(leaksOf([plan, planToJson(plan!), planHash(plan!), String(plan), linted, asText, asJson])).toEqual([]);
  });

  const source = (more: string) =>
    `version: 1\nname: t\nstreams:\n  a:\n    - mqtt: { topics: [a/+], ${more} }\n    - print\n`;
  const sink = (step: string) =>
    `version: 1\nname: t\nstreams:\n  a:\n    - mqtt: { url: "mqtt://h", topics: [a/+] }\n    - ${step}\n`;
  const influx = 'org: o, bucket: b, measurement: m';
  test.each<[string, string, Record<string, string>?]>([
    ['the address of an MQTT broker', source(`url: "mqtt://u:${secret(7)}@h"`)],
    ['an address with a slash in the password', source(`url: "mqtt://u:a/${secret(7)}@h"`)],
    ['an address without a scheme', source(`url: "u:${secret(7)}@h:1883"`)],
    ['an address from a variable', source('url: "${URL}"'), { URL: `mqtt://u:${secret(7)}@h` }],
    ['the address of an InfluxDB', sink(`influx: { url: "http://u:${secret(8)}@h", token: a, ${influx} }`)],
    ['the address of an InfluxDB, no URL', sink(`influx: { url: "u:${secret(8)}@h", token: a, ${influx} }`)],
    ['the addresses of brokers', sink(`kafka: { brokers: "a:1,u:${secret(9)}@h:9092", topic: x }`)],
    ['a list of brokers', sink(`kafka: { brokers: ["kafka://u:${secret(9)}@h:9092"], topic: x }`)],
    [
      'the addresses of brokers to read from',
      sink(`print\n  b:\n    - kafka: { brokers: "u:${secret(9)}@h:9092", topic: x }\n    - print`),
    ],
  ])('by the problem that %s holds one', (_, text, more) => {
    const { problems, shown } = load(text, more);
    expect(problems).toMatchObject([
      { message: expect.stringContaining('user name or password'), hint: expect.any(String) },
    ]);
    expect(leaksOf(shown)).toEqual([]);
  });

  test.each<[string, string]>([
    ['a mistake in the same line', source(`url: "mqtt://h", username: u, pasword: ${secret(10)}, qos: 7`)],
    ['an unknown operator', sink(`kafak: { password: ${secret(10)}, sasl: { pass-phrase: "${secret(11)}" } }`)],
    ['a text in place of a mapping', sink(`kafka: { brokers: h, topic: x, sasl: "plain:u:${secret(12)}" }`)],
    ['a list in place of a text', sink(`influx: { url: "http://h", token: [${secret(12)}], ${influx} }`)],
    ['a mapping in place of a text', sink(`influx: { url: "http://h", token: { is: ${secret(12)} }, ${influx} }`)],
    ['a default in it', sink(`influx: { url: "http://h", token: "\${T:-${secret(12)}}", orgg: o, ${influx} }`)],
    ['a broken variable in it', sink(`influx: { url: "http://h", token: "\${${secret(12)}", ${influx} }`)],
    ['an open quote', source(`url: "mqtt://h", password: "${secret(13)}, username: u`)],
    ['an alias of its name', source(`url: "mqtt://h", password: *${secret(13)}, username: u`)],
    ['a tag of its name', source(`url: "mqtt://h", password: !${secret(13)} x, username: u`)],
    ['a sign that begins no text', source(`url: "mqtt://h", password: @${secret(13)}, username: u`)],
    [
      'a key that stands twice',
      source(`url: "mqtt://h", username: u, password: ${secret(13)}, password: ${secret(14)}`),
    ],
    ['a block', sink(`influx:\n        token: |2-\n         ${secret(13)}\n        wat: 1`)],
  ])('by the problems of a file with %s', (_, text) => {
    const { plan, shown } = load(text);
    expect(plan).toBeUndefined();
    expect(leaksOf(shown)).toEqual([]);
  });

  test.each([
    'url: "mqtt://h", topics: a, clientId: "${secret:file/keys/token}"',
    'url: "mqtt://${secret:file/keys/token}", topics: a',
    'url: "mqtt://h", topics: "${secret:file/keys/token}"',
    'url: "mqtt://h", topics: a, tls: { servername: "${secret:file/keys/token}" }',
  ])('by an option that is none: `%s` is refused', (options) => {
    const { problems, shown } = load(source(options).replace('topics: [a/+], ', ''));
    expect(problems).toMatchObject([{ code: 'secret-misplaced' }]);
    expect(leaksOf(shown)).toEqual([]);
  });

  test('by the problems of a topology in TypeScript', () => {
    const begun = topology('t').stream('a');
    const mqtt = from.mqtt({ url: 'mqtt://h', topics: 'a' });
    const sasl = `plain:u:${secret(12)}` as never;
    const wrong: (() => Plan)[] = [
      () =>
        begun
          .from(from.mqtt({ url: `mqtt://u:${secret(7)}@h`, topics: 'a' }))
          .print()
          .plan(),
      () =>
        begun
          .from(mqtt)
          .influx({ url: `http://u:${secret(8)}@h`, org: 'o', bucket: 'b', measurement: 'm', token: secret(5) })
          .plan(),
      () =>
        begun
          .from(mqtt)
          .kafka({ brokers: [`u:${secret(9)}@h:9092`], topic: 'x' })
          .plan(),
      () => begun.from(mqtt).kafka({ brokers: 'h:9092', topic: 'x', sasl }).plan(),
    ];
    for (const plan of wrong) {
      let thrown: unknown;
      try {
        plan();
      } catch (error) {
        thrown = error;
      }
      expect((thrown as Error).message).toMatch(/user name or password|which is not shown/);
      expect(leaksOf([thrown])).toEqual([]);
    }
  });

  test('by the logs and errors of connections that cannot be made', async () => {
    const [readings, logged] = load(sound()).plan!.streams;
    const [mqtt, ...sinks] = readings!.steps;
    const five = { kind: 'source' as const, id: 'five', operator: 'simulate', options: { count: 5, realTime: false } };
    // Each connector alone, so that none hides behind another that fails first.
    const alone = [[mqtt!], [logged!.steps[0]!], ...sinks.map((sink) => [five, sink])];
    const heard = await Promise.all(
      alone.map(async (steps, n) => {
        const said: unknown[] = [];
        const note = (...given: unknown[]) => void said.push(given);
        const log: Log = { debug: note, info: note, warn: note, error: note };
        const plan: Plan = { version: 1, name: 'secrets', streams: [{ name: 'a', from: [], steps }] };
        try {
          const run = await start(plan, { log, state: join(folder, `state-${n}`) });
          await Promise.race([run.done, vi.waitFor(() => expect(inspect(said)).toMatch(/ECONNREFUSED/), 10_000)]);
          note(run.status());
          run.kill(new Error('Enough.'));
          await run.done;
        } catch (error) {
          note(error);
        }
        return said;
      }),
    );
    for (const said of heard) expect(inspect(said, { depth: 5 })).toMatch(/ECONNREFUSED|Nothing listens/);
    expect(leaksOf(heard)).toEqual([]);
  }, 60_000);
});
