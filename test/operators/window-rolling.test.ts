import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver, type DriverCheckpoint } from '../../src/testing.ts';

const record = (time: number, n: unknown = time, key: string | number = 'g1', offset = 0) =>
  new StreamRecord({ n, id: offset }, key, time, offset, undefined, undefined, undefined, 'in/0');
const options = { rolling: { size: '10s' }, aggregate: { n: 'count', sum: { sum: 'n' } } };
const shown = (records: readonly StreamRecord[]) => records.map((r) => [r.time, (r.value as { n: number }).n]);

describe('window: rolling', () => {
  test('reaches back to (t - size, t]: a record exactly `size` before is out, one a millisecond after that is in', () => {
    expect(shown(new Driver(window, options).push(record(0), record(10_000)).end())).toEqual([
      [0, 1],
      [10_000, 1],
    ]);
    expect(shown(new Driver(window, options).push(record(1), record(10_000)).end())).toEqual([
      [1, 1],
      [10_000, 2],
    ]);
  });

  test('the result has the time of its record, and the bounds that hold the same records as [start, end)', () => {
    const [result] = new Driver(window, options).push(record(12_000), record(12_001)).output;
    expect([result!.time, result!.window]).toEqual([
      12_000,
      { step: 'step', start: 2_001, end: 12_001, label: 12_001, pane: 'final', seq: 0 },
    ]);
  });

  test('waits until the watermark has passed the record, as one at the same time may still come', () => {
    const driver = new Driver(window, options).push(record(5_000));
    expect(driver.output).toEqual([]);
    driver.push(record(5_000));
    expect(shown(driver.advanceTo(5_001).output)).toEqual([[5_000, 2]]);
  });

  test('takes records of one time as one: they share a result, which keeps the fields of the last', () => {
    const driver = new Driver(window, { ...options, keep: ['id'] });
    driver.push(record(5, 1, 'g1', 1), record(5, 2, 'g1', 2));
    expect(driver.end().map(({ value }) => value)).toEqual([{ id: 2, n: 2, sum: 3 }]);
  });

  test('a record stays in time until the watermark is `lateness` past it, and goes to late from then on', () => {
    const waiting = { ...options, lateness: '5s' };
    const open = new Driver(window, waiting).push(record(1_000), record(6_000), record(1_000));
    expect([open.output.length, open.rejectedCodes()]).toEqual([0, []]);
    const closed = new Driver(window, waiting).push(record(1_000), record(6_001), record(1_000));
    expect([shown(closed.output), closed.rejectedCodes()]).toEqual([[[1_000, 1]], ['late']]);
  });

  test('one that comes out of order counts in all later windows that reach back to it', () => {
    const driver = new Driver(window, options, { outOfOrderMs: 20_000 });
    driver.push(record(8_000), record(17_999), record(18_000), record(9_000));
    expect(shown(driver.end())).toEqual([
      [8_000, 1],
      [9_000, 2],
      [17_999, 3],
      [18_000, 3],
    ]);
  });

  test('holds nothing of a key once no window can reach back to its last record', () => {
    const driver = new Driver(window, { ...options, lateness: '5s' }).push(record(1_000));
    expect(driver.advanceTo(15_999).keys).toBe(1);
    expect(driver.advanceTo(16_000).keys).toBe(0);
  });

  test('does not count a record twice, nor lose one, when `lateness` grows between two runs', () => {
    const before = new Driver(window, options).push(record(1_000), record(2_000), record(3_000));
    const after = new Driver(window, { ...options, lateness: '1m' }, { from: before.checkpoint() });
    // The results up to 2 s are out: what comes before them is late, however long it would have been waited for.
    after.push(record(2_000), record(2_500));
    expect(after.rejectedCodes()).toEqual(['late']);
    expect(shown(after.end())).toEqual([
      [2_500, 3],
      [3_000, 4],
    ]);
  });

  test('is marked drained when the input ends before event time has passed it', () => {
    const driver = new Driver(window, options).push(record(1_000), record(2_000));
    expect(driver.end().map((r) => r.window!.pane)).toEqual(['final', 'drained']);
  });

  test('costs few merges for each result, however many records a window holds', () => {
    let merges = 0;
    const add = (a: number, b: number) => {
      merges++;
      return a + b;
    };
    const own = { create: () => 0, add: (n: number) => n + 1, merge: add, result: (n: number) => n };
    const driver = new Driver(window, { rolling: { size: '1s' }, aggregate: { n: { own } } });
    const count = 20_000;
    driver.push(...Array.from({ length: count }, (_, i) => record(i, i)));
    expect(driver.end().at(-1)!.value).toEqual({ n: 1_000 });
    expect(merges).toBeLessThan(3 * count);
  });
});

