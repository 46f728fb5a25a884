import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { influxSink, influxSource } from '../../operators/influx/index.ts';
import { type Position, RawRecord, Secret, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sinkContext, sourceContext } from '../operators/connector-contexts.ts';
import { needs } from './services.ts';

const services = needs('INFLUX_URL', 'INFLUX_ORG', 'INFLUX_TOKEN');
const { INFLUX_URL: url, INFLUX_ORG: org, INFLUX_TOKEN: token } = services;
const headers = { authorization: `Token ${token}`, 'content-type': 'application/json' };

async function makeBucket(): Promise<string> {
  const found = await fetch(`${url}/api/v2/orgs?org=${org}`, { headers });
  const { orgs } = (await found.json()) as { orgs: { id: string }[] };
  const name = `source-test-${randomUUID()}`;
  const body = JSON.stringify({ orgID: orgs[0]!.id, name, retentionRules: [] });
  expect((await fetch(`${url}/api/v2/buckets`, { method: 'POST', headers, body })).status).toBe(201);
  return name;
}

async function write(bucket: string, ...lines: string[]): Promise<void> {
  const target = `${url}/api/v2/write?${new URLSearchParams({ org, bucket, precision: 'ns' })}`;
  const body = lines.join('\n');
  expect(
    (await fetch(target, { method: 'POST', headers: { authorization: headers.authorization }, body })).status,
  ).toBe(204);
}

type Value = Record<string, unknown>;
const settings = (bucket: string | string[]) => ({ url, org, token: new Secret(token), bucket, poll: '50ms' });

/** Reads until there are so many records, in batches of the size given, and starts anew after each of `stops` batches. */
async function read(options: object, count: number, records = 1000, stops = Number.POSITIVE_INFINITY) {
  const got: { value: Value; topic: string | undefined; time: number }[] = [];
  let position: Position | undefined;
  while (got.length < count) {
    const context = sourceContext(systemPorts(), position === undefined ? {} : { 0: position });
    const open = await influxSource.open(options as never, context);
    const raw = new RawRecord();
    for (let batches = 0; batches < stops && got.length < count; batches++) {
      const batch = (await context.partitions[0]!.pull({ records, bytes: 1 << 20 }))!;
      for (let i = 0; i < batch.length; i++) {
        batch.read(i, raw);
        got.push({ value: raw.value as Value, topic: raw.meta?.topic, time: raw.timestamp });
      }
      // What goes into a checkpoint is JSON.
      position = JSON.parse(JSON.stringify(batch.next)) as Position;
    }
    context.stop.abort();
    await open.close();
  }
  return { got, position };
}

const start = BigInt(Date.UTC(2024, 0, 1)) * 1_000_000n;

