import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { filter } from '../../operators/filter/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const drive = (where: unknown, ...values: unknown[]) =>
  new Driver(filter, { where }).push(...values.map((value) => new StreamRecord(value, 'k', 5)));

describe('filter', () => {
  test('passes the very same record, in order', () => {
    const records = [3, 1, 2].map((fuel) => new StreamRecord({ fuel }));
    const driver = new Driver(filter, { where: 'fuel < 3' }).push(...records);
    expect(driver.output[0]).toBe(records[1]);
    expect(driver.output.map((r) => r.value)).toEqual([{ fuel: 1 }, { fuel: 2 }]);
  });

  test('rejects a record when the answer is not true or false', () => {
    const driver = drive(
      'fuel',
      { fuel: 1 },
      { fuel: 'yes' },
      { fuel: null },
      { fuel: [] },
      { fuel: true },
      { fuel: false },
    );
    expect([driver.output.length, driver.rejectedCodes().length]).toEqual([1, 4]);
    expect(driver.rejected[0]!.message).toBe('`where` gave a number; `filter` needs true or false.');
  });

  test('rejects what a function throws, and what is no answer', () => {
    const driver = drive((v: { a: { b: boolean } }) => v.a.b, {}, { a: {} }, { a: { b: true } });
    expect([driver.output.length, driver.rejectedCodes()]).toEqual([1, ['expression-failed', 'expression-failed']]);
  });

  test('loses no record: each is passed, answered with false, or rejected', () =>
    fc.assert(
      fc.property(fc.array(fc.constantFrom<unknown>(499, 499.9, 500, null, undefined, 'x', true)), (fuels) => {
        const driver = drive('fuel < 500', ...fuels.map((fuel) => ({ fuel })));
        const numbers = fuels.filter((fuel) => typeof fuel === 'number');
        expect(driver.output.length).toBe(numbers.filter((fuel) => fuel < 500).length);
        expect(driver.rejected.length).toBe(fuels.length - numbers.length);
      }),
    ));
});