const every = 2_500;
const arrivals = fc
  .array(
    fc.record({
      step: fc.nat(16),
      jitter: fc.constantFrom(-1, 0, 0, 1),
      key: fc.constantFrom('a', 'b', 1),
      n: fc.nat(9),
    }),
    { maxLength: 40 },
  )
  .map((all) => all.map(({ step, jitter, key, n }, i) => record(step * every + jitter - 5_000, n, key, i)));
const settings = fc.record({
  size: fc.constantFrom('1ms', '2500ms', '10s', '1h'),
  outOfOrderMs: fc.constantFrom(0, 1, 2_500, 1e6),
  lateness: fc.constantFrom('0s', '1ms', '5s'),
});
const lengths: Record<string, number> = { '1ms': 1, '2500ms': 2_500, '10s': 10_000, '1h': 3.6e6, '0s': 0, '5s': 5_000 };
const aggregate = {
  n: 'count',
  ids: { collect: { field: 'id', max: 100 } },
  sum: { sum: 'n' },
  last: { last: 'n' },
  first: { first: 'id' },
  median: { median: 'n' },
  top: { topK: { field: 'n', k: 3 } },
  kinds: { countDistinct: 'n' },
};
type Value = { n: number; id: number };

/** The results by their definition: of each record in time, all of its key in the `size` up to it. */
function expected(input: readonly StreamRecord[], size: number, wait: number, behind: number) {
  let watermark = Number.NEGATIVE_INFINITY;
  const taken: StreamRecord<Value>[] = [];
  const late: number[] = [];
  for (const one of input as StreamRecord<Value>[]) {
    if (one.time + 1 + wait <= watermark) late.push(one.offset);
    else taken.push(one);
    watermark = Math.max(watermark, one.time - behind);
  }
  const places = [...new Set(taken.map(({ key, time }) => JSON.stringify([key, time])))].map(
    (place) => JSON.parse(place) as [unknown, number],
  );
  const results = places.map(([key, time]) => {
    const held = taken
      .filter((one) => one.key === key && one.time > time - size && one.time <= time)
      .sort((a, b) => a.time - b.time || a.offset - b.offset);
    const ns = held.map(({ value }) => value.n);
    const sorted = [...ns].sort((a, b) => a - b);
    const half = (sorted.length - 1) / 2;
    return JSON.stringify([
      ...[key, time, held.length, held.map(({ offset }) => offset)],
      ...[ns.reduce((a, b) => a + b, 0), ns.at(-1), held[0]!.offset],
      ...[
        (sorted[Math.floor(half)]! + sorted[Math.ceil(half)]!) / 2,
        sorted.toReversed().slice(0, 3),
        new Set(ns).size,
      ],
    ]);
  });
  return { results: results.sort(), late };
}
const found = (records: readonly StreamRecord[]) =>
  records.map(({ key, time, value }) => JSON.stringify([key, time, ...Object.values(value as object)])).sort();

describe('window: rolling, for any input', () => {
  test('equals its definition, for any disorder, size and lateness', () =>
    fc.assert(
      fc.property(arrivals, settings, (input, { size, outOfOrderMs, lateness }) => {
        const driver = new Driver(window, { rolling: { size }, lateness, aggregate }, { outOfOrderMs }).push(...input);
        const { results, late } = expected(input, lengths[size]!, lengths[lateness]!, outOfOrderMs);
        expect(driver.rejected.map(({ record }) => record.offset)).toEqual(late);
        expect(found(driver.end())).toEqual(results);
        expect(driver.keys).toBe(0);
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same, in the same order, after restarts at any cuts', () =>
    fc.assert(
      fc.property(
        arrivals,
        settings,
        fc.array(fc.nat(40), { maxLength: 4 }),
        (input, { size, outOfOrderMs, lateness }, cuts) => {
          const driver = (from?: DriverCheckpoint) =>
            new Driver(window, { rolling: { size }, lateness, aggregate }, { outOfOrderMs, ...(from && { from }) });
          const output: StreamRecord[] = [];
          let [running, done] = [driver(), 0];
          for (const cut of [...cuts.sort((a, b) => a - b), input.length]) {
            running.push(...input.slice(done, cut));
            done = Math.max(done, cut);
            output.push(...running.output);
            running = driver(running.checkpoint());
          }
          output.push(...running.end());
          expect(output).toEqual(
            driver()
              .push(...input)
              .end(),
          );
        },
      ),
      { numRuns: 500 },
    ));
});
