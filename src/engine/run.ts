import { resolve } from 'node:path';
import { BehaviorSubject, type Observable } from 'rxjs';
import { RunError } from '../errors.ts';
import type { Batch } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import { stepIdentities } from './checkpoint.ts';
import { closeConnections } from './closing.ts';
import { definitionOf, Graph, type PlannedSource } from './graph.ts';
import { type Health, healthOf } from './health.ts';
import { openJournalView } from './journal-view.ts';
import { Merges } from './merge.ts';
import { Outputs } from './outputs.ts';
import type { InputPartition } from './partition.ts';
import type { RunOptions } from './run-options.ts';
import { silencesOf, watchSilence } from './silence.ts';
import { type HostContext, SourceHost } from './source-host.ts';
import { readStatus, type Status } from './status.ts';
import type { Task } from './task.ts';
import type { Unit } from './unit.ts';
import { Units } from './units.ts';

interface Finish {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const defaultCheckpointMs = 5_000;

/** A topology at work. `done` resolves when its inputs have ended or it was stopped, and rejects with what ended it otherwise. */
export class Run {
  readonly done: Promise<void>;
  readonly #options: RunOptions;
  readonly #graph: Graph;
  readonly #hosts: SourceHost[] = [];
  readonly #outputs = new Outputs();
  readonly #units: Units;
  readonly #intake = new AbortController();
  readonly #life = new AbortController();
  readonly #status: BehaviorSubject<Status>;
  /** All is open, and who started the run has had the time to subscribe. */
  #begun = false;
  #since = 0;
  #ended = false;
  readonly #asked = new Set<Unit>();
  #failure: unknown;
  #shutting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  readonly #finish: Finish;

