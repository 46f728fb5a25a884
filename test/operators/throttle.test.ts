import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { throttle } from '../../operators/throttle/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const per = 1_000;
const record = (time: number, key = 'k', offset = 0) =>
  new StreamRecord(time, key, time, offset, undefined, undefined, undefined, 'in/0');
const limited = (limit: number, more: object = {}) => ({ limit, per: '1s', ...more });
const offsets = (records: readonly StreamRecord[]) => records.map(({ offset }) => offset);

// Steps of half a pane, a millisecond more or less: every border, in any order, before the epoch too.
const arrivals = fc
  .array(
    fc.record({
      step: fc.integer({ min: -3, max: 9 }),
      jitter: fc.constantFrom(-1, 0, 0, 1),
      key: fc.constantFrom('a', 'b'),
    }),
    { maxLength: 30 },
  )
  .map((events) => events.map(({ step, jitter, key }, offset) => record(step * 500 + jitter, key, offset)));
const settings = fc.record({
  limit: fc.integer({ min: 1, max: 3 }),
  lateness: fc.constantFrom(0, 1, 700),
  outOfOrderMs: fc.constantFrom(0, 1, 500, 3_000),
});
const optionsOf = ({ limit, lateness }: { limit: number; lateness: number }) =>
  limited(limit, { lateness: `${lateness}ms`, excess: 'reject' });

/** By the definition: nothing is ever forgotten, and there are no timers. */
function expected(input: readonly StreamRecord[], given: { limit: number; lateness: number; outOfOrderMs: number }) {
  const found = { passed: [] as number[], excess: [] as number[], late: [] as number[] };
  const counts = new Map<string, number>();
  let newest = Number.NEGATIVE_INFINITY;
  for (const { time, key, offset } of input) {
    const pane = Math.floor(time / per);
    const name = `${key}/${pane}`;
    const count = counts.get(name) ?? 0;
    if ((pane + 1) * per + given.lateness <= newest - given.outOfOrderMs) found.late.push(offset);
    else if (count < given.limit) {
      found.passed.push(offset);
      counts.set(name, count + 1);
    } else found.excess.push(offset);
    newest = Math.max(newest, time);
  }
  return found;
}
const found = (driver: Driver) => {
  const coded = (code: string) => offsets(driver.rejected.filter((r) => r.code === code).map((r) => r.record));
  return { passed: offsets(driver.output), excess: coded('over-limit'), late: coded('late') };
};

