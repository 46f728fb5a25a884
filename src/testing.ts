/** `penstock/testing`: runs steps without a source, a sink or a clock. Time moves only when a test says so. */
import { KeyedState } from './engine/keyed-state.ts';
import { KeyedNode, Node, type Rejection, type Surroundings } from './engine/node.ts';
import { MemoryStore } from './engine/store.ts';
import type { StepDefinition } from './operator.ts';
import type { StreamRecord } from './record.ts';

/** State of a driven step at one moment; `new Driver(…, { from })` goes on from it. */
export interface DriverCheckpoint {
  readonly store: MemoryStore;
  readonly watermark: number;
}

export interface DriverOptions {
  /** The step's id; `step` unless given. */
  readonly id?: string;
  /** The watermark stays this many ms behind the newest record. */
  readonly outOfOrderMs?: number;
  readonly from?: DriverCheckpoint;
}

const prefix = 'state\u0000';

/** Drives one step: push records in, read what came out. The watermark follows the records' times as it does behind a source. */
export class Driver implements Surroundings {
  /** What has come out so far, in order. */
  readonly output: StreamRecord[] = [];
  /** What was rejected so far, with codes and messages; late records too. */
  readonly rejected: Rejection[] = [];
  watermark: number;
  readonly #outOfOrderMs: number;
  readonly #node: Node;
  readonly #store: MemoryStore;

  constructor(
    definition: StepDefinition,
    options: unknown,
    { id = 'step', outOfOrderMs = 0, from }: DriverOptions = {},
  ) {
    this.watermark = from?.watermark ?? Number.NEGATIVE_INFINITY;
    this.#outOfOrderMs = outOfOrderMs;
    this.#store = new MemoryStore(from?.store);
    const step = definition.create(options as never, id);
    const keyed = new KeyedState<unknown>(prefix);
    if (from) keyed.restore(from.store.entries(prefix));
    this.#node = definition.keyed ? new KeyedNode(id, step, this, keyed) : new Node(id, step, this);
    this.#node.next = { push: (record) => void this.output.push(record) };
  }

  /** Pushes records one by one; after each, the watermark moves up to its time less `outOfOrderMs`. */
  push(...records: readonly StreamRecord[]): this {
    for (const record of records) {
      this.#node.push(record);
      if (Number.isFinite(record.time)) this.advanceTo(record.time - this.#outOfOrderMs);
    }
    return this;
  }

  /** Moves the watermark on, never back: what is due fires. */
  advanceTo(watermark: number): this {
    if (watermark <= this.watermark) return this;
    this.watermark = watermark;
    if (this.#node instanceof KeyedNode) this.#node.advance(watermark);
    return this;
  }

  /** Ends the input: every timer fires. Gives all that has come out. */
  end(): readonly StreamRecord[] {
    this.advanceTo(Number.POSITIVE_INFINITY);
    return this.output;
  }

  /** Takes a snapshot through the same bytes that a checkpoint holds. */
  checkpoint(): DriverCheckpoint {
    if (this.#node instanceof KeyedNode) {
      const changes = { puts: [], removes: [] };
      this.#node.keyed.snapshot(changes);
      void this.#store.commit(changes);
    }
    return { store: new MemoryStore(this.#store), watermark: this.watermark };
  }

  /** Keys that hold state or timers now. */
  get keys(): number {
    return this.#node instanceof KeyedNode ? this.#node.keyed.size : 0;
  }

  rejectedCodes(): string[] {
    return this.rejected.map(({ code }) => code);
  }

  /** @internal called by the step under test */
  onRejected(_node: Node, rejection: Rejection): void {
    this.rejected.push(rejection);
  }
  lateCode(): 'late' {
    return 'late';
  }
}
