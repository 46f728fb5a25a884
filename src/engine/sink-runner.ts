import type { Subject } from 'rxjs';
import { type OpenSink, type Position, type Refused, RunError } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import { type BufferCounts, BufferedSink } from './buffered-sink.ts';
import { Bell } from './journal-bell.ts';
import type { Target } from './node.ts';
import type { Edge, Task } from './task.ts';

/** One open sink: takes what the tasks hand over, writes one batch at a time and in order, and bounds what waits. */
export class SinkRunner {
  readonly id: string;
  readonly counts = { written: 0, refused: 0 };
  readonly #sink: OpenSink | BufferedSink;
  readonly #maxRecords: number;
  readonly #fail: (error: unknown) => void;
  #queue: { task: Task; records: StreamRecord[] }[] = [];
  #waiting = 0;
  readonly #waitingOf = new Map<Task, number>();
  #held = false;
  #writing = false;
  #room: (() => void)[] = [];
  #ended = false;
  /** Records ever handed over. */
  #handed = 0;
  #task: Task | undefined;
  readonly #bell = new Bell();

  constructor(id: string, sink: OpenSink | BufferedSink, fail: (error: unknown) => void) {
    this.id = id;
    this.#sink = sink;
    this.#maxRecords = sink.maxRecords ?? 5_000;
    this.#fail = fail;
  }

  /** Records handed over and not yet confirmed. */
  get pending(): number {
    return this.#waiting;
  }

  /** Those of one task. */
  pendingOf(task: Task): number {
    return this.#waitingOf.get(task) ?? 0;
  }

  /** So much waits that a source has to pause. */
  get full(): boolean {
    return this.#waiting >= 2 * this.#maxRecords;
  }

  /** Where a sink stands that can be set back; nothing may be pending. */
  get position(): Position | undefined {
    return this.#sink instanceof BufferedSink ? undefined : this.#sink.position?.();
  }

  /** What a buffer before the target has done, when there is one. */
  get buffer(): BufferCounts | undefined {
    return this.#sink instanceof BufferedSink ? this.#sink.counts : undefined;
  }

  /** A task writes here from now on. */
  serve(task: Task): void {
    this.#task = task;
    this.#bell.ring();
  }

  /**
   * Refuses records whose write was confirmed long ago, perhaps by an earlier run. Their dead letters go the way of a task that writes here,
   * and this resolves when the sinks that they came to have confirmed them. Rejects when the run ends before that.
   */
  async refuseLater(refused: readonly { record: StreamRecord; why: Omit<Refused, 'index'> }[]): Promise<void> {
    while (this.#task === undefined && !this.#ended) await this.#bell.wait(new AbortController().signal);
    const runners = this.#task?.edges.flatMap((edge) => (edge instanceof Outlet ? edge.runner : [])) ?? [];
    const before = runners.map((runner) => runner.#handed);
    for (const { record, why } of refused) this.#task?.refuse(this.id, record, why);
    this.counts.refused += refused.length;
    const took = runners.filter((runner, index) => runner.#handed > before[index]!);
    await Promise.all(took.map((runner) => runner.#confirmed(runner.#handed)));
    if (this.#ended) throw new RunError(`Stopped before the dead letters of \`${this.id}\` were written.`);
  }

  /** Resolves when all has been written, to the target behind a buffer too, or when there will be no more writes. */
  async drained(): Promise<void> {
    await this.#confirmed(this.#handed);
    if (this.#sink instanceof BufferedSink) await this.#sink.drained();
  }

  async #confirmed(handed: number): Promise<void> {
    while (this.#handed - this.#waiting < handed && !this.#ended) await this.progress();
  }

  enqueue(task: Task, records: StreamRecord[]): void {
    this.#queue.push({ task, records });
    this.#handed += records.length;
    this.#count(task, records.length);
    if (!this.#writing) void this.#write();
  }

  /** Keeps what comes from now on: a transaction is being committed, and it belongs to the next. Nothing may be pending. */
  hold(): void {
    this.#held = true;
  }

  /** Writes what has gathered since `hold`. */
  release(): void {
    this.#held = false;
    if (!this.#writing) void this.#write();
  }

  /** Resolves at the next confirmed write, or when there will be none any more. */
  progress(): Promise<void> {
    return this.#waiting === 0 || this.#ended ? Promise.resolve() : new Promise((resolve) => this.#room.push(resolve));
  }

  /** Closes the sink. What still waits is not written: it is read again after the restart. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#wake();
    this.#bell.ring();
    await this.#sink.close();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#queue.length > 0 && !this.#ended && !this.#held) {
        const { records, owners } = this.#take();
        const refused = (await this.#sink.write(records)) ?? [];
        this.counts.written += records.length - refused.length;
        this.counts.refused += refused.length;
        // Before the count falls: whoever waits for an empty sink must also wait for the dead letters of this batch.
        for (const { index, ...why } of refused) owners[index]!.refuse(this.id, records[index]!, why);
        this.#done(owners);
        this.#wake();
      }
    } catch (error) {
      this.#ended = true;
      this.#fail(error);
      this.#wake();
    } finally {
      this.#writing = false;
    }
  }

  #take(): { records: StreamRecord[]; owners: Task[] } {
    const records: StreamRecord[] = [];
    const owners: Task[] = [];
    while (this.#queue.length > 0 && records.length < this.#maxRecords) {
      const first = this.#queue[0]!;
      const part = first.records.splice(0, this.#maxRecords - records.length);
      for (const record of part) {
        records.push(record);
        owners.push(first.task);
      }
      if (first.records.length === 0) this.#queue.shift();
    }
    return { records, owners };
  }

  // Owners stand in runs: one look at the map for each run, not for each record.
  #done(owners: readonly Task[]): void {
    for (let from = 0, to = 0; from < owners.length; from = to) {
      while (to < owners.length && owners[to] === owners[from]) to++;
      this.#count(owners[from]!, from - to);
    }
  }

  #count(task: Task, records: number): void {
    this.#waiting += records;
    const left = this.pendingOf(task) + records;
    if (left === 0) this.#waitingOf.delete(task);
    else this.#waitingOf.set(task, left);
  }

  #wake(): void {
    const waiting = this.#room;
    this.#room = [];
    for (const resolve of waiting) resolve();
  }
}

/** A task's end of a sink: gathers records during a batch, hands them over after it, and passes them on. */
export class Outlet implements Edge {
  next: Target | undefined;
  readonly counts = { in: 0 };
  readonly runner: SinkRunner;
  #records: StreamRecord[] = [];

  constructor(runner: SinkRunner) {
    this.runner = runner;
  }

  push(record: StreamRecord): void {
    this.counts.in++;
    this.#records.push(record);
    this.next?.push(record);
  }

  release(task: Task): void {
    if (this.#records.length === 0) return;
    this.runner.enqueue(task, this.#records);
    this.#records = [];
  }
}

/** The end of a stream: its records go on to the streams that continue it, and, in batches, to whoever watches it. */
export class StreamEnd implements Edge {
  readonly targets: Target[] = [];
  readonly #watched: Subject<readonly StreamRecord[]>;
  #records: StreamRecord[] = [];

  constructor(watched: Subject<readonly StreamRecord[]>) {
    this.#watched = watched;
  }

  push(record: StreamRecord): void {
    for (const target of this.targets) target.push(record);
    if (this.#watched.observed) this.#records.push(record);
  }

  release(): void {
    if (this.#records.length === 0) return;
    this.#watched.next(this.#records);
    this.#records = [];
  }
}
