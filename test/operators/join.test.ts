import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { join } from '../../operators/join/index.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { recordId } from '../../src/record.ts';
import { Driver, StreamRecord } from '../../src/testing.ts';

const definition = join as unknown as StepDefinition;

interface Event {
  readonly side: 'left' | 'right';
  readonly key: string;
  readonly time: number;
  readonly n: number;
}
interface Settings {
  readonly within: number;
  readonly lateness: number;
  readonly type: 'inner' | 'left' | 'outer';
  readonly outOfOrderMs: number;
}
const event = (side: Event['side'], time: number, n = 0, key = 'k'): Event => ({ side, key, time, n });
const recordOf = ({ side, key, time, n }: Event) =>
  new StreamRecord(side === 'left' ? { n } : n, key, time, n, undefined, undefined, undefined, `${side}/0`);
const optionsOf = ({ within, lateness, type }: Settings) => ({
  with: 'others',
  as: 'other',
  within: `${within}ms`,
  lateness: `${lateness}ms`,
  type,
});
const driverOf = (given: Settings, more: object = {}) =>
  new Driver(definition, optionsOf(given), { id: 'j', outOfOrderMs: given.outOfOrderMs, ...more });
function push(driver: Driver, events: readonly Event[]): Driver {
  for (const one of events) {
    if (one.side === 'left') driver.push(recordOf(one));
    else driver.pushInput('others', recordOf(one));
  }
  return driver;
}
const shown = (records: readonly StreamRecord[]) =>
  records.map((r) => `${recordId(r)} ${r.time} ${String(r.key)} ${JSON.stringify(r.value)}`);
const plain = { within: 10, lateness: 0, type: 'inner', outOfOrderMs: 0 } as const;

/** The definition in the simplest words: every record against every other, and a list of those that are late. */
class Model {
  watermark = Number.NEGATIVE_INFINITY;
  readonly results: string[] = [];
  readonly late: Event[] = [];
  readonly #given: Settings;
  readonly #taken: { event: Event; matched: boolean; told: boolean }[] = [];
  constructor(given: Settings) {
    this.#given = given;
  }
  push(one: Event): void {
    const { within, lateness, outOfOrderMs } = this.#given;
    if (one.time + lateness < this.watermark) this.late.push(one);
    else {
      const mine = { event: one, matched: false, told: false };
      for (const other of this.#taken) {
        const near = Math.abs(other.event.time - one.time) <= within;
        if (other.event.side === one.side || other.event.key !== one.key || !near) continue;
        mine.matched = other.matched = true;
        const [left, right] = one.side === 'left' ? [one, other.event] : [other.event, one];
        const time = Math.max(left.time, right.time);
        this.results.push(
          `left/0/${left.n}#j:right/0/${right.n} ${time} ${one.key} ${JSON.stringify({ n: left.n, other: right.n })}`,
        );
      }
      this.#taken.push(mine);
    }
    this.moveTo(one.time - outOfOrderMs);
  }
  moveTo(watermark: number): void {
    const { within, lateness, type } = this.#given;
    this.watermark = Math.max(this.watermark, watermark);
    for (const one of this.#taken) {
      const { side, time, key, n } = one.event;
      if (one.matched || one.told || time + within + lateness >= this.watermark) continue;
      one.told = true;
      if (type === 'outer' || (type === 'left' && side === 'left')) {
        const value = side === 'left' ? { n, other: null } : { other: n };
        this.results.push(`${side}/0/${n}#j:${side} ${time + within} ${key} ${JSON.stringify(value)}`);
      }
    }
  }
}

// Times close together, so that distances of exactly `within`, and records exactly at the watermark, are common.
const settings: fc.Arbitrary<Settings> = fc.record({
  within: fc.integer({ min: 0, max: 5 }),
  lateness: fc.constantFrom(0, 0, 1, 4),
  type: fc.constantFrom('inner', 'left', 'outer'),
  outOfOrderMs: fc.integer({ min: 0, max: 6 }),
});
const arrivals = fc
  .array(
    fc.record({
      side: fc.constantFrom('left' as const, 'right' as const),
      key: fc.constantFrom('a', 'b'),
      step: fc.integer({ min: -5, max: 4 }),
    }),
    { maxLength: 24 },
  )
  .map((list) => {
    let time = 100;
    return list.map(({ side, key, step }, n): Event => {
      time += step;
      return { side, key, time, n };
    });
  });
