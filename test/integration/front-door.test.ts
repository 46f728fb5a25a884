import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import mqtt from 'mqtt';
import { afterAll, expect, test } from 'vitest';
import { eventually, Penstock } from './penstock-process.ts';
import { needs } from './services.ts';
import { freePort } from './tls-tools.ts';

const services = needs('KAFKA_BROKERS', 'INFLUX_URL', 'INFLUX_ORG', 'INFLUX_TOKEN');
const { describe, KAFKA_BROKERS, INFLUX_URL, INFLUX_ORG, INFLUX_TOKEN } = services;
const folder = mkdtempSync(join(tmpdir(), 'penstock-front-door-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const topology = new URL('../../topologies/front-door.yaml', import.meta.url).pathname;
const name = `front-door-${process.pid}-${Date.now().toString(36)}`;

const minutes = 5;
const start = Math.floor(Date.now() / 60_000) * 60_000 - (minutes + 1) * 60_000;
const count = minutes * 60 * 3;

interface Row {
  readonly generatorID: string;
  readonly ts: number;
  readonly fuel: number;
  readonly alarm: string;
  readonly [field: string]: unknown;
}

async function makeBucket(): Promise<void> {
  const headers = { authorization: `Token ${INFLUX_TOKEN}`, 'content-type': 'application/json' };
  const orgs = await fetch(`${INFLUX_URL}/api/v2/orgs?org=${encodeURIComponent(INFLUX_ORG)}`, { headers });
  const {
    orgs: [org],
  } = (await orgs.json()) as { orgs: { id: string }[] };
  const body = JSON.stringify({ orgID: org!.id, name });
  const made = await fetch(`${INFLUX_URL}/api/v2/buckets`, { method: 'POST', headers, body });
  if (!made.ok) throw new Error(await made.text());
}

/** How many records each of these topics holds; none for one that is not there yet. */
async function lengths(...topics: string[]): Promise<number[]> {
  const admin = new kafkajs.Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: 0 }).admin();
  await admin.connect();
  try {
    const there = await admin.listTopics();
    const length = async (topic: string) =>
      there.includes(topic)
        ? (await admin.fetchTopicOffsets(topic)).reduce((sum, { high, low }) => sum + Number(high) - Number(low), 0)
        : 0;
    return await Promise.all(topics.map(length));
  } finally {
    await admin.disconnect();
  }
}

/** Reads whole topics, as far as they are written when it is asked. */
async function readTopics(...topics: string[]): Promise<Map<string, { key: string; value: Row }[]>> {
  const kafka = new kafkajs.Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: 0 });
  const consumer = kafka.consumer({ groupId: `${name}-${Math.random()}` });
  const rows = new Map<string, { key: string; value: Row }[]>(topics.map((topic) => [topic, []]));
  let left = (await lengths(...topics)).reduce((sum, length) => sum + length, 0);
  try {
    await consumer.connect();
    await consumer.subscribe({ topics, fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          eachMessage: async ({ topic, message }) => {
            rows.get(topic)!.push({ key: String(message.key), value: JSON.parse(String(message.value)) as Row });
            if (--left === 0) resolve();
          },
        })
        .catch(reject);
    });
    return rows;
  } finally {
    await consumer.disconnect();
  }
}

