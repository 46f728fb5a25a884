import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mqttSink, mqttSource } from '../../operators/mqtt/index.ts';
import { openJournal } from '../../src/engine/journal.ts';
import { RawRecord, Secret } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import {
  journalFolder,
  openForTest,
  pull,
  recordOf,
  type SourceRun,
  type SourceSetup,
  sinkContextForTest,
  until,
} from '../conformance/harness.ts';

const brokerUrl = process.env['MQTT_URL'];
if (!brokerUrl) {
  if (process.env['CI']) throw new Error('MQTT_URL is not set: in CI these tests must run.');
  console.log('Skipped: MQTT_URL names no broker.');
}
const mosquitto = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/opt/homebrew/sbin/mosquitto'].find(existsSync);
const unique = `penstock-${process.pid}-${Date.now().toString(36)}`;
let number = 0;

let folder: Awaited<ReturnType<typeof journalFolder>>;
const runs: SourceRun[] = [];
const publishers: MqttClient[] = [];
const sessions: string[] = [];
beforeEach(async () => {
  folder = await journalFolder();
});
afterEach(async () => {
  await Promise.all(runs.splice(0).map((run) => run.stop()));
  for (const client of publishers.splice(0)) {
    // The shared broker is to keep no session of ours.
    client.end(true);
    await forget(client.options.clientId!);
  }
  for (const clientId of sessions.splice(0)) await forget(clientId);
  await folder.remove();
});

/** A clean session in place of a lasting one ends both. */
async function forget(clientId: string): Promise<void> {
  if (!brokerUrl) return;
  const { hostname, port } = new URL(brokerUrl);
  const client = new MqttClient(() => connect(Number(port), hostname), { clientId, protocolVersion: 4, clean: true });
  client.on('error', () => {});
  await until('a clean session', () => client.connected);
  await client.endAsync();
}

function publisher(url: string): MqttClient {
  const { hostname, port } = new URL(url);
  const client = new MqttClient(() => connect(Number(port), hostname), {
    clientId: `${unique}-publisher-${number++}`,
    protocolVersion: 4,
    clean: false,
    reconnectPeriod: 100,
  });
  client.on('error', () => {});
  publishers.push(client);
  return client;
}

async function open(
  url: string,
  options: Record<string, unknown>,
  setup: Partial<SourceSetup> = {},
): Promise<SourceRun> {
  const all = { url, clientId: `${unique}-${number++}`, ...options };
  if (url === brokerUrl) sessions.push(all.clientId);
  const run = await openForTest(mqttSource, all, { directory: folder.path, ...setup });
  runs.push(run);
  return run;
}

/** Payloads of all that the journal of a source holds. */
async function journaled(directory: string): Promise<Set<string>> {
  const journal = await openJournal(systemPorts().disk, join(directory, 'readings.source'));
  const texts = new Set<string>();
  const raw = new RawRecord();
  for (let offset = journal.begin; offset < journal.end; ) {
    const batch = (await journal.read(offset, { records: 5_000, bytes: 1 << 20 }, new AbortController().signal))!;
    for (let index = 0; index < batch.length; index++) {
      batch.read(index, raw);
      texts.add(raw.data.toString('utf8', raw.start, raw.end));
    }
    offset = batch.next;
  }
  await journal.close();
  return texts;
}

