import { type Batch, RawRecord, RejectError } from '../operator.ts';
import { compareNumbered } from '../ordered.ts';
import type { InputPartition } from './partition.ts';
import type { HostContext } from './source-host.ts';
import type { Task } from './task.ts';

/** A partition of a task, and what it has at hand. */
interface Lane {
  readonly input: InputPartition;
  batch: Batch | undefined;
  /** Index of the first record of the batch that has not been taken yet, and its event time. */
  at: number;
  time: number;
  ended: boolean;
  /** Ends the wait of whoever has offered the batch, or the end. */
  settle: (error?: unknown) => void;
}

/** Where merged records go, and what says that all partitions of the task are known. */
export interface MergeTarget {
  ingest(input: InputPartition, batch: Batch): Promise<void>;
  end(input: InputPartition): Promise<void>;
  complete(): boolean;
}

/**
 * Brings the partitions of one task together by event time: the record with the least time among the first of all partitions comes
 * next, of equal times that of the partition which comes first by name. So what follows depends on what the partitions hold, and never on
 * which of them is read faster. A record without a time comes as soon as it is the first of its partition. A partition that has come to its
 * end says so right behind its last record.
 *
 * It waits for the next record of each partition: for inputs that have an end. Parts of a batch carry the position of the whole batch, so
 * it is not for runs that another one goes on from.
 */
export class MergeByTime {
  readonly #lanes: Lane[] = [];
  readonly #target: MergeTarget;
  readonly #signal: AbortSignal;
  readonly #raw = new RawRecord();
  #working = false;

  constructor(target: MergeTarget, signal: AbortSignal) {
    this.#target = target;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#release(), { once: true });
  }

  /** A partition belongs to the task from now on. */
  join(input: InputPartition): void {
    const none = Number.NEGATIVE_INFINITY;
    this.#lanes.push({ input, batch: undefined, at: 0, time: none, ended: false, settle: () => undefined });
    this.#lanes.sort((a, b) => compareNumbered(a.input.name, b.input.name));
  }

  /** Resolves when all records of the batch have been taken, or nothing is taken any more. */
  offer(input: InputPartition, batch: Batch): Promise<void> {
    return this.#wait(input, (lane) => {
      lane.batch = batch;
      lane.at = 0;
      this.#look(lane);
    });
  }

  /** Resolves when the end of the partition has been told. */
  end(input: InputPartition): Promise<void> {
    return this.#wait(input, (lane) => {
      lane.ended = true;
    });
  }

  /** A partition has left its task. */
  leave(input: InputPartition): void {
    const at = this.#lanes.findIndex((lane) => lane.input === input);
    if (at >= 0) this.#lanes.splice(at, 1)[0]!.settle();
    this.work();
  }

  /** Goes on where that is possible: something has come that it waited for. */
  work(): void {
    if (!this.#working) void this.#takeAll();
  }

  #wait(input: InputPartition, set: (lane: Lane) => void): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    const lane = this.#lanes.find((one) => one.input === input)!;
    return new Promise((resolve, reject) => {
      lane.settle = (error) => (error === undefined ? resolve() : reject(error));
      set(lane);
      this.work();
    });
  }

  async #takeAll(): Promise<void> {
    this.#working = true;
    for (let lane = this.#next(); lane !== undefined; lane = this.#next()) {
      try {
        if (lane.ended) await this.#takeEnd(lane);
        else await this.#takeFrom(lane);
      } catch (error) {
        // Nothing comes after it: the others wait until the run has ended.
        lane.batch = undefined;
        lane.settle(error);
      }
    }
    this.#working = false;
  }

  // The one whose turn it is; none before each partition has shown what comes next.
  #next(): Lane | undefined {
    if (this.#signal.aborted || !this.#target.complete()) return undefined;
    let next: Lane | undefined;
    for (const lane of this.#lanes) {
      if (lane.ended) return lane;
      if (lane.batch === undefined) return undefined;
      if (next === undefined || lane.time < next.time) next = lane;
    }
    return next;
  }

  async #takeEnd(lane: Lane): Promise<void> {
    this.#lanes.splice(this.#lanes.indexOf(lane), 1);
    await this.#target.end(lane.input);
    lane.settle();
  }

  async #takeFrom(lane: Lane): Promise<void> {
    const batch = lane.batch!;
    const from = lane.at;
    const place = this.#lanes.indexOf(lane);
    const before = Math.min(...this.#lanes.slice(0, place).map(({ time }) => time));
    const behind = Math.min(...this.#lanes.slice(place + 1).map(({ time }) => time));
    // Nobody to wait for: no need to look at times.
    if (this.#lanes.length === 1) lane.at = batch.length - 1;
    do {
      lane.at++;
      this.#look(lane);
    } while (lane.at < batch.length && lane.time < before && lane.time <= behind);
    await this.#target.ingest(
      lane.input,
      from === 0 && lane.at >= batch.length ? batch : new Part(batch, from, lane.at),
    );
    if (lane.at < batch.length) return;
    lane.batch = undefined;
    lane.settle();
  }

  #look(lane: Lane): void {
    const { batch, input, at } = lane;
    lane.time = Number.NEGATIVE_INFINITY;
    if (at >= batch!.length || input.time === undefined) return;
    const raw = this.#raw;
    raw.decoded = false;
    raw.key = undefined;
    raw.meta = undefined;
    raw.captures = undefined;
    raw.refused = undefined;
    batch!.read(at, raw);
    try {
      lane.time = input.time.read(raw, input.decode(raw, batch!.clean === true));
    } catch (error) {
      // It has no time: the task rejects it when it comes there.
      if (!(error instanceof RejectError)) throw error;
    }
  }

  #release(): void {
    for (const lane of this.#lanes) lane.settle();
  }
}

/** The merges of a run, one for each task. */
export class Merges {
  readonly #merges = new Map<Task, MergeByTime>();

  /** Puts the merge of each task between a source host and the run. `complete` says that a source shows no further partition. */
  between(run: HostContext, complete: (source: string) => boolean): HostContext {
    const of = (task: Task) => {
      let merge = this.#merges.get(task);
      if (merge === undefined) {
        merge = new MergeByTime(
          {
            ingest: (input, batch) => run.ingest(task, input, batch),
            end: (input) => run.partitionEnded(task, input),
            complete: () => task.sources.every(complete),
          },
          run.signal,
        );
        this.#merges.set(task, merge);
      }
      return merge;
    };
    return {
      ...run,
      taskFor: (source, input) => {
        const task = run.taskFor(source, input);
        of(task).join(input);
        return task;
      },
      ingest: (task, input, batch) => of(task).offer(input, batch),
      partitionEnded: (task, input) => of(task).end(input),
      partitionLeft: async (task, input) => {
        await run.partitionLeft(task, input);
        of(task).leave(input);
      },
      sourceComplete: (source) => {
        run.sourceComplete(source);
        for (const merge of this.#merges.values()) merge.work();
      },
    };
  }
}

/** Records `[from, to)` of a batch. */
class Part implements Batch {
  readonly length: number;
  readonly next: Batch['next'];
  readonly clean: boolean;
  readonly #batch: Batch;
  readonly #from: number;

  constructor(batch: Batch, from: number, to: number) {
    this.length = to - from;
    this.next = batch.next;
    this.clean = batch.clean === true;
    this.#batch = batch;
    this.#from = from;
  }

  read(index: number, into: RawRecord): void {
    this.#batch.read(this.#from + index, into);
  }
}
