import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dedupe } from '../../operators/dedupe/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const within = 1_000;
const oneSecond = { within: '1s' };
const byID = { ...oneSecond, by: 'id' };
const record = (time: number, value: unknown = time, key = 'k', offset = 0) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');
const passes = (options: unknown, ...records: StreamRecord[]) =>
  new Driver(dedupe, options, { outOfOrderMs: 1e6 }).push(...records).output.map((r) => r.value);

// Steps of half the distance, a millisecond more or less: every boundary, in any order, for few keys and values.
const arrivals = fc
  .array(
    fc.record({
      step: fc.nat(14),
      jitter: fc.constantFrom(-1, 0, 0, 1),
      key: fc.constantFrom('a', 'b'),
      id: fc.constantFrom<unknown>(1, 1, '1', true),
    }),
    { maxLength: 30 },
  )
  .map((events) =>
    events.map(({ step, jitter, key, id }, offset) =>
      record(5_000 + step * (within / 2) + jitter, { id, offset }, key, offset),
    ),
  );
const disorder = fc.constantFrom(0, 1, 500, 1_000, 3_000);
const offsets = (records: readonly StreamRecord[]) => records.map(({ offset }) => offset);

/** By the definition: nothing is ever forgotten, and there are no timers. */
function expected(input: readonly StreamRecord[], outOfOrderMs: number) {
  const passed: StreamRecord[] = [];
  const late: StreamRecord[] = [];
  const repeats: StreamRecord[] = [];
  let newest = Number.NEGATIVE_INFINITY;
  const id = (r: StreamRecord) => (r.value as { id: unknown }).id;
  for (const r of input) {
    const again = passed.some((p) => p.key === r.key && id(p) === id(r) && Math.abs(p.time - r.time) <= within);
    (newest - outOfOrderMs - r.time > within ? late : again ? repeats : passed).push(r);
    newest = Math.max(newest, r.time);
  }
  return { passed, late, repeats };
}

