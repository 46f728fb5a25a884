import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { recordId, StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const record = (time: number, value: unknown = { n: time }, key = 'g1', offset = 0) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');
const aggregate = { n: 'count' };
const tumbling = { tumbling: '10s', aggregate };
const session = { session: { gap: '10s' }, aggregate };
const bounds = (records: readonly StreamRecord[]) =>
  records.map((r) => [r.window!.start, r.window!.end, (r.value as { n: unknown }).n]);
/** Results of one window over these values, one ms apart. */
const folded = (wanted: object, values: readonly unknown[]) =>
  new Driver(window, { tumbling: '1d', aggregate: wanted })
    .push(...values.map((value, i) => record(i, value, 'g1', i)))
    .end()[0]?.value;

describe('window: when it is open', () => {
  test('takes a record one millisecond before the end, and one at the end into the next', () => {
    const driver = new Driver(window, tumbling).push(record(0), record(9_999), record(10_000));
    expect(bounds(driver.output)).toEqual([[0, 10_000, 2]]);
    expect(bounds(driver.end())).toEqual([
      [0, 10_000, 2],
      [10_000, 20_000, 1],
    ]);
  });

  test('stays open while end + lateness is after the watermark, and is closed when they are equal', () => {
    const options = { ...tumbling, lateness: '5s' };
    const open = new Driver(window, options).push(record(1), record(14_999), record(2));
    expect([open.output.length, open.rejectedCodes()]).toEqual([0, []]);
    const closed = new Driver(window, options).push(record(1), record(15_000), record(2));
    expect([bounds(closed.output), closed.rejectedCodes()]).toEqual([[[0, 10_000, 1]], ['late']]);
    expect(closed.rejected[0]!.message).toContain('1970-01-01T00:00:10.000Z');
  });

  test('waits for outOfOrder and lateness together', () => {
    const driver = new Driver(window, { ...tumbling, outOfOrder: '2s', lateness: '3s' }).push(record(1));
    expect(driver.advanceTo(14_999).output).toEqual([]);
    expect(driver.advanceTo(15_000).output.length).toBe(1);
  });

  test('takes a record into those of its windows that are open, and is late when none is', () => {
    const hopping = { hopping: { size: '20s', every: '10s' }, aggregate };
    const driver = new Driver(window, hopping).push(record(10_000), record(9_999), record(20_000), record(9_998));
    expect(driver.rejectedCodes()).toEqual(['late']);
    expect(bounds(driver.end())).toEqual([
      [0, 20_000, 2],
      [10_000, 30_000, 2],
      [20_000, 40_000, 1],
    ]);
  });

  test('closes when lateness has grown between two runs', () => {
    for (const options of [tumbling, session]) {
      const before = new Driver(window, options).push(record(0));
      const after = new Driver(window, { ...options, lateness: '5s' }, { from: before.checkpoint() });
      expect(after.advanceTo(14_999).output.length).toBe(0);
      expect(after.advanceTo(15_001).output.length).toBe(1);
      expect(after.keys).toBe(0);
    }
  });

  test('emits nothing for windows without a record', () => {
    expect(bounds(new Driver(window, tumbling).push(record(0), record(50_000)).end()).length).toBe(2);
  });

  test('holds nothing for a key whose windows have closed', () => {
    for (const options of [tumbling, session, { count: 2, aggregate }]) {
      const driver = new Driver(window, options).push(record(0), record(1), record(2, {}, 'b'));
      driver.end();
      expect(driver.keys).toBe(0);
    }
  });

  test('rejects a record without event time, whatever the kind', () => {
    for (const options of [tumbling, session, { count: 1, aggregate }])
      expect(new Driver(window, options).push(record(Number.NaN)).rejectedCodes()).toEqual(['time-invalid']);
  });
});

describe('window: where it lies', () => {
  test.each([
    ['10s', '0s', -1, -10_000],
    ['10s', '0s', 0, 0],
    ['10s', '3s', 2_999, -7_000],
    ['10s', '3s', 3_000, 3_000],
    ['10s', '13s', 3_000, 3_000],
    ['7d', '0s', Date.UTC(2026, 0, 1), Date.UTC(2026, 0, 1)],
  ])('tumbling %s with offset %s holds %d in the window from %d', (size, offset, time, start) => {
    const [result] = new Driver(window, { tumbling: size, offset, aggregate }).push(record(time)).end();
    expect(result!.window!.start).toBe(start);
  });

  test('overlapping windows begin at multiples of `every`, also when `size` is none of them', () => {
    const hopping = { hopping: { size: '25s', every: '10s' }, offset: '1s', aggregate };
    expect(bounds(new Driver(window, hopping).push(record(26_000)).end())).toEqual([
      [11_000, 36_000, 1],
      [21_000, 46_000, 1],
    ]);
    expect(bounds(new Driver(window, hopping).push(record(25_999)).end())[0]).toEqual([1_000, 26_000, 1]);
  });

  test('the result has the time end - 1 ms, so that a second window of the same size catches it', () => {
    for (const label of ['end', 'start', 'lastEvent']) {
      const [first] = new Driver(window, { ...tumbling, label }).push(record(7_000)).end();
      const [second] = new Driver(window, tumbling).push(first!).end();
      expect([first!.time, second!.window]).toMatchObject([9_999, { start: 0, end: 10_000, label: 10_000 }]);
    }
  });

  test('fed back as event time, the label `end` would move the result one window on', () => {
    const [first] = new Driver(window, tumbling).push(record(7_000)).end();
    const [second] = new Driver(window, tumbling).push(record(first!.window!.label)).end();
    expect(second!.window!.start).toBe(10_000);
  });

  test.each([
    [undefined, 10_000],
    ['end', 10_000],
    ['start', 0],
    ['lastEvent', 7_000],
  ])('label %s shows %d', (label, time) => {
    const [result] = new Driver(window, { ...tumbling, ...(label && { label }) }, { outOfOrderMs: 9_000 })
      .push(record(7_000), record(6_000))
      .end();
    expect(result!.window!.label).toBe(time);
  });

  test('windows that close at one watermark come by end, start, and first arrival of the key', () => {
    const driver = new Driver(window, { hopping: { size: '20s', every: '10s' }, aggregate }, { outOfOrderMs: 60_000 });
    driver.push(record(11_000, 0, 'b'), record(1_000, 0, 'c'), record(12_000, 0, 'a'));
    expect(driver.end().map((r) => `${r.window!.end / 1_000} ${r.key}`)).toEqual([
      '10 c',
      '20 b',
      '20 c',
      '20 a',
      '30 b',
      '30 a',
    ]);
  });
});

describe('window: sessions', () => {
  const driven = (options: object, ...times: number[]) =>
    new Driver(window, { ...session, ...options }, { outOfOrderMs: 100_000 }).push(...times.map((t) => record(t)));

  test('two records exactly a gap apart are one session; a millisecond more makes two', () => {
    expect(bounds(driven({}, 0, 10_000).end())).toEqual([[0, 20_000, 2]]);
    expect(bounds(driven({}, 10_000, 0).end())).toEqual([[0, 20_000, 2]]);
    expect(bounds(driven({}, 0, 10_001).end())).toEqual([
      [0, 10_000, 1],
      [10_001, 20_001, 1],
    ]);
  });

  test('a record between two sessions makes them one', () => {
    expect(bounds(driven({}, 0, 20_000, 10_000).end())).toEqual([[0, 30_000, 3]]);
    expect(bounds(driven({}, 0, 20_001, 10_000).end()).length).toBe(2);
  });

  test('another key at the time of the gap does not close a session that a record at that time still extends', () => {
    const driver = new Driver(window, session).push(record(0), record(10_000, {}, 'b'), record(10_000));
    expect(driver.output).toEqual([]);
    expect(bounds(driver.advanceTo(20_001).output)).toEqual([
      [10_000, 20_000, 1],
      [0, 20_000, 2],
    ]);
  });

  test('closes one millisecond after its end', () => {
    const driver = new Driver(window, { ...session, lateness: '5s' }).push(record(0));
    expect(driver.advanceTo(15_000).output.length).toBe(0);
    expect(driver.advanceTo(15_001).output.length).toBe(1);
  });

  test('one that has closed is not opened again: what belonged to it is late, what is new enough begins another', () => {
    const driver = new Driver(window, session).push(record(0), record(5_000), record(15_001, {}, 'b'));
    driver.push(record(5_000), record(5_001));
    expect(driver.rejectedCodes()).toEqual(['late']);
    expect(bounds(driver.end())).toEqual([
      [0, 15_000, 2],
      [5_001, 15_001, 1],
      [15_001, 25_001, 1],
    ]);
  });

  test('a record whose own window has closed still joins a session that is open, when it lies within it', () => {
    const driver = new Driver(window, session).push(record(0), record(10_000), record(20_000), record(5_000));
    expect(driver.rejectedCodes()).toEqual([]);
    expect(bounds(driver.end())).toContainEqual([0, 30_000, 4]);
  });

  test('but does not begin it: it could begin where a session did that has closed, and two results would have one name', () => {
    const driver = new Driver(window, session).push(record(0), record(11_000), record(10_000), record(0));
    expect(driver.rejectedCodes()).toEqual(['late']);
    expect(bounds(driver.end())).toEqual([
      [0, 10_000, 1],
      [10_000, 21_000, 2],
    ]);
  });

  test('a record begins an open session as long as its own window is open, up to the last ms', () => {
    for (const [ahead, codes] of [
      [20_000, []],
      [20_001, ['late']],
    ] as const) {
      const driver = new Driver(window, session).push(record(15_000), record(ahead), record(9_999 + 1));
      expect(driver.rejectedCodes()).toEqual(codes);
    }
  });

  test('is cut at multiples of `max` plus `offset`, in whatever order records come', () => {
    const cut = { session: { gap: '10s', max: '30s' }, offset: '5s' };
    const expected = [
      [20_000, 35_000, 2],
      [35_000, 47_000, 2],
    ];
    expect(bounds(driven(cut, 20_000, 28_000, 35_000, 37_000).end())).toEqual(expected);
    expect(bounds(driven(cut, 37_000, 28_000, 35_000, 20_000).end())).toEqual(expected);
    expect(bounds(driven(cut, 34_999, 35_000).end())[0]).toEqual([34_999, 35_000, 1]);
  });

  test('one that was cut closes at the cut', () => {
    const driver = new Driver(window, { session: { gap: '10s', max: '30s' }, aggregate }).push(record(29_000));
    expect(driver.advanceTo(29_999).output.length).toBe(0);
    expect(driver.advanceTo(30_000).output.length).toBe(1);
  });
});

describe('window: a number of records', () => {
  test('two that begin at one time have results with ids of their own, the same after a restart', () => {
    const two = { count: 1, aggregate: { n: { sum: 'n' } } };
    const ids = (driver: Driver) => driver.end().map((result) => recordId(result));
    const input = [0, 1, 2].map(
      (offset) => new StreamRecord({ n: offset }, 'a', 5_000, offset, undefined, undefined, undefined, 'in/0'),
    );
    const found = ids(new Driver(window, two).push(...input));
    expect(new Set(found).size).toBe(3);
    expect(ids(new Driver(window, two).push(...input))).toEqual(found);
    const parts = input.map(
      (record, n) => new StreamRecord(record.value, 'a', 5_000, 7, undefined, undefined, undefined, 'in/0', String(n)),
    );
    expect(new Set(ids(new Driver(window, two).push(...parts))).size).toBe(3);
  });

  test('closes with the n-th record of a key, by arrival; the end of the input closes the rest', () => {
    const driver = new Driver(window, { count: 2, aggregate });
    driver.push(record(5_000), record(9_000, {}, 'b'), record(1_000), record(3_000));
    expect(bounds(driver.output)).toEqual([[1_000, 5_001, 2]]);
    expect(bounds(driver.end()).slice(1)).toEqual([
      [3_000, 3_001, 1],
      [9_000, 9_001, 1],
    ]);
    expect(driver.rejected).toEqual([]);
  });
});

describe('window: aggregates', () => {
  test('count, first and last take whole records', () => {
    const values = [{ a: 1 }, null, 7];
    expect(folded({ n: 'count', first: 'first', last: 'last' }, values)).toEqual({ n: 3, first: { a: 1 }, last: 7 });
    expect(folded({ last: 'last' }, [{ a: 1 }, null])).toEqual({ last: null });
  });

  test('pass over missing and null fields, and give null where there was no value', () => {
    const all = ['first', 'last', 'min', 'max', 'sum', 'mean', 'count', 'variance', 'stddev'];
    const wanted = {
      ...Object.fromEntries(all.map((kind) => [kind, { [kind]: 'a.b' }])),
      list: { collect: { field: 'a.b', max: 3 } },
    };
    const nothing = Object.fromEntries(all.map((kind) => [kind, kind === 'count' ? 0 : null]));
    expect(folded(wanted, [{ a: { b: null } }, {}, null, 'a', { 'a.b': 1 }])).toEqual({ ...nothing, list: [] });
    expect(folded(wanted, [{ a: { b: null } }, { a: { b: 2 } }, { a: { b: 4 } }, {}])).toEqual({
      ...{
        first: 2,
        last: 4,
        min: 2,
        max: 4,
        sum: 6,
        mean: 3,
        count: 2,
        variance: 2,
        stddev: Math.SQRT2,
        list: [2, 4],
      },
    });
    expect(folded(wanted, [{ a: { b: 0 } }])).toEqual({
      ...{ first: 0, last: 0, min: 0, max: 0, sum: 0, mean: 0, count: 1, variance: null, stddev: null, list: [0] },
    });
  });

  test('first and last go by event time, then by place in the source; false counts as a value', () => {
    const driver = new Driver(
      window,
      { tumbling: '1d', aggregate: { f: { first: 'v' }, l: { last: 'v' } } },
      { outOfOrderMs: 1e9 },
    );
    const at = (time: number, v: unknown, origin: string, offset: number) =>
      new StreamRecord({ v }, 'g1', time, offset, undefined, undefined, undefined, origin);
    driver.push(
      at(5, 'x', 'in/1', 3),
      at(9, 'y', 'in/1', 1),
      at(9, false, 'in/1', 2),
      at(9, 'z', 'in/0', 9),
      at(5, 'first', 'in/0', 8),
    );
    expect(driver.end()[0]!.value).toEqual({ f: 'first', l: false });
    // Partitions have numbers: 10 comes after 9.
    for (const origins of [
      ['in/9', 'in/10'],
      ['in/10', 'in/9'],
    ]) {
      const met = new Driver(window, { tumbling: '1d', aggregate: { f: { first: 'v' }, l: { last: 'v' } } });
      expect(met.push(...origins.map((origin) => at(9, origin, origin, 1))).end()[0]!.value).toEqual({
        f: 'in/9',
        l: 'in/10',
      });
    }
  });

  test('collect keeps the newest by event time', () => {
    const driver = new Driver(
      window,
      { tumbling: '1d', aggregate: { c: { collect: { field: 'n', max: 2 } } } },
      { outOfOrderMs: 1e9 },
    );
    expect(driver.push(record(3), record(1), record(2)).end()[0]!.value).toEqual({ c: [2, 3] });
  });

  test('variance loses nothing where values are large and close together', () => {
    const values = [4, 7, 13, 16].map((n) => ({ n: 1e9 + n }));
    expect(folded({ v: { variance: 'n' } }, values)).toEqual({ v: 30 });
  });

  test.each([
    ['text', 'a string'],
    [true, 'a boolean'],
    [[1], 'a list'],
    [{}, 'an object'],
    [Number.NaN, 'not a finite number'],
    [Number.POSITIVE_INFINITY, 'not a finite number'],
  ])('rejects a record with %j where a number is needed, and no aggregate has seen it', (n, words) => {
    for (const kind of [tumbling, session, { count: 3 }]) {
      const driver = new Driver(window, { ...kind, aggregate: { all: 'count', n: { sum: 'n' } } });
      driver.push(record(1, { n: 1 }), record(2, { n }), record(3, { n: 2 }));
      expect(driver.rejected.map(({ code, message }) => [code, message])).toEqual([
        ['schema-violation', `\`n\` is ${words}; \`sum\` takes numbers. Convert or check it before the window.`],
      ]);
      expect(driver.end()[0]!.value).toEqual({ all: 2, n: 3 });
    }
  });

  test('a record that is late is late, whatever its value', () => {
    const driver = new Driver(window, { ...tumbling, aggregate: { n: { sum: 'n' } } });
    expect(driver.push(record(10_000), record(1, { n: 'x' })).rejectedCodes()).toEqual(['late']);
  });

  test('a refused record leaves no state behind', () => {
    const driver = new Driver(window, { ...session, aggregate: { n: { sum: 'n' } } }).push(record(1, { n: 'x' }));
    expect(driver.keys).toBe(0);
  });

  test('`keep` takes fields from the last record, and leaves out what it does not have', () => {
    const driver = new Driver(window, { ...tumbling, keep: ['site', 'unit'] }, { outOfOrderMs: 1e6 });
    driver.push(
      record(2, { site: 'b', unit: null }),
      record(1, { site: 'a', unit: 'l' }),
      record(3, { site: false, x: 1 }),
    );
    const [result] = driver.end();
    expect([result!.value, result!.key]).toEqual([{ site: false, n: 3 }, 'g1']);
  });

  test('of two records at one time, `keep` goes by place in the source; of two at one place, by arrival', () => {
    const at = (site: string, origin: string, offset: number) =>
      new StreamRecord({ site }, 'g1', 5, offset, undefined, undefined, undefined, origin);
    const kept = (...records: StreamRecord[]) => {
      const driver = new Driver(window, { ...tumbling, keep: ['site'] }).push(...records);
      return (driver.end()[0]!.value as { site: string }).site;
    };
    expect(kept(at('b', 'in/1', 1), at('a', 'in/0', 2))).toBe('b');
    expect(kept(at('b', 'in/0', 2), at('a', 'in/0', 1))).toBe('b');
    expect(kept(at('a', 'in/0', 1), at('b', 'in/0', 1))).toBe('b');
  });
});
