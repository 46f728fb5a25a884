import { RejectError, RunError } from '../errors.ts';
import { type Batch, RawRecord, type Refused } from '../operator.ts';
import { StreamRecord } from '../record.ts';
import { type Original, originalOf } from './dead-letter.ts';
import type { Delta } from './delta.ts';
import type { KeyedState } from './keyed-state.ts';
import type { KeyedNode, Node, Rejection, Surroundings, Target } from './node.ts';
import type { InputPartition } from './partition.ts';
import type { TimeRule } from './time.ts';

/** A step of event time taken because inputs were silent. Kept until the next checkpoint, so that a restart takes it at the same place. */
export interface IdleStep {
  /** Partitions that are idle from here on. */
  readonly idle: readonly string[];
  /** Offset of the last record read from each partition of the task when the step was taken. */
  readonly offsets: Readonly<Record<string, number>>;
  /** The task's watermark after the step. */
  readonly watermark: number;
}

/** Where records wait for a sink, or for a reader of a stream, until the batch is done. */
export interface Edge extends Target {
  /** Hands on what has gathered. */
  release(task: Task): void;
}

/** Takes what was rejected: makes the dead letter and pushes it to where it belongs. `original` is what came in, where the record still is that. */
export type RejectRoute = (step: string, source: string, rejection: Rejection, original: Original | undefined) => void;

/**
 * One copy of the steps with the keyed state of the source partitions it owns. Inside it everything is synchronous and in
 * order, so between two batches its state, watermark and positions always agree.
 */
export class Task implements Surroundings {
  readonly id: string;
  watermark = Number.NEGATIVE_INFINITY;
  readonly partitions: InputPartition[] = [];
  /** Sources that belong to this task and have not shown a partition yet: they hold event time back. */
  readonly awaited: Set<string>;
  /** Ids of the sources whose partitions this task owns. */
  readonly sources: readonly string[];
  nodes: readonly Node[] = [];
  /** In the order of the graph: what an earlier one emits must reach a later one before its own time moves. */
  keyed: readonly KeyedNode[] = [];
  edges: readonly Edge[] = [];
  heads: ReadonlyMap<string, Target> = new Map();
  onReject: RejectRoute = () => undefined;
  readonly #raw = new RawRecord();
  #current: InputPartition | undefined;
  #reading = false;
  #replay: IdleStep[] = [];

  constructor(id: string, sources: readonly string[]) {
    this.id = id;
    this.sources = sources;
    this.awaited = new Set(sources);
  }

  /** Runs one batch through the steps, record by record; event time moves on after each. */
  ingest(partition: InputPartition, batch: Batch): void {
    const raw = this.#raw;
    const head = this.heads.get(partition.source)!;
    const clean = batch.clean === true;
    this.#current = partition;
    this.#reading = true;
    if (partition.idle && batch.length > 0) this.#wake(partition);
    for (let i = 0; i < batch.length; i++) {
      raw.decoded = false;
      raw.key = undefined;
      raw.meta = undefined;
      raw.captures = undefined;
      raw.refused = undefined;
      raw.stream = undefined;
      batch.read(i, raw);
      partition.counts.in++;
      const record = this.#accept(partition, raw, clean);
      partition.lastOffset = raw.offset;
      if (record !== undefined && raw.stream !== undefined) this.heads.get(raw.stream)?.push(record);
      else if (record !== undefined) {
        head.push(record);
        if (record.time > partition.maxTime) {
          partition.maxTime = record.time;
          this.#moveWatermark();
        }
      }
      if (this.#replay.length > 0) {
        this.#replayIdleSteps();
        // What follows in this batch came after the silence, as a batch of its own.
        if (partition.idle && i + 1 < batch.length) this.#wake(partition);
      }
    }
    partition.position = batch.next;
    this.#reading = false;
    this.#current = undefined;
    this.#handOver();
  }

  /** A partition has come to its end: it no longer holds event time back. */
  end(partition: InputPartition): void {
    partition.ended = true;
    this.#moveWatermark();
    this.#handOver();
  }

  /** A partition has left this process: the same, and it is forgotten. */
  leave(partition: InputPartition): void {
    const at = this.partitions.indexOf(partition);
    if (at >= 0) this.partitions.splice(at, 1);
    this.#moveWatermark();
    this.#handOver();
  }

  /** All partitions of this source that will ever come have come, perhaps none: event time no longer waits for it. */
  expectNoMore(source: string): void {
    if (!this.awaited.delete(source)) return;
    this.#moveWatermark();
    this.#handOver();
  }

  /** Takes a step of event time that silence allows. The caller has made it durable before. */
  takeIdleStep(step: IdleStep): void {
    for (const partition of this.partitions) if (step.idle.includes(partition.name)) partition.idle = true;
    if (step.watermark > this.watermark) this.#advance(step.watermark);
    this.#handOver();
  }

  /** Steps taken after the checkpoint that this task starts from; each is taken again when its place is reached. */
  expectIdleSteps(steps: readonly IdleStep[]): void {
    this.#replay = [...steps];
  }

  /** A partition belongs to this task from now on. Answers whether that has moved event time. */
  join(partition: InputPartition): boolean {
    this.partitions.push(partition);
    this.awaited.delete(partition.source);
    const before = this.watermark;
    this.#replayIdleSteps();
    this.#handOver();
    return this.watermark !== before;
  }

