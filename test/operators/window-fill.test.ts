import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver, type DriverCheckpoint } from '../../src/testing.ts';

const record = (time: number, n: unknown = 1, key = 'g1', offset = 0) =>
  new StreamRecord({ n, site: 'quay', id: offset }, key, time, offset, undefined, undefined, undefined, 'in/0');
const aggregate = {
  n: 'count',
  sum: { sum: 'n' },
  list: { collect: { field: 'n', max: 3 } },
  kinds: { countDistinct: 'n' },
  top: { topK: { field: 'n', k: 1 } },
  whole: 'last',
};
const base = { tumbling: '10s', keep: ['site'], aggregate: { n: 'count', sum: { sum: 'n' } } };
const starts = (records: readonly StreamRecord[]) => records.map((r) => r.window!.start / 1_000);
const values = (records: readonly StreamRecord[]) => records.map((r) => r.value);

describe('window: windows without a record', () => {
  test('give nothing, unless `fill` asks for them', () => {
    expect(starts(new Driver(window, base).push(record(1), record(30_000)).output)).toEqual([0]);
    const filled = new Driver(window, { ...base, fill: null, fillFor: '1h' }).push(record(1), record(30_000));
    expect(starts(filled.output)).toEqual([0, 10, 20]);
  });

  test('null: counts are 0, lists are empty, everything else is null, and kept fields stay', () => {
    const driver = new Driver(window, { ...base, aggregate, fill: null, fillFor: '1h' }).push(record(1));
    expect(driver.advanceTo(20_000).output[1]!.value).toEqual({
      ...{ site: 'quay', n: 0, sum: null, list: [], kinds: 0, top: [], whole: null },
    });
  });

  test('previous: what the last window with a record came to, through any number of gaps', () => {
    const driver = new Driver(window, { ...base, fill: 'previous', fillFor: '1h' }).push(record(1, 4), record(2, 3));
    const came = { site: 'quay', n: 2, sum: 7 };
    expect(values(driver.advanceTo(40_000).output)).toEqual([came, came, came, came]);
  });

  test('a value: that of every aggregate', () => {
    const driver = new Driver(window, { ...base, fill: { value: -1 }, fillFor: '1h' }).push(record(1));
    expect(driver.advanceTo(20_000).output[1]!.value).toEqual({ site: 'quay', n: -1, sum: -1 });
  });

  test('are filled up to `fillFor` after the last record: one that ends a millisecond later is not', () => {
    const until = (time: number) =>
      starts(new Driver(window, { ...base, fill: null, fillFor: '15s' }).push(record(time)).advanceTo(1e6).output);
    expect(until(5_000)).toEqual([0, 10]);
    expect(until(4_999)).toEqual([0]);
  });

  test('a key that is silent for longer is forgotten', () => {
    const driver = new Driver(window, { ...base, fill: 'previous', fillFor: '15s' }).push(record(5_000));
    expect(driver.advanceTo(19_999).keys).toBe(1);
    expect(driver.advanceTo(20_000).keys).toBe(0);
  });

  test('wait for records out of order as others do; one that comes is then in the window', () => {
    const driver = new Driver(window, { ...base, fill: { value: 0 }, fillFor: '1h', lateness: '20s' });
    driver.push(record(1), record(35_000)).push(record(15_000, 9));
    expect(driver.rejected).toEqual([]);
    driver.advanceTo(60_000);
    expect(values(driver.output).map((value) => (value as { sum: number }).sum)).toEqual([1, 9, 0, 1]);
    expect(driver.output.every((r) => r.window!.pane === 'final' && r.window!.seq === 0)).toBe(true);
  });

  test('have the event time end - 1 ms, and the bounds of their window', () => {
    const driver = new Driver(window, { ...base, fill: null, fillFor: '1h' }).push(record(1)).advanceTo(20_000);
    expect([driver.output[1]!.time, driver.output[1]!.window]).toMatchObject([
      19_999,
      { start: 10_000, end: 20_000, label: 20_000 },
    ]);
  });

  test('the end of the input fills gaps between records, and none behind the last', () => {
    const driver = new Driver(window, { ...base, fill: null, fillFor: '1h' }, { outOfOrderMs: 1e6 });
    expect(starts(driver.push(record(1), record(35_000)).end())).toEqual([0, 10, 20, 30]);
    const silent = new Driver(window, { ...base, fill: null, fillFor: '1h' }).push(record(1)).advanceTo(25_000);
    expect(starts(silent.end())).toEqual([0, 10]);
    expect([driver.keys, silent.keys]).toEqual([0, 0]);
  });

  test('a record of the far future does not make a key silent for years fill all of them', () => {
    const driver = new Driver(window, { ...base, fill: null, fillFor: '1m' }).push(record(1), record(1e12));
    expect(starts(driver.output)).toEqual([0, 10, 20, 30, 40, 50]);
  });

  test('days of a place are filled with their own lengths', () => {
    const options = { calendar: { every: '1d', timeZone: 'America/Denver' }, aggregate: base.aggregate };
    const day = Date.UTC(2026, 2, 7, 7);
    const driver = new Driver(window, { ...options, fill: null, fillFor: '7d' }).push(record(day));
    const lengths = driver
      .advanceTo(day + 3 * 86_400_000)
      .output.map(({ window: at }) => (at!.end - at!.start) / 3_600_000);
    expect(lengths).toEqual([24, 23, 24]);
  });
});

