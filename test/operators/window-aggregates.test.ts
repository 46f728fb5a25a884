import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Aggregates } from '../../operators/window/aggregates.ts';
import { window } from '../../operators/window/index.ts';
import { decode, encode } from '../../src/engine/codec.ts';
import { type Aggregate, defineAggregate } from '../../src/operator.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const at = (n: unknown, time: number, origin = 'in/0', offset = time) =>
  new StreamRecord({ n }, 'g1', time, offset, undefined, undefined, undefined, origin);
/** Results over these values, one ms apart. */
const folded = (wanted: object, values: readonly unknown[]) =>
  new Driver(window, { tumbling: '1d', aggregate: wanted }).push(...values.map((n, i) => at(n, i))).end()[0]?.value;
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

const spread = defineAggregate({
  create: () => ({ low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY }),
  add: ({ low, high }, { n }: { n: number }) => ({ low: Math.min(low, n), high: Math.max(high, n) }),
  merge: (a, b) => ({ low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) }),
  result: ({ low, high }) => high - low,
});

describe('window: medians and percentiles', () => {
  test('are the middle value, or between two by linear interpolation', () => {
    const of = (p: number, values: readonly number[]) =>
      (folded({ x: { percentile: { field: 'n', p } } }, values) as { x: number }).x;
    expect(folded({ x: { median: 'n' } }, [9, 1, 5])).toEqual({ x: 5 });
    expect(folded({ x: { median: 'n' } }, [9, 1, 5, 2])).toEqual({ x: 3.5 });
    expect(folded({ x: { median: 'n' } }, [1.7e308, 1.7e308])).toEqual({ x: 1.7e308 });
    expect(folded({ x: { median: 'n' } }, [null])).toEqual({ x: null });
    expect([of(0, [3, 1, 2]), of(100, [3, 1, 2]), of(25, [10, 20]), of(99, [7])]).toEqual([1, 3, 12.5, 7]);
  });

  test('are exact for 1,000 values; with one more, within 1 %', () => {
    const few = range(1_000).map((n) => n * 1.5);
    expect(folded({ x: { median: 'n' } }, few)).toEqual({ x: 749.25 });
    const { x } = folded({ x: { median: 'n' } }, [...few, 1_500]) as { x: number };
    expect(x).not.toBe(750);
    expect(Math.abs(x - 750)).toBeLessThan(7.5);
  });

  test('of many values are within 1 % of the value of their rank, whatever the values', () => {
    const value = fc.oneof(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), fc.constantFrom(0, 1, -1, 1e-9, 1e300));
    fc.assert(
      fc.property(fc.array(value, { minLength: 20, maxLength: 60 }), fc.integer({ min: 0, max: 100 }), (few, p) => {
        const values = range(60).flatMap((i) => few.map((n) => n * (1 + i / 100)));
        const { x } = folded({ x: { percentile: { field: 'n', p } } }, values) as { x: number };
        const wanted = values.toSorted((a, b) => a - b)[Math.floor((p / 100) * (values.length - 1))]!;
        expect(Math.abs(x - wanted)).toBeLessThanOrEqual(Math.max(Math.abs(wanted) * 0.010_001, 1e-12));
      }),
      { numRuns: 50 },
    );
  });
});

describe('window: how many different values', () => {
  test('differ by type and value; null and missing are no values; 0 and -0 are one', () => {
    const values = [1, '1', true, 'true', 1, null, 0, -0, ''];
    expect(folded({ x: { countDistinct: 'n' } }, values)).toEqual({ x: 6 });
  });

  test('is exact for 1,000 of them', () => {
    expect(folded({ x: { countDistinct: 'n' } }, [...range(1_000), ...range(1_000)])).toEqual({ x: 1_000 });
  });

  test.each<[number, (i: number) => unknown]>([
    [1_001, (i: number) => i],
    [5_000, (i: number) => `device-${i}`],
    [12_000, (i: number) => `${i * 7919}/sensor`],
    [100_000, (i: number) => i / 3],
  ])('is within 5 % of %d', (count, make) => {
    const { x } = folded({ x: { countDistinct: 'n' } }, range(count).map(make)) as { x: number };
    expect(Math.abs(x - count) / count).toBeLessThan(0.05);
  });

  test('refuses a list or an object, and no aggregate has then seen the record', () => {
    const driver = new Driver(window, { tumbling: '1d', aggregate: { all: 'count', x: { countDistinct: 'n' } } });
    driver.push(at([1], 0), at(1, 1));
    expect(driver.rejected[0]!.message).toBe(
      '`n` is a list; `countDistinct` takes texts, numbers and booleans. Convert or check it before the window.',
    );
    expect(driver.end()[0]!.value).toEqual({ all: 1, x: 1 });
  });
});

