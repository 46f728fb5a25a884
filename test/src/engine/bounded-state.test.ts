import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BoundedState, type Bounds } from '../../../src/engine/bounded-state.ts';
import { Delta } from '../../../src/engine/delta.ts';
import { KeyedState } from '../../../src/engine/keyed-state.ts';
import { KeyedNode } from '../../../src/engine/node.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import type { Step } from '../../../src/operator.ts';
import { StreamRecord } from '../../../src/record.ts';

/** What a record asks of the step below: to keep the key, to forget it, or to keep it and wait for a time. */
type Wish = 'keep' | 'forget' | number;
interface Event {
  readonly key: string;
  readonly time: number;
  readonly wish: Wish;
}

/** Counts the records of a key; a timer's state stays when the timer has fired. */
const counting: Step<number> = {
  onRecord(record, step) {
    const wish = record.value as Wish;
    if (wish === 'forget') step.state = undefined;
    else step.state = (step.state ?? 0) + 1;
    if (typeof wish === 'number') step.timer(wish);
    step.emit(record.withValue(`${String(record.key)}:${step.state ?? 'none'}`));
  },
  onTimer() {},
};

/** One keyed node with bounded state and no task around it. */
class Bench {
  readonly output: string[] = [];
  readonly room: number[] = [];
  readonly keyed: BoundedState<unknown>;
  readonly #node: KeyedNode;
  readonly #store: MemoryStore;
  watermark: number;

  constructor(bounds: Bounds, from?: { store: MemoryStore; watermark: number }) {
    this.#store = new MemoryStore(from?.store);
    this.watermark = from?.watermark ?? Number.NEGATIVE_INFINITY;
    this.keyed = new BoundedState('s/', bounds, this.watermark, (dropped) => void this.room.push(dropped));
    const around = {
      watermark: this.watermark,
      onRejected: (_: unknown, { code, record }: { code: string; record: StreamRecord }) =>
        void this.output.push(`${code} ${String(record.key)}`),
      lateCode: () => 'late' as const,
    };
    this.#node = new KeyedNode('count', counting as Step, around, this.keyed);
    this.#node.next = { push: (record) => void this.output.push(record.value as string) };
    this.keyed.restore(this.#store.entries('s/'));
  }

  /** The watermark is as far as the newest record, less `lag`. */
  push(events: readonly Event[], lag = 0): this {
    for (const { key, time, wish } of events) {
      this.#node.push(new StreamRecord(wish, key, time));
      this.advance(time - lag);
    }
    return this;
  }

  advance(watermark: number): this {
    if (!(watermark > this.watermark)) return this;
    this.watermark = watermark;
    this.#node.advance(watermark);
    return this;
  }

  checkpoint(): { store: MemoryStore; watermark: number } {
    const changes = new Delta();
    this.keyed.snapshot(changes);
    void this.#store.commit(changes);
    return { store: new MemoryStore(this.#store), watermark: this.watermark };
  }

  /** What a restart would find. */
  get stored(): number {
    return [...this.checkpoint().store.entries('s/')].length;
  }
}

/** By the definition: looks at every key after every record. No queue, no snapshot. */
function expected(events: readonly Event[], bounds: Bounds, lag: number) {
  const { ttl = Number.POSITIVE_INFINITY, maxKeys = Number.POSITIVE_INFINITY, overflow = 'reject' } = bounds;
  const keys = new Map<string, { state: number | undefined; timers: Set<number>; at: number; used: number }>();
  const output: string[] = [];
  const dropped = { ttl: 0, maxKeys: 0 };
  let watermark = Number.NEGATIVE_INFINITY;
  const oldest = () =>
    [...keys].filter(([, { timers }]) => timers.size === 0).sort(([, a], [, b]) => a.used - b.used)[0]?.[0];
  for (const [n, { key, time, wish }] of events.entries()) {
    const known = keys.get(key);
    if (known === undefined && keys.size >= maxKeys && (overflow === 'reject' || oldest() === undefined)) {
      output.push(`too-many-keys ${key}`);
    } else {
      const entry = known ?? { state: undefined, timers: new Set<number>(), at: Number.NEGATIVE_INFINITY, used: 0 };
      keys.delete(key);
      entry.at = Math.max(entry.at, time, watermark);
      entry.used = n;
      entry.state = wish === 'forget' ? undefined : (entry.state ?? 0) + 1;
      if (typeof wish === 'number') entry.timers.add(wish);
      output.push(`${key}:${entry.state ?? 'none'}`);
      if (entry.state !== undefined || entry.timers.size > 0) keys.set(key, entry);
      if (keys.size > maxKeys) {
        keys.delete(oldest()!);
        dropped.maxKeys++;
      }
    }
    if (time - lag <= watermark) continue;
    watermark = time - lag;
    for (const [name, entry] of keys) {
      for (const at of entry.timers) if (at <= watermark) entry.timers.delete(at);
      if (entry.timers.size > 0) continue;
      const old = entry.state !== undefined && entry.at + ttl <= watermark;
      if (old) dropped.ttl++;
      if (old || entry.state === undefined) keys.delete(name);
    }
  }
  return { output, keys: [...keys.keys()].sort(), dropped };
}

// Few keys and times in steps of half the ttl, a millisecond more or less, in any order.
const ttl = 1_000;
const events = fc
  .array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      step: fc.nat(10),
      jitter: fc.constantFrom(-1, 0, 0, 1),
      wish: fc.constantFrom<'keep' | 'forget' | 'timer'>('keep', 'keep', 'keep', 'forget', 'timer'),
      ahead: fc.nat(4),
    }),
    { maxLength: 40 },
  )
  .map((given): Event[] =>
    given.map(({ key, step, jitter, wish, ahead }) => {
      const time = 5_000 + step * 500 + jitter;
      return { key, time, wish: wish === 'timer' ? time + ahead * 500 : wish };
    }),
  );
