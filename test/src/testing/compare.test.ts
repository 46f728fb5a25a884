import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compare } from '../../../src/testing/compare.ts';
import { StreamRecord } from '../../../src/testing.ts';

const record = (value: unknown, key?: string | number) => new StreamRecord(value, key);

describe('what came out, against what was expected', () => {
  test('agrees in any order across keys, whether the keys are told or not', () => {
    const keyed = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat({ max: 3 })), { maxLength: 12 });
    fc.assert(
      fc.property(keyed, (pairs) => {
        const grouped = [...pairs].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
        const came = grouped.map(([key, n]) => record({ key, n }, key));
        expect(
          compare(
            'out',
            came,
            pairs.map(([key, n]) => ({ key, value: { key, n } })),
          ),
        ).toBeUndefined();
        expect(
          compare(
            'out',
            came,
            pairs.map(([key, n]) => ({ value: { key, n } })),
          ),
        ).toBeUndefined();
      }),
    );
  });
  test('differs when the order within a key does', () => {
    const expected = [{ value: 1 }, { value: 2 }];
    expect(compare('out', [record(1, 'k'), record(2, 'k')], expected)).toBeUndefined();
    expect(compare('out', [record(2, 'k'), record(1, 'k')], expected)).toEqual({
      output: 'out',
      missing: [{ value: 2 }],
      extra: [{ key: 'k', value: 2 }],
    });
  });
  test('tells one record too many, in the middle, without making those behind it wrong', () => {
    const found = compare('out', [record(1), record(9), record(2)], [{ value: 1 }, { value: 2 }]);
    expect(found).toEqual({ output: 'out', missing: [], extra: [{ value: 9 }] });
  });
  test('takes keys by type and value', () => {
    expect(compare('out', [record(1, 1)], [{ key: '1', value: 1 }])?.missing).toHaveLength(1);
    expect(compare('out', [record(1, 1)], [{ key: 1, value: 1 }])).toBeUndefined();
  });
  test('`value` is all of it, `like` at least these fields, inside lists as well', () => {
    const came = [record({ a: 1, b: [{ c: 2, d: 3 }] })];
    expect(compare('out', came, [{ value: { a: 1 } }])).toBeDefined();
    expect(compare('out', came, [{ like: { a: 1 } }])).toBeUndefined();
    expect(compare('out', came, [{ like: { b: [{ c: 2 }] } }])).toBeUndefined();
    expect(compare('out', came, [{ like: { b: [] } }])).toBeDefined();
    expect(compare('out', came, [{ like: { e: null } }])).toBeDefined();
  });
  test('bytes compare as text', () => {
    expect(compare('out', [record(Buffer.from('{broken'))], [{ value: '{broken' }])).toBeUndefined();
  });
});
