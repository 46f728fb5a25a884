import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

interface Value {
  readonly n?: unknown;
  readonly id: number;
}
type Input = StreamRecord<Value>;
interface Group {
  readonly key: unknown;
  readonly start: number;
  readonly end: number;
  readonly records: readonly Input[];
}

const runs = { numRuns: 1_000 };
const second = 1_000;
const aggregate = {
  ids: { collect: { field: 'id', max: 1_000 } },
  all: 'count',
  n: { count: 'n' },
  sum: { sum: 'n' },
  mean: { mean: 'n' },
  min: { min: 'n' },
  max: { max: 'n' },
  first: { first: 'n' },
  last: { last: 'n' },
  variance: { variance: 'n' },
};

// Steps of 2.5 s, give or take 1 ms, hit every edge of the windows below; any order makes some records late.
const values = fc.constantFrom<unknown>(0, 1, 2, -7, 40, 1_000, null, undefined, 'text');
const arrivals = fc
  .array(
    fc.record({ step: fc.nat(16), jitter: fc.constantFrom(-1, 0, 0, 1), key: fc.constantFrom('a', 'b', 1), n: values }),
    { maxLength: 25 },
  )
  .map((events) =>
    events.map(({ step, jitter, key, n }, offset): Input => {
      const value = { id: offset, ...(n !== undefined && { n }) };
      const time = step * 2_500 + jitter - 5_000;
      return new StreamRecord<Value>(value, key, time, offset, undefined, undefined, undefined, 'in/0');
    }),
  );
const waits = fc.record({
  outOfOrderMs: fc.constantFrom(0, 1, 2_500, 10_000),
  lateness: fc.constantFrom(0, 1, 5_000),
  outOfOrder: fc.constantFrom(0, 2_500),
});
const fixed = fc.constantFrom(
  { size: 10, every: 10, offset: 0, options: { tumbling: '10s' } },
  { size: 10, every: 10, offset: 3, options: { tumbling: '10s', offset: '3s' } },
  { size: 10, every: 5, offset: 0, options: { hopping: { size: '10s', every: '5s' } } },
  { size: 15, every: 10, offset: 1, options: { hopping: { size: '15s', every: '10s' }, offset: '1s' } },
);
const sessions = fc.constantFrom(
  { gap: 5, max: undefined, options: { session: { gap: '5s' } } },
  { gap: 2.5, max: undefined, options: { session: { gap: '2500ms' } } },
  { gap: 5, max: 15, options: { session: { gap: '5s', max: '15s' } } },
);
const anyKind = fc.oneof(fixed, sessions, fc.constantFrom({ options: { count: 1 } }, { options: { count: 3 } }));

const isRefused = ({ value }: Input) => typeof value.n === 'string';
const byTime = (records: readonly Input[]) => [...records].sort((a, b) => a.time - b.time || a.offset - b.offset);

/** A result from its definition: all records of the window at once. */
function resultOf(records: readonly Input[]): Record<string, unknown> {
  const sorted = byTime(records);
  const found = sorted.map(({ value }) => value.n).filter((n): n is number => typeof n === 'number');
  const [sum, size] = [found.reduce((a, b) => a + b, 0), found.length];
  const mean = size === 0 ? null : sum / size;
  return {
    ids: sorted.map(({ value }) => value.id),
    all: records.length,
    n: size,
    sum: size === 0 ? null : sum,
    mean,
    min: size === 0 ? null : Math.min(...found),
    max: size === 0 ? null : Math.max(...found),
    first: found[0] ?? null,
    last: found.at(-1) ?? null,
    variance: size < 2 ? null : found.reduce((a, n) => a + (n - mean!) ** 2, 0) / (size - 1),
  };
}

const rounded = (value: Record<string, unknown>) => {
  const { variance } = value;
  return { ...value, variance: typeof variance === 'number' ? Math.round(variance * 1e6) / 1e6 : variance };
};
const text = (key: unknown, start: number, end: number, value: Record<string, unknown>) =>
  JSON.stringify([key, start, end, Object.entries(rounded(value)).sort()]);
const shownGroups = (groups: readonly Group[]) =>
  groups.map(({ key, start, end, records }) => text(key, start, end, resultOf(records))).sort();
const shown = (results: readonly StreamRecord[]) =>
  results.map((r) => text(r.key, r.window!.start, r.window!.end, r.value as Record<string, unknown>)).sort();

