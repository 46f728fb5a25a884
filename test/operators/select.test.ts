import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { select } from '../../operators/select/index.ts';
import { TopologyError } from '../../src/errors.ts';
import type { RecordType } from '../../src/operator.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const pick = (options: unknown, value: unknown) => {
  const [result] = new Driver(select, options).push(new StreamRecord(value)).output;
  return result?.value;
};
// `c` stands outside as well: a choice inside `b` must not reach it.
const value = Object.freeze({ a: 1, b: Object.freeze({ c: 2, d: 3 }), e: null, c: 4 });

describe('select', () => {
  test.each([
    [{ keep: ['a'] }, { a: 1 }],
    [{ keep: ['e', 'a'] }, { a: 1, e: null }],
    [{ keep: ['b.c'] }, { b: { c: 2 } }],
    [{ keep: ['b.c', 'b'] }, { b: { c: 2, d: 3 } }],
    [{ keep: ['b', 'b.c'] }, { b: { c: 2, d: 3 } }],
    [{ keep: ['a.x', 'toString', 'nothing'] }, {}],
    [{ drop: ['a', 'nothing'] }, { b: { c: 2, d: 3 }, e: null, c: 4 }],
    [{ drop: ['b.c', 'a.x'] }, { a: 1, b: { d: 3 }, e: null, c: 4 }],
  ])('with %j', (options, expected) => {
    expect(pick(options, value)).toEqual(expected);
  });

  test('takes `__proto__` as plain data', () => {
    const odd = JSON.parse('{"__proto__": {"admin": true}, "a": 1}');
    for (const options of [{ keep: ['__proto__'] }, { drop: ['a'] }]) {
      const result = pick(options, odd) as { admin?: boolean };
      expect([Object.keys(result), result.admin]).toEqual([['__proto__'], undefined]);
    }
    expect(Object.keys(pick({ drop: ['__proto__'] }, odd) as object)).toEqual(['a']);
  });

  test('needs either `keep` or `drop`', () => {
    for (const options of [{}, { keep: ['a'], drop: ['b'] }])
      expect(() => select.create(options, 'id')).toThrow(TopologyError);
  });

  test('rejects what is not an object', () => {
    const driver = new Driver(select, { keep: ['a'] }).push(...['x', null, [1]].map((v) => new StreamRecord(v)));
    expect(driver.rejectedCodes()).toEqual(Array(3).fill('schema-violation'));
  });

  test('knows the type of what is left', () => {
    const input = { type: 'object', properties: { a: { type: 'number' }, b: { type: 'string' } }, required: ['a'] };
    const type = (options: object, from: RecordType) =>
      select.type!(options, {
        input: from,
        expression: () => ({ type: 'number' }),
        problem: () => expect.unreachable(),
      });
    expect(type({ keep: ['a'] }, input)).toEqual({
      type: 'object',
      properties: { a: { type: 'number' } },
      required: ['a'],
    });
    expect(type({ drop: ['a'] }, input)).toEqual({
      type: 'object',
      properties: { b: { type: 'string' } },
      required: [],
    });
    expect(type({ drop: ['a'] }, undefined)).toBeUndefined();
  });

  test('splits a record in two: what `keep` takes, `drop` leaves', () =>
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('a', 'b', 'c', 'constructor'), fc.jsonValue()),
        fc.subarray(['a', 'b', 'c', 'constructor'], { minLength: 1 }),
        (given, names) => {
          const record = { ...given };
          const kept = pick({ keep: names }, record) as object;
          const rest = pick({ drop: names }, record) as object;
          expect({ ...kept, ...rest }).toEqual(record);
          expect(Object.keys(kept).filter((name) => Object.hasOwn(rest, name))).toEqual([]);
          expect(Object.keys(kept).every((name) => names.includes(name))).toBe(true);
        },
      ),
    ));
});
