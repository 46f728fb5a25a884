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

type Stored = [key: Key, state: unknown, timers: [at: number, order: number][]];

/** All keys of one keyed step in one task. Knows which keys were touched since the last checkpoint. */
export class KeyedState<S> {
  readonly timers = new Timers<Entry<S>>();
  readonly #entries = new Map<Key, Entry<S>>();
  readonly #prefix: string;
  #dirty: Entry<S>[] = [];
  #order = 0;

  /** `prefix` names the step and task; it ends in a separator. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The entry of a key, made when there is none, and marked as touched. */
  touch(key: Key): Entry<S> {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = new Entry<S>(key);
      this.#entries.set(key, entry);
    }
    if (!entry.dirty) {
      entry.dirty = true;
      this.#dirty.push(entry);
    }
    return entry;
  }

  addTimer(entry: Entry<S>, at: number): void {
    for (const timer of entry.timers) if (timer.at === at) return;
    entry.timers.push({ at, order: this.#order++ });
    this.timers.add(at, entry);
  }

  /** Removes the earliest time and gives the keys that asked for it, in order. */
  takeTimers(): { at: number; entries: Entry<S>[] } {
    const at = this.timers.next;
    const entries = this.timers.take();
    for (const entry of entries) {
      this.touch(entry.key);
      entry.timers.splice(
        entry.timers.findIndex((timer) => timer.at === at),
        1,
      );
    }
    return { at, entries };
  }

  /** Forgets a key that has neither state nor timers. Its removal is part of the next checkpoint. */
  release(entry: Entry<S>): void {
    if (entry.state === undefined && entry.timers.length === 0) this.#entries.delete(entry.key);
  }

  /** Adds what changed since the last call to `changes`: the bytes are made now, so processing may go on at once. */
  snapshot(changes: Changes): void {
    for (const entry of this.#dirty) {
      entry.dirty = false;
      const name = this.#prefix + keyName(entry.key);
      // A key that was forgotten and has come back stands twice in the list: the living entry decides.
      const living = this.#entries.get(entry.key);
      if (living === undefined) changes.removes.push(name);
      else if (living === entry) changes.puts.push([name, encode(name, stored(entry))]);
    }
    this.#dirty = [];
  }

  /** Takes entries back from a store, with their timers in the order in which they were asked for. */
  restore(entries: Iterable<[name: string, bytes: Buffer]>): void {
    const timers: { at: number; order: number; entry: Entry<S> }[] = [];
    for (const [name, bytes] of entries) {
      const [key, state, times] = decode(name, bytes) as Stored;
      const entry = new Entry<S>(key);
      entry.state = state as S | undefined;
      for (const [at, order] of times) {
        entry.timers.push({ at, order });
        timers.push({ at, order, entry });
      }
      this.#entries.set(key, entry);
    }
    timers.sort((a, b) => a.order - b.order);
    for (const { at, order, entry } of timers) {
      this.timers.add(at, entry);
      this.#order = order + 1;
    }
  }
}

function stored(entry: Entry<unknown>): Stored {
  return [entry.key, entry.state, entry.timers.map(({ at, order }) => [at, order])];
}

// Stores bound their names (LMDB: 1,978 bytes). The value holds the key itself, so a digest is enough for a long one.
const longestKeyName = 250;

/** A key as text that keeps its type: `1` and `"1"` differ. */
function keyName(key: Key): string {
  const name = `${(typeof key)[0]}:${String(key)}`;
  if (name.length <= longestKeyName) return name;
  return `#${createHash('sha256').update(name).digest('hex')}`;
}