describe.skipIf(!brokerUrl)('a real broker', () => {
  const url = brokerUrl!;

  test.each([0, 1, 2] as const)('QoS %i brings every message once, in order, with its captures', async (qos) => {
    const topic = `${unique}/${qos}/emergency_generators`;
    const run = await open(url, { topics: [`${topic}/{generatorID}`, `${topic}/+/deep/#`], qos });
    const client = publisher(url);
    for (let n = 0; n < 300; n++) client.publish(`${topic}/g${n % 3}`, `${n}`, { qos });
    await client.publishAsync(`${topic}/g1/deep/er`, 'deep', { qos });
    const records = await pull(run.partitions.get('0')!, 301);
    expect(records.map(({ text }) => text)).toEqual([...Array.from({ length: 300 }, (_, n) => `${n}`), 'deep']);
    expect(records[4]).toMatchObject({ topic: `${topic}/g1`, captures: { generatorID: 'g1' }, offset: 4 });
    expect(records[300]).toMatchObject({ topic: `${topic}/g1/deep/er`, captures: undefined });
    await until('caught up', () => run.partitions.get('0')!.caughtUp);
  });

  test('the listener with passwords lets the right one in, and says plainly why it does not', async () => {
    const { hostname, port } = new URL(url);
    const guarded = `mqtt://${hostname}:${Number(port) + 1}`;
    const topics = `${unique}/guarded/+`;
    await open(guarded, { topics, username: 'test', password: new Secret('test-secret') });
    const wrong = open(guarded, { topics, username: 'test', password: new Secret('hush') });
    await expect(wrong).rejects.toThrow(/refused the user `test`: .*Check `username`/);
    await expect(open(guarded, { topics })).rejects.toThrow(/a client without a user name/);
  });

  test('in version 5 too', async () => {
    const { hostname, port } = new URL(url);
    const guarded = `mqtt://${hostname}:${Number(port) + 1}`;
    const login = { username: 'test', password: new Secret('test-secret'), protocolVersion: 5 };
    const topic = `${unique}/five`;
    await expect(open(guarded, { ...login, topics: topic, password: new Secret('x') })).rejects.toThrow(
      /refused the user/,
    );
    const run = await open(guarded, { ...login, topics: topic, qos: 2 });
    const { context } = sinkContextForTest();
    const sink = await mqttSink.open({ url: guarded, ...login, topic, qos: 2 } as never, context);
    expect(await sink.write(Array.from({ length: 200 }, (_, n) => recordOf({ n }, n)))).toBeUndefined();
    expect((await pull(run.partitions.get('0')!, 200)).map(({ text }) => JSON.parse(text).n)).toEqual(
      Array.from({ length: 200 }, (_, n) => n),
    );
    await sink.close();
  });

  test('retained messages are skipped by default', async () => {
    const topic = `${unique}/retained/x`;
    const client = publisher(url);
    await client.publishAsync(topic, 'kept', { qos: 1, retain: true });
    const skipping = await open(url, { topics: topic });
    const taking = await open(url, { topics: topic, retained: 'include' }, { id: 'taking' });
    await client.publishAsync(topic, 'live', { qos: 1 });
    expect((await pull(skipping.partitions.get('0')!, 1)).map(({ text }) => text)).toEqual(['live']);
    const taken = await pull(taking.partitions.get('0')!, 2);
    expect(taken.map(({ text, retained }) => [text, retained])).toEqual([
      ['kept', true],
      ['live', false],
    ]);
    await client.publishAsync(topic, '', { qos: 1, retain: true });
  });

  test('a message sent while nobody was there is delivered to the session', async () => {
    const topic = `${unique}/away`;
    const clientId = `${unique}-away`;
    const first = await open(url, { topics: topic, clientId });
    await first.stop();
    const client = publisher(url);
    for (let n = 0; n < 50; n++) await client.publishAsync(topic, `${n}`, { qos: 1 });
    const second = await open(url, { topics: topic, clientId });
    expect(await pull(second.partitions.get('0')!, 50)).toHaveLength(50);
    expect(second.log.lines.filter((line) => line.startsWith('warn'))).toEqual([]);
  });
});

