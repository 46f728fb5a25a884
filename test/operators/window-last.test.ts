import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { windowLast } from '../../operators/window-last/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const every = 10_000;
const tenSeconds = { every: '10s' };
const record = (time: number, value: unknown = time, key = 'g1', offset = 0) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');

// Steps of 2.5 s around windows of 10 s hit every edge; any order makes some records late; three keys share the windows.
const arrivals = fc
  .array(fc.record({ step: fc.nat(12), key: fc.constantFrom('a', 'b', 'c'), jitter: fc.constantFrom(-1, 0, 1) }))
  .map((events) =>
    events.map(({ step, key, jitter }, offset) => record(Math.max(0, step * 2_500 + jitter), offset, key, offset)),
  );
const waits = fc.record({ outOfOrderMs: fc.constantFrom(0, 1, 2_500, 10_000), lateness: fc.constantFrom(0, 1, 5_000) });
const shown = (records: readonly StreamRecord[]) => records.map((r) => [r.key, r.window, r.time, r.value]);

/** The windows by their definition, computed from the whole input at once: no state, no timers. */
function expectedWindows(input: readonly StreamRecord[], wait: number, outOfOrderMs: number) {
  let watermark = Number.NEGATIVE_INFINITY;
  const last = new Map<string, StreamRecord>();
  const late: number[] = [];
  for (const r of input) {
    const start = r.time - (r.time % every);
    if (start + every + wait <= watermark) late.push(r.offset);
    else {
      const name = `${start}/${String(r.key)}`;
      const kept = last.get(name);
      if (!kept || r.time >= kept.time) last.set(name, r);
    }
    watermark = Math.max(watermark, r.time - outOfOrderMs);
  }
  return { last, late };
}

