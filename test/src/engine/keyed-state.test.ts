import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Delta } from '../../../src/engine/delta.ts';
import { type Entry, KeyedState } from '../../../src/engine/keyed-state.ts';
import { MemoryStore } from '../../../src/engine/store.ts';

type Counted = { n: number };
type View = Record<string, { n: number | undefined; timers: number[] }>;

/** One keyed state and the store behind it: what a test does to keys, as a step would. */
class Bench {
  readonly store = new MemoryStore();
  readonly keyed = new KeyedState<Counted>('s/');
  readonly #entries = new Map<string, Entry<Counted>>();

  add(key: string): void {
    const entry = this.#enter(key);
    entry.state ??= { n: 0 };
    // In place, as windows do.
    entry.state.n++;
    this.keyed.leave(entry);
  }

  timer(key: string, at: number): void {
    const entry = this.#enter(key);
    this.keyed.addTimer(entry, at);
    this.keyed.leave(entry);
  }

  forget(key: string): void {
    const entry = this.#enter(key);
    entry.state = undefined;
    this.keyed.leave(entry);
  }

  fire(): void {
    if (this.keyed.timers.size === 0) return;
    for (const entry of this.keyed.takeTimers().entries) this.keyed.leave(entry);
  }

  get view(): View {
    const living = [...this.#entries].filter(([, { state, timers }]) => state !== undefined || timers.length > 0);
    return viewOf(living.map(([, entry]) => entry));
  }

  #enter(key: string): Entry<Counted> {
    const entry = this.keyed.enter(key, 0, 0)!;
    this.#entries.set(key, entry);
    return entry;
  }
}

function viewOf(entries: readonly Entry<Counted>[]): View {
  const views = entries.map(({ key, state, timers }) => [key, { n: state?.n, timers: timers.map(({ at }) => at) }]);
  return Object.fromEntries(views.sort(([a], [b]) => (a! < b! ? -1 : 1)));
}

function restored(store: MemoryStore, keys: readonly string[]): View {
  const keyed = new KeyedState<Counted>('s/');
  keyed.restore(store.entries('s/'));
  const { size } = keyed;
  const entries = keys.map((key) => keyed.touch(key));
  const living = entries.filter(({ state, timers }) => state !== undefined || timers.length > 0);
  expect(living).toHaveLength(size);
  return viewOf(living);
}

const keys = ['a', 'b', 'c', 'd'];
const key = fc.constantFrom(...keys);
const operation = fc.oneof(
  { weight: 5, arbitrary: key.map((of) => ({ of, what: 'add' as const })) },
  { weight: 2, arbitrary: key.map((of) => ({ of, what: 'forget' as const })) },
  {
    weight: 2,
    arbitrary: fc.record({ of: key, at: fc.nat(5) }).map((timer) => ({ ...timer, what: 'timer' as const })),
  },
  { weight: 1, arbitrary: fc.constant({ what: 'fire' as const }) },
  { weight: 2, arbitrary: fc.constant({ what: 'cut' as const }) },
  { weight: 3, arbitrary: fc.constant({ what: 'write' as const }) },
);

describe('a cut', () => {
  test('holds all keys as they were at its moment, whatever happens while it is written, and the next one builds on it', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const bench = new Bench();
        let cut: { into: Delta; expected: View } | undefined;
        // One checkpoint at a time, as the checkpointer takes them.
        const finish = () => {
          if (cut === undefined) return;
          while (!bench.keyed.write(cut.into.bytes + 1)) {}
          void bench.store.commit(cut.into);
          expect(restored(bench.store, keys)).toEqual(cut.expected);
          cut = undefined;
        };
        for (const one of [...operations, { what: 'cut' as const }]) {
          if (one.what === 'add') bench.add(one.of);
          else if (one.what === 'forget') bench.forget(one.of);
          else if (one.what === 'timer') bench.timer(one.of, one.at);
          else if (one.what === 'fire') bench.fire();
          else if (one.what === 'cut') {
            finish();
            cut = { into: new Delta(), expected: bench.view };
            bench.keyed.cut(cut.into);
          } else if (cut !== undefined && bench.keyed.write(cut.into.bytes + 1)) finish();
        }
        finish();
      }),
      { numRuns: 500 },
    );
  });

  test('is written in parts no larger than asked for, by one entry at most', () => {
    const { keyed } = new Bench();
    for (let n = 0; n < 1_000; n++) keyed.touch(`key-${n}`).state = { n };
    const into = new Delta();
    keyed.cut(into);
    expect(into.bytes).toBe(0);
    let parts = 0;
    for (let done = false; !done; parts++) {
      const before = into.bytes;
      done = keyed.write(before + 1_000);
      expect(into.bytes - before).toBeLessThan(1_100);
    }
    expect(parts).toBeGreaterThan(into.bytes / 1_100);
    expect(into.puts).toHaveLength(1_000);
  });

  test('removes what a store may hold and no other key', () => {
    const bench = new Bench();
    for (const each of ['a', 'b']) bench.add(each);
    const first = new Delta();
    bench.keyed.snapshot(first);
    for (const each of ['a', 'c']) bench.add(each);
    for (const each of ['a', 'c']) bench.forget(each);
    const second = new Delta();
    bench.keyed.snapshot(second);
    expect([first.puts.length, first.removes, second.puts.length, second.removes]).toEqual([2, [], 0, ['s/s:a']]);
    const after = new KeyedState<Counted>('s/');
    after.restore(first.puts);
    const gone = after.touch('b');
    gone.state = undefined;
    after.leave(gone);
    const third = new Delta();
    after.snapshot(third);
    expect([third.puts, third.removes]).toEqual([[], ['s/s:b']]);
  });

  test('of a state that is no data ends the run with the step and the key, also when a record comes before it is written', () => {
    const circle = () => {
      const keyed = new KeyedState<object>('state\u0000totals\u0000in/0\u0000');
      const state: { self?: object } = {};
      state.self = state;
      keyed.touch('k').state = state;
      keyed.cut(new Delta());
      return keyed;
    };
    const message = /^The state of `state·totals·in\/0·s:k` cannot be stored: .*A step keeps plain data only\.$/;
    expect(() => circle().write()).toThrow(message);
    expect(() => circle().touch('k')).toThrow(message);
  });
});

test('keys that differ only in half a surrogate pair keep their states apart over a restart', () => {
  const odd = ['\ud800', '\ud801', 'x\udc00', 'x\udc01', '\ufffd'];
  const before = new KeyedState<string>('s/');
  for (const [n, each] of odd.entries()) before.touch(each).state = `${n}${each}`;
  const into = new Delta();
  before.snapshot(into);
  const after = new KeyedState<string>('s/');
  after.restore(into.puts);
  expect(odd.map((each) => after.touch(each).state)).toEqual(odd.map((each, n) => `${n}${each}`));
});