/** A Mosquitto of our own, which may be killed: either a fast one, or one whose sessions are on disk after each change. */
class OwnMosquitto {
  #process: ChildProcess | undefined;
  readonly #directory: string;
  readonly #durable: boolean;
  readonly #inFlight: number;
  readonly port: number;
  constructor(directory: string, port: number, durable: boolean, inFlight: number) {
    this.#inFlight = inFlight;
    this.#directory = directory;
    this.port = port;
    this.#durable = durable;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const config = join(this.#directory, 'mosquitto.conf');
    const user = spawnSync('id', ['-un'], { encoding: 'utf8' }).stdout.trim();
    const lines = [
      `user ${user}`,
      ...(this.#durable
        ? [
            'persistence true',
            `persistence_location ${this.#directory}/`,
            'autosave_interval 1',
            'autosave_on_changes true',
          ]
        : ['persistence false']),
      'max_queued_messages 0',
      `max_inflight_messages ${this.#inFlight}`,
      `listener ${this.port} 127.0.0.1`,
      'allow_anonymous true',
    ];
    await mkdir(this.#directory, { recursive: true });
    await writeFile(config, `${lines.join('\n')}\n`);
    this.#process = spawn(mosquitto!, ['-c', config], { stdio: 'ignore' });
    await until('mosquitto', () => {
      return new Promise((resolve) => {
        const socket = connect(this.port, '127.0.0.1', () => resolve(true));
        socket.on('error', () => resolve(false));
        socket.on('connect', () => socket.destroy());
      });
    });
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const process = this.#process;
    if (!process || process.exitCode !== null || process.signalCode !== null) return;
    const exited = new Promise((resolve) => process.once('exit', resolve));
    process.kill(signal);
    await exited;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

if (brokerUrl && !mosquitto) console.log('Skipped: no mosquitto of our own to kill.');
describe.skipIf(!brokerUrl || !mosquitto)('faults', () => {
  let home: Awaited<ReturnType<typeof journalFolder>>;
  let own: OwnMosquitto;
  async function start(durable: boolean, inFlight = 20): Promise<void> {
    own = new OwnMosquitto(home.path, await freePort(), durable, inFlight);
    await own.start();
  }
  beforeEach(async () => {
    home = await journalFolder();
  });
  afterEach(async () => {
    await own.kill();
    await home.remove();
  });

  /** Publishes until stopped and remembers what the broker has confirmed. */
  function stream(topic: string) {
    const client = publisher(own.url);
    const confirmed = new Set<string>();
    let stopped = false;
    let sent = 0;
    let open = 0;
    const more = () => {
      while (!stopped && open < 50) {
        const payload = `${sent++}`;
        open++;
        client.publish(topic, payload, { qos: 1 }, (error) => {
          open--;
          if (!error) confirmed.add(payload);
          // About 2,000 a second: more would pile up at the broker while our process starts.
          setTimeout(more, 25);
        });
      }
    };
    more();
    return {
      confirmed,
      async stop() {
        stopped = true;
        await until('all confirmed', () => open === 0);
      },
    };
  }
  const lost = (confirmed: Iterable<string>, held: Set<string>) =>
    [...confirmed].filter((payload) => !held.has(payload));

  test.each([20, 1_000])(
    'how fast, with %i in flight',
    async (inFlight) => {
      const topic = `${unique}/fast`;
      await start(false, inFlight);
      const run = await open(own.url, { topics: `${topic}/+` });
      const client = publisher(own.url);
      const total = 20_000;
      const payload = JSON.stringify({
        generatorID: 'g1',
        lat: 40.66,
        lon: -112,
        temperature: 74,
        pressure: 198,
        fuel: 901,
      });
      const started = performance.now();
      let sent = 0;
      let confirmed = 0;
      const more = () => {
        while (sent < total && sent - confirmed < 500) {
          client.publish(`${topic}/g${sent++ % 100}`, payload, { qos: 1 }, () => {
            confirmed++;
            more();
          });
        }
      };
      more();
      await pull(run.partitions.get('0')!, total, 60_000);
      const seconds = (performance.now() - started) / 1_000;
      console.log(
        `mqtt source, QoS 1, through the journal: ${Math.round(total / seconds).toLocaleString('en')} messages/s`,
      );
    },
    90_000,
  );

  // A broker that is killed forgets what it has confirmed and not yet saved; the chaos suite takes that into account.
  test('restarting the broker in mid-stream, again and again, loses nothing that it had confirmed', async () => {
    await start(true);
    const topic = `${unique}/restarted`;
    const run = await open(own.url, { topics: topic });
    const messages = stream(topic);
    for (let round = 1; round <= 4; round++) {
      const target = messages.confirmed.size + 500;
      await until('messages before the restart', () => messages.confirmed.size > target);
      await own.kill('SIGTERM');
      await own.start();
    }
    const target = messages.confirmed.size + 500;
    await until('messages after the restarts', () => messages.confirmed.size > target);
    await messages.stop();
    await quiet(run);
    expect(run.failures).toEqual([]);
    expect(run.log.lines.filter((line) => /lost the session/.test(line))).toEqual([]);
    await run.stop();
    expect(messages.confirmed.size).toBeGreaterThan(2_000);
    expect(lost(messages.confirmed, await journaled(folder.path))).toEqual([]);
  }, 120_000);

  test('killing our process in mid-stream, again and again, loses nothing that the broker had confirmed', async () => {
    await start(false);
    const topic = `${unique}/process`;
    const options = { url: own.url, topics: topic, clientId: `${unique}-process` };
    // The session begins here; what is published before it is not ours to keep.
    await (await open(own.url, options)).stop();
    const messages = stream(topic);
    const script = new URL('mqtt-source-process.ts', import.meta.url).pathname;
    for (let round = 1; round <= 5; round++) {
      const args = ['--import', 'tsx', script, JSON.stringify({ options, directory: folder.path })];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = new Promise((resolve) => child.once('exit', resolve));
      await new Promise((resolve, reject) => {
        child.stdout.once('data', resolve);
        child.once('exit', (code) => reject(new Error(`The process ended with ${code} before it was killed.`)));
      });
      const target = messages.confirmed.size + 500;
      await until('messages', () => messages.confirmed.size > target);
      child.kill('SIGKILL');
      await exited;
      expect(child.signalCode).toBe('SIGKILL');
    }
    await messages.stop();
    const run = await open(own.url, options);
    await quiet(run);
    const { end } = run.journals[0]!;
    await run.stop();
    const held = await journaled(folder.path);
    expect(lost(messages.confirmed, held)).toEqual([]);
    console.log(`5 kills: ${messages.confirmed.size} confirmed, 0 lost, ${end - held.size} came twice`);
  }, 120_000);
});

/** Waits until nothing more comes. */
async function quiet(run: SourceRun): Promise<void> {
  let before = -1;
  await until('quiet', async () => {
    const { end } = run.journals[0]!;
    const same = end === before;
    before = end;
    if (!same) await new Promise((resolve) => setTimeout(resolve, 500));
    return same;
  });
}