const sorted = (list: readonly string[]) => [...list].sort();

describe('join', () => {
  test('gives the same as comparing all with all, after every single record, for any disorder of both sides', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        const driver = driverOf(given);
        const model = new Model(given);
        for (const one of events) {
          const [before, done] = [driver.watermark, driver.output.length];
          push(driver, [one]);
          model.push(one);
          expect(sorted(shown(driver.output))).toEqual(sorted(model.results));
          // What comes out is on time for a step behind it, whose watermark has not moved yet.
          for (const { time } of driver.output.slice(done))
            expect(time + given.lateness).toBeGreaterThanOrEqual(before);
        }
        expect(driver.rejected.map(({ code, record }) => [code, record.origin, record.offset])).toEqual(
          model.late.map(({ side, n }) => ['late', `${side}/0`, n]),
        );
        driver.end();
        model.moveTo(Number.POSITIVE_INFINITY);
        expect(sorted(shown(driver.output))).toEqual(sorted(model.results));
        expect(new Set(driver.output.map(recordId)).size).toBe(driver.output.length);
      }),
      { numRuns: 1_500 },
    ));

  test('forgets a key in the very moment in which nothing can match it any more', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        const driver = push(driverOf(given), events);
        const late = new Set(driver.rejected.map(({ record }) => record.offset));
        const span = given.within + given.lateness;
        const taken = events.filter(({ n }) => !late.has(n));
        const last = Math.max(...taken.map(({ time }) => time + span), 0);
        if (taken.length > 0 && last > driver.watermark) expect(driver.advanceTo(last).keys).toBeGreaterThan(0);
        expect(driver.advanceTo(last + 1).keys).toBe(0);
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, settings, fc.nat(), (events, given, n) => {
        const cut = n % (events.length + 1);
        const before = push(driverOf(given), events.slice(0, cut));
        const after = push(driverOf(given, { from: before.checkpoint() }), events.slice(cut));
        const whole = push(driverOf(given), events);
        for (const driver of [after, whole]) driver.end();
        expect([...shown(before.output), ...shown(after.output)]).toEqual(shown(whole.output));
      }),
      { numRuns: 1_000 },
    ));

  test('does not let keys touch each other', () =>
    fc.assert(
      fc.property(arrivals, settings, (events, given) => {
        // Event time is that of the whole task: nothing is late here, so that a key alone sees the same.
        const run = (list: readonly Event[]) => shown(push(driverOf({ ...given, outOfOrderMs: 1_000 }), list).end());
        const alone = ['a', 'b'].flatMap((key) => run(events.filter((one) => one.key === key)));
        expect(sorted(run(events))).toEqual(sorted(alone));
      }),
      { numRuns: 500 },
    ));

  test.each([
    [100, 110, 1],
    [100, 111, 0],
    [110, 100, 1],
    [111, 100, 0],
  ])('a left record at %i and a right one at %i, 10 apart at most, give %i pairs', (left, right, pairs) => {
    const wide = { ...plain, outOfOrderMs: 1_000 };
    expect(push(driverOf(wide), [event('left', left), event('right', right)]).end()).toHaveLength(pairs);
    expect(push(driverOf(wide), [event('right', right), event('left', left)]).end()).toHaveLength(pairs);
  });

  test.each(['left', 'right'] as const)(
    'a %s record at the watermark is on time, and a millisecond before it late',
    (side) => {
      const start = () => driverOf({ ...plain, lateness: 5 }).advanceTo(105);
      expect(push(start(), [event(side, 100)]).rejected).toEqual([]);
      expect(push(start(), [event(side, 99)]).rejectedCodes()).toEqual(['late']);
    },
  );

  test('the lack of a partner is told one ms after a partner could have come, and not before', () => {
    const driver = push(driverOf({ ...plain, type: 'left', lateness: 5 }), [event('left', 100)]);
    expect(driver.advanceTo(115).output).toEqual([]);
    expect(driver.advanceTo(116).output).toMatchObject([{ time: 110, value: { n: 0, other: null } }]);
  });

  test('several partners come in order of event time, ties by place in the source', () => {
    const events = [event('right', 103, 3), event('right', 101, 2), event('right', 103, 1), event('left', 102, 9)];
    const driver = push(driverOf({ ...plain, outOfOrderMs: 100 }), events);
    expect(driver.output.map(({ value }) => (value as { other: number }).other)).toEqual([2, 1, 3]);
  });

  test('keeps headers, place and window of the left record, whichever came last', () => {
    const window = { step: 'w', start: 0, end: 100, label: 100, pane: 'final' as const, seq: 0 };
    const left = new StreamRecord({ n: 1 }, 'k', 100, 7, { topic: 'l' }, window, 3, 'in/0');
    const right = new StreamRecord(5, 'k', 101, 8, { topic: 'r' }, undefined, undefined, 'in/1', '2');
    for (const leftFirst of [true, false]) {
      const driver = driverOf({ ...plain, outOfOrderMs: 100 });
      if (leftFirst) driver.push(left).pushInput('others', right);
      else driver.pushInput('others', right).push(left);
      expect(driver.output).toMatchObject([
        { offset: 7, meta: { topic: 'l' }, window, partition: 3, origin: 'in/0', time: 101 },
      ]);
      expect(recordId(driver.output[0]!)).toBe('w/k/0#j:in/1/8#2');
    }
  });

  test('one record more than `maxPerKey` on a side is rejected and pairs with nothing; the other side has its own count', () => {
    const options = { ...optionsOf(plain), maxPerKey: 2 };
    const driver = new Driver(definition, options, { id: 'j', outOfOrderMs: 1_000 });
    push(driver, [event('right', 100, 0), event('right', 100, 1), event('right', 100, 2), event('left', 100, 3)]);
    expect(driver.rejectedCodes()).toEqual(['buffer-full']);
    expect(driver.rejected[0]!.message).toMatch(/^2 records of this key wait on the right side/);
    expect(driver.output.map(({ value }) => (value as { other: number }).other)).toEqual([0, 1]);
    push(driver, [event('right', 100, 4, 'another key')]);
    expect(driver.rejected).toHaveLength(1);
  });

  test('rejects what has no time, and a left record that is no object; a right one may be anything', () => {
    const driver = driverOf(plain);
    for (const value of [7, null, [1], 'text']) driver.push(new StreamRecord(value, 'k', 100));
    driver.push(new StreamRecord({}, 'k')).pushInput('others', new StreamRecord({}, 'k'));
    expect(driver.rejectedCodes()).toEqual([...Array(4).fill('schema-violation'), 'time-invalid', 'time-invalid']);
    driver.pushInput('others', new StreamRecord(null, 'k', 100), new StreamRecord([1], 'k', 100));
    driver.push(new StreamRecord({}, 'k', 100));
    expect(driver.output.map(({ value }) => value)).toEqual([{ other: null }, { other: [1] }]);
  });

  test('pairs a record with itself when its stream is joined with itself', () => {
    const record = new StreamRecord({ n: 1 }, 'k', 100, 4, undefined, undefined, undefined, 'in/0');
    const driver = driverOf({ ...plain, within: 0, type: 'outer' })
      .push(record)
      .pushInput('others', record);
    driver.end();
    expect(driver.output.map(recordId)).toEqual(['in/0/4#j:in/0/4']);
  });

  test('does not change the records that it is given', () => {
    const [left, right] = [Object.freeze({ n: 1 }), Object.freeze({ m: 1 })];
    const driver = driverOf(plain).push(new StreamRecord(left, 'k', 100));
    expect(driver.pushInput('others', new StreamRecord(right, 'k', 100)).output[0]!.value).toEqual({
      n: 1,
      other: { m: 1 },
    });
    expect(left).toEqual({ n: 1 });
  });
});
