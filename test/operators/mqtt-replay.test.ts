import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { mqttSource } from '../../operators/mqtt/index.ts';
import { type ReplayFlags, replayCommand } from '../../src/cli/replay.ts';
import type { Run } from '../../src/index.ts';
import { start } from '../../src/runtime.ts';
import { loadTopology } from '../../src/topology/load.ts';
import { openForTest, pull, type SourceSetup, until } from '../conformance/harness.ts';
import { captured } from '../src/cli/captured.ts';
import { FakeBroker } from './mqtt-fake-broker.ts';

let folder: string;
let broker: FakeBroker;
let live: Run | undefined;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-mqtt-replay-'));
  broker = await FakeBroker.start();
});
afterEach(async () => {
  await live?.stop().catch(() => undefined);
  live = undefined;
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

const at = (second: number) => Date.UTC(2026, 0, 1) + second * 1_000;
const payload = (n: number, second: number) => JSON.stringify({ n, ts: at(second) });

function topology(journal = ', journal: { keep: 7d }'): string {
  const file = join(folder, 't.yaml');
  writeFileSync(
    file,
    `version: 1
name: t
streams:
  readings:
    - id: in
      mqtt: { url: "${broker.url}", topics: "generators/{id}", time: { field: ts, unit: ms, outOfOrder: 2s }${journal} }
    - keyBy: id
    - id: latest
      windowLast: { every: 10s }
    - id: out
      file: ./out.jsonl
`,
  );
  return file;
}

/** Runs the topology over these messages, with a checkpoint now and then, and stops it. */
async function run(messages: readonly [n: number, second: number][], file = topology()): Promise<void> {
  const { plan } = loadTopology(file, { catalogue });
  const connections = broker.connections.length;
  live = await start(plan!, catalogue, { state: join(folder, 'state') });
  const connection = await broker.subscribed(connections + 1);
  for (const [index, [n, second]] of messages.entries()) {
    connection.publish((index % 60_000) + 1, payload(n, second), { topic: `generators/g${n % 3}` });
    if (index % 7 === 6) {
      await until('the acks', () => connection.ids('puback').length === index + 1);
      await live.checkpoint();
    }
  }
  await until('all read', () => live!.status().partitions.reduce((sum, { read }) => sum + read, 0) === messages.length);
  await live.stop();
  live = undefined;
}
const flags = (more: Partial<ReplayFlags> = {}): ReplayFlags => ({
  grace: '1h',
  source: [],
  sink: 'print',
  logLevel: 'error',
  state: join(folder, 'state'),
  ...more,
});
const replay = (more: Partial<ReplayFlags> = {}, file = topology()) => captured(() => replayCommand(file, flags(more)));

describe('a replay of MQTT messages from the journal that keeps them', () => {
  // Out of order within two seconds and beyond, over two runs.
  const seconds = Array.from({ length: 40 }, (_, n) => n * 2 + ((n * 7) % 5) - (n % 9 === 0 ? 12 : 0) + 12);
  const messages = seconds.map((second, n): [number, number] => [n, second]);

  test('gives what the live run has given, without asking the broker', async () => {
    await run(messages.slice(0, 25));
    await run(messages.slice(25));
    const published = readFileSync(join(folder, 'out.jsonl'), 'utf8').trim().split('\n');
    expect(published.length).toBeGreaterThan(5);
    const connections = broker.connections.length;
    const { code, stdout } = await replay({ flush: false });
    const values = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(code).toBe(0);
    const results = values.filter(({ sink }) => sink === 'out').map(({ value }) => JSON.stringify(value));
    expect(results).toEqual(published);
    // Late records are the same too.
    const letters = readFileSync(join(folder, 'state', 'dead-letters.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const offset = (letter: { code: string; offset: number }) => [letter.code, letter.offset];
    expect(values.filter(({ sink }) => sink === 'deadLetters').map(({ value }) => offset(value))).toEqual(
      letters.map((line) => offset(JSON.parse(line))),
    );
    expect((await replay({ diff: true, flush: false })).code).toBe(0);
    expect(broker.connections.length).toBe(connections);
  });

  test('is refused where the journal keeps nothing, and says what to write', async () => {
    await run(messages.slice(0, 3), topology(''));
    const { code, stderr } = await replay({}, topology(''));
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/`in` cannot be read again: `mqtt` keeps nothing .* unless `journal` says .* `keep`/),
    ]);
  });
});

describe('the journal of an MQTT source that is replayed', () => {
  const open = (more: Partial<SourceSetup>, journal: object = { keep: '7d' }) =>
    openForTest(mqttSource, { url: broker.url, topics: 'generators/{id}', journal }, { directory: folder, ...more });

  test('gives messages of the range by the time they came, with that time, up to what was there', async () => {
    let now = at(0);
    const clock = { now: () => now, sleep: () => new Promise<never>(() => {}) };
    const first = await open({ ports: { clock } });
    const connection = await broker.subscribed();
    for (let id = 1; id <= 5; id++) {
      now = at(id);
      connection.publish(id, `${id}`);
      await until('the ack', () => connection.ids('puback').length === id);
    }
    await first.source.committed!(new Map([['0', 5]]));
    const second = await open({ replay: { from: at(2), until: at(4), reader: 'r' } });
    const again = second.partitions.get('0')!;
    connection.publish(6, '6');
    const found = await pull(again, 2);
    expect(found.map(({ text, arrival }) => [text, arrival])).toEqual([
      ['2', at(2)],
      ['3', at(3)],
    ]);
    expect(await again.pull({ records: 10, bytes: 1_000 })).toBeNull();
    await second.stop();
    const whole = await open({ replay: { from: -Infinity, until: Infinity, reader: 'r' } });
    expect((await pull(whole.partitions.get('0')!, 5)).map(({ text }) => text).slice(0, 5)).toEqual([
      '1',
      '2',
      '3',
      '4',
      '5',
    ]);
    await whole.stop();
    await first.stop();
  });
});