  private constructor(options: RunOptions) {
    this.#options = options;
    this.#graph = new Graph(options.plan, options.catalogue);
    this.#units = new Units({
      ...options,
      graph: this.#graph,
      steps: stepIdentities(options.plan, options.catalogue),
      outputs: this.#outputs,
      hosts: this.#hosts,
      signal: this.#life.signal,
      stopping: () => this.#intake.signal.aborted || this.#closing !== undefined,
      failure: () => this.#failure,
      fail: (error) => this.#fail(error),
    });
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
      await run.#units.open();
      await run.#openSources();
    } catch (error) {
      await run.#shut();
      throw run.#failure ?? error;
    }
    // A turn later: whoever has waited for this call can subscribe to outputs before the first record comes.
    setImmediate(() => {
      run.#begun = true;
      run.#since = options.ports.clock.now();
      for (const host of run.#hosts) host.begin();
      run.#endWhatIsComplete();
    });
    void run.#everyInterval();
    void watchSilence({ ...options, units: run.#units, hosts: run.#hosts, signal: run.#intake.signal });
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
    return this.#outputs.watch(stream);
  }

  /** The status after each checkpoint, and at the end. */
  get status$(): Observable<Status> {
    return this.#status.asObservable();
  }

  status(): Status {
    const units = [...this.#units];
    const checkpoints = units.flatMap(({ checkpointer }) => checkpointer.last ?? []);
    return readStatus(
      this.#options.plan.name,
      units.flatMap(({ tasks }) => [...tasks.all.values()]),
      this.#units.runners(),
      checkpoints.sort((a, b) => b.at - a.at)[0],
      (task) => silencesOf(task, this.#hosts),
      this.#hosts,
    );
  }

  /** Whether the run does its work, and what is wrong when it does not. */
  health(): Health {
    const { ports, checkpointMs = defaultCheckpointMs } = this.#options;
    return healthOf({
      state: this.#state,
      failure: this.#failure,
      now: ports.clock.now(),
      since: this.#since,
      checkpointMs,
      units: [...this.#units].map(({ checkpointer }) => checkpointer),
      sinks: [...this.#units.runners()],
    });
  }

  /** Stops pulling, waits for the sinks, takes a last checkpoint and closes. Open windows stay open, in the checkpoint. */
  async stop(): Promise<void> {
    this.#closing ??= this.#close('stop');
    await this.done;
  }

  /**
   * Stops as `stop` does, but closes all open windows first, with what they hold: their results have the pane `drained`. For a topology
   * that is not to go on, or whose windows are about to change. What comes for those windows after a restart makes them anew.
   */
  async drain(): Promise<void> {
    this.#closing ??= this.#close('drain');
    await this.done;
  }

  /** Takes a checkpoint now, when anything has changed since the last one. What goes wrong ends the run. */
  async checkpoint(): Promise<void> {
    await Promise.all([...this.#units].map((unit) => this.#takeCheckpoint(unit)));
  }

  /** Ends at once, without waiting for sinks and without a checkpoint: the last one stands. */
  kill(reason: Error): void {
    this.#life.abort();
    this.#fail(reason);
  }

  async #openSources(): Promise<void> {
    const { catalogue, ports, log, plan, mergeByTime = false } = this.#options;
    const merges = mergeByTime ? new Merges() : undefined;
    const complete = (id: string) => this.#hosts.some((host) => host.source.step.id === id && host.complete);
    for (const source of this.#graph.sources()) {
      const context: HostContext = {
        ports,
        log,
        topology: plan.name,
        resumed: this.#units.resumed,
        signal: this.#intake.signal,
        claim: (partitions) => this.#units.claim(host, partitions),
        stored: (name) => this.#units.of(name)?.checkpointer.stored(name),
        checkpoint: this.#units.flush,
        taskFor: (planned, input) => this.#taskFor(planned, input),
        ingest: (task, input, batch) => this.#ingest(task, input, batch),
        partitionEnded: (task, input) => this.#partitionEnded(task, input),
        partitionLeft: (task, input) => this.#partitionLeft(task, input),
        sourceComplete: (id) => this.#sourceComplete(id),
        fail: (error) => this.#fail(error),
        openJournal: (name, size) => this.#options.openJournal(name, size),
        readJournal: (name) => openJournalView(ports.disk, resolve(this.#options.journals ?? '/', name), ports.clock),
      };
      const definition = definitionOf(catalogue, 'source', source.step.operator);
      const host: SourceHost = new SourceHost(source, definition, merges?.between(context, complete) ?? context);
      this.#hosts.push(host);
      await host.open();
      // One that is open already may have failed meanwhile.
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  #taskFor(source: PlannedSource, input: InputPartition): Task {
    const { tasks, checkpointer } = this.#units.of(input.name)!;
    const complete = this.#hosts.filter((host) => host.complete).map((host) => host.source.step.id);
    return tasks.of(source, input, complete, checkpointer);
  }

  async #ingest(task: Task, input: InputPartition, batch: Batch): Promise<void> {
    const unit = await this.#ready(input);
    if (unit === undefined) return;
    const { checkpointer, runners } = unit;
    checkpointer.changed(batch.length);
    this.#whole(input, () => task.ingest(input, batch));
    for (const runner of runners.values()) while (runner.full && unit.failure === undefined) await runner.progress();
    if (checkpointer.records >= (this.#options.checkpointRecords ?? 1_000_000)) void this.#takeCheckpointOnce(unit);
  }

  async #partitionEnded(task: Task, input: InputPartition): Promise<void> {
    const unit = await this.#ready(input);
    if (unit === undefined) return;
    if (this.#options.onEnd === 'hold') input.held = true;
    else {
      unit.checkpointer.changed();
      this.#whole(input, () => task.end(input));
    }
    this.#endWhatIsComplete();
  }

  // The unit of a partition once nothing holds its intake; `undefined` when nothing may be taken in any more.
  async #ready(input: InputPartition): Promise<Unit | undefined> {
    const unit = this.#units.of(input.name);
    if (unit === undefined) return undefined;
    const { gate } = unit.checkpointer;
    while (gate.closed) await gate.closed;
    return this.#intake.signal.aborted || unit.failure !== undefined ? undefined : unit;
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
    // Its new owner begins where the last commit stands: the rest is taken back with its transaction.
    if (this.#units.transactional) return this.#units.drop(input.name);
    const { checkpointer, tasks } = this.#units.of(input.name)!;
    checkpointer.changed();
    await checkpointer.take();
    checkpointer.changed();
    this.#whole(input, () => tasks.leave(task, input));
  }

  #sourceComplete(source: string): void {
    try {
      for (const { tasks, checkpointer } of this.#units) tasks.expectNoMore(source, checkpointer);
    } catch (error) {
      this.#fail(error);
    }
    this.#endWhatIsComplete();
  }

  /** Closes the windows of tasks whose inputs have all ended, and the run when all of them have. */
  #endWhatIsComplete(): void {
    if (!this.#begun || this.#closing !== undefined || this.#failure !== undefined) return;
    const open = this.#hosts.filter((host) => !host.ended);
    // Held inputs may go on another time: it is as if the run had been stopped there.
    if (this.#options.onEnd === 'hold') {
      if (open.length === 0) this.#closing = this.#close('stop');
      return;
    }
    const names = open.map((host) => host.source.step.id);
    try {
      for (const { tasks, checkpointer } of this.#units) tasks.finish(names, checkpointer);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (open.length === 0) this.#closing = this.#close('end');
  }

  async #takeCheckpoint(unit: Unit): Promise<void> {
    try {
      await unit.checkpointer.take();
      this.#status.next(this.status());
    } catch (error) {
      unit.fail(error);
    }
  }

  // While one is asked for, a fast input does not ask again: the ones in line would follow each other without a pause.
  async #takeCheckpointOnce(unit: Unit): Promise<void> {
    if (this.#asked.has(unit)) return;
    this.#asked.add(unit);
    await this.#takeCheckpoint(unit);
    this.#asked.delete(unit);
  }

  async #everyInterval(): Promise<void> {
    const { ports, checkpointMs = defaultCheckpointMs } = this.#options;
    for (let due = checkpointMs; ; ) {
      await ports.clock.sleep(due, this.#intake.signal);
      if (this.#intake.signal.aborted) return;
      const began = ports.clock.now();
      await this.checkpoint();
      // One that takes long does not put the next one off.
      due = Math.max(0, checkpointMs - Math.max(0, ports.clock.now() - began));
    }
  }

  async #close(how: 'stop' | 'drain' | 'end'): Promise<void> {
    try {
      if (how !== 'end') this.#intake.abort();
      await Promise.all(this.#hosts.map((host) => host.rest()));
      if (how === 'end') await this.#units.drainBuffers(() => this.checkpoint());
      if (how === 'drain') for (const { tasks, checkpointer } of this.#units) tasks.drain(checkpointer);
      await Promise.all([...this.#units].map((unit) => this.#lastCheckpoint(unit, how === 'end')));
    } catch (error) {
      this.#fail(error);
    }
    if (this.#failure !== undefined) return;
    await this.#shut();
    if (this.#failure === undefined) this.#finish.resolve();
  }

  get #state(): Health['state'] {
    if (this.#failure !== undefined) return 'failed';
    if (this.#ended) return 'ended';
    if (this.#closing !== undefined) return 'stopping';
    return this.#begun ? 'running' : 'starting';
  }

  // Of an input that has ended nobody will read the rest; otherwise what a lost unit did is done again after the next start.
  async #lastCheckpoint(unit: Unit, ended: boolean): Promise<void> {
    try {
      if (ended) unit.checkpointer.changed();
      await unit.checkpointer.take(ended);
    } catch (error) {
      unit.fail(error);
    }
    if (ended && unit.failure !== undefined) throw unit.failure;
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
    const { log, ports } = this.#options;
    this.#intake.abort();
    const force = this.#life.signal;
    await closeConnections(this.#hosts, this.#units.runners(), { clock: ports.clock, log, force });
    this.#life.abort();
    await this.#units.close();
    this.#outputs.complete();
    this.#status.next(this.status());
    this.#status.complete();
    this.#ended = true;
  }
}
