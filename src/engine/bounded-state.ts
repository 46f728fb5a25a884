import type { StateSettings } from '../operator.ts';
import type { Key } from '../record.ts';
import { Entry, KeyedState, type Stored } from './keyed-state.ts';
import { LeastFirst, type Queued } from './least-first.ts';

/** What bounds the state of one step in one task. */
export type Bounds = Pick<StateSettings, 'ttl' | 'maxKeys' | 'overflow'>;

/** State of a key of which it is known when records last used it. */
class UsedEntry<S> extends Entry<S> implements Queued {
  /** Event time of the newest record, or the watermark when that was further, in ms. */
  at = Number.NEGATIVE_INFINITY;
  /** Place of the last record among all records of the step. */
  order = 0;
  queued = 0;
}

/**
 * Keyed state within bounds. A key that waits for a timer is never dropped: its step has promised something. Of the others, those go
 * that no record has touched for `ttl` of event time, and, to make room within `maxKeys`, the one that was used least recently.
 * What is dropped follows from the records and the watermark alone, so it is the same after a restart.
 */
export class BoundedState<S> extends KeyedState<S, UsedEntry<S>> {
  /** Keys that were dropped because they were too old, and to make room for others. */
  readonly dropped = { ttl: 0, maxKeys: 0 };
  readonly #ttl: number | undefined;
  readonly #maxKeys: number;
  readonly #byAge: LeastFirst<UsedEntry<S>> | undefined;
  readonly #byUse: LeastFirst<UsedEntry<S>> | undefined;
  readonly #onRoomMade: (dropped: number) => void;
  readonly #since: number;
  #uses = 0;
  // Places of keys of which nothing is known: before all others.
  #unknown = -1;

  /**
   * `watermark`: where event time stands as the state is restored; keys of which nothing is known count as touched there.
   * `onRoomMade` is told how many keys have been dropped for others, at each one.
   */
  constructor(prefix: string, bounds: Bounds, watermark: number, onRoomMade: (dropped: number) => void = () => {}) {
    super(prefix);
    const { ttl, maxKeys = Number.POSITIVE_INFINITY, overflow = 'reject' } = bounds;
    this.#ttl = ttl;
    this.#maxKeys = maxKeys;
    this.#since = watermark;
    this.#onRoomMade = onRoomMade;
    if (ttl !== undefined) this.#byAge = new LeastFirst(1, (entry) => (waitsForNothing(entry) ? entry.at : Number.NaN));
    if (overflow === 'dropOldest' && maxKeys < Number.POSITIVE_INFINITY)
      this.#byUse = new LeastFirst(2, (entry) => (waitsForNothing(entry) ? entry.order : Number.NaN));
  }

  /** Keys that stand in line to be dropped, and such as have gone and not yet been noticed. */
  get waiting(): number {
    return Math.max(this.#byAge?.size ?? 0, this.#byUse?.size ?? 0);
  }

  override enter(key: Key, time: number, watermark: number): UsedEntry<S> | undefined {
    const full = this.size >= this.#maxKeys && !this.entries.has(key);
    if (full && this.#byUse?.first() === undefined) return undefined;
    const entry = this.touch(key);
    entry.at = Math.max(entry.at, watermark, Number.isNaN(time) ? watermark : time);
    entry.order = this.#uses++;
    return entry;
  }

  override leave(entry: UsedEntry<S>): void {
    super.leave(entry);
    this.#queue(entry);
    // Only now: a record that leaves no state behind needs no room.
    while (this.size > this.#maxKeys) {
      const oldest = this.#byUse?.first();
      if (oldest === undefined) return;
      this.#drop(oldest);
      this.#onRoomMade(++this.dropped.maxKeys);
    }
  }

  override expire(watermark: number): void {
    // The end of the input is the end of all: nothing will come for which there has to be room.
    if (this.#ttl === undefined || watermark === Number.POSITIVE_INFINITY) return;
    for (;;) {
      const oldest = this.#byAge!.first(watermark - this.#ttl);
      if (oldest === undefined) return;
      if (oldest.at === Number.NEGATIVE_INFINITY) {
        // Touched before there was any event time: its age counts from now.
        this.mark(oldest);
        oldest.at = watermark;
      } else {
        this.#drop(oldest);
        this.dropped.ttl++;
      }
    }
  }

  protected override make(key: Key): UsedEntry<S> {
    return new UsedEntry<S>(key);
  }

  protected override stored(entry: UsedEntry<S>): Stored {
    const [key, state, timers] = super.stored(entry);
    return [key, state, timers, [entry.at, entry.order]];
  }

  protected override restored(entry: UsedEntry<S>, [, , , use]: Stored): void {
    // Written before there were bounds: from now on its age is known, also to the next restart.
    if (use === undefined) this.mark(entry);
    [entry.at, entry.order] = use ?? [this.#since, this.#unknown--];
    this.#uses = Math.max(this.#uses, entry.order + 1);
    this.#queue(entry);
  }

  #queue(entry: UsedEntry<S>): void {
    if (!waitsForNothing(entry)) return;
    for (const queue of [this.#byAge, this.#byUse]) {
      if (queue === undefined) continue;
      queue.add(entry);
      if (queue.size > 2 * this.size + 64) queue.sweep();
    }
  }

  #drop(entry: UsedEntry<S>): void {
    this.mark(entry);
    entry.state = undefined;
    super.leave(entry);
  }
}

// A key that has been forgotten has no state.
function waitsForNothing({ state, timers }: Entry<unknown>): boolean {
  return state !== undefined && timers.length === 0;
}
