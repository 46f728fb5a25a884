import type { Key, StreamRecord } from './record.ts';

/** What a `process` step may do while a timer fires. One object per step, used again each time: do not keep it. */
export interface TimerContext<S, R> {
  /**
   * The state of this key; what `state` makes when there is none yet. Change it in place or set it anew. Plain data (JSON types, NaN,
   * Infinity, Date, BigInt, StreamRecord): it stands in checkpoints.
   */
  state: S;
  /** Event time up to which the input is complete, in ms; -Infinity before the first record. */
  readonly watermark: number;
  /**
   * Emits a record with this value: the record at hand with another value, or, while a timer fires, one of this key at the timer's time.
   * Several from one record or timer get ids of their own, the same after every restart.
   */
  emit(value: R): void;
  /** Calls `onTimer(at)` for this key once the watermark reaches `at`, in ms. Asking twice for one time is one timer. */
  timer(at: number): void;
  /** Forgets the state of this key. Its timers stay. */
  forget(): void;
}

/** What a `process` step may do while it holds a record. */
export interface RecordContext<S, R> extends TimerContext<S, R> {
  /** Sends the record to the step's `otherwise` stream, or the dead letters, as `step-failed`. */
  reject(message: string, reasons?: readonly unknown[]): void;
  /** Sends the record to the step's `late` stream. */
  late(message: string): void;
}

/** A step of your own, written in the topology: `T` is the value of its records, `S` its state for each key, `R` the value of what it emits. */
export interface Process<T, S, R> {
  /** Makes the state of a key that has none. Without it there is no state. */
  readonly state?: () => S;
  /** Raise it when old state can no longer be read: a run then refuses the state of another version, or gives it to `migrate`. 1 unless given. */
  readonly version?: number;
  /** Makes the state of a key out of that which an older version has left; `undefined` forgets it. Throwing refuses the run, with nothing changed. */
  migrate?(state: unknown, version: number): S | undefined;
  /** Called for each record, in order. What it throws rejects the record with `step-failed`. */
  onRecord(record: StreamRecord<T>, step: RecordContext<S, R>): void;
  /** Called as the watermark reaches a time that was asked for. What it throws ends the run. */
  onTimer?(at: number, key: Key, step: TimerContext<S, R>): void;
}
