import fc from 'fast-check';
import { expect, test } from 'vitest';
import { influxSource } from '../../operators/influx/index.ts';
import { type Batch, type Position, RawRecord, type Replay, Secret, type SourcePartition } from '../../src/operator.ts';
import { sourceContext } from './connector-contexts.ts';
import { FakeInflux, type Stored } from './influx-fake.ts';

const second = 1_000_000_000n;
const base = BigInt(Date.UTC(2026, 0, 1)) * 1_000_000n;
const point = (time: bigint, id: string, text = '1', more: Partial<Stored> = {}): Stored => ({
  time,
  measurement: 'gen',
  tags: { id },
  field: 'fuel',
  type: 'double',
  text,
  ...more,
});

type Value = Record<string, unknown>;
interface Got {
  readonly value: Value;
  readonly time: number;
  readonly offset: number;
  readonly topic: string | undefined;
  readonly headers: unknown;
}

const settings = {
  url: 'http://influx:8086',
  org: 'o',
  token: new Secret('s3cret'),
  bucket: 'b',
  timeout: '77s',
} as const;

async function open(server: FakeInflux, options: object = {}, position?: Position, replay?: Replay) {
  const context = { ...sourceContext(server.ports, position === undefined ? {} : { 0: position }) };
  await influxSource.open({ ...settings, ...options } as never, replay ? { ...context, replay } : context);
  return { context, partition: context.partitions[0]! };
}

function take(batch: Batch): Got[] {
  const raw = new RawRecord();
  return Array.from({ length: batch.length }, (_, i) => {
    batch.read(i, raw);
    const { value, timestamp, offset, meta } = raw;
    return { value: value as Value, time: timestamp, offset, topic: meta?.topic, headers: meta?.headers };
  });
}

/** Pulls until the source waits for the next round. */
async function untilPause(server: FakeInflux, { context, partition }: Awaited<ReturnType<typeof open>>, records = 100) {
  const got: Got[] = [];
  let last: Position | undefined;
  server.onWait = () => context.stop.abort();
  for (;;) {
    const batch = await partition.pull({ records, bytes: 1 << 20 });
    if (!batch) return { got, last };
    got.push(...take(batch));
    last = batch.next;
  }
}

const ids = (got: readonly Got[]) => got.map(({ value }) => value['id']);

test('a point is one record with its tags, all its fields in their types, and where it is from', async () => {
  const server = new FakeInflux();
  const at = base + 5n;
  const fields: [string, string, string][] = [
    ['double', 'double', '1.5'],
    ['nan', 'double', 'NaN'],
    ['endless', 'double', '-Inf'],
    ['int', 'long', '-7'],
    ['large', 'long', '9007199254740993'],
    ['uint', 'unsignedLong', '18446744073709551615'],
    ['flag', 'boolean', 'false'],
    ['text', 'string', 'a "b",\r\nc'],
    ['empty', 'string', ''],
    ['span', 'duration', '1h30m'],
    ['id', 'string', 'hides a tag'],
    ['__proto__', 'long', '4'],
  ];
  server.put('b', ...fields.map(([field, type, text]) => point(at, 'g1', text, { field, type })));
  const { got } = await untilPause(server, await open(server, { topicPrefix: 'EG' }));
  const value = {
    _time: '2026-01-01T00:00:00.000000005Z',
    _measurement: 'gen',
    id: 'g1',
    double: 1.5,
    nan: Number.NaN,
    endless: Number.NEGATIVE_INFINITY,
    int: -7,
    large: '9007199254740993',
    uint: '18446744073709551615',
    flag: false,
    text: 'a "b",\nc',
    empty: '',
    span: '1h30m',
    id_1: 'hides a tag',
  };
  Object.defineProperty(value, '__proto__', { value: 4, enumerable: true });
  const headers = { bucket: 'b', measurement: 'gen' };
  expect(got).toEqual([{ value, time: Date.UTC(2026, 0, 1), offset: 0, topic: 'EGb', headers }]);
  expect(Object.keys(got[0]!.value)).toContain('__proto__');
  expect([...server.authorizations]).toEqual(['Token s3cret']);
});

test('fields of one name and different types in two measurements are two points', async () => {
  const server = new FakeInflux();
  server.put('b', point(base, 'g1'), point(base, 'g1', 'low', { measurement: 'alarm', type: 'string' }));
  const { got } = await untilPause(server, await open(server, { topicOf: 'measurement', topicPrefix: 'x-' }));
  expect(got.map(({ topic, value }) => [topic, value['fuel']])).toEqual([
    ['x-alarm', 'low'],
    ['x-gen', 1],
  ]);
});

