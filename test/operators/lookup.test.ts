import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lookup } from '../../operators/lookup/index.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { recordId } from '../../src/record.ts';
import { Driver, StreamRecord } from '../../src/testing.ts';

const definition = lookup as unknown as StepDefinition;

interface Event {
  readonly side: 'record' | 'row';
  readonly key: string;
  readonly time: number;
  readonly n: number;
  readonly removes: boolean;
}
interface Settings {
  readonly keepFor: number;
  readonly type: 'left' | 'inner';
  readonly outOfOrderMs: number;
}
const recordOf = ({ side, key, time, n, removes }: Event) =>
  new StreamRecord(
    side === 'record' ? { n } : removes ? null : n,
    key,
    time,
    n,
    undefined,
    undefined,
    undefined,
    `${side}/0`,
  );
const driverOf = ({ keepFor, type, outOfOrderMs }: Settings, more: object = {}) =>
  new Driver(definition, { table: 't', as: 'row', keepFor: `${keepFor}ms`, type, ...more }, { outOfOrderMs, ...more });
function push(driver: Driver, events: readonly Event[]): Driver {
  for (const one of events) {
    if (one.side === 'record') driver.push(recordOf(one));
    else driver.pushInput('t', recordOf(one));
  }
  return driver;
}
const shown = (records: readonly StreamRecord[]) =>
  records.map((r) => `${recordId(r)} ${r.time} ${String(r.key)} ${JSON.stringify(r.value)}`);
const settings: fc.Arbitrary<Settings> = fc.record({
  keepFor: fc.constantFrom(0, 0, 1, 5),
  type: fc.constantFrom('left', 'inner'),
  outOfOrderMs: fc.integer({ min: 0, max: 6 }),
});
const arrivals = fc
  .array(
    fc.record({
      side: fc.constantFrom('record' as const, 'row' as const),
      key: fc.constantFrom('a', 'b'),
      step: fc.integer({ min: -5, max: 4 }),
      removes: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
      place: fc.nat(30),
    }),
    { maxLength: 24 },
  )
  .map((list) => {
    let time = 100;
    // Rows of one time do not arrive in the order of their places: partitions may interleave in any way.
    return list.map(({ step, place, ...rest }, n): Event => {
      time += step;
      return { ...rest, time, n: place * 100 + n };
    });
  });
const event = (side: Event['side'], time: number, n: number, more: Partial<Event> = {}): Event => ({
  side,
  key: 'k',
  time,
  n,
  removes: false,
  ...more,
});
const plain = { keepFor: 0, type: 'left', outOfOrderMs: 0 } as const;
const isLate = ({ side, time }: Event, watermark: number, { keepFor }: Settings) =>
  time + (side === 'record' ? keepFor : 0) < watermark;

