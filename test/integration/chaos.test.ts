import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import mqtt, { type MqttClient } from 'mqtt';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, Penstock } from './penstock-process.ts';
import { needs } from './services.ts';

// The variable of the broker says that one is installed; this suite starts its own.
const { describe, KAFKA_BROKERS } = needs('KAFKA_BROKERS', 'MQTT_URL');

const generators = 50;
const steps = Number(process.env['CHAOS_STEPS'] ?? 2_000);
const kills = Number(process.env['CHAOS_KILLS'] ?? 20);
const total = generators * steps;
// The broker saves after every so many changes; a message is at least one.
const unsaved = 100;

// Every reading has a window to itself, so a single one that is missing, wrong or in the wrong window shows.
const topology = (name: string, url: string, outOfOrder: string) => `
version: 1
name: ${name}
otherwise: rejected
streams:
  readings:
    - mqtt: { url: "${url}", topics: "${name}/{generatorID}", qos: 1, time: { field: ts, unit: ms, outOfOrder: ${outOfOrder} } }
    - validate: { schema: { type: object, required: [ts, n], properties: { generatorID: { type: string }, ts: { type: integer }, n: { type: integer } } } }
    - keyBy: generatorID
    - id: latest
      window-last: { every: 1s }
    - kafka: { brokers: "${KAFKA_BROKERS}", topic: ${name}, key: generatorID }
  rejected:
    - kafka: { brokers: "${KAFKA_BROKERS}", topic: ${name}.rejected }
`;

interface Reading {
  readonly generatorID: string;
  readonly ts: number;
  readonly n: number;
}

function* readings(base: number): Generator<Reading> {
  for (let step = 0, n = 0; step < steps; step++) {
    for (let g = 0; g < generators; g++) yield { generatorID: `g${g}`, ts: base + step * 1_000 + g, n: n++ };
  }
}

/**
 * Publishes all readings at QoS 1 and resolves when the broker has acknowledged each. Stays at most 2,000 ahead of the results.
 * `crashes` are the times at which the broker was killed: it saves after every hundred changes, so the last hundred readings that it
 * had acknowledged are published again. What it forgets is the broker's loss, not ours, and this test is not about it.
 */
async function publishAll(
  url: string,
  name: string,
  base: number,
  results: () => number,
  crashes: readonly number[] = [],
): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { clean: false, clientId: `${name}-publisher`, reconnectPeriod: 200 });
  client.on('error', () => undefined);
  const open = new Set<Promise<unknown>>();
  let confirmed: { at: number; reading: Reading }[] = [];
  const publish = (reading: Reading) => {
    const sending = client.publishAsync(`${name}/${reading.generatorID}`, JSON.stringify(reading), { qos: 1 });
    open.add(sending);
    void sending.then(() => {
      open.delete(sending);
      confirmed.push({ at: Date.now(), reading });
    });
  };
  let crashesSeen = 0;
  const repeatDoubtful = async () => {
    while (crashesSeen < crashes.length) {
      const crash = crashes[crashesSeen]!;
      const before = confirmed.filter(({ at }) => at <= crash);
      const doubtful = [...before.slice(-unsaved), ...confirmed.filter(({ at }) => at > crash)];
      crashesSeen++;
      for (const { reading } of doubtful.sort((a, b) => a.reading.n - b.reading.n)) publish(reading);
      await Promise.all(open);
    }
    confirmed = confirmed.slice(-20 * unsaved);
  };
  let sent = 0;
  for (const reading of readings(base)) {
    publish(reading);
    if (open.size >= 100) await Promise.race(open);
    sent++;
    await repeatDoubtful();
    while (sent - results() > 2_000) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await repeatDoubtful();
    }
  }
  await Promise.all(open);
  await repeatDoubtful();
  return client;
}

/** Reads a topic whole. Shares nothing with the engine but the header's name. */
class TopicReader {
  readonly byId = new Map<string, string[]>();
  readonly #consumer;
  constructor(topic: string) {
    const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING });
    this.#consumer = kafka.consumer({ groupId: `check-${randomUUID()}`, maxWaitTimeInMs: 100 });
    this.topic = topic;
  }
  readonly topic: string;
  async start(): Promise<this> {
    await this.#consumer.connect();
    await this.#consumer.subscribe({ topic: this.topic, fromBeginning: true });
    await this.#consumer.run({
      eachBatch: async ({ batch }) => {
        for (const message of batch.messages) {
          const id = String(message.headers?.['penstock-id']);
          const values = this.byId.get(id) ?? [];
          values.push(String(message.value));
          this.byId.set(id, values);
        }
      },
    });
    return this;
  }
  stop(): Promise<void> {
    return this.#consumer.disconnect();
  }
}

function check(output: TopicReader, rejected: TopicReader, base: number): { duplicates: number; redelivered: number } {
  let duplicates = 0;
  const seen = new Set<number>();
  for (const reading of readings(base)) {
    const id = `latest/${reading.generatorID}/${Math.floor(reading.ts / 1_000) * 1_000}`;
    const values = output.byId.get(id) ?? [];
    if (values.length === 0) throw new Error(`Reading ${reading.n} is missing: there is no result ${id}.`);
    duplicates += values.length - 1;
    for (const value of new Set(values)) {
      const { ts, n } = JSON.parse(value) as Reading;
      if (n !== reading.n || ts !== reading.ts)
        throw new Error(`${id} is wrong: it holds reading ${n}, not ${reading.n}.`);
    }
    seen.add(reading.n);
  }
  expect(seen.size).toBe(total);
  expect(output.byId.size).toBe(total);
  // Only a second copy of a reading whose window has closed may be late; its first copy is in the results.
  for (const values of rejected.byId.values()) {
    for (const value of values) {
      const letter = JSON.parse(value) as { code: string; payload: string };
      expect(letter.code).toBe('late');
      expect(seen.has((JSON.parse(letter.payload) as Reading).n)).toBe(true);
    }
  }
  return { duplicates, redelivered: rejected.byId.size };
}

