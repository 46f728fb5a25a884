import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { map } from '../../operators/map/index.ts';
import { TopologyError } from '../../src/errors.ts';
import type { RecordType, TypeCheck } from '../../src/operator.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const drive = (options: unknown, ...values: unknown[]) =>
  new Driver(map, options).push(...values.map((value) => new StreamRecord(value, 'k', 5)));
const values = (driver: Driver) => driver.output.map((r) => r.value);

describe('map', () => {
  test('leaves the record that came in as it was, and keeps key, time and the other fields', () => {
    const record = new StreamRecord(Object.freeze({ a: 1, b: 2 }), 'k', 7, 3);
    const [result] = new Driver(map, { b: 'a + 8', c: 'b' }).push(record).output;
    expect(result).toEqual(new StreamRecord({ a: 1, b: 9, c: 2 }, 'k', 7, 3));
  });

  test('rejects the whole record when one of the expressions fails', () => {
    const driver = drive({ x: 'a', y: 'missing' }, { a: 1 });
    expect([driver.output, driver.rejectedCodes()]).toEqual([[], ['expression-failed']]);
  });

  test('takes functions beside expressions, and refuses nothing as a value', () => {
    expect(values(drive({ x: (v: { a: number }) => v.a * 2, y: 'a' }, { a: 2 }))).toEqual([{ a: 2, x: 4, y: 2 }]);
    expect(drive({ x: () => undefined }, { a: 2 }).rejectedCodes()).toEqual(['expression-failed']);
    expect(values(drive({ x: () => null }, {}))).toEqual([{ x: null }]);
  });

  test('takes one function for all fields', () => {
    expect(values(drive((v: { a: number }) => ({ a: v.a + 1, z: 0 }), { a: 1, b: 1 }))).toEqual([{ a: 2, b: 1, z: 0 }]);
    expect(drive(() => [1], {}).rejectedCodes()).toEqual(['expression-failed']);
    expect(drive(() => undefined, {}).rejectedCodes()).toEqual(['expression-failed']);
  });

  test('rejects what is not an object', () => {
    expect(drive({ x: '1' }, 'text', null, [1], 7).rejectedCodes()).toEqual(Array(4).fill('schema-violation'));
  });

  test('never touches a prototype', () => {
    expect(() => map.create(JSON.parse('{"__proto__": "1"}'), 'id')).toThrow(TopologyError);
    const [plain] = values(drive({ constructor: '1', toString: '2' }, {})) as object[];
    expect(Object.entries(plain!)).toEqual([
      ['constructor', 1],
      ['toString', 2],
    ]);
    const [odd] = values(drive(() => JSON.parse('{"__proto__": {"admin": true}}'), { a: 1 })) as { admin?: boolean }[];
    expect([odd!.admin, Object.keys(odd!)]).toEqual([undefined, ['a', '__proto__']]);
    expect(Object.getPrototypeOf(odd)).toBe(Object.prototype);
  });

  test('adds the types of the new fields to the type of the record', () => {
    const type = (input: RecordType) => {
      const check: TypeCheck = { input, expression: () => ({ type: 'string' }), problem: () => expect.unreachable() };
      return map.type!({ alarm: '"x"' }, check);
    };
    expect(type({ type: 'object', properties: { fuel: { type: 'number' } }, required: ['fuel'] })).toEqual({
      type: 'object',
      properties: { fuel: { type: 'number' }, alarm: { type: 'string' } },
      required: ['fuel', 'alarm'],
    });
    // Nothing was known before, so other fields may still be there.
    expect(type(undefined)).toBeUndefined();
  });

  test('adds what plain code adds, for any record', () =>
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const record = JSON.parse(JSON.stringify(value)) as object;
        expect(values(drive({ n: '2 + 3' }, record))).toEqual([{ ...record, n: 5 }]);
      }),
    ));
});