services.describe('the source with a real InfluxDB', () => {
  test('gives each point once, in the order of time, through restarts between any two batches and whatever shares a time', async () => {
    const bucket = await makeBucket();
    // Ten generators at each time; times a nanosecond or a day apart.
    const times = Array.from(
      { length: 60 },
      (_, i) => start + BigInt(i % 2) + BigInt(i - (i % 2)) * 43_200_000_000_000n,
    );
    await write(
      bucket,
      ...times.flatMap((at) => Array.from({ length: 10 }, (_, g) => `gen,id=g${g} fuel=${g},n=${g}i ${at}`)),
    );
    const { got } = await read({ ...settings(bucket), page: '4kB', topicPrefix: 'EG' }, 200, 7, 3);
    expect(new Set(got.map(({ value }) => `${value['_time']}/${value['id']}`)).size).toBe(200);
    expect(got.length).toBe(200);
    expect(got.map(({ time }) => time)).toEqual(got.map(({ time }) => time).sort((a, b) => a - b));
    expect(got[0]).toEqual({
      value: { _time: '2024-01-01T00:00:00Z', _measurement: 'gen', id: 'g0', fuel: 0, n: 0 },
      topic: `EG${bucket}`,
      time: Date.UTC(2024, 0, 1),
    });
  });

  test('finds what is written while it reads, and at the time of the last point', async () => {
    const bucket = await makeBucket();
    await write(bucket, `gen,id=a fuel=1 ${start}`);
    const first = await read(settings(bucket), 1);
    await write(bucket, `gen,id=b fuel=1 ${start}`, `gen,id=c fuel=1 ${start + 1n}`);
    const context = sourceContext(systemPorts(), { 0: first.position! });
    await influxSource.open(settings(bucket) as never, context);
    const batch = (await context.partitions[0]!.pull({ records: 10, bytes: 1 << 20 }))!;
    const raw = new RawRecord();
    const ids = Array.from({ length: batch.length }, (_, i) => {
      batch.read(i, raw);
      return (raw.value as Value)['id'];
    });
    expect(ids).toEqual(['b', 'c']);
    const more = context.partitions[0]!.pull({ records: 10, bytes: 1 << 20 });
    await write(bucket, `gen,id=d fuel=1 ${start + 2n}`);
    expect((await more)!.length).toBe(1);
    context.stop.abort();
  });

  test('reads what the sink has written: all types, texts with line ends and quotes, names with spaces', async () => {
    const bucket = await makeBucket();
    const sink = await influxSink.open(
      { url, org, bucket, token: new Secret(token), measurement: 'm 1', tags: ['tag, 1'], integers: ['int'] },
      sinkContext(systemPorts()),
    );
    const value = {
      'tag, 1': 'a=b c,d',
      float: -1.5e300,
      int: -9_007_199_254_740_991,
      flag: true,
      'a "b"': 'x "y",\n\\z',
      none: '',
    };
    expect(await sink.write([new StreamRecord(value, 'k', Date.UTC(2024, 0, 1, 0, 0, 0, 1))])).toBeUndefined();
    await write(bucket, `u v=18446744073709551615u ${start + 2_000_000n}`);
    const { got } = await read(settings(bucket), 2);
    expect(got.map((one) => one.value)).toEqual([
      { _time: '2024-01-01T00:00:00.001Z', _measurement: 'm 1', ...value },
      { _time: '2024-01-01T00:00:00.002Z', _measurement: 'u', v: '18446744073709551615' },
    ]);
  });

  test('a wrong token and an absent bucket end the run; fields of two types and two buckets do not', async () => {
    const [one, two] = [await makeBucket(), await makeBucket()];
    await write(one!, `a v=1 ${start}`, `b v="text" ${start + 2n}`);
    await write(two!, `a v=true ${start + 1n}`);
    const { got } = await read(settings([one!, two!]), 3);
    expect(got.map(({ value, topic }) => [value['v'], topic])).toEqual([
      [1, one],
      [true, two],
      ['text', one],
    ]);
    const open = (options: object) => influxSource.open(options as never, sourceContext(systemPorts()));
    await expect(open({ ...settings(one!), token: new Secret('wrong') })).rejects.toThrow(/401.*Check `token`/);
    await expect(open(settings([one!, 'no-such-bucket']))).rejects.toThrow(/404.*there is no such bucket/);
  });

  test('the write endpoint of InfluxDB 1.x, as InfluxDB 2 has it too, takes what the sink sends', async () => {
    const bucket = await makeBucket();
    const at = Date.UTC(2024, 0, 1);
    const open = (precision: 's' | 'ms' | 'us' | 'ns') =>
      influxSink.open(
        { url, version: 1, bucket, token: new Secret(token), measurement: precision, precision },
        sinkContext(systemPorts()),
      );
    for (const precision of ['s', 'ms', 'us', 'ns'] as const)
      expect(await (await open(precision)).write([new StreamRecord({ v: 1 }, 'k', at)])).toBeUndefined();
    const refused = await (await open('ms')).write([
      new StreamRecord({ v: 'text' }, 'k', at + 1),
      new StreamRecord({ w: 2 }, 'k', at + 1),
    ]);
    expect(refused).toEqual([{ index: 0, message: expect.stringMatching(/field type conflict/) }]);
    const { got } = await read(settings(bucket), 5);
    expect(got.map(({ value }) => [value['_measurement'], value['_time']])).toEqual([
      ...['ms', 'ns', 's', 'us'].map((precision) => [precision, '2024-01-01T00:00:00Z']),
      ['ms', '2024-01-01T00:00:00.001Z'],
    ]);
  });
});
