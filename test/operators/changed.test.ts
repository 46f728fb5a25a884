import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changed } from '../../operators/changed/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';
import { migrated } from './migrated.ts';

const record = (value: unknown, time = 0, key = 'k', offset = 0) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');
const pass = (options: unknown, ...values: unknown[]) =>
  new Driver(changed, options).push(...values.map((value) => record(value))).output.map((r) => r.value);

// Few values, so that most records repeat; steps of half the time to be forgotten, a millisecond more or less, in any order.
const values = [{ a: 1 }, { a: 1, b: null }, { a: '1' }, { b: { x: 1, y: [2] } }, { b: { y: [2], x: 1 } }, { c: 1 }];
const arrivals = fc
  .array(
    fc.record({
      value: fc.constantFrom(...values),
      step: fc.nat(8),
      jitter: fc.constantFrom(-1, 0, 0, 1),
      key: fc.constantFrom('a', 'b'),
    }),
    { maxLength: 30 },
  )
  .map((events) =>
    events.map(({ value, step, jitter, key }, offset) => record(value, 1_000 + step * 500 + jitter, key, offset)),
  );
const settings = fc.record({
  first: fc.boolean(),
  forget: fc.constantFrom(undefined, '1s'),
  outOfOrderMs: fc.constantFrom(0, 1, 700, 1e6),
});
const optionsOf = ({ first, forget }: { first: boolean; forget: string | undefined }) => ({
  fields: ['a', 'b'],
  first,
  previous: 'was',
  ...(forget && { forget }),
});
const shown = (records: readonly StreamRecord[]) => records.map((r) => [r.offset, r.key, r.time, r.value]);

/** By the definition: looks back over the input for each record; no state, no timers. */
function expected(input: readonly StreamRecord[], { first, forget, outOfOrderMs }: fcValue<typeof settings>) {
  const content = ({ a, b }: { a?: unknown; b?: { x: number } | null }) =>
    JSON.stringify([a === undefined ? 'none' : [a], b === undefined ? 'none' : (b?.x ?? b)]);
  return input.flatMap((r, i) => {
    const watermark = Math.max(...input.slice(0, i).map(({ time }) => time)) - outOfOrderMs;
    let known: StreamRecord[] = [];
    for (const [j, past] of input.slice(0, i).entries()) {
      const newest = Math.max(...known.map(({ time }) => time));
      const mark = Math.max(...input.slice(0, j).map(({ time }) => time)) - outOfOrderMs;
      if (past.key === r.key) known = forget && mark - newest > 1_000 ? [past] : [...known, past];
    }
    if (forget && watermark - Math.max(...known.map(({ time }) => time)) > 1_000) known = [];
    const before = known.at(-1)?.value as { a?: unknown; b?: { x: number } | null } | undefined;
    if (before === undefined ? !first : content(before) === content(r.value as object)) return [];
    const { a, b } = before ?? {};
    const was = before === undefined ? null : { ...(a !== undefined && { a }), ...(b !== undefined && { b }) };
    return [[r.offset, r.key, r.time, { ...(r.value as object), was }]];
  });
}
type fcValue<T> = T extends fc.Arbitrary<infer V> ? V : never;