test('only the measurements that are named are read, and nothing from before `start`', async () => {
  const server = new FakeInflux();
  server.put('b', point(base, 'old'), point(base + second, 'a'), point(base + second, 'b', '1', { measurement: 'm2' }));
  const options = { measurements: ['gen', 'm"3'], start: '2026-01-01T00:00:00.000000001Z' };
  const { got } = await untilPause(server, await open(server, options));
  expect(ids(got)).toEqual(['a']);
  expect(server.queries.at(-1)).toContain('r._measurement == "gen" or r._measurement == "m\\"3"');
});

test('what is not older than `delay` is left for later', async () => {
  const server = new FakeInflux();
  const now = BigInt(server.now) * 1_000_000n;
  server.put('b', point(now - 10n * second - 1n, 'read'), point(now - 10n * second, 'early'));
  const { got } = await untilPause(server, await open(server, { delay: '10s' }));
  expect(ids(got)).toEqual(['read']);
});

test('rows of several buckets come in one order of time', async () => {
  const server = new FakeInflux();
  for (let i = 0; i < 20; i++) server.put(i % 2 ? 'b' : 'c', point(base + BigInt(i), `g${i}`));
  const { got } = await untilPause(server, await open(server, { bucket: ['b', 'c', 'b'] }));
  expect(ids(got)).toEqual(Array.from({ length: 20 }, (_, i) => `g${i}`));
});

// Few times and few series, so that many points share one; far apart, so that spans are empty.
const points = fc.uniqueArray(fc.record({ step: fc.nat(6), gap: fc.constantFrom(1n, 3600n * second), id: fc.nat(5) }), {
  maxLength: 40,
  selector: ({ step, gap, id }) => `${BigInt(step) * gap}/${id}`,
});
const stored = (of: { step: number; gap: bigint; id: number }[]) =>
  of.map(({ step, gap, id }) => point(base + BigInt(step) * gap, `g${id}`, String(step)));
const named = ({ value }: Got) => `${value['_time']}/${value['id']}`;

test('whatever a run is killed after, none is lost, none comes twice that a checkpoint holds, and times never go back', () =>
  fc.assert(
    fc.asyncProperty(
      points,
      points,
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.nat(5), { minLength: 1, maxLength: 6 }),
      fc.constantFrom('700B', '4MiB'),
      async (before, after, records, kills, page) => {
        const server = new FakeInflux();
        server.put('b', ...stored(before));
        let position: Position | undefined;
        const kept: Got[] = [];
        for (const [n, kill] of [...kills, Number.POSITIVE_INFINITY].entries()) {
          // Later points at times of earlier ones too, but none before what may have been read.
          if (n === 1) {
            const newest = kept.reduce((most, { time }) => Math.max(most, time), 0);
            const late = stored(after).filter(({ time }) => time >= BigInt(newest) * 1_000_000n + 1_000_000n);
            server.put('b', ...late.filter((p) => !server.buckets.get('b')!.some((q) => same(p, q))));
          }
          const run = await open(server, { page }, position);
          server.onWait = () => run.context.stop.abort();
          for (let pulls = 0; pulls < kill; pulls++) {
            const batch = await run.partition.pull({ records, bytes: 1 << 20 });
            if (!batch) break;
            kept.push(...take(batch));
            position = batch.next;
          }
        }
        const expected = server.buckets
          .get('b')!
          .map((p) => named({ value: { _time: fakeIso(p), ...p.tags } } as unknown as Got));
        expect(kept.map(named).sort()).toEqual(expected.sort());
        expect(kept.map(({ time }) => time)).toEqual(kept.map(({ time }) => time).sort((a, b) => a - b));
        expect(kept.map(({ offset }) => offset)).toEqual(kept.map((_, i) => i));
      },
    ),
    { numRuns: 150 },
  ));
const same = (a: Stored, b: Stored) => a.time === b.time && a.tags['id'] === b.tags['id'];
const fakeIso = ({ time }: Stored) =>
  `${new Date(Number(time / second) * 1000).toISOString().slice(0, 19)}.${String(time % second).padStart(9, '0')}Z`;

