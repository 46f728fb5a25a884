import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { fileSink } from '../../operators/file/index.ts';
import { httpSink } from '../../operators/http/index.ts';
import { influxSink } from '../../operators/influx/index.ts';
import { journalSink, journalSource } from '../../operators/journal/index.ts';
import { kafkaSink } from '../../operators/kafka/index.ts';
import { mqttSink } from '../../operators/mqtt/index.ts';
import { postgresSink } from '../../operators/postgres/index.ts';
import { Secret } from '../../src/operator.ts';
import { openForTest, pull, until } from '../conformance/harness.ts';
import { type SinkUnderTest, sinkSuite } from '../conformance/sink-suite.ts';
import type { Numbered } from '../conformance/source-suite.ts';
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
import { Reading, uniqueName } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe, POSTGRES_URL } = needs('KAFKA_BROKERS', 'POSTGRES_URL');
const address = POSTGRES_URL === '' ? '' : new URL(POSTGRES_URL).host;
const { KAFKA_BROKERS: brokers, INFLUX_URL: url, INFLUX_ORG: org } = servers;

/** Numbers of each key in the order in which they stand. */
function byKey(values: Iterable<Numbered>): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const { key, n } of values) found.set(key, [...(found.get(key) ?? []), n]);
  return found;
}

async function kafkaTarget(): Promise<SinkUnderTest> {
  const topic = await newTopic();
  return {
    open: (context) => kafkaSink.open({ brokers, topic } as never, context),
    async contents() {
      const reading = await Reading.open({ topic, group: uniqueName('reader'), start: 'earliest', until: 'end' });
      await reading.toEnd();
      if (reading.failures.length > 0) throw reading.failures[0];
      await reading.close();
      return byKey(reading.values() as Numbered[]);
    },
  };
}

async function mqttTarget(): Promise<SinkUnderTest> {
  const topic = uniqueName('conformance');
  const clientId = uniqueName('sink');
  const client = await mqttClient();
  const heard: Numbered[] = [];
  const marks = new Set<string>();
  client.on('message', (at, payload) => {
    if (at.endsWith('/mark')) marks.add(String(payload));
    else heard.push(JSON.parse(String(payload)) as Numbered);
  });
  await client.subscribeAsync(`${topic}/#`, { qos: 1 });
  return {
    open: (context, secret) =>
      mqttSink.open(
        { url: guarded, clientId, topic: `${topic}/{event.key}`, qos: 1, ...login(secret) } as never,
        context,
      ),
    async contents() {
      // What the broker took before the mark has been heard when the mark is.
      const mark = randomUUID();
      await client.publishAsync(`${topic}/mark`, mark, { qos: 1 });
      await until('the mark is heard', () => marks.has(mark));
      return byKey(heard);
    },
    close: () => client.endAsync(),
  };
}

async function influxTarget(): Promise<SinkUnderTest> {
  const bucket = await newBucket();
  const point = { measurement: 'readings', tags: ['key'], fields: ['n'] };
  return {
    open: (context, secret) => influxSink.open({ ...influxServer(bucket, secret), ...point } as never, context),
    async contents() {
      const flux = `from(bucket: "${bucket}") |> range(start: 0) |> sort(columns: ["_time"]) |> keep(columns: ["key", "_value"])`;
      const headers = { ...influxHeaders, accept: 'application/csv', 'content-type': 'application/vnd.flux' };
      const answer = await fetch(`${url}/api/v2/query?org=${org}`, { method: 'POST', headers, body: flux });
      const rows = (await answer.text())
        .split('\n')
        .flatMap((line) => /^,[^,]*,\d+,(.*),(.*)$/.exec(line.trim()) ?? []);
      const values: Numbered[] = [];
      for (let i = 0; i < rows.length; i += 3) {
        const cells = [rows[i + 1]!, rows[i + 2]!];
        const key = cells.find((cell) => /^[abc]$/.test(cell))!;
        values.push({ key, n: Number(cells.find((cell) => cell !== key)) });
      }
      return byKey(values);
    },
  };
}

async function fileTarget(): Promise<SinkUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-conformance-'));
  const path = join(folder, 'out.jsonl');
  return {
    open: (context) => fileSink.open({ path } as never, context),
    async contents() {
      const lines = (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
      return byKey(lines.map((line) => JSON.parse(line) as Numbered));
    },
    close: () => rm(folder, { recursive: true }),
  };
}

async function journalTarget(): Promise<SinkUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-conformance-'));
  const path = join(folder, 'out.journal');
  return {
    open: (context) => journalSink.open({ path } as never, context),
    async contents() {
      const run = await openForTest(journalSource, { path, follow: false }, { directory: folder });
      const records = await pull(run.partitions.get('0')!, Number.POSITIVE_INFINITY);
      await run.stop();
      return byKey(records.map(({ text }) => JSON.parse(text) as Numbered));
    },
    close: () => rm(folder, { recursive: true }),
  };
}

async function postgresTarget(): Promise<SinkUnderTest> {
  const { host, pathname, username, password } = new URL(POSTGRES_URL);
  const table = uniqueName('conformance').replaceAll('-', '_');
  const admin = postgres(POSTGRES_URL, { max: 1 });
  await admin.unsafe(`CREATE TABLE ${table} (at serial, id text UNIQUE, key text, n int)`);
  const options = { url: `postgres://${host}${pathname}`, username, table, idColumn: 'id' };
  return {
    open: (context, secret = password) =>
      postgresSink.open({ ...options, password: new Secret(secret) } as never, context),
    contents: async () => byKey(await admin.unsafe<Numbered[]>(`SELECT key, n FROM ${table} ORDER BY at`)),
    async close() {
      await admin.unsafe(`DROP TABLE ${table}`);
      await admin.end();
    },
  };
}

/** A server that takes what bears the right token, but nothing that says it is bad. */
async function httpTarget(): Promise<SinkUnderTest> {
  const taken: Numbered[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const given = JSON.parse(Buffer.concat(chunks).toString()) as Numbered[];
    const status =
      request.headers.authorization !== 'Bearer right' ? 401 : given.some((one) => 'bad' in one) ? 422 : 200;
    if (status === 200) taken.push(...given);
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in`;
  return {
    open: (context, secret = 'right') =>
      httpSink.open(
        { url: address, token: new Secret(secret), batch: { records: 100, format: 'array' } } as never,
        context,
      ),
    contents: async () => byKey(taken),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('conformance', () => {
  sinkSuite('kafka', { make: kafkaTarget, remote: true, poison: (n) => ({ key: 'c', n, pad: 'x'.repeat(2 << 20) }) });
  sinkSuite('mqtt', { make: mqttTarget, remote: true, secured: guarded.slice(7), poison: (n) => ({ key: 'c/+', n }) });
  sinkSuite('influx', { make: influxTarget, remote: true, secured: url, poison: () => ({ key: 'c', n: 'a text' }) });
  sinkSuite('http', {
    make: httpTarget,
    remote: true,
    secured: '127.0.0.1',
    poison: (n) => ({ key: 'c', n, bad: true }),
  });
  sinkSuite('postgres', {
    make: postgresTarget,
    remote: true,
    secured: address,
    poison: () => ({ key: 'c', n: 'a text' }),
  });
  sinkSuite('file', { make: fileTarget });
  sinkSuite('journal', { make: journalTarget });
});