const arrivals = fc
  .array(
    fc.record({ step: fc.nat(40), jitter: fc.constantFrom(-1, 0, 0, 1), key: fc.constantFrom('a', 'b'), n: fc.nat(9) }),
    { maxLength: 12 },
  )
  .map((all) => all.map(({ step, jitter, key, n }, i) => record(step * 2_500 + jitter - 5_000, n, key, i)));
const settings = fc.record({
  behind: fc.constantFrom(0, 2_500, 20_000),
  lateness: fc.constantFrom(0, 1, 15_000),
  fillFor: fc.constantFrom(1, 10_000, 12_500, 25_000, 1e6),
  shape: fc.constantFrom(
    { every: 10_000, options: { tumbling: '10s' } },
    { every: 10_000, options: { hopping: { size: '15s', every: '10s' } } },
  ),
  fill: fc.constantFrom<unknown>(null, 'previous', { value: 7 }),
});
type Settings = typeof settings extends fc.Arbitrary<infer T> ? T : never;

const driverOf = ({ behind, lateness, shape, fill, fillFor }: Settings, filled: boolean, from?: DriverCheckpoint) => {
  const options = { ...shape.options, lateness: `${lateness}ms`, keep: ['site'], aggregate: { ...base.aggregate } };
  const gaps = filled ? { fill, fillFor: `${fillFor}ms` } : {};
  return new Driver(
    window,
    { ...options, ...gaps, aggregate: { ...options.aggregate, ids: { collect: { field: 'id', max: 99 } } } },
    { outOfOrderMs: behind, ...(from && { from }) },
  );
};

describe('window: windows without a record, for any input', () => {
  test('all others are as without `fill`, and each gap behind a window is filled as long as its key is remembered', () =>
    fc.assert(
      fc.property(arrivals, settings, (input, given) => {
        const full = driverOf(given, false).push(...input);
        const watermark = full.watermark;
        const results = full.end();
        const expected = results.map((r) => JSON.stringify([r.key, r.window!.start, r.value]));
        for (const key of ['a', 'b']) {
          const own = results.filter((r) => r.key === key);
          for (const [i, r] of own.entries()) {
            const { ids } = r.value as { ids: number[] };
            const last = Math.max(...ids.map((id) => input[id]!.time));
            const next = own[i + 1]?.window?.start ?? Number.POSITIVE_INFINITY;
            const { start, end } = r.window!;
            const { every } = given.shape;
            for (let n = 1; start + n * every < next && end + n * every - last <= given.fillFor; n++) {
              if (next === Number.POSITIVE_INFINITY && end + n * every + given.lateness > watermark) break;
              const { n: count, sum, ids } = r.value as { n: number; sum: number; ids: number[] };
              const value =
                given.fill === 'previous'
                  ? { n: count, sum, ids }
                  : given.fill === null
                    ? { n: 0, sum: null, ids: [] }
                    : { n: 7, sum: 7, ids: 7 };
              expected.push(JSON.stringify([key, start + n * every, { site: 'quay', ...value }]));
            }
          }
        }
        const driver = driverOf(given, true).push(...input);
        const found = driver.end().map((r) => JSON.stringify([r.key, r.window!.start, r.value]));
        expect(found.toSorted()).toEqual(expected.toSorted());
        expect(driver.rejectedCodes()).toEqual(full.rejectedCodes());
        const ends = driver.output.map((r) => r.window!.end);
        expect(ends).toEqual(ends.toSorted((a, b) => a - b));
        expect(driver.keys).toBe(0);
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after restarts at any cuts', () =>
    fc.assert(
      fc.property(arrivals, settings, fc.array(fc.nat(12), { maxLength: 4 }), (input, given, cuts) => {
        const output: StreamRecord[] = [];
        let [driver, done] = [driverOf(given, true), 0];
        for (const cut of [...cuts.sort((a, b) => a - b), input.length]) {
          driver.push(...input.slice(done, cut));
          done = Math.max(done, cut);
          output.push(...driver.output);
          driver = driverOf(given, true, driver.checkpoint());
        }
        output.push(...driver.end());
        expect(output).toEqual(
          driverOf(given, true)
            .push(...input)
            .end(),
        );
      }),
      { numRuns: 500 },
    ));
});