describe('under kill -9', () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'penstock-chaos-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function setUp(url: string, outOfOrder: string) {
    const name = `chaos-${randomUUID().slice(0, 8)}`;
    const admin = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.createTopics({
      topics: [
        { topic: name, numPartitions: 6 },
        { topic: `${name}.rejected`, numPartitions: 1 },
      ],
    });
    await admin.disconnect();
    const file = join(folder, `${name}.yaml`);
    writeFileSync(file, topology(name, url, outOfOrder));
    const output = await new TopicReader(name).start();
    const rejected = await new TopicReader(`${name}.rejected`).start();
    const run = () => new Penstock(['run', file, '--state', join(folder, name), '--checkpoint', '500ms']).start();
    return { name, output, rejected, run };
  }

  /** Event time on past the last window: it closes. */
  async function closeWindows(client: MqttClient, name: string, base: number): Promise<void> {
    const last = { generatorID: 'closing', ts: base + steps * 1_000 + 65_000, n: -1 };
    await client.publishAsync(`${name}/closing`, JSON.stringify(last), { qos: 1 });
  }

  /** A broker of our own, so that it can be killed, and without the sessions that other suites have left behind. */
  async function broker() {
    const port = await freePort();
    const data = mkdtempSync(join(folder, 'mosquitto-'));
    const config = join(data, 'mosquitto.conf');
    writeFileSync(
      config,
      `user root
listener ${port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
persistence true
persistence_location ${data}/
autosave_interval ${unsaved}
autosave_on_changes true
`,
    );
    let child: ChildProcess | undefined;
    const listens = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
        socket
          .unref()
          .setTimeout(1_000)
          .on('connect', () => socket.destroy());
      });
    const start = async () => {
      child = spawn('mosquitto', ['-c', config], {
        stdio: 'ignore',
        env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
      });
      await eventually(listens, 20_000, () => 'the broker did not come up');
    };
    const kill = async () => {
      const gone = new Promise((resolve) => child!.once('exit', resolve));
      child!.kill('SIGKILL');
      await gone;
    };
    await start();
    return { url: `mqtt://127.0.0.1:${port}`, start, kill };
  }

  test(`loses no acknowledged reading and makes no wrong window over ${kills} kills of the engine`, {
    timeout: 300_000,
  }, async () => {
    const mosquitto = await broker();
    try {
      const { name, output, rejected, run } = await setUp(mosquitto.url, '0s');
      const base = Math.floor(Date.now() / 1_000) * 1_000 - (steps + 120) * 1_000;
      let penstock = run();
      await eventually(
        () => penstock.stderr.includes('Subscribed'),
        30_000,
        () => `not subscribed: ${penstock.stderr}`,
      );
      const publishing = publishAll(mosquitto.url, name, base, () => output.byId.size);
      for (let killed = 0; killed < kills; killed++) {
        await new Promise((resolve) => setTimeout(resolve, 300 + Math.random() * 1_500));
        expect(await penstock.signal('SIGKILL')).toBe('SIGKILL');
        penstock = run();
      }
      await finish('engine', { name, base, output, rejected, penstock, client: await publishing });
    } finally {
      await mosquitto.kill();
    }
  });

  test(`loses nothing over ${kills} kills of the broker`, { timeout: 300_000 }, async () => {
    const mosquitto = await broker();
    try {
      const { name, output, rejected, run } = await setUp(mosquitto.url, '1m');
      const base = Math.floor(Date.now() / 1_000) * 1_000 - (steps + 120) * 1_000;
      const penstock = run();
      await eventually(
        () => penstock.stderr.includes('Subscribed'),
        30_000,
        () => `not subscribed: ${penstock.stderr}`,
      );
      const crashes: number[] = [];
      // Event time stays a minute behind, and with it the results: that much is not a backlog.
      const publishing = publishAll(mosquitto.url, name, base, () => output.byId.size + 60 * generators, crashes);
      for (let killed = 0; killed < kills; killed++) {
        await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 1_500));
        await mosquitto.kill();
        crashes.push(Date.now());
        await mosquitto.start();
      }
      await finish('broker', { name, base, output, rejected, penstock, client: await publishing });
    } finally {
      await mosquitto.kill();
    }
  });

  interface Round {
    readonly name: string;
    readonly base: number;
    readonly output: TopicReader;
    readonly rejected: TopicReader;
    readonly penstock: Penstock;
    readonly client: MqttClient;
  }

  async function finish(killed: string, { name, base, output, rejected, penstock, client }: Round): Promise<void> {
    await closeWindows(client, name, base);
    const behind = () => `${output.byId.size} of ${total} results; ${penstock.stderr.slice(-2_000)}`;
    await eventually(() => output.byId.size >= total, 120_000, behind);
    expect(await penstock.signal('SIGTERM')).toBe(0);
    const { duplicates, redelivered } = check(output, rejected, base);
    console.log(
      `chaos: ${total} readings, ${kills} kills of the ${killed}: 0 missing, 0 wrong; ${duplicates} repeated results, ${redelivered} repeated readings`,
    );
    await Promise.all([client.endAsync(true), output.stop(), rejected.stop()]);
  }
});

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
    server.on('error', reject);
  });
}
