import { BehaviorSubject, type Observable } from 'rxjs';
import { RunError } from '../errors.ts';
import type { Batch, Journal, Log, Ports } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import type { Plan } from '../topology/plan.ts';
import { checkCompatible, stepIdentities } from './checkpoint.ts';
import { Checkpointer } from './checkpointer.ts';
import { closeConnections, warnOfClosing } from './closing.ts';
import { type Catalogue, definitionOf, Graph } from './graph.ts';
import { dueIdleStep } from './idle.ts';
import type { InputPartition } from './partition.ts';
import { SinkRunner } from './sink-runner.ts';
import { SourceHost } from './source-host.ts';
import { readStatus, type Status } from './status.ts';
import type { StateStore } from './store.ts';
import type { Task } from './task.ts';
import { Tasks } from './tasks.ts';

export interface RunOptions {
  readonly plan: Plan;
  readonly topologyHash: string;
  readonly catalogue: Catalogue;
  readonly ports: Ports;
  readonly log: Log;
  readonly store: StateStore;
  /** Opens the durable log of a source under the state folder. */
  openJournal(name: string, options?: { readonly maxBytes?: number }): Promise<Journal>;
  /** A checkpoint is taken so often, in ms; 5,000 unless given. */
  readonly checkpointMs?: number;
  /** … and after so many records; 1,000,000 unless given. */
  readonly checkpointRecords?: number;
}

interface Finish {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

// How often silence is looked at. Finer than any `idle` that makes sense, coarse enough to cost nothing.
const silenceMs = 200;

/** A topology at work. `done` resolves when its inputs have ended or it was stopped, and rejects with what ended it otherwise. */
export class Run {
  readonly done: Promise<void>;
  readonly #options: RunOptions;
  readonly #graph: Graph;
  readonly #hosts: SourceHost[] = [];
  readonly #runners = new Map<string, SinkRunner>();
  readonly #tasks: Tasks;
  readonly #checkpointer: Checkpointer;
  readonly #intake = new AbortController();
  readonly #life = new AbortController();
  readonly #status: BehaviorSubject<Status>;
  /** All is open, and who started the run has had the time to subscribe. */
  #begun = false;
  #asked = false;
  #failure: unknown;
  #shutting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  readonly #finish: Finish;

  private constructor(options: RunOptions) {
    this.#options = options;
    this.#graph = new Graph(options.plan, options.catalogue);
    const { plan, topologyHash: hash, store, ports } = options;
    const steps = stepIdentities(plan, options.catalogue);
    this.#tasks = new Tasks({ ...options, graph: this.#graph, runners: this.#runners });
    this.#checkpointer = new Checkpointer(
      store,
      ports.clock,
      { plan, hash, steps },
      {
        tasks: this.#tasks.all,
        hosts: this.#hosts,
        runners: this.#runners,
        failure: () => this.#failure,
        fail: (error) => this.#fail(error),
      },
    );
    const { last } = this.#checkpointer;
    if (last) checkCompatible(last, plan, steps);
    if (last?.ended) throw hasEnded(plan.name, last);
    let finish!: Finish;
    this.done = new Promise((resolve, reject) => {
      finish = { resolve, reject };
    });
    // Whoever does not look at `done` learns of a failure by `stop` or the log, not by a crash of the process.
    this.done.catch(() => undefined);
    this.#finish = finish;
    this.#status = new BehaviorSubject<Status>(this.status());
  }