describe('throttle', () => {
  test('passes the first records of a pane, and as many of the next', () => {
    const driver = new Driver(throttle, limited(2)).push(...[0, 1, 2, 999, 1_000, 1_001, 1_002].map((t) => record(t)));
    expect(driver.output.map((r) => r.time)).toEqual([0, 1, 1_000, 1_001]);
    expect(driver.rejected).toEqual([]);
  });

  test('begins its panes at the epoch, not at the first record', () => {
    const driver = new Driver(throttle, limited(1)).push(record(1_999), record(2_000), record(2_998));
    expect(driver.output.map((r) => r.time)).toEqual([1_999, 2_000]);
  });

  test('rejects what is too much when it is told to, with the limit and the pane', () => {
    const driver = new Driver(throttle, limited(1, { excess: 'reject' })).push(record(1_000), record(1_500));
    expect(driver.rejectedCodes()).toEqual(['over-limit']);
    expect(driver.rejected[0]!.message).toBe(
      '1 record of its key passed before it in the 1s from 1970-01-01T00:00:01.000Z, and `limit` is 1.',
    );
    expect(driver.rejected[0]!.record.time).toBe(1_500);
  });

  test('takes a record until the watermark has reached the end of its pane, and calls it late from then on', () => {
    const start = () => new Driver(throttle, limited(1)).push(record(500, 'other'));
    expect(start().advanceTo(999).push(record(300)).output.length).toBe(2);
    const late = start().advanceTo(1_000).push(record(999));
    expect([late.output.length, late.rejectedCodes()]).toEqual([1, ['late']]);
    const waits = () => new Driver(throttle, limited(1, { lateness: '10ms' })).push(record(500, 'other'));
    expect(waits().advanceTo(1_009).push(record(300)).output.length).toBe(2);
    expect(waits().advanceTo(1_010).push(record(300)).rejectedCodes()).toEqual(['late']);
  });

  test('rejects a record without event time', () => {
    const driver = new Driver(throttle, limited(1)).push(record(Number.NaN));
    expect([driver.rejectedCodes(), driver.output, driver.keys]).toEqual([['time-invalid'], [], 0]);
  });

  test('forgets a key with its last pane', () => {
    const driver = new Driver(throttle, limited(5, { lateness: '10ms' })).push(record(0), record(1_500));
    expect([driver.advanceTo(2_009).keys, driver.advanceTo(2_010).keys]).toEqual([1, 0]);
  });

  test('still forgets a key when `lateness` has changed meanwhile', () => {
    for (const [before, after] of [
      ['10ms', '5s'],
      ['5s', '10ms'],
      ['5s', '0s'],
    ] as const) {
      const first = new Driver(throttle, limited(1, { lateness: before })).push(record(100));
      const from = first.checkpoint();
      const second = new Driver(throttle, limited(1, { lateness: after }), { from }).push(record(900));
      expect(second.output).toEqual([]);
      expect(second.advanceTo(1_010).keys).toBe(1);
      expect(second.advanceTo(6_000).keys).toBe(0);
    }
  });

  test('checks its options', () => {
    const problems: string[] = [];
    const input = { type: 'object' };
    const check = (given: Parameters<NonNullable<typeof throttle.type>>[0]) =>
      throttle.type!(given, {
        input,
        expression: () => undefined,
        problem: (path) => void problems.push(path.join('.')),
      });
    expect(check({ limit: 1, per: '1ms', lateness: '0s' })).toBe(input);
    expect(problems).toEqual([]);
    for (const per of ['0s', '500us', '1500us']) check({ limit: 1, per });
    check({ limit: 1, per: '1s', lateness: '1500us' });
    expect(problems).toEqual(['per', 'per', 'per', 'lateness']);
  });

  test('equals the definition that forgets nothing, for any disorder, and forgets all in the end', () =>
    fc.assert(
      fc.property(arrivals, settings, (input, given) => {
        const driver = new Driver(throttle, optionsOf(given), given).push(...input);
        expect(found(driver)).toEqual(expected(input, given));
        driver.end();
        expect(driver.keys).toBe(0);
      }),
      { numRuns: 2_000 },
    ));

  test('lets as many pass in each pane whatever the order, while the watermark waits', () =>
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 3 }), fc.infiniteStream(fc.nat()), (input, limit, random) => {
        const shuffled = input
          .map((r) => [random.next().value as number, r] as const)
          .sort(([a], [b]) => a - b)
          .map(([, r]) => r);
        const perPane = (records: readonly StreamRecord[]) => {
          const { output } = new Driver(throttle, limited(limit), { outOfOrderMs: 1e6 }).push(...records);
          return output.map((r) => `${String(r.key)}/${Math.floor(r.time / per)}`).sort();
        };
        expect(perPane(shuffled)).toEqual(perPane(input));
      }),
      { numRuns: 500 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, settings, fc.nat(), (input, given, n) => {
        const cut = n % (input.length + 1);
        const before = new Driver(throttle, optionsOf(given), given).push(...input.slice(0, cut));
        const after = new Driver(throttle, optionsOf(given), { ...given, from: before.checkpoint() });
        const whole = new Driver(throttle, optionsOf(given), given).push(...input);
        after.push(...input.slice(cut));
        const [first, second, all] = [found(before), found(after), found(whole)];
        expect([...first.passed, ...second.passed]).toEqual(all.passed);
        expect([...first.excess, ...second.excess]).toEqual(all.excess);
        expect([...first.late, ...second.late]).toEqual(all.late);
        expect(after.keys).toBe(whole.keys);
      }),
      { numRuns: 1_000 },
    ));
});
