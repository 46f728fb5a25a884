import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SchemaRegistry } from '@kafkajs/confluent-schema-registry';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { brokers, openSink, Reading, record, uniqueName } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe, SCHEMA_REGISTRY_URL: url } = needs('KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL');

describe('a schema registry', { timeout: 60_000 }, () => {
  let folder: string;
  const file = async (name: string, text: unknown) => {
    const path = join(folder, name);
    await writeFile(path, typeof text === 'string' ? text : JSON.stringify(text));
    return path;
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'penstock-registry-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const avro = (...more: object[]) => ({
    type: 'record',
    name: 'Reading',
    namespace: 'plant',
    fields: [{ name: 'n', type: 'long' }, { name: 'level', type: 'double' }, ...more],
  });
  const title = { type: 'object', properties: { n: { type: 'integer' }, level: { type: 'number' } } };

  test.each([
    ['avro', avro()],
    ['protobuf', 'syntax = "proto3"; package plant; message Reading { int64 n = 1; double level = 2; }'],
    ['json', title],
  ])('%s: records are read back equal, with their keys', async (kind, schema) => {
    const topic = uniqueName(kind);
    const registry = { url };
    const value = { [kind]: await file(`${topic}.value`, schema) };
    const keyAs = { avro: await file(`${topic}.key`, '"string"') };
    const sink = await openSink({ topic, registry, value, keyAs, createTopic: { partitions: 2 } });
    const values = Array.from({ length: 50 }, (_, n) => ({ n: n * 2 ** 40, level: n / 3 }));
    expect(await sink.write(values.map((one, n) => record(one, `k${n}`)))).toBeUndefined();
    expect(await sink.write([record(null, 'gone')])).toBeUndefined();
    expect((await sink.write([record({ n: 'seven' }, 'k')]))?.[0]?.message).toMatch(/does not fit the schema: .*n/);
    const options = { topic, registry, keyFormat: 'registry', group: topic, start: 'earliest', until: 'end' };
    const reading = await (await Reading.open(options)).toEnd();
    expect(reading.failures).toEqual([]);
    const seen = new Map(reading.seen.map((one) => [one.key, one.value]));
    expect(seen).toEqual(new Map([...values.map((one, n) => [`k${n}`, one] as const), ['gone', null]]));
  });

  test('what another client writes is read, and what we write is read by it', async () => {
    const topic = uniqueName('other');
    const other = new SchemaRegistry({ host: url });
    const { id } = await other.register(avro() as never, { subject: `${topic}-value` });
    const producer = new kafkajs.Kafka({ brokers: [brokers], logLevel: 0 }).producer();
    await producer.connect();
    await producer.send({ topic, messages: [{ value: await other.encode(id, { n: 7, level: 0.5 }) }] });
    await producer.disconnect();
    const value = { avro: await file(`${topic}.avsc`, avro()) };
    const sink = await openSink({ topic, registry: { url, autoRegister: false }, value });
    expect(await sink.write([record({ n: 8, level: 1 }, 'k')])).toBeUndefined();
    const options = { topic, group: topic, start: 'earliest', until: 'end', registry: { url } };
    const reading = await (await Reading.open(options)).toEnd();
    expect(reading.values()).toEqual([
      { n: 7, level: 0.5 },
      { n: 8, level: 1 },
    ]);
  });

  test('an incompatible schema ends the start in the words of the registry', async () => {
    const topic = uniqueName('changed');
    const first = { avro: await file(`${topic}.1.avsc`, avro()) };
    await openSink({ topic, registry: { url }, value: first, createTopic: { partitions: 1 } });
    await fetch(`${url}/config/${topic}-value`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ compatibility: 'BACKWARD' }),
    });
    const second = { avro: await file(`${topic}.2.avsc`, avro({ name: 'added', type: 'string' })) };
    const opening = openSink({ topic, registry: { url }, value: second });
    await expect(opening).rejects.toThrow(/does not take the schema as the next one of subject `changed.*-value`: .+/);
    const unknown = openSink({ topic, registry: { url, subject: 'topicRecord', autoRegister: false }, value: second });
    await expect(unknown).rejects.toThrow(/not registered under subject `changed.*-plant\.Reading`/);
  });
});