test('a point at the very time of the newest one, written after that was read, is found; one before it is not', async () => {
  const server = new FakeInflux();
  server.put('b', point(base, 'a'), point(base + 1n, 'b'));
  const { got, last } = await untilPause(server, await open(server));
  expect(ids(got)).toEqual(['a', 'b']);
  server.put('b', point(base + 1n, 'c'), point(base, 'missed'), point(base + 2n, 'd'));
  expect(ids((await untilPause(server, await open(server, {}, last))).got)).toEqual(['c', 'd']);
});

test('with `overlap` what was written late or over another is found up to its edge, and all else comes once', async () => {
  const server = new FakeInflux();
  const options = { overlap: '10s' };
  server.put('b', point(base, 'a'), point(base + 10n * second, 'b'));
  const first = await untilPause(server, await open(server, options));
  server.put('b', point(base - 1n, 'beyond'), point(base, 'late'));
  server.buckets.set('b', [...server.buckets.get('b')!.slice(1), point(base, 'a', '2')]);
  const second_ = await untilPause(server, await open(server, options, first.last));
  expect(second_.got.map(({ value }) => [value['id'], value['fuel']])).toEqual([
    ['a', 2],
    ['late', 1],
  ]);
  expect((await untilPause(server, await open(server, options, second_.last))).got).toEqual([]);
});

test('a running source finds what is written between two rounds, and asks no sooner than `poll` says', async () => {
  const server = new FakeInflux();
  server.put('b', point(base, 'a'));
  const run = await open(server, { poll: '7s' });
  const waits: number[] = [];
  server.onWait = (ms) => {
    waits.push(ms);
    if (waits.length === 2) server.put('b', point(base + second, 'b'));
    if (waits.length === 4) run.context.stop.abort();
  };
  const got: Got[] = [];
  const idle: boolean[] = [];
  for (let batch = await run.partition.pull(limits); batch; batch = await run.partition.pull(limits)) {
    got.push(...take(batch));
    idle.push(run.partition.caughtUp);
  }
  expect(ids(got)).toEqual(['a', 'b']);
  expect(waits).toEqual([7000, 7000, 7000, 7000]);
  expect([...idle, run.partition.caughtUp]).toEqual([false, false, true]);
});
const limits = { records: 100, bytes: 1 << 20 };

test('`bulk` reads all again with each round; a round that a restart has cut goes on where it was', async () => {
  const server = new FakeInflux();
  for (let i = 0; i < 4; i++) server.put('b', point(base + BigInt(Math.floor(i / 2)), `g${i}`));
  const pullOne = async (partition: SourcePartition) => (await partition.pull({ records: 1, bytes: 1 }))!;
  const run = await open(server, { mode: 'bulk' });
  let position: Position | undefined;
  const got: Got[] = [];
  for (let i = 0; i < 6; i++) {
    const batch = await pullOne(run.partition);
    got.push(...take(batch));
    position = batch.next;
  }
  run.context.stop.abort();
  const again = await open(server, { mode: 'bulk' }, position);
  // Not of this round: it ends where it was to end.
  server.put('b', point(BigInt(server.now) * 1_000_000n, 'new'));
  for (let i = 0; i < 2; i++) got.push(...take(await pullOne(again.partition)));
  const round = ['g0', 'g1', 'g2', 'g3'];
  expect(ids(got)).toEqual([...round, ...round]);
  for (let i = 0; i < 5; i++) got.push(...take(await pullOne(again.partition)));
  expect(ids(got).slice(8)).toEqual([...round, 'new']);
});

test('an answer is read no further than `page` allows: the span is cut, down to a nanosecond', async () => {
  const server = new FakeInflux();
  for (let i = 0; i < 200; i++) server.put('b', point(base + BigInt(i), `g${i}`));
  const { got } = await untilPause(server, await open(server, { page: '1kB' }));
  expect(ids(got)).toEqual(Array.from({ length: 200 }, (_, i) => `g${i}`));
  // Some chunks are on their way when the source lets go.
  expect(server.mostTaken).toBeGreaterThan(1000);
  expect(server.mostTaken).toBeLessThan(1500);
  server.put('b', ...Array.from({ length: 20 }, (_, i) => point(base + 500n, `many${i}`)));
  const run = await open(server, { page: '1kB', start: '2026-01-01T00:00:00.0000003Z' });
  await expect(run.partition.pull(limits)).rejects.toThrow(
    /^The rows of 2026-01-01T00:00:00.000000500Z alone are more than `page` of `readings.source` allows \(1000 bytes\)/,
  );
});