const bounds = fc.record(
  {
    ttl: fc.constantFrom(1, 500, ttl),
    maxKeys: fc.integer({ min: 1, max: 4 }),
    overflow: fc.constantFrom('reject' as const, 'dropOldest' as const),
  },
  { requiredKeys: [] },
);
const lags = fc.constantFrom(0, 1, 500, 2_000);
const keep = (key: string, time: number): Event => ({ key, time, wish: 'keep' });

describe('bounded state', () => {
  test('drops a key once the watermark is `ttl` past its newest record, and not a millisecond sooner', () => {
    const bench = new Bench({ ttl }).push([keep('a', 5_000)]);
    expect(bench.advance(5_999).keyed.size).toBe(1);
    expect(bench.advance(6_000).keyed.size).toBe(0);
    expect([bench.stored, bench.keyed.dropped]).toEqual([0, { ttl: 1, maxKeys: 0 }]);
    expect(bench.push([keep('a', 6_001)]).output.at(-1)).toBe('a:1');
  });

  test('does not drop a key at once whose record brought event time far on', () => {
    const bench = new Bench({ ttl }).push([keep('a', 5_000), keep('a', 50_000)]);
    expect([bench.output, bench.keyed.size]).toEqual([['a:1', 'a:2'], 1]);
  });

  test('counts the age of a key that was touched before there was any event time from its beginning', () => {
    const bench = new Bench({ ttl }).push([{ key: 'a', time: Number.NaN, wish: 'keep' }]).advance(5_000);
    expect([bench.advance(5_999).keyed.size, bench.advance(6_000).keyed.size]).toEqual([1, 0]);
  });

  test('keeps what waits for a timer, and drops it as the timer fires too late for it', () => {
    const bench = new Bench({ ttl, maxKeys: 1, overflow: 'dropOldest' }).push([{ key: 'a', time: 5_000, wish: 9_000 }]);
    expect(bench.advance(8_999).keyed.size).toBe(1);
    expect(bench.push([keep('b', 8_999)]).output.at(-1)).toBe('too-many-keys b');
    expect([bench.advance(9_000).keyed.size, bench.keyed.dropped.ttl]).toEqual([0, 1]);
  });

  test('rejects the records of a new key when there is no room, and not those of a known one', () => {
    const bench = new Bench({ maxKeys: 2 }).push(['a', 'b', 'c', 'a'].map((key, i) => keep(key, i)));
    expect(bench.output).toEqual(['a:1', 'b:1', 'too-many-keys c', 'a:2']);
    bench.push([{ key: 'a', time: 9, wish: 'forget' }, keep('c', 9)]);
    expect(bench.output.slice(4)).toEqual(['a:none', 'c:1']);
  });

  test('makes room by the key that was used least recently, and only for one that stays', () => {
    const bench = new Bench({ maxKeys: 2, overflow: 'dropOldest' });
    bench.push([keep('a', 1), keep('b', 2), keep('a', 3), { key: 'c', time: 4, wish: 'forget' }]);
    expect([bench.keyed.size, bench.room]).toEqual([2, []]);
    bench.push([keep('c', 0), keep('a', 6), keep('b', 7)]);
    expect(bench.output.slice(4)).toEqual(['c:1', 'a:3', 'b:1']);
    expect([bench.room, bench.keyed.dropped, bench.stored]).toEqual([[1, 2], { ttl: 0, maxKeys: 2 }, 2]);
  });

  test('makes room at the next record when the bound has become smaller', () => {
    const first = new Bench({ maxKeys: 9, overflow: 'dropOldest' }).push(
      ['a', 'b', 'c', 'd'].map((k, i) => keep(k, i)),
    );
    const second = new Bench({ maxKeys: 2, overflow: 'dropOldest' }, first.checkpoint()).push([keep('b', 9)]);
    expect(second.output).toEqual(['b:2']);
    expect(second.push([keep('d', 10)]).output.at(-1)).toBe('d:2');
    expect([second.keyed.size, second.keyed.dropped.maxKeys]).toEqual([2, 2]);
  });

  test('takes over keys written without bounds: they count as touched where event time stands', () => {
    const store = new MemoryStore();
    const plain = new KeyedState<number>('s/');
    for (const key of ['a', 'b']) plain.enter(key, 0, 0)!.state = 1;
    const changes = new Delta();
    plain.snapshot(changes);
    void store.commit(changes);
    const bound = new Bench({ ttl }, { store, watermark: 9_000 });
    expect(bound.push([keep('b', 9_500)]).output).toEqual(['b:2']);
    const again = new Bench({ ttl }, bound.checkpoint());
    expect(again.advance(9_999).keyed.size).toBe(2);
    expect(again.advance(10_000).keyed.size).toBe(1);
  });

  test('leaves everything as it is at the end of the input', () => {
    const bench = new Bench({ ttl }).push([keep('a', 5_000)]).advance(Number.POSITIVE_INFINITY);
    expect([bench.keyed.size, bench.keyed.dropped.ttl]).toEqual([1, 0]);
  });

  test('equals the definition that looks at every key after every record', () =>
    fc.assert(
      fc.property(events, bounds, lags, (input, given, lag) => {
        const bench = new Bench(given).push(input, lag);
        const { output, keys, dropped } = expected(input, given, lag);
        expect(bench.output).toEqual(output);
        expect([bench.keyed.size, bench.stored]).toEqual([keys.length, keys.length]);
        expect(bench.keyed.dropped).toEqual(dropped);
        expect(bench.room).toEqual(Array.from({ length: dropped.maxKeys }, (_, i) => i + 1));
      }),
      { numRuns: 1_500 },
    ));

  test('changes nothing by a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(events, bounds, lags, fc.array(fc.nat(40), { maxLength: 3 }), (input, given, lag, cuts) => {
        const whole = new Bench(given).push(input, lag);
        let bench = new Bench(given);
        const output: string[] = [];
        const ends = [...cuts.sort((a, b) => a - b), input.length].map((cut) => Math.min(cut, input.length));
        let from = 0;
        for (const end of ends) {
          bench.push(input.slice(from, end), lag);
          output.push(...bench.output);
          bench = new Bench(given, bench.checkpoint());
          from = end;
        }
        expect(output).toEqual(whole.output);
        expect(bench.keyed.size).toBe(whole.keyed.size);
        const rest = [keep('x', 1e6), keep('y', 1e6), keep('a', 1e6)];
        whole.push(rest);
        expect(bench.push(rest).output).toEqual(whole.output.slice(output.length));
      }),
      { numRuns: 1_000 },
    ));

  test('holds no more than its keys, however many come and go without one being dropped', () => {
    const bench = new Bench({ ttl: 1e12, maxKeys: 1e6, overflow: 'dropOldest' });
    for (let i = 0; i < 20_000; i++) bench.push([keep(`k${i}`, i), { key: `k${i}`, time: i, wish: 'forget' }]);
    expect(bench.keyed.size).toBe(0);
    expect(bench.keyed.waiting).toBeLessThan(200);
  });
});