describe('the whole architecture of the case as one topology', () => {
  test('takes readings from devices to Kafka, to InfluxDB with an alarm, to Kafka again, and tells who has to refuel', async () => {
    await makeBucket();
    const port = await freePort();
    const address = `mqtt://127.0.0.1:${port}`;
    const env = { KAFKA_BROKERS, INFLUX_URL, INFLUX_ORG, INFLUX_TOKEN, INFLUX_BUCKET: name, KAFKA_RAW: name };
    const penstock = new Penstock(
      ['run', topology, '--state', join(folder, 'state'), '--checkpoint', '1s', '--set', 'idle=10m', '--json'],
      { ...env, MQTT_LISTEN: address, MQTT_URL: address },
    ).start();
    const log = () => penstock.stderr;
    await eventually(() => log().includes('Devices can connect'), 30_000, log);
    const device = await mqtt.connectAsync(address, { clientId: 'device' });
    const commands: Row[] = [];
    device.on('message', (_topic, payload) => commands.push(JSON.parse(String(payload)) as Row));
    await device.subscribeAsync('commands/+', { qos: 1 });
    const simulation = [
      'simulate',
      '--url',
      address,
      '--generators',
      '3',
      '--count',
      String(count),
      '--fast',
      '--seed',
      '7',
    ];
    const simulate = new Penstock([...simulation, '--start', new Date(start).toISOString()]).start();
    expect([await simulate.exit, simulate.stderr]).toEqual([0, expect.stringContaining(`${count} written`)]);
    await device.publishAsync('emergency_generators/g9', 'no reading', { qos: 1 });
    // Event time comes to the end of the last windows, with their lateness and disorder, in whatever partition each generator is.
    const after = { ts: start + minutes * 60_000 + 40_000, lat: 0, lon: 0, temperature: 1, pressure: 1, fuel: 900 };
    for (const n of [1, 2, 3])
      await device.publishAsync(`emergency_generators/generator${n}`, JSON.stringify(after), { qos: 1 });
    const exported = `EG${name}`;
    const all = minutes * 3;
    let written = [0, 0];
    await eventually(
      async () => {
        written = await lengths(exported, `${name}.rejected`);
        return written[0]! >= all && written[1]! >= 1;
      },
      60_000,
      () => `${written[0]} of ${all}\n${log()}`,
    );
    const topics = await readTopics(name, exported, `${name}.presence`, `${name}.rejected`);
    const raw = topics.get(name)!;
    expect(raw.length).toBe(count + 3);
    const latest = new Map<string, Row>();
    for (const { key, value } of raw) {
      expect(key).toBe(value.generatorID);
      if (value.ts === after.ts) continue;
      const at = `${key} ${Math.floor(value.ts / 60_000)}`;
      if ((latest.get(at)?.ts ?? 0) <= value.ts) latest.set(at, value);
    }
    const wanted = [...latest.values()].map(
      ({ generatorID, ts, fuel }) => `${generatorID} ${ts} ${fuel} ${fuel < 500 ? 'refuel' : 'no action'}`,
    );
    const rows = topics.get(exported)!.map(({ key, value }) => {
      expect([key, value['region'], value['_measurement']]).toEqual([value.generatorID, 'US', 'genData']);
      return `${key} ${Date.parse(String(value['_time']))} ${value.fuel} ${value.alarm}`;
    });
    // A point may be exported twice, where two partitions were out of step.
    expect([...new Set(rows)].sort()).toEqual(wanted.sort());
    const refuel = wanted.filter((row) => row.endsWith('refuel'));
    expect(refuel.length).toBeGreaterThan(0);
    // At least once: one may be told twice.
    const told = () => [...new Set(commands.map((row) => `${row.generatorID} ${row.ts} ${row.fuel} ${row.alarm}`))];
    await eventually(() => told().length >= refuel.length, 20_000, log);
    expect(told().sort()).toEqual(refuel.sort());
    const presence = topics.get(`${name}.presence`)!.map(({ value }) => `${value['event']} ${value['clientId'] ?? ''}`);
    expect(presence.slice(0, 1)).toEqual(['serverStarted ']);
    expect(presence).toContain('connected device');
    expect(topics.get(`${name}.rejected`)!.map(({ value }) => value['code'])).toEqual(['payload-malformed']);
    await device.endAsync();
    expect(await penstock.signal('SIGTERM')).toBe(0);
    const status = JSON.parse(penstock.stdout.trim().split('\n').at(-1)!) as {
      sources: Record<string, Record<string, number>>;
    };
    expect(status.sources['devices.mqttServer']).toMatchObject({
      messages: count + 4,
      connections: 0,
    });
  }, 150_000);
});
