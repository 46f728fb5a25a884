import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { windowLast } from '../../operators/window-last/index.ts';
import { recordId, StreamRecord } from '../../src/record.ts';
import { Driver, type DriverCheckpoint } from '../../src/testing.ts';

const record = (time: number, key = 'g1', offset = 0) =>
  new StreamRecord({ id: offset }, key, time, offset, undefined, undefined, undefined, 'in/0');
const base = { tumbling: '10s', aggregate: { n: 'count', ids: { collect: { field: 'id', max: 100 } } } };
const shown = (records: readonly StreamRecord[]) =>
  records.map(({ window: at, value }) => [at!.start, at!.pane, at!.seq, (value as { n: number }).n]);

describe('window: when it gives results', () => {
  test('with `final`, lateness only delays the one result', () => {
    const driver = new Driver(window, { ...base, outOfOrder: '2s', lateness: '3s' }).push(record(1), record(14_999));
    expect(driver.output).toEqual([]);
    driver.push(record(2));
    expect(shown(driver.push(record(15_000)).output)).toEqual([[0, 'final', 0, 2]]);
    expect(driver.push(record(3)).rejectedCodes()).toEqual(['late']);
  });

  test('with updates, the final result comes on time, and records within `lateness` give late ones', () => {
    const driver = new Driver(window, { ...base, emit: { early: '1h' }, outOfOrder: '2s', lateness: '3s' });
    driver.push(record(1), record(11_999));
    expect(driver.output).toEqual([]);
    driver.push(record(12_000), record(14_999), record(2));
    expect(shown(driver.output)).toEqual([
      [0, 'final', 0, 1],
      [0, 'late', 1, 2],
    ]);
    driver.push(record(15_000), record(3));
    expect([driver.output.length, driver.rejectedCodes()]).toEqual([2, ['late']]);
    expect(driver.end().length).toBe(3);
    expect(driver.keys).toBe(0);
  });

  test('a record exactly at the time of the final result is late, one a millisecond before is early', () => {
    const options = { ...base, emit: 'onUpdate', lateness: '5s' };
    const late = new Driver(window, options).push(record(1), record(10_000), record(2));
    expect(shown(late.output).filter(([start]) => start === 0)).toEqual([
      [0, 'early', 0, 1],
      [0, 'final', 1, 1],
      [0, 'late', 2, 2],
    ]);
    const early = new Driver(window, options).push(record(1), record(9_999), record(2));
    expect(shown(early.output).at(-1)).toEqual([0, 'early', 2, 3]);
  });

  test('a window that only late records reach gives late results, the first of them numbered 0', () => {
    const driver = new Driver(window, { ...base, emit: { early: '1s' }, lateness: '1m' }).push(record(30_000));
    driver.push(record(5_000));
    expect(shown(driver.output)).toEqual([[0, 'late', 0, 1]]);
    expect(shown(driver.push(record(30_001)).output)).toHaveLength(1);
  });

  test('early results come at steps counted from the start of the window, and only when something has changed', () => {
    const driver = new Driver(window, { ...base, offset: '3s', emit: { early: '4s' } }).push(record(3_000));
    expect(driver.advanceTo(6_999).output).toEqual([]);
    expect(shown(driver.advanceTo(7_000).output)).toEqual([[3_000, 'early', 0, 1]]);
    expect(driver.advanceTo(11_500).output.length).toBe(1);
    expect(shown(driver.advanceTo(13_000).output).at(-1)).toEqual([3_000, 'final', 1, 1]);
  });

  test('no early result comes together with the final one', () => {
    const driver = new Driver(window, { ...base, emit: { early: '5s' } }).advanceTo(5_500).push(record(6_000));
    expect(shown(driver.advanceTo(10_000).output)).toEqual([[0, 'final', 0, 1]]);
  });

  test('what is open when the input ends is drained, what had closed before is final', () => {
    for (const options of [
      base,
      { ...base, emit: { early: '1s' } },
      { session: { gap: '10s' }, aggregate: { n: 'count' } },
      { count: 2, aggregate: { n: 'count' } },
    ]) {
      const driver = new Driver(window, options).push(record(1), record(2), record(50_000));
      const panes = driver.end().map((result) => result.window!.pane);
      expect(panes.filter((pane) => pane !== 'early')).toEqual(['final', 'drained']);
      expect(panes.at(-1)).toBe('drained');
    }
    const last = new Driver(windowLast, { every: '10s' }).push(record(1), record(10_000)).end();
    expect(last.map((result) => result.window!.pane)).toEqual(['final', 'drained']);
  });

  test('what has given its final result is not drained once more', () => {
    const driver = new Driver(window, { ...base, emit: 'onUpdate', lateness: '1m' }).push(record(1)).advanceTo(10_000);
    expect(shown(driver.end())).toEqual([
      [0, 'early', 0, 1],
      [0, 'final', 1, 1],
    ]);
  });

  test('updates of one window have ids of their own, the same after any restart', () => {
    const results = new Driver(window, { ...base, emit: 'onUpdate' }).push(record(1), record(2)).end();
    expect(results.map(recordId)).toEqual(['step/g1/0', 'step/g1/0/1', 'step/g1/0/2']);
  });
});

const arrivals = fc
  .array(fc.record({ step: fc.nat(16), jitter: fc.constantFrom(-1, 0, 0, 1), key: fc.constantFrom('a', 'b') }), {
    maxLength: 30,
  })
  .map((all) => all.map(({ step, jitter, key }, i) => record(step * 2_500 + jitter - 5_000, key, i)));
