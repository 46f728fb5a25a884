import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { expect, test } from 'vitest';
import { Packer, unpack } from '../../../src/engine/pack.ts';
import { StreamRecord } from '../../../src/record.ts';

function packed(...values: unknown[]): Buffer {
  const packer = new Packer(1);
  for (const value of values) packer.value(value);
  return Buffer.from(packer.bytes.subarray(0, packer.at));
}

// The library reads `__proto__` back under another name.
const name = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string()).filter((text) => text !== '__proto__');
const number = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.constantFrom(
    0,
    -0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    -1,
    -(2 ** 31),
    -(2 ** 31) - 1,
  ),
);
const plain = fc.oneof(
  fc.constantFrom(null, undefined, true, false),
  number,
  name,
  fc.string({ unit: 'binary', maxLength: 300 }),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    plain,
    fc.date({ noInvalidDate: true }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(name, tie('value'), { maxKeys: 20, noNullPrototype: true }),
    fc
      .record({ of: tie('value'), key: fc.oneof(name, number, fc.boolean()), time: number, origin: name })
      .map(
        ({ of, key, time, origin }) => new StreamRecord(of, key, time, 3, { topic: origin }, undefined, 7, origin, 'p'),
      ),
  ),
}));

test('whatever data a step keeps comes back as it was, record by record and to the sign of zero', () => {
  fc.assert(
    fc.property(value, (given) => {
      expect(unpack(packed(given))).toStrictEqual(given);
    }),
    { numRuns: 500 },
  );
});

test('half of a surrogate pair comes back as it was, in texts of any length', () => {
  for (const text of ['\ud800', 'a\udfffb', `${'x'.repeat(300)}\ud83d`])
    expect(unpack(packed({ text, [text]: 1 }))).toEqual({ text, [text]: 1 });
});

test('lists and maps have no length at which they change', () => {
  for (const length of [15, 16, 65_535, 65_536]) {
    const list = Array.from({ length }, (_, n) => n);
    expect(unpack(packed(list))).toEqual(list);
    const map = Object.fromEntries(list.map((n) => [`k${n}`, n]));
    expect(unpack(packed(map))).toEqual(map);
  }
});

test('what earlier releases wrote, with the library alone, is read', () => {
  const old = new Packr({ useRecords: false });
  // It kept no sign of zero.
  const json = fc.jsonValue().map((given) => JSON.parse(JSON.stringify(given)) as unknown);
  fc.assert(
    fc.property(
      json.filter((given) => !JSON.stringify(given).includes('__proto__')),
      (given) => {
        expect(unpack(Buffer.from(old.pack(given)))).toEqual(given);
      },
    ),
  );
  const record = new StreamRecord({ fuel: 1.5 }, 'k', 5, 9, undefined, undefined, undefined, 'in/0');
  expect(unpack(Buffer.from(old.pack([record])))).toEqual([record]);
});

test('texts of every length come back as they were, at any place', () => {
  // No letter twice in a row, so that no byte can stand in for another.
  const letters = Array.from({ length: 300 }, (_, i) => String.fromCharCode(97 + (i % 26))).join('');
  for (let length = 0; length <= letters.length; length++) {
    for (const text of [letters.slice(0, length), `${letters.slice(0, length)}ü`])
      expect(unpack(packed([text, text, length]))).toEqual([text, text, length]);
  }
});