/** Windows with bounds known beforehand, from their definition. */
function fixedGroups(
  input: readonly Input[],
  shape: { size: number; every: number; offset: number },
  wait: number,
  behind: number,
) {
  const [size, every, offset] = [shape.size * second, shape.every * second, shape.offset * second];
  let watermark = Number.NEGATIVE_INFINITY;
  const groups = new Map<string, Group & { records: Input[] }>();
  const rejected: [number, string][] = [];
  for (const record of input) {
    const starts = Array.from({ length: 40 }, (_, i) => (i - 20) * every + offset).filter(
      (start) => start <= record.time && record.time < start + size,
    );
    const open = starts.filter((start) => start + size + wait > watermark);
    if (open.length === 0) rejected.push([record.offset, 'late']);
    else if (isRefused(record)) rejected.push([record.offset, 'schema-violation']);
    else
      for (const start of open) {
        const name = JSON.stringify([record.key, start]);
        const group = groups.get(name) ?? { key: record.key, start, end: start + size, records: [] };
        groups.set(name, group);
        group.records.push(record);
      }
    watermark = Math.max(watermark, record.time - behind);
  }
  return { groups: [...groups.values()], rejected };
}

/** Sessions from their definition: groups of records that no two of which can be connected any more. */
function sessionGroups(
  input: readonly Input[],
  shape: { gap: number; max: number | undefined },
  wait: number,
  behind: number,
) {
  const gap = shape.gap * second;
  const cell = (time: number) => (shape.max === undefined ? 0 : Math.floor(time / (shape.max * second)));
  const cut = (time: number) =>
    shape.max === undefined ? Number.POSITIVE_INFINITY : (cell(time) + 1) * shape.max * second;
  const times = (records: readonly Input[]) => records.map(({ time }) => time);
  const isOver = (records: readonly Input[], watermark: number) => {
    const last = Math.max(...times(records));
    return watermark - wait > last + gap || watermark - wait >= cut(last);
  };
  const connected = (a: readonly Input[], b: readonly Input[]) =>
    a.some((x) => b.some((y) => x.key === y.key && Math.abs(x.time - y.time) <= gap && cell(x.time) === cell(y.time)));
  let watermark = Number.NEGATIVE_INFINITY;
  let open: Input[][] = [];
  const closed: Input[][] = [];
  const rejected: [number, string][] = [];
  for (const record of input) {
    closed.push(...open.filter((records) => isOver(records, watermark)));
    open = open.filter((records) => !isOver(records, watermark));
    const near = open.filter((records) => connected(records, [record]));
    const begins = near.every((records) => times(records).every((time) => record.time < time));
    if (begins && isOver([record], watermark)) rejected.push([record.offset, 'late']);
    else if (isRefused(record)) rejected.push([record.offset, 'schema-violation']);
    else open = [...open.filter((records) => !near.includes(records)), [...near.flat(), record]];
    watermark = Math.max(watermark, record.time - behind);
  }
  const groups = [...closed, ...open].map((records): Group => {
    const [start, last] = [Math.min(...times(records)), Math.max(...times(records))];
    return { key: records[0]!.key, start, end: Math.min(last + gap, cut(last)), records };
  });
  return { groups, rejected };
}

const driverOf = (options: object, { outOfOrderMs, lateness, outOfOrder }: Waits, from?: Driver) => {
  const waiting = 'count' in options ? {} : { lateness: `${lateness}ms`, outOfOrder: `${outOfOrder}ms` };
  return new Driver(
    window,
    { ...options, ...waiting, aggregate },
    { outOfOrderMs, ...(from && { from: from.checkpoint() }) },
  );
};
type Waits = { outOfOrderMs: number; lateness: number; outOfOrder: number };
const rejections = (driver: Driver) => driver.rejected.map(({ record, code }) => [record.offset, code]);
const patient = { outOfOrderMs: 1e6, lateness: 0, outOfOrder: 0 };
const plain = (records: readonly StreamRecord[]) => records.map((r) => [r.key, r.window, r.time, r.offset, r.value]);