const waits = fc.record({
  behind: fc.constantFrom(0, 1, 2_500, 10_000),
  lateness: fc.constantFrom(0, 1, 5_000, 20_000),
  outOfOrder: fc.constantFrom(0, 2_500),
});
const emits = fc.constantFrom<unknown>(
  'onUpdate',
  { early: '1ms' },
  { early: '2500ms' },
  { early: '4s' },
  { early: '1h' },
);
const shapes = fc.constantFrom(
  { size: 10_000, every: 10_000, options: { tumbling: '10s' } },
  { size: 15_000, every: 10_000, options: { hopping: { size: '15s', every: '10s' } } },
);
type Waits = { behind: number; lateness: number; outOfOrder: number };
type Shape = { size: number; every: number; options: object };

const driverOf = (shape: Shape, emit: unknown, { behind, lateness, outOfOrder }: Waits, from?: DriverCheckpoint) =>
  new Driver(
    window,
    { aggregate: base.aggregate, ...shape.options, emit, lateness: `${lateness}ms`, outOfOrder: `${outOfOrder}ms` },
    { outOfOrderMs: behind, ...(from && { from }) },
  );

interface Open {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  ids: [time: number, id: number][];
  results: string[];
  fresh: boolean;
  over: boolean;
}

/** What each window gives, one after the other, from the definition of `emit`. */
function expected(
  input: readonly StreamRecord[],
  { size, every }: Shape,
  emit: unknown,
  { behind, lateness, outOfOrder }: Waits,
) {
  const step = typeof emit === 'object' ? Number.parseInt((emit as { early: string }).early, 10) : undefined;
  const early = { 1: (emit as { early: string }).early === '1h' ? 3.6e6 : 1, 2500: 2_500, 4: 4_000 }[step ?? 0];
  const all = new Map<string, Open>();
  let watermark = Number.NEGATIVE_INFINITY;
  const give = (open: Open, pane: string) => {
    const ids = open.ids.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, id]) => id);
    open.results.push(JSON.stringify([pane, open.results.length, ids]));
    open.fresh = false;
  };
  const move = (to: number) => {
    for (const open of all.values()) {
      const due = open.end + outOfOrder;
      if (open.over) continue;
      const ticks =
        early === undefined || to === Number.POSITIVE_INFINITY
          ? 0
          : Math.floor((Math.min(to, due - 1) - open.start) / early);
      const tick = open.start + ticks * (early ?? 0);
      if (ticks > 0 && tick > watermark && open.fresh) give(open, 'early');
      if (due > to) continue;
      give(open, to === Number.POSITIVE_INFINITY ? 'drained' : 'final');
      open.over = true;
    }
    watermark = Math.max(watermark, to);
  };
  for (const { key, time, offset } of input) {
    for (let start = -40_000; start <= time; start += every) {
      const end = start + size;
      if (end <= time || end + outOfOrder + lateness <= watermark) continue;
      const name = `${String(key)} ${start}`;
      const over = end + outOfOrder <= watermark;
      const open = all.get(name) ?? { name, start, end, ids: [], results: [], fresh: false, over };
      all.set(name, open);
      open.ids.push([time, offset]);
      open.fresh = true;
      if (open.over) give(open, 'late');
      else if (early === undefined) give(open, 'early');
    }
    if (time - behind > watermark) move(time - behind);
  }
  move(Number.POSITIVE_INFINITY);
  return new Map([...all].map(([name, { results }]) => [name, results]));
}

function byWindow(results: readonly StreamRecord[]) {
  const all = new Map<string, string[]>();
  for (const { key, window: at, value } of results) {
    const name = `${String(key)} ${at!.start}`;
    all.set(name, [...(all.get(name) ?? []), JSON.stringify([at!.pane, at!.seq, (value as { ids: number[] }).ids])]);
  }
  return all;
}

describe('window: when it gives results, for any input', () => {
  test('equals the definition of early, final, late and drained results', () =>
    fc.assert(
      fc.property(arrivals, waits, emits, shapes, (input, wait, emit, shape) => {
        const driver = driverOf(shape, emit, wait).push(...input);
        expect(byWindow(driver.end())).toEqual(expected(input, shape, emit, wait));
        expect(driver.keys).toBe(0);
      }),
      { numRuns: 1_000 },
    ));

  test('each result in place of the one before, a table comes to what `final` gives', () =>
    fc.assert(
      fc.property(arrivals, waits, emits, shapes, (input, wait, emit, shape) => {
        const tableOf = (how: unknown) => {
          const driver = driverOf(shape, how, wait).push(...input);
          const rows = driver
            .end()
            .map(({ key, window: at, value }) => [`${String(key)} ${at!.start}`, value] as const);
          return [new Map(rows), driver.rejected.map(({ record }) => record.offset)];
        };
        expect(tableOf(emit)).toEqual(tableOf('final'));
      }),
      { numRuns: 500 },
    ));

  test('gives the same after restarts at any cuts', () =>
    fc.assert(
      fc.property(
        arrivals,
        waits,
        emits,
        shapes,
        fc.array(fc.nat(30), { maxLength: 4 }),
        (input, wait, emit, shape, cuts) => {
          const output: StreamRecord[] = [];
          let [driver, done] = [driverOf(shape, emit, wait), 0];
          for (const cut of [...cuts.sort((a, b) => a - b), input.length]) {
            driver.push(...input.slice(done, cut));
            done = Math.max(done, cut);
            output.push(...driver.output);
            driver = driverOf(shape, emit, wait, driver.checkpoint());
          }
          output.push(...driver.end());
          expect(output).toEqual(
            driverOf(shape, emit, wait)
              .push(...input)
              .end(),
          );
        },
      ),
      { numRuns: 500 },
    ));
});