test('a replay reads its range of times and ends, whatever the live run has read', async () => {
  const server = new FakeInflux();
  for (let i = 0; i < 5; i++) server.put('b', point(base + BigInt(i) * second, `g${i}`));
  server.put('b', point(BigInt(server.now) * 1_000_000n, 'now'));
  const start = Date.UTC(2026, 0, 1);
  const read = async (from: number, until: number) => {
    const { partition } = await open(server, { overlap: '1h' }, undefined, { from, until, reader: 'r' });
    const got: Got[] = [];
    for (let batch = await partition.pull(limits); batch; batch = await partition.pull(limits))
      got.push(...take(batch));
    return ids(got);
  };
  expect(await read(start + 1000, start + 3000)).toEqual(['g1', 'g2']);
  expect(await read(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)).toEqual(['g0', 'g1', 'g2', 'g3', 'g4']);
});

test('a server that is away, that is busy, or whose answer breaks off is asked again, after as long as it says', async () => {
  const server = new FakeInflux();
  server.put('b', point(base, 'a'));
  const said: (Response | Error)[] = [
    Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } }),
    new Response('{"message":"busy"}', { status: 503, headers: { 'retry-after': '5' } }),
    new Response('error,reference\r\nquery ran out of memory,897\r\n', { status: 200 }),
  ];
  server.trouble = () => said.shift();
  const run = await open(server);
  const waits: number[] = [];
  server.onWait = (ms) => void waits.push(ms);
  const batch = await run.partition.pull(limits);
  expect(ids(take(batch!))).toEqual(['a']);
  expect(waits).toEqual([5000, expect.any(Number)]);
  expect(run.context.log.lines.map(({ level, fields }) => [level, (fields as { answer?: string }).answer])).toEqual([
    ['warn', 'ECONNREFUSED'],
    ['warn', '503: busy'],
    ['info', undefined],
  ]);
});

test('a span that is never answered is cut, as it may be too much to ask for', async () => {
  const server = new FakeInflux();
  server.put('b', ...Array.from({ length: 8 }, (_, i) => point(base + BigInt(i * 600) * second, `g${i}`)));
  const spanOf = (flux: string) => {
    const [, from, to] = /start: ([^,]+), stop: ([^)]+)\)/.exec(flux)!;
    return Date.parse(to!) - Date.parse(from!);
  };
  server.trouble = (flux) =>
    flux.includes('drop(') && spanOf(flux) > 1_200_000 ? new Response('', { status: 500 }) : undefined;
  const run = await open(server, { start: '2026-01-01T00:00:00Z' });
  const got: Got[] = [];
  while (got.length < 8) got.push(...take((await run.partition.pull(limits))!));
  expect(ids(got)).toEqual(['g0', 'g1', 'g2', 'g3', 'g4', 'g5', 'g6', 'g7']);
});

test('a wrong token, an absent bucket and a query that is not taken end the run, and nothing tells the token', async () => {
  const cases: [Response, RegExp][] = [
    [new Response('', { status: 401 }), /answered 401: it does not know the token. Check `token` of `readings.source`/],
    [new Response('', { status: 403 }), /the token may not read that bucket/],
    [
      new Response('{"message":"could not find bucket"}', { status: 404 }),
      /404: could not find bucket: there is no such bucket in the organization `o`/,
    ],
    [
      new Response('', { status: 302, headers: { location: 'https://elsewhere/' } }),
      /sends us on to https:\/\/elsewhere\//,
    ],
    [new Response('', { status: 400 }), /it does not take the query/],
  ];
  for (const [response, message] of cases) {
    const server = new FakeInflux();
    server.put('b', point(base, 'a'));
    server.trouble = () => response.clone();
    await expect(open(server)).rejects.toThrow(message);
    server.trouble = () => undefined;
    const run = await open(server);
    server.trouble = () => response.clone();
    const error: Error = await run.partition.pull(limits).then(
      () => new Error('no error'),
      (found) => found,
    );
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('s3cret');
  }
  await expect(open(new FakeInflux(), { token: new Secret('s3\ncret') })).rejects.toThrow(/holds a character/);
  await expect(open(new FakeInflux(), { url: 'http://me:s3cret@influx' })).rejects.toThrow(
    /^The `url` holds a user name or password, which have options of their own. Check `url` of `readings.source`.$/,
  );
});

test('a position of something else is told, not read as one of ours', async () => {
  for (const position of [
    7,
    { offset: 3, line: 1 },
    { time: 'noon', seen: {}, count: 1 },
    { seen: { a: [] }, count: 1 },
  ])
    await expect(open(new FakeInflux(), {}, position)).rejects.toThrow(/not one of InfluxDB. Was it another source/);
});
