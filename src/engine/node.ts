import { type RejectCode, RejectError, RunError } from '../errors.ts';
import type { Evaluate, Step, StepContext } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import type { Entry, KeyedState } from './keyed-state.ts';

/** Where a record can go: the next step, a sink's outlet, or the end of a stream. */
export interface Target {
  push(record: StreamRecord): void;
}

/** Where records go that a step sends to a stream by name. */
export interface Routes {
  get(stream: string): Target | undefined;
}

/** A record that left the main path, and why. */
export interface Rejection {
  readonly record: StreamRecord;
  readonly code: RejectCode;
  readonly message: string;
  readonly reasons: readonly unknown[] | undefined;
  /** How often it was tried; once unless given. */
  readonly attempts?: number;
}

/** What a node asks of the task around it. */
export interface Surroundings {
  readonly watermark: number;
  onRejected(node: Node, rejection: Rejection): void;
  /** Why a late record is late: its partition was idle, or it is simply old. */
  lateCode(record: StreamRecord): 'late' | 'was-idle';
}

/** One step of one task: the step's behaviour, what follows it, and its counters. It is the `StepContext` of that step. */
export class Node implements Target, StepContext {
  readonly id: string;
  /** Records that came in, went out, were rejected, were late. */
  readonly counts = { in: 0, out: 0, rejected: 0, late: 0 };
  next: Target = nowhere;
  /** The streams that the step's options send records to. */
  routes: Routes = new Map();
  protected readonly step: Step;
  protected readonly task: Surroundings;
  readonly #when: Evaluate | undefined;

  constructor(id: string, step: Step, task: Surroundings, when?: Evaluate) {
    this.id = id;
    this.step = step;
    this.task = task;
    this.#when = when;
  }

  get watermark(): number {
    return this.task.watermark;
  }

  get ending(): boolean {
    return this.task.watermark === Number.POSITIVE_INFINITY;
  }

  push(record: StreamRecord): void {
    this.counts.in++;
    try {
      if (this.#when !== undefined && !this.applies(record)) this.emit(record);
      else this.process(record);
    } catch (error) {
      this.caught(record, error);
    }
  }

  /** Takes a record of a stream that is a further input of the step: `when` is about the others. */
  pushInput(record: StreamRecord, stream: string): void {
    this.counts.in++;
    try {
      this.process(record, stream);
    } catch (error) {
      this.caught(record, error);
    }
  }

  emit(record: StreamRecord): void {
    this.counts.out++;
    this.next.push(record);
  }

  emitTo(stream: string, record: StreamRecord): void {
    this.counts.out++;
    if (stream === 'drop') return;
    const target = this.routes.get(stream);
    if (target === undefined)
      throw new RunError(`Step \`${this.id}\` sends to the stream \`${stream}\`, which none of its options names.`);
    target.push(record);
  }

  reject(record: StreamRecord, code: RejectCode, message: string, reasons?: readonly unknown[]): void {
    this.counts.rejected++;
    this.task.onRejected(this, { record, code, message, reasons });
  }

  late(record: StreamRecord, message: string): void {
    this.counts.late++;
    this.task.onRejected(this, { record, code: this.task.lateCode(record), message, reasons: undefined });
  }

  get state(): unknown {
    return undefined;
  }
  set state(_state: unknown) {
    throw new RunError(`Step \`${this.id}\` keeps state but is not declared \`keyed\`.`);
  }

  timer(_at: number): void {
    throw new RunError(`Step \`${this.id}\` sets a timer but is not declared \`keyed\`.`);
  }

  protected process(record: StreamRecord, stream?: string): void {
    const result: unknown =
      stream === undefined ? this.step.onRecord(record, this) : this.step.onInput!(record, this, stream);
    if (result instanceof Promise) throw this.asynchronous(stream === undefined ? 'onRecord' : 'onInput', result);
  }

  // TypeScript takes an `async` function where one without a result is asked for. What it does later would be in no checkpoint.
  protected asynchronous(name: string, result: Promise<unknown>): RunError {
    result.catch(() => undefined);
    return new RunError(
      `\`${name}\` of step \`${this.id}\` gave a promise. Steps are synchronous: remove \`async\`, and call other systems from a source or a sink.`,
      { where: this.id },
    );
  }

  // A step's own throw concerns its record; whatever ends the run has passed through as a RunError.
  protected caught(record: StreamRecord, error: unknown): void {
    if (error instanceof RunError) throw error;
    if (error instanceof RejectError) this.reject(record, error.code, error.message);
    else this.reject(record, 'step-failed', `The step failed: ${(error as Error)?.message ?? String(error)}`);
  }

  private applies(record: StreamRecord): boolean {
    const answer = this.#when!(record);
    if (typeof answer === 'boolean') return answer;
    throw new RejectError('expression-failed', `\`when\` gave a ${typeof answer}; expected true or false.`);
  }
}

const nowhere: Target = { push: () => undefined };

/** A step that owns state per key, and timers. Its watermark moves only after its timers have fired. */
export class KeyedNode extends Node {
  readonly keyed: KeyedState<unknown>;
  #watermark: number;
  #entry: Entry<unknown> | undefined;

  constructor(id: string, step: Step, task: Surroundings, keyed: KeyedState<unknown>, when?: Evaluate) {
    super(id, step, task, when);
    this.keyed = keyed;
    this.#watermark = task.watermark;
  }

  override get watermark(): number {
    return this.#watermark;
  }

  override get state(): unknown {
    return this.#entry!.state;
  }
  override set state(state: unknown) {
    this.#entry!.state = state;
  }

  override timer(at: number): void {
    // It would stand in the way of all other timers, and never fire.
    if (Number.isNaN(at)) throw new TypeError('It asked for a timer at NaN; expected a time in ms.');
    this.keyed.addTimer(this.#entry!, at);
  }

  /** Fires what is due at `watermark`, in order of time, then moves this step's own watermark there and drops what is too old. */
  advance(watermark: number): void {
    while (this.keyed.timers.size > 0 && this.keyed.timers.next <= watermark) {
      const { at, entries } = this.keyed.takeTimers();
      for (const entry of entries) this.fire(at, entry);
    }
    this.#watermark = watermark;
    this.keyed.expire(watermark);
  }

  protected override process(record: StreamRecord, stream?: string): void {
    if (record.key === undefined) {
      this.reject(record, 'key-missing', 'The record has no key. Put a `keyBy` before this step.');
      return;
    }
    const entry = this.keyed.enter(record.key, record.time, this.#watermark);
    if (entry === undefined) {
      this.reject(
        record,
        'too-many-keys',
        `There is no room for another key: the step holds ${this.keyed.size}, as many as \`maxKeys\` allows.`,
      );
      return;
    }
    this.#entry = entry;
    try {
      super.process(record, stream);
    } finally {
      // Also when the step has thrown: bad records of ever new keys must not fill the memory.
      this.keyed.leave(entry);
    }
  }

  private fire(at: number, entry: Entry<unknown>): void {
    this.#entry = entry;
    try {
      const result: unknown = this.step.onTimer?.(at, entry.key, this);
      if (result instanceof Promise) throw this.asynchronous('onTimer', result);
    } catch (error) {
      if (error instanceof RunError) throw error;
      throw new RunError(`The timer of step \`${this.id}\` failed: ${(error as Error)?.message ?? String(error)}`, {
        where: this.id,
        cause: error,
      });
    }
    this.keyed.leave(entry);
  }
}
