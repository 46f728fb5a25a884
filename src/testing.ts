/** `penstock/testing`: runs steps, and whole topologies, without a connection or a clock. Time moves only when a test says so. */
import { Delta } from './engine/delta.ts';
import { LoneStep } from './engine/lone-step.ts';
import type { Rejection } from './engine/node.ts';
import { MemoryStore } from './engine/store.ts';
import type { StepDefinition } from './operator.ts';
import type { StreamRecord } from './record.ts';

export type { Rejection } from './engine/node.ts';
export type { StepDefinition } from './operator.ts';
export { StreamRecord } from './record.ts';
export type { FedRecord } from './testing/feed.ts';
export {
  expectMarbles,
  type Marble,
  type MarbleOptions,
  type MarbleRun,
  type Marbles,
  marbles,
} from './testing/marbles.ts';
export { TopologyDriver, type TopologyDriverOptions } from './testing/topology-driver.ts';

/** State of a driven step at one moment; `new Driver(…, { from })` goes on from it. */
export interface DriverCheckpoint {
  readonly store: MemoryStore;
  readonly watermark: number;
  /** The newest event time of each partition. */
  readonly newest: ReadonlyMap<string, number>;
}

export interface DriverOptions {
  /** The step's id; `step` unless given. */
  readonly id?: string;
  /** The watermark stays this many ms behind the newest record. */
  readonly outOfOrderMs?: number;
  /**
   * The source partitions whose records meet in this step, as the records' `origin` names them: event time is that of the slowest, and
   * does not begin before each has shown a record. Unless given, all records are of one partition.
   */
  readonly partitions?: readonly string[];
  readonly from?: DriverCheckpoint;
}

/** Drives one step: push records in, read what came out. The watermark follows the records' times as it does behind a source. */
export class Driver {
  /** What has come out so far, in order. */
  readonly output: StreamRecord[] = [];
  /** What was rejected so far, with codes and messages; late records too. */
  readonly rejected: Rejection[] = [];
  /** What was sent to other streams so far, by their names, in order. */
  readonly routed = new Map<string, StreamRecord[]>();
  readonly #outOfOrderMs: number;
  readonly #newest = new Map<string, number>();
  readonly #oneOnly: boolean;
  readonly #step: LoneStep;
  readonly #store: MemoryStore;

  constructor(
    definition: StepDefinition,
    options: unknown,
    { id = 'step', outOfOrderMs = 0, partitions, from }: DriverOptions = {},
  ) {
    this.#outOfOrderMs = outOfOrderMs;
    this.#oneOnly = partitions === undefined;
    for (const name of partitions ?? ['']) this.#newest.set(name, from?.newest.get(name) ?? Number.NEGATIVE_INFINITY);
    this.#store = new MemoryStore(from?.store);
    this.#step = new LoneStep(definition, options, {
      id,
      emit: (record) => void this.output.push(record),
      reject: (rejection) => void this.rejected.push(rejection),
      routes: { get: (stream) => ({ push: (record) => this.#route(stream, record) }) },
      ...(from && { watermark: from.watermark }),
    });
    this.#step.keyed.restore(this.#store.entries(''));
  }

  get watermark(): number {
    return this.#step.watermark;
  }

  /** Pushes records one by one; after each, the watermark moves up to its time less `outOfOrderMs`. */
  push(...records: readonly StreamRecord[]): this {
    for (const record of records) {
      const newest = this.#newestOf(record);
      this.#step.push(record);
      this.#follow(record, newest);
    }
    return this;
  }

  /** The same for records of a stream that is a further input of the step, such as the `with` of a join. */
  pushInput(stream: string, ...records: readonly StreamRecord[]): this {
    for (const record of records) {
      const newest = this.#newestOf(record);
      this.#step.pushInput(record, stream);
      this.#follow(record, newest);
    }
    return this;
  }

  /** Moves the watermark on, never back: what is due fires. */
  advanceTo(watermark: number): this {
    this.#step.advance(watermark);
    return this;
  }

  /** Ends the input: every timer fires. Gives all that has come out. */
  end(): readonly StreamRecord[] {
    return this.advanceTo(Number.POSITIVE_INFINITY).output;
  }

  /** Takes a snapshot through the same bytes that a checkpoint holds. */
  checkpoint(): DriverCheckpoint {
    const changes = new Delta();
    this.#step.keyed.snapshot(changes);
    void this.#store.commit(changes);
    return { store: new MemoryStore(this.#store), watermark: this.watermark, newest: new Map(this.#newest) };
  }

  /** Keys that hold state or timers now. */
  get keys(): number {
    return this.#step.keyed.size;
  }

  /** Those of `rejected` that came too late. */
  get late(): readonly Rejection[] {
    return this.rejected.filter(({ code }) => code === 'late');
  }

  rejectedCodes(): string[] {
    return this.rejected.map(({ code }) => code);
  }

  #newestOf({ origin }: StreamRecord): number {
    const newest = this.#newest.get(this.#oneOnly ? '' : origin);
    if (newest !== undefined) return newest;
    throw new TypeError(`The record is of \`${origin}\`, which is none of the driver's \`partitions\`.`);
  }

  #follow({ time, origin }: StreamRecord, newest: number): void {
    if (!(time > newest)) return;
    this.#newest.set(this.#oneOnly ? '' : origin, time);
    this.#step.advance(Math.min(...this.#newest.values()) - this.#outOfOrderMs);
  }

  #route(stream: string, record: StreamRecord): void {
    const routed = this.routed.get(stream);
    if (routed) routed.push(record);
    else this.routed.set(stream, [record]);
  }
}