describe('changed', () => {
  test('goes on with some of its fields as if it had never watched the others, and not with one more', () => {
    const from = { version: 1, options: { fields: ['a', 'b'] } };
    fc.assert(
      fc.property(arrivals, settings, fc.nat(), (input, given, n) => {
        const { outOfOrderMs } = given;
        const fewer = { ...optionsOf(given), fields: 'b' };
        const migrate = changed.migrate!(fewer, from)!;
        const cut = n % (input.length + 1);
        const before = new Driver(changed, optionsOf(given), { outOfOrderMs }).push(...input.slice(0, cut));
        const after = new Driver(changed, fewer, {
          outOfOrderMs,
          from: migrated(before.checkpoint(), migrate as never),
        });
        const whole = new Driver(changed, fewer, { outOfOrderMs }).push(...input.slice(0, cut));
        const known = whole.output.length;
        expect(shown(after.push(...input.slice(cut)).output)).toEqual(
          shown(whole.push(...input.slice(cut)).output.slice(known)),
        );
      }),
      { numRuns: 300 },
    );
    expect(changed.migrate!({ fields: ['a', 'c'] }, from)).toBeUndefined();
    expect(changed.migrate!({ fields: ['b', 'a'] }, from)).toBeDefined();
  });

  test('compares with the record before, not with the last one that passed', () => {
    expect(pass({ fields: 'a' }, { a: 1 }, { a: 1, b: 2 }, { a: 2 }, { a: 1 }, { a: 1 })).toEqual([
      { a: 1 },
      { a: 2 },
      { a: 1 },
    ]);
  });

  test.each<[unknown, unknown]>([
    [1, '1'],
    [0, false],
    [null, undefined],
    [null, {}],
    [[], {}],
    [{}, []],
    [
      [1, 2],
      [2, 1],
    ],
    [[1], [1, 2]],
    [{ x: 1 }, { x: 2 }],
    [{ x: 1 }, { x: 1, y: 2 }],
    [{ x: 1, y: 2 }, { x: 1 }],
    [
      { x: undefined, y: 1 },
      { z: 1, y: 1 },
    ],
    [{ x: 1 }, JSON.parse('{"__proto__": 1}')],
    [new Date(1), new Date(2)],
    [new Date(1), {}],
    [{}, new Date(1)],
    [1, Number.NaN],
  ])('takes %j and %j for different', (a, b) => {
    expect(pass({ fields: 'a' }, { a }, b === undefined ? {} : { a: b }).length).toBe(2);
  });

  test.each<[unknown, unknown]>([
    [
      { x: 1, y: { z: [1, null] } },
      { y: { z: [1, null] }, x: 1 },
    ],
    [Number.NaN, Number.NaN],
    [0, -0],
    [new Date(5), new Date(5)],
    [null, null],
  ])('takes %j and %j for the same', (a, b) => {
    expect(pass({ fields: 'a' }, { a }, { a: b }).length).toBe(1);
  });

  test('watches any of several fields, nested ones too, and its own fields only', () => {
    const rows = [
      { a: 1, b: { c: 1 } },
      { a: 1, b: { c: 2 } },
      { a: 1, b: { c: 2, d: 1 } },
      { a: 2, b: { c: 2 } },
    ];
    expect(pass({ fields: ['a', 'b.c'] }, ...rows)).toEqual([rows[0], rows[1], rows[3]]);
    expect(pass({ fields: ['toString'] }, {}, { toString: 1 }, 'text').length).toBe(3);
  });

  test('keeps back the first record of each key with `first: false`', () => {
    const driver = new Driver(changed, { fields: 'a', first: false });
    driver.push(record({ a: 1 }, 0, 'x'), record({ a: 1 }, 0, 'y'), record({ a: 2 }, 0, 'y'), record({ a: 1 }, 0, 'x'));
    expect(driver.output.map((r) => [r.key, r.value])).toEqual([['y', { a: 2 }]]);
  });

  test('adds what was there before, leaving the record itself alone', () => {
    const first = Object.freeze({ a: 1, before: 'mine' });
    expect(pass({ fields: ['a', 'x.y'], previous: 'before' }, first, { x: { y: null } }, { a: 3 })).toEqual([
      { a: 1, before: null },
      { x: { y: null }, before: { a: 1 } },
      { a: 3, before: { 'x.y': null } },
    ]);
  });

  test('rejects what is not an object only when it has to add to it', () => {
    const rows = ['x', 1, null, [1]].map((value) => record(value));
    const driver = new Driver(changed, { fields: 'a', previous: 'was' }).push(...rows);
    expect([driver.rejectedCodes(), driver.keys]).toEqual([Array(4).fill('schema-violation'), 0]);
    expect(new Driver(changed, { fields: 'a' }).push(...rows).output.length).toBe(1);
  });

  test('needs event time for `forget` alone', () => {
    const timeless = [record({ a: 1 }, Number.NaN), record({ a: 2 }, Number.NaN)];
    expect(new Driver(changed, { fields: 'a' }).push(...timeless).output.length).toBe(2);
    const driver = new Driver(changed, { fields: 'a', forget: '1s' }).push(...timeless);
    expect([driver.rejectedCodes(), driver.keys]).toEqual([['time-invalid', 'time-invalid'], 0]);
  });

  test('remembers a key until the watermark is more than `forget` past its newest record, and holds nothing then', () => {
    const start = () => new Driver(changed, { fields: 'a', forget: '1s' }).push(record({ a: 1 }, 5_000));
    expect(
      start()
        .advanceTo(6_000)
        .push(record({ a: 1 }, 6_000)).output.length,
    ).toBe(1);
    expect(
      start()
        .advanceTo(6_001)
        .push(record({ a: 1 }, 6_001)).output.length,
    ).toBe(2);
    const driver = start()
      .push(record({ a: 1 }, 5_700), record({ a: 1 }, 5_600))
      .advanceTo(6_700);
    expect(driver.keys).toBe(1);
    expect(driver.advanceTo(6_701).keys).toBe(0);
  });

  test('forgets thousands of keys that have gone, and stores one small entry for a busy one', () => {
    const driver = new Driver(changed, { fields: 'a', forget: '1s' });
    for (let i = 0; i < 3_000; i++) driver.push(record({ a: 1, i }, i * 10, `k${i}`), record({ a: i }, i * 10, 'busy'));
    expect(driver.keys).toBe(102);
    const sizes = [...driver.checkpoint().store.entries('')].map(([, bytes]) => bytes.length);
    expect(Math.max(...sizes)).toBeLessThan(60);
    driver.end();
    expect(driver.keys).toBe(0);
  });

  test('goes on with keys kept before `forget` was set, or after it was taken away', () => {
    const kept = new Driver(changed, { fields: 'a' }).push(record({ a: 1 }, 5_000));
    const with1s = new Driver(changed, { fields: 'a', forget: '1s' }, { from: kept.checkpoint() });
    expect(with1s.push(record({ a: 1 }, 5_100)).output).toEqual([]);
    with1s.end();
    expect([with1s.output.length, with1s.keys]).toEqual([0, 0]);
    const timed = new Driver(changed, { fields: 'a', forget: '1s' }).push(record({ a: 1 }, 5_000));
    const without = new Driver(changed, { fields: 'a' }, { from: timed.checkpoint() }).advanceTo(1e6);
    expect([without.push(record({ a: 1 }, 1e6)).output.length, without.keys]).toEqual([0, 1]);
  });

  test('knows the type of what it adds, and checks its options', () => {
    const problems: unknown[] = [];
    const input = { type: 'object', properties: { a: { type: 'number' } }, required: ['a'] };
    const typed = (given: Parameters<NonNullable<typeof changed.type>>[0]) =>
      changed.type!(given, {
        input,
        expression: (path) => ({ type: 'number', title: path.join('.') }),
        problem: (path) => void problems.push(path.join('.')),
      });
    expect(typed({ fields: 'a', forget: '1s' })).toBe(input);
    expect(typed({ fields: ['a'], previous: 'was' })).toMatchObject({
      required: ['a', 'was'],
      properties: { was: { anyOf: [{ properties: { a: { title: 'fields.0' } }, required: [] }, { type: 'null' }] } },
    });
    expect(problems).toEqual([]);
    typed({ fields: 'a', previous: '__proto__' });
    for (const forget of ['0s', '500us', '1500us']) typed({ fields: 'a', forget });
    expect(problems).toEqual(['previous', 'forget', 'forget', 'forget']);
  });

  test('equals the definition, for any disorder, and forgets all keys that it may', () =>
    fc.assert(
      fc.property(arrivals, settings, (input, given) => {
        const driver = new Driver(changed, optionsOf(given), given).push(...input);
        expect(shown(driver.output)).toEqual(expected(input, given));
        expect(driver.rejected).toEqual([]);
        driver.end();
        expect(driver.keys).toBe(given.forget ? 0 : new Set(input.map((r) => r.key)).size);
      }),
      { numRuns: 2_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, settings, fc.nat(), (input, given, n) => {
        const cut = n % (input.length + 1);
        const before = new Driver(changed, optionsOf(given), given).push(...input.slice(0, cut));
        const after = new Driver(changed, optionsOf(given), { ...given, from: before.checkpoint() });
        const whole = new Driver(changed, optionsOf(given), given).push(...input);
        after.push(...input.slice(cut));
        expect(shown([...before.output, ...after.output])).toEqual(shown(whole.output));
        expect(after.keys).toBe(whole.keys);
      }),
      { numRuns: 1_000 },
    ));

  test('does not let keys touch each other', () =>
    fc.assert(
      fc.property(arrivals, (input) => {
        const run = (records: StreamRecord[]) =>
          new Driver(changed, { fields: ['a', 'b'] }).push(...records).output.map((r) => r.offset);
        const alone = ['a', 'b'].flatMap((key) => run(input.filter((r) => r.key === key)));
        expect(run(input)).toEqual(alone.sort((a, b) => a - b));
      }),
      { numRuns: 1_000 },
    ));
});