describe('dedupe', () => {
  test.each([-1_000, -1, 0, 1, 1_000])('drops a repeat at a distance of %i ms', (distance) => {
    expect(passes(oneSecond, record(5_000, 'a'), record(5_000 + distance, 'b'))).toEqual(['a']);
  });

  test.each([-1_001, 1_001])('passes a record at a distance of %i ms', (distance) => {
    expect(passes(oneSecond, record(5_000, 'a'), record(5_000 + distance, 'b'))).toEqual(['a', 'b']);
  });

  test('measures from the record that has passed, not from its repeats', () => {
    expect(passes(oneSecond, record(0), record(600), record(1_200), record(1_800))).toEqual([0, 1_200]);
  });

  test('remembers a record that came out of order beside the one before it', () => {
    expect(passes(oneSecond, record(5_000), record(3_000), record(4_000), record(2_000))).toEqual([5_000, 3_000]);
  });

  test('compares by key, or by the values of one field or several, of the same type', () => {
    const rows = [{ id: 1 }, { id: '1' }, { id: true }, { id: 'true' }, { id: 1 }, { id: 0 }, { id: -0 }];
    expect(passes(byID, ...rows.map((value, i) => record(i, value)))).toEqual(
      rows.filter((_, i) => i !== 4 && i !== 6),
    );
    const pairs = [
      { a: 'x', b: { c: 1 } },
      { a: 'x', b: { c: 2 } },
      { a: 'y', b: { c: 1 } },
      { a: 'x', b: { c: 1 }, d: 2 },
    ];
    expect(passes({ ...oneSecond, by: ['a', 'b.c'] }, ...pairs.map((value) => record(0, value)))).toEqual(
      pairs.slice(0, 3),
    );
  });

  test.each([
    [{}, 'key-missing', 'is missing'],
    [{ id: null }, 'key-missing', 'is null'],
    ['text', 'key-missing', 'is missing'],
    [{ id: { a: 1 } }, 'key-invalid', 'is an object'],
    [{ id: [1] }, 'key-invalid', 'is a list'],
    [{ id: Number.NaN }, 'key-invalid', 'is NaN'],
    [{ id: Number.POSITIVE_INFINITY }, 'key-invalid', 'is Infinity'],
  ])('rejects %j: it has nothing to be compared by', (value, code, words) => {
    const driver = new Driver(dedupe, byID).push(record(0, value));
    expect([driver.output.length, driver.rejectedCodes(), driver.keys]).toEqual([0, [code], 0]);
    expect(driver.rejected[0]!.message).toContain(`\`id\` ${words}`);
  });

  test('rejects a record without event time', () => {
    const driver = new Driver(dedupe, oneSecond).push(record(Number.NaN));
    expect([driver.rejectedCodes(), driver.output, driver.keys]).toEqual([['time-invalid'], [], 0]);
  });

  test('still compares a record `within` behind the watermark, and calls one a millisecond older late', () => {
    const driver = new Driver(dedupe, oneSecond).push(record(3_000, 0, 'other'));
    driver.push(record(2_000, 'in time'), record(2_000, 'repeat'), record(1_999, 'late'));
    expect(driver.output.map((r) => r.value)).toEqual([0, 'in time']);
    expect(driver.rejected.map((r) => [r.code, r.record.value])).toEqual([['late', 'late']]);
  });

  test('forgets a key no sooner than twice `within`, and no later than three times', () => {
    const driver = new Driver(dedupe, byID).push(record(0, { id: 1 }), record(900, { id: 2 }));
    expect(driver.advanceTo(2_000).keys).toBe(1);
    expect(driver.advanceTo(2_900).keys).toBe(1);
    expect(driver.advanceTo(3_900).keys).toBe(0);
    const lone = new Driver(dedupe, oneSecond).push(record(0));
    expect([lone.advanceTo(2_000).keys, lone.advanceTo(2_001).keys]).toEqual([1, 0]);
  });

  test('holds no more than three distances of event time, however long the input', () => {
    const driver = new Driver(dedupe, byID);
    let most = 0;
    for (let i = 0; i < 500; i++) {
      driver.push(record(i * 100, { id: i }));
      if (i % 50 === 0)
        for (const [, bytes] of driver.checkpoint().store.entries('')) most = Math.max(most, bytes.length);
    }
    // At most 31 records, at ten bytes each, and a single timer.
    expect(most).toBeLessThan(340);
    driver.end();
    expect(driver.keys).toBe(0);
  });

  test('checks its options', () => {
    const problems: unknown[] = [];
    const check = (given: Parameters<NonNullable<typeof dedupe.type>>[0], type: object = { type: 'string' }) => {
      problems.length = 0;
      const input = { type: 'object' };
      const result = dedupe.type!(given, {
        input,
        expression: () => type as never,
        problem: (path) => void problems.push(path.join('.')),
      });
      expect(result).toBe(input);
      return [...problems];
    };
    expect(check({ within: '1ms', by: 'id' })).toEqual([]);
    expect(check({ within: '1s' }, { type: 'object' })).toEqual([]);
    for (const wrong of ['0s', '1500us', '500us']) expect(check({ within: wrong })).toEqual(['within']);
    expect(check({ within: '1s', by: 'id' }, { type: 'object' })).toEqual(['by']);
    expect(check({ within: '1s', by: ['a', 'b'] }, { type: ['array', 'null'] })).toEqual(['by.0', 'by.1']);
    expect(check({ within: '1s', by: 'id' }, { type: ['string', 'null'] })).toEqual([]);
  });

  test('equals the definition that forgets nothing, and accounts for every record', () =>
    fc.assert(
      fc.property(arrivals, disorder, (input, outOfOrderMs) => {
        const driver = new Driver(dedupe, byID, { outOfOrderMs }).push(...input);
        const { passed, late, repeats } = expected(input, outOfOrderMs);
        expect(offsets(driver.output)).toEqual(offsets(passed));
        expect(driver.rejected.map((r) => [r.code, r.record.offset])).toEqual(late.map((r) => ['late', r.offset]));
        expect(driver.output.length + driver.rejected.length + repeats.length).toBe(input.length);
        driver.end();
        expect([driver.keys, driver.output.length]).toEqual([0, passed.length]);
      }),
      { numRuns: 2_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, disorder, fc.nat(), (input, outOfOrderMs, n) => {
        const cut = n % (input.length + 1);
        const before = new Driver(dedupe, byID, { outOfOrderMs }).push(...input.slice(0, cut));
        const from = before.checkpoint();
        const after = new Driver(dedupe, byID, { outOfOrderMs, from }).push(...input.slice(cut));
        const whole = new Driver(dedupe, byID, { outOfOrderMs }).push(...input);
        expect(offsets([...before.output, ...after.output])).toEqual(offsets(whole.output));
        expect([...before.rejectedCodes(), ...after.rejectedCodes()]).toEqual(whole.rejectedCodes());
        expect(after.keys).toBe(whole.keys);
      }),
      { numRuns: 1_000 },
    ));

  test('does not let keys touch each other', () =>
    fc.assert(
      fc.property(arrivals, (input) => {
        // The watermark is shared, so it is held back for all alike.
        const run = (records: StreamRecord[]) =>
          offsets(new Driver(dedupe, byID, { outOfOrderMs: 1e6 }).push(...records).output);
        const alone = ['a', 'b'].flatMap((key) => run(input.filter((r) => r.key === key)));
        expect(run(input)).toEqual(alone.sort((a, b) => a - b));
      }),
      { numRuns: 1_000 },
    ));
});
