import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import mqtt from 'mqtt';
import { afterAll, expect, test } from 'vitest';
import { eventually, Penstock } from './penstock-process.ts';
import { needs } from './services.ts';

const { describe, KAFKA_BROKERS, MQTT_URL } = needs('KAFKA_BROKERS', 'MQTT_URL');
const folder = mkdtempSync(join(tmpdir(), 'penstock-topologies-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => new URL(`../../topologies/${name}`, import.meta.url).pathname;
const env = { KAFKA_BROKERS, MQTT_URL };

describe('topologies that ship, on real services', () => {
  test('the bridge carries MQTT topics to Kafka topics of the same name, and the alert reads them from the earliest offset', async () => {
    // A device of its own in each run: the topics are fixed and keep what earlier runs wrote.
    const device = `sensor-${randomUUID().slice(0, 8)}`;
    const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: ['sensors.temperature', 'sensors.rejected'].map((topic) => ({ topic, numPartitions: 1 })),
    });
    await admin.disconnect();

    const bridge = new Penstock(['run', file('bridge.yaml'), '--state', join(folder, 'bridge'), '--json'], env).start();
    await eventually(
      () => bridge.stderr.includes('Subscribed'),
      30_000,
      () => bridge.stderr,
    );
    const client = await mqtt.connectAsync(MQTT_URL);
    for (const temperature of [23.9, 24, 24.1]) {
      const payload = JSON.stringify({ device_id: device, temperature, timestamp: 1_760_000_000 });
      await client.publishAsync('sensors/temperature', payload, { qos: 1 });
    }
    await client.publishAsync('sensors/temperature', `not JSON, ${device}`, { qos: 1 });
    await client.endAsync();

    const alert = new Penstock(['run', file('high-temperature.yaml'), '--state', join(folder, 'alert')], env).start();
    const rows = () => alert.stdout.split('\n').filter((line) => line.includes(device));
    await eventually(
      () => rows().length === 3,
      40_000,
      () => `${alert.stderr}\n${alert.stdout}`,
    );
    expect(rows().map((line) => /temperature (\S+) +level (\S+)/.exec(line)?.slice(1))).toEqual([
      ['23.9', 'normal'],
      ['24', 'normal'],
      ['24.1', 'ALERT'],
    ]);
    expect([await bridge.signal('SIGTERM'), await alert.signal('SIGTERM')]).toEqual([0, 0]);
    const status = JSON.parse(bridge.stdout.trim().split('\n').at(-1)!) as {
      sinks: Record<string, { written: number }>;
    };
    expect(status.sinks).toMatchObject({ 'sensors.kafka': { written: 3 }, 'rejected.kafka': { written: 1 } });
  }, 90_000);

  test('commands go down to a device, and its answers come back to Kafka with the id of the request, over MQTT 5 and 3.1.1', async () => {
    const device = `g-${randomUUID().slice(0, 8)}`;
    const kafka = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING });
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({
      topics: ['generators.commands', 'generators.replies', 'generators.rejected'].map((topic) => ({
        topic,
        numPartitions: 1,
      })),
    });
    await admin.disconnect();

    // The device answers by the properties of the command; a `stop` as one that speaks 3.1.1 would.
    const client = await mqtt.connectAsync(MQTT_URL, { protocolVersion: 5 });
    const seen: unknown[] = [];
    client.on('message', (_topic, payload, { properties }) => {
      const { command, requestId } = JSON.parse(`${payload}`) as { command: string; requestId: string };
      seen.push([command, `${properties?.correlationData}`, properties?.messageExpiryInterval]);
      const old = command === 'stop';
      const answer = JSON.stringify({ done: command, ...(old && { requestId }) });
      const correlationData = properties!.correlationData!;
      client.publish(properties!.responseTopic!, answer, { qos: 1, ...(!old && { properties: { correlationData } }) });
    });
    await client.subscribeAsync(`generators/${device}/cmd`, { qos: 1 });

    const run = new Penstock(['run', file('downlink.yaml'), '--state', join(folder, 'downlink')], env).start();
    await eventually(
      () => run.stderr.includes('Subscribed'),
      30_000,
      () => run.stderr,
    );
    const producer = kafka.producer();
    await producer.connect();
    const ids = ['start', 'stop'].map((command) => ({ command, requestId: randomUUID(), generatorID: device }));
    await producer.send({
      topic: 'generators.commands',
      messages: ids.map((value) => ({ key: value.requestId, value: JSON.stringify(value) })),
    });
    await producer.disconnect();

    const found: Record<string, unknown>[] = [];
    const consumer = kafka.consumer({ groupId: `downlink-${randomUUID()}` });
    await consumer.connect();
    await consumer.subscribe({ topic: 'generators.replies', fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => {
        const value = JSON.parse(`${message.value}`) as Record<string, unknown>;
        if (value['generatorID'] === device) found.push({ key: `${message.key}`, ...value });
      },
    });
    await eventually(
      () => found.length === 2,
      40_000,
      () => `${run.stderr}\n${JSON.stringify([seen, found])}`,
    );
    await consumer.disconnect();
    await client.endAsync();
    expect(seen).toEqual(ids.map(({ command, requestId }) => [command, requestId, expect.any(Number)]));
    expect(found.sort((a, b) => String(a['command']).localeCompare(String(b['command'])))).toEqual(
      ids.map((value) => ({
        key: value.requestId,
        ...value,
        reply: { done: value.command, generatorID: device, requestId: value.requestId },
      })),
    );
    expect(await run.signal('SIGTERM')).toBe(0);
  }, 90_000);
});