describe('lookup', () => {
  test('gives each record the newest row of its time or before, whatever the disorder of both, as soon as it is certain', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        const driver = driverOf(given);
        const taken: Event[] = [];
        const late: Event[] = [];
        const expected = (watermark: number) =>
          taken
            .filter(({ side, time }) => side === 'record' && time < watermark)
            .flatMap((record) => {
              const rows = taken.filter(
                (one) => one.side === 'row' && one.key === record.key && one.time <= record.time,
              );
              const row = rows.sort((a, b) => a.time - b.time || a.n - b.n).at(-1);
              const found = row === undefined || row.removes ? null : row.n;
              if (found === null && given.type === 'inner') return [];
              const value = JSON.stringify({ n: record.n, row: found });
              return [`record/0/${record.n} ${record.time} ${record.key} ${value}`];
            })
            .sort();
        for (const one of events) {
          const [before, done] = [driver.watermark, driver.output.length];
          (isLate(one, before, given) ? late : taken).push(one);
          push(driver, [one]);
          expect(shown(driver.output).sort()).toEqual(expected(driver.watermark));
          for (const { time } of driver.output.slice(done)) expect(time + given.keepFor).toBeGreaterThanOrEqual(before);
        }
        expect(driver.rejected.map(({ code, record }) => [code, record.offset])).toEqual(
          late.map(({ n }) => ['late', n]),
        );
        expect(shown(driver.end()).sort()).toEqual(expected(Number.POSITIVE_INFINITY));
      }),
      { numRuns: 1_500 },
    ));

  test('records of a key that are not behind the watermark come out in order of event time', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        const output = push(driverOf({ ...given, keepFor: 0 }), events).end();
        for (const key of ['a', 'b']) {
          const times = output.filter((one) => one.key === key).map(({ time }) => time);
          expect(times).toEqual(times.toSorted((a, b) => a - b));
        }
      }),
      { numRuns: 300 },
    ));

  test('keeps one row of a key in the end, and none that was removed', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        const driver = push(driverOf(given), events);
        const late = new Set(driver.rejected.map(({ record }) => record.offset));
        const rows = events.filter(({ side, n }) => side === 'row' && !late.has(n));
        const last = (key: string) =>
          rows
            .filter((row) => row.key === key)
            .sort((a, b) => a.time - b.time || a.n - b.n)
            .at(-1);
        driver.advanceTo(Math.max(driver.watermark, ...events.map(({ time }) => time)) + given.keepFor + 1);
        const kept = ['a', 'b'].flatMap((key) => last(key) ?? []).filter(({ removes }) => !removes);
        expect(driver.keys).toBe(kept.length);
        const bytes = [...driver.checkpoint().store.entries('')].map(([, value]) => value.length);
        for (const length of bytes) expect(length).toBeLessThan(120);
      }),
      { numRuns: 500 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, settings, fc.nat(), fc.boolean(), (events, given, n, latest) => {
        const cut = n % (events.length + 1);
        const more = latest ? { asOf: 'latest' } : {};
        const before = push(driverOf(given, more), events.slice(0, cut));
        const after = push(driverOf(given, { ...more, from: before.checkpoint() }), events.slice(cut));
        const whole = push(driverOf(given, more), events);
        expect([...shown(before.output), ...shown(after.end())]).toEqual(shown(whole.end()));
      }),
      { numRuns: 500 },
    ));

  test.each([
    ['a row of the same time counts', 100, 100, 1],
    ['a row one ms later does not', 101, 100, null],
  ])('%s', (_, row, record, found) => {
    const wide = { ...plain, outOfOrderMs: 1_000 };
    for (const events of [
      [event('row', row, 1), event('record', record, 2)],
      [event('record', record, 2), event('row', row, 1)],
    ])
      expect(push(driverOf(wide), events).end()).toMatchObject([{ value: { n: 2, row: found } }]);
  });

  test('a record waits until the watermark has passed its time by a ms', () => {
    const driver = push(driverOf({ ...plain, outOfOrderMs: 1_000 }), [event('record', 100, 1)]);
    expect(driver.advanceTo(100).output).toEqual([]);
    expect(driver.advanceTo(101).output).toHaveLength(1);
  });

  test('a record `keepFor` behind the watermark is answered at once, and a ms more is late; a row may not be behind at all', () => {
    const start = () => push(driverOf({ ...plain, keepFor: 5 }), [event('row', 90, 1), event('row', 100, 2)]);
    expect(push(start(), [event('record', 95, 3)]).output).toMatchObject([{ value: { n: 3, row: 1 } }]);
    expect(push(start(), [event('record', 94, 3)]).rejectedCodes()).toEqual(['late']);
    expect(push(start(), [event('row', 100, 3)]).rejected).toEqual([]);
    expect(push(start(), [event('row', 99, 3)]).rejectedCodes()).toEqual(['late']);
  });

  test('a row that has been replaced is known for `keepFor`, also when rows have been swept meanwhile', () => {
    const driver = push(
      driverOf({ ...plain, keepFor: 10 }),
      [100, 105, 112, 116].map((time, n) => event('row', time, n)),
    );
    expect(push(driver, [event('record', 106, 9)]).output).toMatchObject([{ value: { row: 1 } }]);
  });

  test('of two rows at the watermark the one further on in its source counts, also when it removes and came first', () => {
    const rows = [event('row', 100, 7, { removes: true }), event('row', 100, 3)];
    for (const events of [rows, rows.toReversed()])
      expect(push(driverOf(plain).advanceTo(100), [...events, event('record', 100, 9)]).end()).toMatchObject([
        { value: { row: null } },
      ]);
  });

  test('`latest` answers at once with the row that arrived last, needs no time and says that a replay may differ', () => {
    const driver = new Driver(definition, { table: 't', as: 'row', asOf: 'latest' });
    const at = (value: unknown, time = Number.NaN) => new StreamRecord(value, 'k', time);
    driver
      .push(at({ n: 1 }))
      .pushInput('t', at('new', 200), at('old', 100))
      .push(at({ n: 2 }));
    driver.pushInput('t', at(null)).push(at({ n: 3 }));
    expect(driver.output.map(({ value }) => value)).toEqual([
      { n: 1, row: null },
      { n: 2, row: 'old' },
      { n: 3, row: null },
    ]);
    expect([driver.rejected, driver.keys]).toEqual([[], 0]);
    expect(lookup.notReplayable!({ table: 't', as: 'row', asOf: 'latest' })).toMatch(/interleave/);
    expect(lookup.notReplayable!({ table: 't', as: 'row' })).toBeUndefined();
  });

  test('rejects what has no time, a record that is no object, and one more than `maxPerKey` of each', () => {
    const driver = driverOf({ ...plain, outOfOrderMs: 1_000 }, { maxPerKey: 2 });
    driver.push(new StreamRecord(7, 'k', 100), new StreamRecord({}, 'k')).pushInput('t', new StreamRecord({}, 'k'));
    expect(driver.rejectedCodes()).toEqual(['schema-violation', 'time-invalid', 'time-invalid']);
    for (let n = 0; n < 3; n++) push(driver, [event('record', 100, n), event('row', 100, 10 + n)]);
    expect(driver.rejectedCodes().slice(3)).toEqual(['buffer-full', 'buffer-full']);
    expect(driver.end()).toMatchObject([{ value: { n: 0, row: 11 } }, { value: { n: 1, row: 11 } }]);
  });
});