  /** The recorded step has not been reached yet: it has to stay recorded. */
  awaits(step: IdleStep): boolean {
    return this.#replay.includes(step);
  }

  /** Ends event time: every open window closes. For inputs that have an end. */
  finish(): void {
    if (this.watermark === Number.POSITIVE_INFINITY) return;
    this.#advance(Number.POSITIVE_INFINITY);
    this.#handOver();
  }

  /** The same for inputs that go on another time: event time stays where it was. Nothing may follow but a checkpoint. */
  drain(): void {
    const before = this.watermark;
    this.finish();
    this.watermark = before;
  }

  /** The earliest event time at which something is due; Infinity when nothing is. */
  get nextTimer(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const node of this.keyed) next = Math.min(next, node.keyed.timers.next);
    return next;
  }

  /** Routes records that a sink will not take. */
  refuse(step: string, record: StreamRecord, refused: Omit<Refused, 'index'>): void {
    const { message, code = 'sink-refused', attempts } = refused;
    const rejection = { record, code, message, reasons: undefined, ...(attempts !== undefined && { attempts }) };
    this.onReject(step, record.origin, rejection, undefined);
    this.#handOver();
  }

  /** Makes what has changed since the last cut part of `into`; gives what has to be written. */
  cut(into: Delta): KeyedState<unknown>[] {
    const states = this.keyed.map(({ keyed }) => keyed);
    for (const keyed of states) keyed.cut(into);
    return states;
  }

  onRejected(node: Node, rejection: Rejection): void {
    this.onReject(node.id, this.#current?.name ?? '', rejection, this.#originalOf(rejection.record));
  }

  lateCode(record: StreamRecord): 'late' | 'was-idle' {
    return this.#current !== undefined && record.time < this.#current.idleUntil ? 'was-idle' : 'late';
  }

  #accept(partition: InputPartition, raw: RawRecord, clean: boolean): StreamRecord | undefined {
    try {
      const value = partition.decode(raw, clean);
      const time = partition.time === undefined ? Number.NaN : this.#timeOf(partition.time, raw, value);
      return new StreamRecord(value, raw.key, time, raw.offset, raw.meta, undefined, undefined, partition.name);
    } catch (error) {
      if (!(error instanceof RejectError)) throw error;
      partition.counts.rejected++;
      const record = new StreamRecord(
        undefined,
        raw.key,
        Number.NaN,
        raw.offset,
        raw.meta,
        undefined,
        undefined,
        partition.name,
      );
      const rejection = { record, code: error.code, message: error.message, reasons: undefined };
      this.onReject(partition.source, partition.name, rejection, originalOf(raw));
      return undefined;
    }
  }

  // A record of another stream has none of the fields that this one's have.
  #timeOf(rule: TimeRule, raw: RawRecord, value: unknown): number {
    return raw.stream === undefined ? rule.read(raw, value) : raw.arrival;
  }

  // The bytes under the finger are those of this record only while it is read, and not for what a window or a join made of it.
  #originalOf(record: StreamRecord): Original | undefined {
    const whole = record.window === undefined && record.part === undefined;
    const same = this.#reading && whole && record.offset === this.#raw.offset;
    return same && record.origin === this.#current?.name ? originalOf(this.#raw) : undefined;
  }

  // To the least watermark of the partitions that hold it back; never backwards.
  #moveWatermark(): void {
    if (this.awaited.size > 0) return;
    let least = Number.POSITIVE_INFINITY;
    for (const partition of this.partitions) {
      const watermark = partition.watermark;
      if (watermark < least) least = watermark;
    }
    if (least > this.watermark && least !== Number.POSITIVE_INFINITY) this.#advance(least);
  }

  #wake(partition: InputPartition): void {
    partition.idle = false;
    partition.idleUntil = this.watermark;
  }

  #advance(watermark: number): void {
    this.watermark = watermark;
    for (const node of this.keyed) node.advance(watermark);
  }

  #replayIdleSteps(): void {
    // They were taken in this order. A few are looked at, as one may wait for a partition that has left: all of a long log would take too long.
    for (const step of this.#replay.slice(0, 16).filter((recorded) => this.#hasReached(recorded))) {
      this.#replay.splice(this.#replay.indexOf(step), 1);
      for (const partition of this.partitions) {
        // One that has read on is awake again: partitions meet otherwise in a replay than they did at first.
        const there = partition.lastOffset === step.offsets[partition.name];
        if (there && step.idle.includes(partition.name)) partition.idle = true;
      }
      if (step.watermark > this.watermark) this.#advance(step.watermark);
    }
  }

  #hasReached({ offsets }: IdleStep): boolean {
    return Object.entries(offsets).every(([name, offset]) =>
      this.partitions.some((partition) => partition.name === name && partition.lastOffset >= offset),
    );
  }

  #handOver(): void {
    for (const edge of this.edges) edge.release(this);
  }
}

/** Raised when the path of last resort fails: better no run than a lost record. */
export function deadLetterFailed(step: string, rejection: Rejection): RunError {
  return new RunError(
    `\`${step}\` could not take a dead letter: ${rejection.message} The run stops here, so that nothing is lost. ` +
      'Repair the dead-letter stream and start again.',
    { where: step },
  );
}
