import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sort } from '../../operators/sort/index.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { recordId } from '../../src/record.ts';
import { Driver, StreamRecord } from '../../src/testing.ts';

const definition = sort as unknown as StepDefinition;
const at = (time: number, offset = 0, key = 'k', origin = 'in/0', part?: string) =>
  new StreamRecord({ offset }, key, time, offset, undefined, undefined, undefined, origin, part);
const ids = (records: readonly StreamRecord[]) => records.map((record) => `${recordId(record)} ${record.time}`);

interface Arrival {
  readonly record: StreamRecord;
}
const arrivals: fc.Arbitrary<Arrival[]> = fc
  .array(
    fc.record({
      key: fc.constantFrom('a', 'b'),
      step: fc.integer({ min: -4, max: 3 }),
      origin: fc.constantFrom('in/0', 'in/1'),
    }),
    { maxLength: 24 },
  )
  .map((list) => {
    let time = 100;
    // Offsets rise within a partition, as they do behind a source.
    return list.map(({ key, step, origin }, n) => {
      time += step;
      return { record: at(time, n, key, origin) };
    });
  });
const disorder = fc.integer({ min: 0, max: 6 });
const byPlace = (a: StreamRecord, b: StreamRecord) =>
  a.time - b.time || (a.origin < b.origin ? -1 : a.origin > b.origin ? 1 : a.offset - b.offset);

describe('sort', () => {
  test('gives what Array.sort gives, per key, as far as the watermark has passed, after every single record', () =>
    fc.assert(
      fc.property(arrivals, disorder, (input, outOfOrderMs) => {
        const driver = new Driver(definition, {}, { outOfOrderMs });
        const taken: StreamRecord[] = [];
        const late: StreamRecord[] = [];
        for (const { record } of input) {
          (record.time < driver.watermark ? late : taken).push(record);
          driver.push(record);
          for (const key of ['a', 'b']) {
            const due = taken.filter((one) => one.key === key && one.time < driver.watermark);
            expect(ids(driver.output.filter((one) => one.key === key))).toEqual(ids(due.sort(byPlace)));
          }
        }
        expect(ids(driver.rejected.map(({ record }) => record))).toEqual(ids(late));
        expect(driver.rejectedCodes()).toEqual(late.map(() => 'late'));
        driver.end();
        for (const key of ['a', 'b'])
          expect(ids(driver.output.filter((one) => one.key === key))).toEqual(
            ids(taken.filter((one) => one.key === key).sort(byPlace)),
          );
        expect(driver.keys).toBe(0);
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, disorder, fc.nat(), (input, outOfOrderMs, n) => {
        const records = input.map(({ record }) => record);
        const cut = n % (records.length + 1);
        const before = new Driver(definition, {}, { outOfOrderMs }).push(...records.slice(0, cut));
        const after = new Driver(definition, {}, { outOfOrderMs, from: before.checkpoint() });
        after.push(...records.slice(cut)).end();
        const whole = new Driver(definition, {}, { outOfOrderMs }).push(...records);
        expect([...ids(before.output), ...ids(after.output)]).toEqual(ids(whole.end()));
      }),
      { numRuns: 500 },
    ));

  test('lets a record go one ms after its time, and not at its time', () => {
    const driver = new Driver(definition, {}, { outOfOrderMs: 1_000 }).push(at(100));
    expect(driver.advanceTo(100).output).toEqual([]);
    expect(driver.advanceTo(101).output).toHaveLength(1);
  });

  test('a record at the watermark is on time, and a millisecond before it late', () => {
    const start = () => new Driver(definition, {}).advanceTo(100);
    expect(start().push(at(100)).rejected).toEqual([]);
    expect(start().push(at(99)).rejectedCodes()).toEqual(['late']);
  });

  test('orders records of one time by partition, offset and part, however they arrive', () => {
    const records = [at(5, 1, 'k', 'a/0'), at(5, 2, 'k', 'a/0', '2'), at(5, 2, 'k', 'a/0', '10'), at(5, 0, 'k', 'b/0')];
    fc.assert(
      fc.property(fc.shuffledSubarray(records, { minLength: 4 }), (given) => {
        expect(ids(new Driver(definition, {}, { outOfOrderMs: 9 }).push(...given).end())).toEqual(ids(records));
      }),
    );
  });

  test('rejects one record more of a key than `maxBuffered`, keeps those that wait, and takes another when one has gone', () => {
    const driver = new Driver(definition, { maxBuffered: 2 }, { outOfOrderMs: 10 });
    driver.push(at(105, 0), at(104, 1), at(103, 2), at(103, 3, 'another key'));
    expect(driver.rejectedCodes()).toEqual(['buffer-full']);
    expect(driver.rejected[0]!.record.offset).toBe(2);
    driver.advanceTo(105).push(at(106, 4));
    expect(driver.rejected).toHaveLength(1);
    expect(driver.end().map(({ offset }) => offset)).toEqual([3, 1, 0, 4]);
  });

  test('rejects a record without event time', () => {
    expect(new Driver(definition, {}).push(at(Number.NaN)).rejectedCodes()).toEqual(['time-invalid']);
  });
});
