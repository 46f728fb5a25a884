import { createHash } from 'node:crypto';
import { RunError } from '../errors.ts';
import type { Key } from '../record.ts';
import { decode, printable } from './codec.ts';
import { type Delta, Prefix } from './delta.ts';
import { isWellFormed } from './pack.ts';
import { Timers } from './timers.ts';

/** State and timers of one key in one step. */
export class Entry<S> {
  readonly key: Key;
  state: S | undefined = undefined;
  /** Times asked for and not yet fired, each with its place in the order of asking. */
  readonly timers: { at: number; order: number }[] = [];
  /** The turn in which it was last touched and is not written yet; see `KeyedState.cut`. */
  turn = 0;
  /** A store may hold it. */
  inStore = false;
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
  readonly #prefix: Prefix;
  #dirty: E[] = [];
  /** Keys that a store may hold and that are no more. */
  #forgotten: Key[] = [];
  /** Counts the cuts. */
  #turn = 1;
  /** What the last cut has not written yet. */
  #cut:
    | { readonly into: Delta; readonly dirty: readonly E[]; at: number; readonly forgotten: readonly Key[] }
    | undefined;
  #order = 0;

  /** `prefix` names the step and task; it ends in a separator. */
  constructor(prefix: string) {
    this.#prefix = new Prefix(prefix);
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
    if (entry.state !== undefined || entry.timers.length > 0) return;
    if (!this.entries.delete(entry.key)) return;
    entry.turn = 0;
    if (entry.inStore) this.#forgotten.push(entry.key);
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

  /**
   * Makes what has changed since the last cut part of `into`, as it is at this moment, whatever comes after: `write` does the work, in as
   * many parts as it is called, and an entry that is touched before its turn has come is written first.
   */
  cut(into: Delta): void {
    while (!this.write()) {}
    this.#cut = { into, dirty: this.#dirty, at: 0, forgotten: this.#forgotten };
    this.#dirty = [];
    this.#forgotten = [];
    this.#turn++;
  }

  /** Goes on with the last cut until `into` has so many bytes. Answers whether it is complete. */
  write(most = Number.POSITIVE_INFINITY): boolean {
    const cut = this.#cut;
    if (cut === undefined) return true;
    const { into, dirty, forgotten } = cut;
    while (into.bytes < most) {
      const at = cut.at++;
      if (at < forgotten.length) into.remove(this.#prefix.text + keyName(forgotten[at]!));
      else if (at < forgotten.length + dirty.length) this.#write(dirty[at - forgotten.length]!);
      else {
        this.#cut = undefined;
        return true;
      }
    }
    return false;
  }

  /** Adds what has changed since the last cut to `into`, at once. */
  snapshot(into: Delta): void {
    this.cut(into);
    this.write();
  }

  /** Takes entries back from a store, with their timers in the order in which they were asked for. */
  restore(entries: Iterable<[name: string, bytes: Buffer]>): void {
    const timers: { at: number; order: number; entry: E }[] = [];
    for (const [name, bytes] of entries) {
      const values = decode(name, bytes) as Stored;
      const [key, state, times] = values;
      const entry = this.make(key);
      entry.inStore = true;
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

  /** The entry is about to change. */
  protected mark(entry: E): void {
    if (entry.turn === this.#turn) return;
    if (this.#cut !== undefined) this.#write(entry);
    entry.turn = this.#turn;
    this.#dirty.push(entry);
  }

  // Only what waits for the cut: others have been written before, are forgotten, or have been touched since.
  #write(entry: E): void {
    if (entry.turn !== this.#turn - 1) return;
    entry.turn = 0;
    entry.inStore = true;
    const name = keyName(entry.key);
    try {
      this.#cut!.into.put(this.#prefix, name, this.stored(entry));
    } catch (error) {
      throw new RunError(
        `The state of \`${printable(this.#prefix.text + name)}\` cannot be stored: ${(error as Error).message}. A step keeps plain data only.`,
        { cause: error },
      );
    }
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
  const whole = isWellFormed(name);
  if (whole && name.length <= longestKeyName) return name;
  return `#${createHash('sha256')
    .update(name, whole ? 'utf8' : 'utf16le')
    .digest('hex')}`;
}
