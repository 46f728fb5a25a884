import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { set } from '../../operators/set/index.ts';
import { TopologyError } from '../../src/errors.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

describe('set', () => {
  test('adds and overrides with the values as they stand, and leaves the record that came in as it was', () => {
    const record = new StreamRecord(Object.freeze({ a: 1, b: 2 }), 'k', 7, 3);
    const [result] = new Driver(set, { b: '1 + 1', c: null, d: [1, { e: true }] }).push(record).output;
    expect(result).toEqual(new StreamRecord({ a: 1, b: '1 + 1', c: null, d: [1, { e: true }] }, 'k', 7, 3));
  });

  test('rejects what is not an object', () => {
    const driver = new Driver(set, { a: 1 }).push(...['x', null, [1], 7, true].map((v) => new StreamRecord(v)));
    expect([driver.output, driver.rejectedCodes()]).toEqual([[], Array(5).fill('schema-violation')]);
  });

  test('refuses `__proto__`, takes every other name as plain data, and touches no prototype', () => {
    expect(() => set.create(JSON.parse('{"__proto__": {"admin": true}}'), 'id')).toThrow(TopologyError);
    const driver = new Driver(set, { constructor: 1, toString: 2 }).push(
      new StreamRecord(JSON.parse('{"__proto__": {"admin": true}}')),
    );
    const [value] = driver.output.map((r) => r.value as { admin?: boolean });
    expect([value!.admin, Object.keys(value!)]).toEqual([undefined, ['__proto__', 'constructor', 'toString']]);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  test('tells the types of its values', () => {
    const input = { type: 'object', properties: { a: { type: 'number' } } };
    const given = { a: 'x', n: null, f: 1.5, l: [1], o: { p: true } };
    const check = { input, expression: () => undefined, problem: () => expect.unreachable() };
    expect(set.type!(given, check)).toMatchObject({
      properties: {
        a: { type: 'string' },
        n: { type: 'null' },
        f: { type: 'number' },
        l: { type: 'array' },
        o: { type: 'object', properties: { p: { type: 'boolean' } } },
      },
    });
  });

  test('gives the record with these fields, whatever they are', () =>
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.dictionary(fc.string(), fc.jsonValue()),
        (value, fields) => {
          fc.pre(!Object.hasOwn(fields, '__proto__'));
          const [result] = new Driver(set, fields).push(new StreamRecord({ ...value })).output;
          expect(result!.value).toEqual({ ...value, ...fields });
        },
      ),
    ));
});
