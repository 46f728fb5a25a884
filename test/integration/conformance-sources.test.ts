import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import mqtt, { type MqttClient } from 'mqtt';
import { fileSource } from '../../operators/file/index.ts';
import { httpServerSource } from '../../operators/http-server/index.ts';
import { influxSource } from '../../operators/influx/index.ts';
import { journalSink, journalSource } from '../../operators/journal/index.ts';
import { kafkaSource } from '../../operators/kafka/index.ts';
import { mqttSource } from '../../operators/mqtt/index.ts';
import { mqttServerSource } from '../../operators/mqtt-server/index.ts';
import { type OpenSink, StreamRecord } from '../../src/operator.ts';
import { openForTest, sinkContextForTest } from '../conformance/harness.ts';
import { type SourceUnderTest, sourceSuite } from '../conformance/source-suite.ts';
import {
  guarded,
  influxHeaders,
  influxServer,
  login,
  mqttClient,
  newBucket,
  newTopic,
  servers,
} from './conformance-servers.ts';
import { uniqueName } from './kafka-tools.ts';
import { needs } from './services.ts';

const { KAFKA_BROKERS: brokers, INFLUX_URL: url, INFLUX_ORG: org } = servers;

async function kafkaInput(): Promise<SourceUnderTest> {
  const topic = await newTopic();
  const group = uniqueName('conformance');
  const producer = new kafkajs.Kafka({ brokers: [brokers], logLevel: 0 }).producer();
  await producer.connect();
  return {
    open: (setup) => openForTest(kafkaSource, { brokers, topic, group, start: 'earliest' }, setup),
    async produce(records) {
      const messages = records.map((record) => ({ key: record.key, value: JSON.stringify(record) }));
      await producer.send({ topic, messages });
    },
    close: () => producer.disconnect(),
  };
}

async function mqttInput(): Promise<SourceUnderTest> {
  const topic = uniqueName('conformance');
  const clientId = uniqueName('source');
  const client = await mqttClient();
  return {
    open: (setup, secret) =>
      openForTest(mqttSource, { url: guarded, clientId, topics: `${topic}/+`, qos: 1, ...login(secret) }, setup),
    produce: async (records) =>
      void (await Promise.all(
        records.map((record) => client.publishAsync(`${topic}/${record.key}`, JSON.stringify(record), { qos: 1 })),
      )),
    close: () => client.endAsync(),
  };
}

async function influxInput(): Promise<SourceUnderTest> {
  const bucket = await newBucket();
  const start = BigInt(Date.UTC(2026, 0, 1)) * 1_000_000n;
  return {
    open: (setup, secret) =>
      openForTest(influxSource, { ...influxServer(bucket, secret), poll: '20ms', timeout: '2s' }, setup),
    async produce(records) {
      const body = records.map(({ key, n }) => `readings,key=${key} n=${n} ${start + BigInt(n)}`).join('\n');
      const target = `${url}/api/v2/write?${new URLSearchParams({ org, bucket, precision: 'ns' })}`;
      const answer = await fetch(target, { method: 'POST', headers: influxHeaders, body });
      if (answer.status !== 204) throw new Error(await answer.text());
    },
  };
}

async function fileInput(): Promise<SourceUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-conformance-'));
  const path = join(folder, 'in.jsonl');
  await appendFile(path, '');
  return {
    open: (setup) => openForTest(fileSource, { path, follow: true }, setup),
    produce: (records) => appendFile(path, records.map((record) => `${JSON.stringify(record)}\n`).join('')),
    close: () => rm(folder, { recursive: true }),
  };
}

async function journalInput(): Promise<SourceUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-conformance-'));
  const path = join(folder, 'in.journal');
  const sink: OpenSink = await journalSink.open({ path } as never, sinkContextForTest().context);
  return {
    open: (setup) => openForTest(journalSource, { path }, setup),
    produce: async (records) =>
      void (await sink.write(records.map((record) => new StreamRecord(record, record.key, record.n, record.n)))),
    async close() {
      await sink.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function httpServerInput(): Promise<SourceUnderTest> {
  let address = '';
  return {
    async open(setup) {
      const listen = address === '' ? '127.0.0.1:0' : new URL(address).host;
      const run = await openForTest(httpServerSource, { listen, path: '/in' }, setup);
      [, address] = /at (http:\/\/[^/]+)/.exec(run.log.lines.join('\n')) as unknown as [string, string];
      return run;
    },
    async produce(records) {
      const body = records.map((record) => JSON.stringify(record)).join('\n');
      const headers = { 'content-type': 'application/x-ndjson' };
      const answer = await fetch(`${address}/in`, { method: 'POST', headers, body });
      if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
    },
  };
}

async function mqttServerInput(): Promise<SourceUnderTest> {
  let client: MqttClient | undefined;
  const clientId = uniqueName('device');
  return {
    async open(setup) {
      const run = await openForTest(mqttServerSource, { listen: 'mqtt://127.0.0.1:0' }, setup);
      const address = run.log.fields.map((fields) => fields?.['url']).find((found) => typeof found === 'string');
      await client?.endAsync(true);
      client = await mqtt.connectAsync(address as string, { clientId });
      return run;
    },
    produce: async (records) =>
      void (await Promise.all(
        records.map((record) => client!.publishAsync(`in/${record.key}`, JSON.stringify(record), { qos: 1 })),
      )),
    close: async () => void (await client?.endAsync(true)),
  };
}

needs('KAFKA_BROKERS').describe('conformance', () => {
  sourceSuite('kafka', { make: kafkaInput, remote: true, holds: 24 << 20 });
  sourceSuite('mqtt', { make: mqttInput, remote: true, secured: guarded.slice(7) });
  sourceSuite('influx', { make: influxInput, remote: true, secured: url });
  sourceSuite('file', { make: fileInput });
  sourceSuite('journal', { make: journalInput });
  sourceSuite('httpServer', { make: httpServerInput, serves: true });
  sourceSuite('mqttServer', { make: mqttServerInput, serves: true });
});