describe('window', () => {
  test('equals the definition of its windows, for any disorder, watermark and lateness', () =>
    fc.assert(
      fc.property(arrivals, waits, fixed, (input, wait, shape) => {
        const driver = driverOf(shape.options, wait).push(...input);
        const { groups, rejected } = fixedGroups(input, shape, wait.lateness + wait.outOfOrder, wait.outOfOrderMs);
        expect(rejections(driver)).toEqual(rejected);
        expect(shown(driver.end())).toEqual(shownGroups(groups));
      }),
      runs,
    ));

  test('equals the definition of sessions, for any disorder, watermark and lateness', () =>
    fc.assert(
      fc.property(arrivals, waits, sessions, (input, wait, shape) => {
        const driver = driverOf(shape.options, wait).push(...input);
        const { groups, rejected } = sessionGroups(input, shape, wait.lateness + wait.outOfOrder, wait.outOfOrderMs);
        expect(rejections(driver)).toEqual(rejected);
        expect(shown(driver.end())).toEqual(shownGroups(groups));
      }),
      runs,
    ));

  test('equals chunks of the input, for windows of a number of records', () =>
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 4 }), (input, count) => {
        const good = input.filter((record) => !isRefused(record));
        const groups = ['a', 'b', 1].flatMap((key) => {
          const own = good.filter((record) => record.key === key);
          return Array.from({ length: Math.ceil(own.length / count) }, (_, i): Group => {
            const records = own.slice(i * count, (i + 1) * count);
            const sorted = byTime(records);
            return { key, start: sorted[0]!.time, end: sorted.at(-1)!.time + 1, records };
          });
        });
        expect(
          shown(
            driverOf({ count }, patient)
              .push(...input)
              .end(),
          ),
        ).toEqual(shownGroups(groups));
      }),
      runs,
    ));

  test('gives the same in any order of arrival when nothing is late', () =>
    fc.assert(
      fc.property(
        arrivals.chain((input) =>
          fc.tuple(fc.constant(input), fc.shuffledSubarray(input, { minLength: input.length })),
        ),
        fc.oneof(sessions, fixed),
        ([input, shuffled], { options }) => {
          const results = driverOf(options, patient)
            .push(...input)
            .end();
          expect(
            shown(
              driverOf(options, patient)
                .push(...shuffled)
                .end(),
            ),
          ).toEqual(shown(results));
        },
      ),
      runs,
    ));

  test('gives the same after restarts at any cuts, through the bytes of checkpoints', () =>
    fc.assert(
      fc.property(
        arrivals,
        waits,
        anyKind,
        fc.array(fc.nat(25), { maxLength: 4 }),
        (input, wait, { options }, cuts) => {
          const whole = driverOf(options, wait).push(...input);
          const [output, rejected]: [StreamRecord[], unknown[]] = [[], []];
          let driver = driverOf(options, wait);
          let done = 0;
          for (const cut of [...cuts.sort((a, b) => a - b), input.length]) {
            driver.push(...input.slice(done, cut));
            done = Math.max(done, cut);
            output.push(...driver.output);
            rejected.push(...rejections(driver));
            driver = driverOf(options, wait, driver);
          }
          output.push(...driver.end());
          expect(rejected).toEqual(rejections(whole));
          expect(plain(output)).toEqual(plain(whole.end()));
        },
      ),
      runs,
    ));

  test('does not let keys touch each other', () =>
    fc.assert(
      fc.property(arrivals, anyKind, (input, { options }) => {
        // The watermark is shared: it is held back, so that no key makes the records of another late.
        const alone = ['a', 'b', 1].flatMap((key) =>
          shown(
            driverOf(options, patient)
              .push(...input.filter((r) => r.key === key))
              .end(),
          ),
        );
        expect(
          shown(
            driverOf(options, patient)
              .push(...input)
              .end(),
          ),
        ).toEqual(alone.sort());
      }),
      runs,
    ));

  test('has every record in a result, in state, or routed; in one result only, unless windows overlap', () =>
    fc.assert(
      fc.property(arrivals, waits, anyKind, fc.nat(25), (input, wait, { options }, cut) => {
        const idsOf = (results: readonly StreamRecord[]) => results.flatMap((r) => (r.value as { ids: number[] }).ids);
        const before = driverOf(options, wait).push(...input.slice(0, cut));
        const held = idsOf(driverOf(options, wait, before).end());
        const routed = before.rejected.map(({ record }) => record.offset);
        const all = [...idsOf(before.output), ...held, ...routed];
        const ids = input.slice(0, cut).map(({ offset }) => offset);
        const found = 'hopping' in options ? [...new Set(all)] : all;
        expect(found.sort((a, b) => a - b)).toEqual(ids);
      }),
      runs,
    ));

  test('gives no two sessions of a key that begin at one time', () =>
    fc.assert(
      fc.property(arrivals, waits, sessions, (input, wait, { options }) => {
        const results = driverOf(options, wait)
          .push(...input)
          .end();
        const names = results.map((r) => JSON.stringify([r.key, r.window!.start]));
        expect(new Set(names).size).toBe(names.length);
      }),
      runs,
    ));

  test('emits each key by end and then start, each window once when it is not a session or a count', () =>
    fc.assert(
      fc.property(arrivals, waits, fixed, (input, wait, { options }) => {
        const results = driverOf(options, wait)
          .push(...input)
          .end();
        const ends = results.map((r) => r.window!.end);
        expect(ends).toEqual([...ends].sort((a, b) => a - b));
        const names = results.map((r) => JSON.stringify([r.key, r.window!.start]));
        expect(new Set(names).size).toBe(names.length);
      }),
      runs,
    ));
});
