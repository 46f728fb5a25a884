import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mqttSink } from '../../operators/mqtt/index.ts';
import { userLine } from '../../operators/mqtt-server/users.ts';
import { Secret } from '../../src/operator.ts';
import { recordOf, sinkContextForTest, until } from '../conformance/harness.ts';
import { FrontDoor } from '../operators/mqtt-server-door.ts';
import { Penstock } from './penstock-process.ts';
import { freePort } from './tls-tools.ts';

const run = promisify(execFile);
const inPath = (program: string) =>
  (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
const clients = inPath('mosquitto_pub');
if (!clients && process.env['CI']) throw new Error('CI needs mosquitto_pub and mosquitto_sub (mosquitto-clients).');
if (!clients) console.log('Skipped: mosquitto_pub is not installed.');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-front-door-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const doors: FrontDoor[] = [];
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill();
  await Promise.all(doors.splice(0).map((door) => door.close()));
});
async function open(options: Record<string, unknown> = {}): Promise<FrontDoor> {
  const door = await FrontDoor.open(options);
  doors.push(door);
  return door;
}

describe.skipIf(!clients)('clients of Mosquitto at the front door', () => {
  const publish = (door: FrontDoor, ...args: string[]) =>
    run('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(door.port), ...args]).then(
      ({ stderr }) => stderr,
      (error: { stderr: string }) => error.stderr,
    );
  /** What a subscriber has printed so far; it has its subscription once this resolves. */
  async function subscribe(door: FrontDoor, ...args: string[]): Promise<{ lines(): string[]; child: ChildProcess }> {
    // To a pipe it would write what it has only now and then.
    const child = spawn('stdbuf', [
      '-oL',
      'mosquitto_sub',
      '-h',
      '127.0.0.1',
      '-p',
      String(door.port),
      '-d',
      '-v',
      ...args,
    ]);
    children.push(child);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    await until('a subscription', () => /Subscribed \(mid: \d+\): [012]/.test(text));
    return { child, lines: () => text.split('\n').filter((line) => /^[a-z]+\/\S* /.test(line)) };
  }

  test('publish with each quality of service, and subscribe to what others and an mqtt sink publish', async () => {
    const door = await open({ topics: 'readings/{id}', passOn: 'down/#' });
    const { lines } = await subscribe(door, '-t', 'readings/+', '-t', 'down/#', '-q', '1');
    for (const qos of ['0', '1', '2'])
      expect(await publish(door, '-t', 'readings/g1', '-q', qos, '-m', `qos ${qos}`)).toBe('');
    const { context } = sinkContextForTest();
    const sink = await mqttSink.open({ url: door.url, topic: 'down/{id}', qos: 1, retain: true }, context);
    expect(
      await sink.write([recordOf({ id: 'g1', alarm: 'refuel' }), recordOf({ id: 'g2', alarm: 'no action' })]),
    ).toBeUndefined();
    await sink.close();
    await until('five messages', () => lines().length === 5);
    expect(lines().sort()).toEqual([
      'down/g1 {"id":"g1","alarm":"refuel"}',
      'down/g2 {"id":"g2","alarm":"no action"}',
      'readings/g1 qos 0',
      'readings/g1 qos 1',
      'readings/g1 qos 2',
    ]);
    // What was published with `retain` is there for whoever comes later.
    const late = await subscribe(door, '-t', 'down/g1');
    await until('the retained one', () => late.lines().length === 1);
    expect(door.counters).toMatchObject({ messages: 3, passedOn: 2 });
    expect((await door.records(3)).map(({ text }) => text)).toEqual(['qos 0', 'qos 1', 'qos 2']);
  });

  test('keep their session, and get what came meanwhile; a will is published when its client is killed', async () => {
    const door = await open({ presence: 'presence' });
    const session = ['-t', 'a/#', '-q', '1', '-i', 'keeper', '-c'];
    const first = await subscribe(door, ...session, '--will-topic', 'wills/keeper', '--will-payload', 'gone');
    const wills = await subscribe(door, '-t', 'wills/#');
    first.child.kill('SIGKILL');
    await until('the will', () => wills.lines().includes('wills/keeper gone'));
    for (const text of ['one', 'two']) await publish(door, '-t', 'a/b', '-q', '1', '-m', text);
    const again = await subscribe(door, ...session);
    await until('what waited', () => again.lines().length === 2);
    expect(again.lines()).toEqual(['a/b one', 'a/b two']);
  });

  test('are told what is wrong: another version, a wrong password, a topic that is not theirs', async () => {
    const users = join(folder, 'users');
    writeFileSync(users, `${await userLine('g1', 'right')}\n${await userLine('penstock', 'down')}\n`);
    const rules = [
      { publish: 'readings/{username}', subscribe: 'commands/{username}' },
      { user: 'penstock', publish: 'commands/#' },
    ];
    const door = await open({ users, rules });
    const right = ['-u', 'g1', '-P', 'right', '-q', '1', '-m', 'x'];
    expect(await publish(door, '-V', 'mqttv5', '-t', 'readings/g1', ...right)).toMatch(/unsupported protocol version/i);
    expect(await publish(door, '-t', 'readings/g1', '-u', 'g1', '-P', 'wrong', '-m', 'x')).toMatch(
      /bad user ?name or password|not authorised/i,
    );
    expect(await publish(door, '-t', 'readings/g2', ...right)).toMatch(/connection was lost|error/i);
    expect(await publish(door, '-t', 'readings/g1', ...right)).toBe('');
    const { lines } = await subscribe(door, '-t', 'commands/g1', '-q', '1', '-u', 'g1', '-P', 'right');
    const { context } = sinkContextForTest();
    const down = { url: door.url, topic: 'commands/{id}', username: 'penstock', password: new Secret('down') };
    const sink = await mqttSink.open(down, context);
    await sink.write([recordOf({ id: 'g1' }), recordOf({ id: 'g2' })]);
    await sink.close();
    await until('the command', () => lines().length === 1);
    expect(lines()).toEqual(['commands/g1 {"id":"g1"}']);
    expect((await door.records(3)).map(({ topic }) => topic)).toEqual(['readings/g1', 'commands/g1', 'commands/g2']);
  });
});