describe('windowLast', () => {
  test('takes a record one millisecond before the end into the window, and one at the end into the next', () => {
    const driver = new Driver(windowLast, tenSeconds).push(record(0), record(9_999), record(10_000));
    expect(shown(driver.output)).toEqual([
      ['g1', { step: 'step', start: 0, end: 10_000, label: 9_999, pane: 'final', seq: 0 }, 9_999, 9_999],
    ]);
    expect(driver.end().map((r) => r.window!.start)).toEqual([0, 10_000]);
  });

  test('stays open while end + lateness is after the watermark, and is closed when they are equal', () => {
    const open = new Driver(windowLast, { ...tenSeconds, lateness: '5s' }).push(record(1), record(14_999), record(2));
    expect([open.output.length, open.rejectedCodes()]).toEqual([0, []]);
    const closed = new Driver(windowLast, { ...tenSeconds, lateness: '5s' }).push(record(1), record(15_000), record(2));
    expect([closed.output.map((r) => r.value), closed.rejectedCodes()]).toEqual([[1], ['late']]);
  });

  test('waits for outOfOrder and lateness together', () => {
    const driver = new Driver(windowLast, { ...tenSeconds, outOfOrder: '2s', lateness: '3s' });
    driver.push(record(1)).advanceTo(14_999);
    expect(driver.output).toEqual([]);
    expect(driver.advanceTo(15_000).output.length).toBe(1);
  });

  test('emits windows that close at one watermark by end, then by first arrival of the key', () => {
    const driver = new Driver(windowLast, tenSeconds, { outOfOrderMs: 60_000 });
    driver.push(record(11_000, 0, 'b'), record(1_000, 0, 'c'), record(2_000, 0, 'a'), record(12_000, 0, 'a'));
    expect(driver.end().map((r) => `${r.window!.start} ${String(r.key)}`)).toEqual([
      '0 c',
      '0 a',
      '10000 b',
      '10000 a',
    ]);
  });

  test('keeps the keys 1 and "1" apart', () => {
    const driver = new Driver(windowLast, tenSeconds);
    driver.push(new StreamRecord('number', 1, 5), new StreamRecord('text', '1', 6));
    expect(driver.end().map((r) => r.value)).toEqual(['number', 'text']);
  });

  test('passes over records in which `by` is null, missing or not there at all, and reads nested and own fields only', () => {
    const values = [{ a: { fuel: 5 } }, { a: { fuel: null } }, { a: {} }, {}, null, 7, { a: 'fuel' }];
    const driver = new Driver(windowLast, { ...tenSeconds, by: 'a.fuel' });
    driver.push(...values.map((value, i) => record(i, value)));
    expect(driver.end().map((r) => r.value)).toEqual([{ a: { fuel: 5 } }]);
    const inherited = new Driver(windowLast, { ...tenSeconds, by: 'toString' }).push(record(1, {}));
    expect(inherited.end()).toEqual([]);
  });

  test('rejects a record without event time', () => {
    expect(new Driver(windowLast, tenSeconds).push(record(Number.NaN)).rejectedCodes()).toEqual(['time-invalid']);
  });

  test.each([
    ['lastEvent', 7_000],
    ['end', 10_000],
    ['start', 0],
  ])('labels the result with %s', (label, time) => {
    const [result] = new Driver(windowLast, { ...tenSeconds, label }).push(record(7_000)).end();
    expect([result!.window!.label, result!.time]).toEqual([time, 9_999]);
  });

  test('a second window of the same size catches the result of the first', () => {
    const [first] = new Driver(windowLast, tenSeconds).push(record(7_000)).end();
    const [second] = new Driver(windowLast, tenSeconds).push(first!).end();
    expect(second!.window).toEqual({ ...first!.window!, label: 9_999 });
  });

  test('holds nothing for a key whose windows have closed', () => {
    const driver = new Driver(windowLast, tenSeconds).push(
      record(1, 1, 'a'),
      record(2, 2, 'b'),
      record(30_000, 3, 'c'),
    );
    expect(driver.keys).toBe(1);
    driver.end();
    expect(driver.keys).toBe(0);
  });

  test('equals the definition, for any disorder, watermark and lateness', () =>
    fc.assert(
      fc.property(arrivals, waits, (input, { outOfOrderMs, lateness }) => {
        const driver = new Driver(windowLast, { ...tenSeconds, lateness: `${lateness}ms` }, { outOfOrderMs }).push(
          ...input,
        );
        const { last, late } = expectedWindows(input, lateness, outOfOrderMs);
        expect(driver.rejected.map(({ record: r }) => r.offset)).toEqual(late);
        const found = driver.end().map((r) => [`${r.window!.start}/${String(r.key)}`, r.value]);
        expect(new Map(found as [string, unknown][])).toEqual(new Map([...last].map(([name, r]) => [name, r.value])));
        expect(found.length).toBe(last.size);
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, waits, fc.nat(), fc.nat(), (input, { outOfOrderMs, lateness }, m, n) => {
        const options = { ...tenSeconds, lateness: `${lateness}ms` };
        const [first, second] = [m % (input.length + 1), n % (input.length + 1)].sort((a, b) => a - b) as [
          number,
          number,
        ];
        const a = new Driver(windowLast, options, { outOfOrderMs }).push(...input.slice(0, first));
        const b = new Driver(windowLast, options, { outOfOrderMs, from: a.checkpoint() }).push(
          ...input.slice(first, second),
        );
        const c = new Driver(windowLast, options, { outOfOrderMs, from: b.checkpoint() }).push(...input.slice(second));
        const whole = new Driver(windowLast, options, { outOfOrderMs }).push(...input);
        expect(shown([...a.output, ...b.output, ...c.end()])).toEqual(shown(whole.end()));
      }),
      { numRuns: 1_000 },
    ));

  test('does not let keys touch each other', () =>
    fc.assert(
      fc.property(arrivals, (input) => {
        // Without lateness of the others' doing: the watermark is shared, so it is held back for all alike.
        const alone = ['a', 'b', 'c'].flatMap((key) =>
          shown(
            new Driver(windowLast, tenSeconds, { outOfOrderMs: 1e6 }).push(...input.filter((r) => r.key === key)).end(),
          ),
        );
        const together = shown(new Driver(windowLast, tenSeconds, { outOfOrderMs: 1e6 }).push(...input).end());
        expect(together.map(String).sort()).toEqual(alone.map(String).sort());
      }),
    ));

  test('closes open windows when lateness has grown between two runs', () => {
    const before = new Driver(windowLast, tenSeconds).push(record(1));
    const after = new Driver(windowLast, { ...tenSeconds, lateness: '5s' }, { from: before.checkpoint() });
    expect(after.advanceTo(14_999).output.length).toBe(0);
    expect(after.advanceTo(15_000).output.length).toBe(1);
  });
});
