import { createHash } from 'node:crypto';
import type { Changes } from '../operator.ts';
import type { Key } from '../record.ts';
import { decode, encode } from './codec.ts';
import { Timers } from './timers.ts';

/** State and timers of one key in one step. */
export class Entry<S> {
  readonly key: Key;
  state: S | undefined = undefined;
  /** Times asked for and not yet fired, each with its place in the order of asking. */
  readonly timers: { at: number; order: number }[] = [];
  /** Touched since the last checkpoint. */
  dirty = false;
  constructor(key: Key) {
    this.key = key;
  }
}

/** What stands in a store for one key. `use` is there when the step's state is bounded: see `BoundedState`. */
export type Stored = [
  key: Key,
  state: unknown,
  timers: [at: number, order: number][],
  use?: [at: number, order: number],
];

/** All keys of one keyed step in one task. Knows which keys were touched since the last checkpoint. */
export class KeyedState<S, E extends Entry<S> = Entry<S>> {
  readonly timers = new Timers<E>();
  protected readonly entries = new Map<Key, E>();
  readonly #prefix: string;
  #dirty: E[] = [];
  #order = 0;

  /** `prefix` names the step and task; it ends in a separator. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get size(): number {
    return this.entries.size;
  }

  /** The entry of a key, made when there is none, and part of the next checkpoint. */
  touch(key: Key): E {
    let entry = this.entries.get(key);
    if (entry === undefined) {
      entry = this.make(key);
      this.entries.set(key, entry);
    }
    this.mark(entry);
    return entry;
  }

  /** The entry for a record of this key, made when there is none; `undefined` when there is no room for another key. */
  enter(key: Key, _time: number, _watermark: number): E | undefined {
    return this.touch(key);
  }

  /** The step is done with the entry for now: a key that has neither state nor timers is forgotten. Its removal is part of the next checkpoint. */
  leave(entry: E): void {
    if (entry.state === undefined && entry.timers.length === 0) this.entries.delete(entry.key);
  }

  /** Event time has come to `watermark`, and all timers up to there have fired. */
  expire(_watermark: number): void {}

  addTimer(entry: E, at: number): void {
    for (const timer of entry.timers) if (timer.at === at) return;
    entry.timers.push({ at, order: this.#order++ });
    this.timers.add(at, entry);
  }

  /** Removes the earliest time and gives the keys that asked for it, in order. */
  takeTimers(): { at: number; entries: E[] } {
    const at = this.timers.next;
    const entries = this.timers.take();
    for (const entry of entries) {
      this.mark(entry);
      entry.timers.splice(
        entry.timers.findIndex((timer) => timer.at === at),
        1,
      );
    }
    return { at, entries };
  }

  /** Adds what changed since the last call to `changes`: the bytes are made now, so processing may go on at once. */
  snapshot(changes: Changes): void {
    for (const entry of this.#dirty) {
      entry.dirty = false;
      const name = this.#prefix + keyName(entry.key);
      // A key that was forgotten and has come back stands twice in the list: the living entry decides.
      const living = this.entries.get(entry.key);
      if (living === undefined) changes.removes.push(name);
      else if (living === entry) changes.puts.push([name, encode(name, this.stored(entry))]);
    }
    this.#dirty = [];
  }

  /** Takes entries back from a store, with their timers in the order in which they were asked for. */
  restore(entries: Iterable<[name: string, bytes: Buffer]>): void {
    const timers: { at: number; order: number; entry: E }[] = [];
    for (const [name, bytes] of entries) {
      const values = decode(name, bytes) as Stored;
      const [key, state, times] = values;
      const entry = this.make(key);
      entry.state = state as S | undefined;
      for (const [at, order] of times) {
        entry.timers.push({ at, order });
        timers.push({ at, order, entry });
      }
      this.entries.set(key, entry);
      this.restored(entry, values);
    }
    timers.sort((a, b) => a.order - b.order);
    for (const { at, order, entry } of timers) {
      this.timers.add(at, entry);
      this.#order = order + 1;
    }
  }

  protected mark(entry: E): void {
    if (entry.dirty) return;
    entry.dirty = true;
    this.#dirty.push(entry);
  }

  protected make(key: Key): E {
    return new Entry<S>(key) as E;
  }

  protected stored(entry: E): Stored {
    return [entry.key, entry.state, entry.timers.map(({ at, order }) => [at, order])];
  }

  protected restored(_entry: E, _stored: Stored): void {}
}

// Stores bound their names (LMDB: 1,978 bytes). The value holds the key itself, so a digest is enough for a long one.
const longestKeyName = 250;

/** A key as text that keeps its type: `1` and `"1"` differ. */
function keyName(key: Key): string {
  const name = `${(typeof key)[0]}:${String(key)}`;
  if (name.length <= longestKeyName) return name;
  return `#${createHash('sha256').update(name).digest('hex')}`;
}