  /** Opens sinks and sources and begins to pull. Rejects, with everything closed again, when one of them cannot be opened. */
  static async start(options: RunOptions): Promise<Run> {
    const run = new Run(options);
    try {
      await run.#openSinks();
      await run.#openSources();
    } catch (error) {
      await run.#shut();
      throw run.#failure ?? error;
    }
    // A turn later: whoever has waited for this call can subscribe to outputs before the first record comes.
    setImmediate(() => {
      run.#begun = true;
      for (const host of run.#hosts) host.begin();
      run.#endWhatIsComplete();
    });
    void run.#everyInterval();
    void run.#watchSilence();
    return run;
  }

  /**
   * The records at the end of a stream, in batches as they are processed. Completes when the run ends, for whatever reason:
   * `done` tells which. Throws a RunError when the topology has no such stream.
   */
  output(stream: string): Observable<readonly StreamRecord[]> {
    const names = this.#options.plan.streams.map(({ name }) => name);
    if (!names.includes(stream)) {
      throw new RunError(
        `The topology has no stream \`${stream}\`. Its streams are ${names.map((name) => `\`${name}\``).join(', ')}.`,
      );
    }
    return this.#tasks.watch(stream).asObservable();
  }

  /** The status after each checkpoint, and at the end. */
  get status$(): Observable<Status> {
    return this.#status.asObservable();
  }

  status(): Status {
    return readStatus(
      this.#options.plan.name,
      this.#tasks.all.values(),
      this.#runners.values(),
      this.#checkpointer.last,
    );
  }

  /** Stops pulling, waits for the sinks, takes a last checkpoint and closes. Open windows stay open, in the checkpoint. */
  async stop(): Promise<void> {
    this.#closing ??= this.#close(false);
    await this.done;
  }

  /** Takes a checkpoint now, when anything has changed since the last one. What goes wrong ends the run. */
  async checkpoint(): Promise<void> {
    await this.#takeCheckpoint();
  }

  /** Ends at once, without waiting for sinks and without a checkpoint: the last one stands. */
  kill(reason: Error): void {
    this.#life.abort();
    this.#fail(reason);
  }

  async #openSinks(): Promise<void> {
    const { plan, catalogue, ports, log } = this.#options;
    for (const stream of plan.streams) {
      for (const step of stream.steps.filter(({ kind }) => kind === 'sink')) {
        const sink = await definitionOf(catalogue, 'sink', step.operator).open(step.options, {
          ports,
          log,
          topology: plan.name,
          stream: stream.name,
          id: step.id,
          signal: this.#life.signal,
          recordId,
        });
        this.#runners.set(step.id, new SinkRunner(step.id, sink, (error) => this.#fail(error)));
      }
    }
  }

  async #openSources(): Promise<void> {
    const { catalogue, ports, log, plan } = this.#options;
    for (const source of this.#graph.sources()) {
      const host = new SourceHost(source, definitionOf(catalogue, 'source', source.step.operator), {
        ports,
        log,
        topology: plan.name,
        resumed: this.#checkpointer.last !== undefined,
        signal: this.#intake.signal,
        stored: (name) => this.#checkpointer.stored(name),
        taskFor: (planned, input) => this.#tasks.of(planned, input, this.#complete(), this.#checkpointer),
        ingest: (task, input, batch) => this.#ingest(task, input, batch),
        partitionEnded: (task, input) => this.#partitionEnded(task, input),
        partitionLeft: (task, input) => this.#partitionLeft(task, input),
        sourceComplete: (id) => this.#sourceComplete(id),
        fail: (error) => this.#fail(error),
        openJournal: (name, limits) => this.#options.openJournal(name, limits),
      });
      this.#hosts.push(host);
      await host.open();
      // One that is open already may have failed meanwhile.
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  #complete(): string[] {
    return this.#hosts.filter((host) => host.complete).map((host) => host.source.step.id);
  }

  async #ingest(task: Task, input: InputPartition, batch: Batch): Promise<void> {
    const { gate } = this.#checkpointer;
    while (gate.closed) await gate.closed;
    if (this.#intake.signal.aborted) return;
    this.#checkpointer.changed(batch.length);
    this.#whole(input, () => task.ingest(input, batch));
    for (const runner of this.#runners.values()) while (runner.full && !this.#failure) await runner.progress();
    if (this.#checkpointer.records >= (this.#options.checkpointRecords ?? 1_000_000)) void this.#takeCheckpointOnce();
  }

  async #partitionEnded(task: Task, input: InputPartition): Promise<void> {
    const { gate } = this.#checkpointer;
    while (gate.closed) await gate.closed;
    if (this.#intake.signal.aborted) return;
    this.#checkpointer.changed();
    this.#whole(input, () => task.end(input));
    this.#endWhatIsComplete();
  }

  // Whatever throws in there leaves its task by half: the run ends in this very moment, before a checkpoint can hold that.
  #whole(input: InputPartition, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fail(input.placed(error));
      throw error;
    }
  }

  async #partitionLeft(task: Task, input: InputPartition): Promise<void> {
    this.#checkpointer.changed();
    await this.#checkpointer.take();
    this.#checkpointer.changed();
    this.#whole(input, () => this.#tasks.leave(task, input));
  }

  #sourceComplete(source: string): void {
    try {
      this.#tasks.expectNoMore(source, this.#checkpointer);
    } catch (error) {
      this.#fail(error);
    }
    this.#endWhatIsComplete();
  }

  /** Closes the windows of tasks whose inputs have all ended, and the run when all of them have. */
  #endWhatIsComplete(): void {
    if (!this.#begun || this.#closing !== undefined || this.#failure !== undefined) return;
    const open = this.#hosts.filter((host) => !host.ended);
    try {
      this.#tasks.finish(
        open.map((host) => host.source.step.id),
        this.#checkpointer,
      );
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (open.length === 0) this.#closing = this.#close(true);
  }

  async #takeCheckpoint(): Promise<void> {
    try {
      await this.#checkpointer.take();
      this.#status.next(this.status());
    } catch (error) {
      this.#fail(error);
    }
  }

  // While one is asked for, a fast input does not ask again: the ones in line would follow each other without a pause.
  async #takeCheckpointOnce(): Promise<void> {
    if (this.#asked) return;
    this.#asked = true;
    await this.#takeCheckpoint();
    this.#asked = false;
  }

  async #everyInterval(): Promise<void> {
    const { ports, checkpointMs = 5_000 } = this.#options;
    for (;;) {
      await ports.clock.sleep(checkpointMs, this.#intake.signal);
      if (this.#intake.signal.aborted) return;
      await this.#takeCheckpoint();
    }
  }

  async #watchSilence(): Promise<void> {
    const { ports } = this.#options;
    for (;;) {
      await ports.clock.sleep(silenceMs, this.#intake.signal);
      if (this.#intake.signal.aborted) return;
      const readers = this.#hosts.flatMap((host) => [...host.readers]);
      for (const task of this.#tasks.all.values()) {
        const silences = readers
          .filter((reader) => reader.task === task)
          .map(({ input, partition, waitingSince }) => ({
            input,
            since: partition.caughtUp ? waitingSince : undefined,
          }));
        const step = dueIdleStep(task, silences, ports.clock.now());
        if (step) await this.#checkpointer.takeIdleStep(task, step);
      }
    }
  }

  async #close(ended: boolean): Promise<void> {
    try {
      if (!ended) this.#intake.abort();
      await Promise.all(this.#hosts.map((host) => host.rest()));
      if (ended) this.#checkpointer.changed();
      await this.#checkpointer.take(ended);
    } catch (error) {
      this.#fail(error);
    }
    if (this.#failure !== undefined) return;
    await this.#shut();
    if (this.#failure === undefined) this.#finish.resolve();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#life.abort();
    void this.#shut().then(() => this.#finish.reject(error));
  }

  /** Closes everything, once. Never rejects: what ended the run counts, not what came after. */
  #shut(): Promise<void> {
    this.#shutting ??= this.#closeAll();
    return this.#shutting;
  }

  async #closeAll(): Promise<void> {
    const { log, store, ports } = this.#options;
    this.#intake.abort();
    const force = this.#life.signal;
    await closeConnections(this.#hosts, this.#runners.values(), { clock: ports.clock, log, force });
    this.#life.abort();
    await store.close().catch((reason) => warnOfClosing(log, reason));
    this.#tasks.completeWatched();
    this.#status.next(this.status());
    this.#status.complete();
  }
}

/** The same text for the same result, after any restart and in any replay. */
function recordId(record: StreamRecord): string {
  const { window } = record;
  if (window) return `${window.step}/${String(record.key)}/${window.start}`;
  return `${record.origin}/${record.offset}`;
}

function hasEnded(name: string, { id, at }: { id: number; at: number }): RunError {
  return new RunError(
    `The input of \`${name}\` has ended and its windows are closed (checkpoint ${id} of ${new Date(at).toISOString()}). ` +
      'Start with --fresh to process it again from the beginning.',
  );
}