describe('a front door that is killed', () => {
  test('has every message that it acknowledged, after two restarts', async () => {
    const port = await freePort();
    const output = join(folder, 'killed.jsonl');
    const file = join(folder, 'killed.yaml');
    writeFileSync(
      file,
      `version: 1
name: killed
streams:
  devices:
    - mqttServer: { listen: "mqtt://127.0.0.1:${port}", topics: "a/{id}", presence: presence }
    - file: ${output}
  presence:
    - file: ${join(folder, 'killed-presence.jsonl')}
`,
    );
    const start = () => new Penstock(['run', file, '--state', join(folder, 'killed'), '--checkpoint', '500ms']).start();
    const acknowledged = new Set<number>();
    let next = 0;
    const names = ['x', 'y', 'z'];
    for (let round = 0; round < 2; round++) {
      const penstock = start();
      await until('the door', () => penstock.stderr.includes('Devices can connect'));
      const devices = names.map((clientId) =>
        mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId, clean: false, reconnectPeriod: 100 }),
      );
      let going = true;
      const send = async (device: (typeof devices)[number], index: number) => {
        while (going) {
          const n = next++;
          const sent = device.publishAsync(`a/${names[index]}`, JSON.stringify({ n }), { qos: n % 2 === 0 ? 1 : 2 });
          const done = await Promise.race([sent.then(() => true), gone]).catch(() => false);
          if (done) acknowledged.add(n);
        }
      };
      let end: (value: false) => void = () => {};
      const gone = new Promise<false>((resolve) => {
        end = resolve;
      });
      const sending = devices.map(send);
      const before = acknowledged.size;
      await until('some hundred acknowledgements', () => acknowledged.size >= before + 300);
      await penstock.signal('SIGKILL');
      going = false;
      end(false);
      await Promise.all(sending);
      for (const device of devices) device.end(true);
    }
    const last = start();
    const there = () =>
      new Set(
        readFileSync(output, 'utf8')
          .split('\n')
          .filter(Boolean)
          .map((line) => (JSON.parse(line) as { n: number }).n),
      );
    const missing = () => {
      const found = there();
      return [...acknowledged].filter((n) => !found.has(n));
    };
    const told = () => readFileSync(join(folder, 'killed-presence.jsonl'), 'utf8').split('\n').filter(Boolean);
    const starts = () => new Set(told().filter((line) => line.includes('serverStarted'))).size;
    // In the journal it stands behind all that the runs before have acknowledged.
    await until('the last start', () => starts() === 3);
    expect(await last.signal('SIGTERM')).toBe(0);
    expect([missing(), acknowledged.size >= 600]).toEqual([[], true]);
  });
});