describe('window: the largest numbers', () => {
  test('come largest first, equal ones as often as they came, and no more than k', () => {
    expect(folded({ x: { topK: { field: 'n', k: 3 } } }, [1, 5, 3, 5, 2])).toEqual({ x: [5, 5, 3] });
    expect(folded({ x: { topK: { field: 'n', k: 3 } } }, [1, null])).toEqual({ x: [1] });
  });
});

describe('window: aggregates of your own', () => {
  test('take records, are merged where sessions become one, and survive a checkpoint', () => {
    const options = { session: { gap: '10ms' }, aggregate: { spread: { own: spread } } };
    const before = new Driver(window, options, { outOfOrderMs: 1_000 }).push(at(3, 0), at(9, 20));
    const after = new Driver(window, options, { outOfOrderMs: 1_000, from: before.checkpoint() }).push(at(5, 10));
    expect(after.end().map(({ value }) => value)).toEqual([{ spread: 6 }]);
  });

  test('one that throws rejects its record, and no other aggregate has seen it', () => {
    const fussy: Aggregate<number, { n: number }, number> = {
      ...{ create: () => 0, merge: (a, b) => a + b, result: (n) => n },
      add(state, { n }) {
        if (n === 13) throw new Error('not this one');
        return state + n;
      },
    };
    const driver = new Driver(window, { tumbling: '1d', aggregate: { all: 'count', x: { own: fussy } } });
    driver.push(at(13, 0), at(1, 1), at(13, 2), at(2, 3));
    expect(driver.rejectedCodes()).toEqual(['step-failed', 'step-failed']);
    expect(driver.end()[0]!.value).toEqual({ all: 2, x: 3 });
  });

  test.each([
    ['nothing', () => undefined],
    ['a promise', async () => 1],
  ])('one whose `add` gives %s rejects its record, and says so', (what, add) => {
    const own = { create: () => 0, add, merge: (a: unknown) => a, result: (state: unknown) => state };
    const driver = new Driver(window, { tumbling: '1d', aggregate: { x: { own } } }).push(at(1, 0));
    expect(driver.rejected[0]!.message).toContain(
      `\`add\` of the aggregate \`x\` gave ${what}; expected the next state.`,
    );
  });
});

const every = {
  count: 'count',
  values: { count: 'n' },
  first: { first: 'n' },
  last: { last: 'n' },
  min: { min: 'n' },
  max: { max: 'n' },
  sum: { sum: 'n' },
  mean: { mean: 'n' },
  variance: { variance: 'n' },
  collect: { collect: { field: 'n', max: 3 } },
  top: { topK: { field: 'n', k: 3 } },
  median: { median: 'n' },
  percentile: { percentile: { field: 'n', p: 90 } },
  kinds: { countDistinct: 'n' },
  own: { own: spread },
} as const;
const aggregates = new Aggregates(every as never);
type Parts = ReturnType<Aggregates['begin']>;
const of = (records: readonly StreamRecord[]): Parts => {
  const parts = aggregates.begin();
  for (const record of records) aggregates.add(parts, record);
  return parts;
};
const shown = (parts: Parts) => {
  const into: Record<string, unknown> = {};
  aggregates.result(parts, into);
  const { variance } = into;
  return { ...into, variance: typeof variance === 'number' ? Number(variance.toPrecision(9)) : variance };
};
// Sums of these are exact, so that what is grouped otherwise comes to the same; enough of them make sketches.
const numbers = fc.oneof(
  { weight: 4, arbitrary: fc.array(fc.option(fc.integer({ min: -50, max: 50 }), { freq: 9 }), { maxLength: 12 }) },
  fc.integer({ min: 900, max: 1_100 }).map((length) => Array.from({ length }, (_, i) => ((i * 7919) % 4_001) - 2_000)),
);
const three = fc.tuple(numbers, numbers, numbers).map((parts) => {
  let time = 0;
  return parts.map((part) => part.map((n) => at(n, time++, `in/${time % 3}`)));
});

