import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { keyBy } from '../../operators/key-by/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';
import { suiteFolder } from '../conformance/suites.ts';

const drive = (options: unknown, ...values: unknown[]) =>
  new Driver(keyBy, options).push(...values.map((value) => new StreamRecord(value)));
const keys = (driver: Driver) => driver.output.map((r) => r.key);

describe('keyBy', () => {
  test('keeps keys of different types apart, and takes false, 0 and the empty text as keys', () => {
    expect(keys(drive({ field: 'k' }, ...[1, '1', true, 'true', false, 0, ''].map((k) => ({ k }))))).toEqual([
      1,
      '1',
      true,
      'true',
      false,
      0,
      '',
    ]);
  });

  test('makes one key of 0 and -0', () => {
    expect(Object.is(keys(drive({ field: 'k' }, { k: -0 }))[0], 0)).toBe(true);
  });

  test('rejects a missing and a null key as missing, and what cannot be a key as invalid', () => {
    const values = [
      {},
      { k: null },
      'text',
      null,
      [1],
      { k: {} },
      { k: [] },
      { k: Number.NaN },
      { k: Number.POSITIVE_INFINITY },
    ];
    const driver = drive({ field: 'k' }, ...values);
    expect(driver.output).toEqual([]);
    expect(driver.rejectedCodes()).toEqual([...Array(5).fill('key-missing'), ...Array(4).fill('key-invalid')]);
  });

  test('gives missing and null keys, and no others, the name that `null` says', () => {
    const driver = drive({ field: 'k', null: 'none' }, {}, { k: null }, { k: {} }, { k: '' });
    expect([keys(driver), driver.rejectedCodes()]).toEqual([['none', 'none', ''], ['key-invalid']]);
  });

  test('reads own fields only, nested ones too', () => {
    for (const field of ['toString', 'constructor', '__proto__', 'constructor.name', 'k.length', 'k.constructor.name'])
      expect(drive({ field }, { k: 'text' }).rejectedCodes(), field).toEqual(['key-missing']);
    expect(keys(drive({ field: '__proto__.a' }, JSON.parse('{"__proto__": {"a": "own"}}')))).toEqual(['own']);
    expect(keys(drive({ field: 'a.b.c' }, { a: { b: { c: 7 } } }))).toEqual([7]);
  });

  test('takes away the partition that belonged to the key before', () => {
    const [result] = new Driver(keyBy, { field: 'k' }).push(new StreamRecord({ k: 'b' }, 'a').withPartition(3)).output;
    expect([result!.key, result!.partition]).toEqual(['b', undefined]);
  });

  test('says at lint time that a list or an object cannot be a key', () => {
    const said: string[] = [];
    const problem = (_path: unknown, message: string) => void said.push(message);
    keyBy.type!({ field: 'k' }, { input: undefined, expression: () => ({ type: 'array' }), problem });
    keyBy.type!({ field: 'k' }, { input: undefined, expression: () => ({ type: ['string', 'null'] }), problem });
    expect(said).toEqual(['A key must be text, a number or a boolean; this field is an array.']);
  });

  const naughty = suiteFolder('naughty-strings');
  test.skipIf(naughty === undefined)('takes naughty strings as keys and as names of fields', () => {
    for (const text of JSON.parse(readFileSync(join(naughty!, 'blns.json'), 'utf8')) as string[]) {
      expect(keys(drive({ field: 'k' }, { k: text }))).toEqual([text]);
      if (text !== '' && !text.includes('.'))
        expect(keys(drive({ field: text }, Object.fromEntries([[text, 'v']])))).toEqual(['v']);
    }
  });
});