describe('window: the laws of aggregates', () => {
  test('however a window is cut into parts, putting them together comes to the same', () =>
    fc.assert(
      fc.property(three, ([a, b, c]) => {
        const whole = shown(of([...a!, ...b!, ...c!]));
        expect(shown(aggregates.merge(aggregates.merge(of(a!), of(b!)), of(c!)))).toEqual(whole);
        expect(shown(aggregates.merge(of(a!), aggregates.merge(of(b!), of(c!))))).toEqual(whole);
        const more = aggregates.merge(of(a!), of(b!));
        for (const record of c!) aggregates.add(more, record);
        expect(shown(more)).toEqual(whole);
      }),
      { numRuns: 200 },
    ));

  test('nothing merged to it changes nothing', () =>
    fc.assert(
      fc.property(three, ([a]) => {
        expect(shown(aggregates.merge(aggregates.begin(), of(a!)))).toEqual(shown(of(a!)));
        expect(shown(aggregates.merge(of(a!), aggregates.begin()))).toEqual(shown(of(a!)));
      }),
      { numRuns: 100 },
    ));

  test('merging leaves both parts as they are', () =>
    fc.assert(
      fc.property(three, ([a, b, c]) => {
        const [one, other] = [of(a!), of(b!)];
        const before = structuredClone([one, other]);
        const merged = aggregates.merge(one, other);
        for (const record of c!) aggregates.add(merged, record);
        expect([one, other]).toEqual(before);
      }),
      { numRuns: 100 },
    ));

  test('the state comes through the bytes of a checkpoint, and takes records after that', () =>
    fc.assert(
      fc.property(three, ([a, b, c]) => {
        const parts = decode('x', encode('x', of(a!))) as Parts;
        for (const record of b!) aggregates.add(parts, record);
        const restored = decode('x', encode('x', of(c!))) as Parts;
        expect(shown(aggregates.merge(parts, restored))).toEqual(shown(of([...a!, ...b!, ...c!])));
      }),
      { numRuns: 100 },
    ));
});

describe('window: records of several partitions', () => {
  const double = fc.double({ noNaN: true, min: -1e6, max: 1e6 });
  const partitions = fc
    .array(fc.array(fc.tuple(double, fc.nat(5)), { maxLength: 8 }), { minLength: 1, maxLength: 3 })
    .map((all) => all.map((events, p) => events.map(([n, time], i) => at(n, time * 10, `in/${p}`, i))));
  /** Each partition in its own order, and among each other in the order of these draws. */
  const interleaved = (all: readonly StreamRecord[][], draws: readonly number[]) => {
    const left = all.map((records) => [...records]);
    const out: StreamRecord[] = [];
    for (let i = 0; left.some((records) => records.length > 0); i++) {
      const open = left.filter((records) => records.length > 0);
      out.push(open[(draws[i] ?? 0) % open.length]!.shift()!);
    }
    return out;
  };
  const { own, ...wanted } = every;

  test('come to the same to the last bit, however the partitions interleave', () =>
    fc.assert(
      fc.property(partitions, fc.array(fc.nat(5)), fc.array(fc.nat(5)), (all, one, other) => {
        for (const options of [{ tumbling: '1d' }, { hopping: { size: '20ms', every: '10ms' } }]) {
          const run = (draws: readonly number[]) =>
            new Driver(window, { ...options, aggregate: wanted, keep: ['n'] }, { outOfOrderMs: 1e9 })
              .push(...interleaved(all, draws))
              .end()
              .map(({ window: found, value }) => [found!.start, value]);
          expect(run(one)).toEqual(run(other));
        }
      }),
      { numRuns: 500 },
    ));

  test('sums are added up in order of arrival in each partition, then partition by partition', () => {
    const records = [at(0.1, 1, 'in/1', 0), at(1e16, 1, 'in/0', 0), at(0.2, 1, 'in/1', 1), at(-1e16, 1, 'in/0', 1)];
    const driver = new Driver(window, { tumbling: '1d', aggregate: { sum: { sum: 'n' } } }).push(...records);
    expect(driver.end()[0]!.value).toEqual({ sum: 0.1 + 0.2 });
    const other = records.map(({ value, time, offset }) => at((value as { n: number }).n, time, 'in/0', offset));
    const mixed = new Driver(window, { tumbling: '1d', aggregate: { sum: { sum: 'n' } } }).push(...other);
    expect(mixed.end()[0]!.value).toEqual({ sum: 0.1 + 1e16 + 0.2 - 1e16 });
    // 1 is lost in 1e16 when it is added first, and not when the large ones have come to 0 before.
    const three = [at(-1e16, 1, 'in/10'), at(1e16, 1, 'in/9'), at(1, 1, 'in/0')];
    const ordered = new Driver(window, { tumbling: '1d', aggregate: { sum: { sum: 'n' } } }).push(...three);
    expect(ordered.end()[0]!.value).toEqual({ sum: 0 });
  });
});

describe('window: lists where sessions become one', () => {
  const options = { session: { gap: '10ms' }, aggregate: { c: { collect: { field: 'n', max: 3 } } } };
  const driven = (...times: number[]) =>
    new Driver(window, options, { outOfOrderMs: 1_000 }).push(...times.map((time) => at(time, time))).end()[0]!.value;

  test('hold the newest of both together, though the older session had as many of its own', () => {
    expect(driven(0, 1, 2, 3, 20, 21, 11)).toEqual({ c: [11, 20, 21] });
    expect(driven(20, 21, 22, 23, 0, 1, 11)).toEqual({ c: [21, 22, 23] });
    expect(driven(20, 0, 1, 2, 11)).toEqual({ c: [2, 11, 20] });
  });
});
