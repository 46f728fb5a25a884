import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Changes, Clock, Position } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import {
  type Checkpoint,
  idleName,
  idleSequenceOf,
  putCheckpoint,
  putSinks,
  readCheckpoint,
  readIdleSteps,
  readSinks,
  type SinkPositions,
  type StepIdentity,
} from './checkpoint.ts';
import { encode } from './codec.ts';
import { Delta } from './delta.ts';
import { Gate } from './gate.ts';
import type { IdleLog } from './idle-log.ts';
import type { KeyedState } from './keyed-state.ts';
import type { StoredPartition } from './partition.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { SourceHost } from './source-host.ts';
import { DiskFullError, type StateStore } from './store.ts';
import type { IdleStep, Task } from './task.ts';

const fullDiskRetryMs = 500;
/** So much of a checkpoint is written before others have their turn: some milliseconds of work. */
const sliceBytes = 512 * 1024;

/** The parts of a run that a checkpoint covers. They change while the run goes on. */
export interface Covered {
  readonly tasks: ReadonlyMap<string, Task>;
  readonly hosts: readonly SourceHost[];
  readonly runners: ReadonlyMap<string, SinkRunner>;
  /** What has ended the run, if anything: then no checkpoint is taken any more. */
  readonly failure: () => unknown;
  /** Ends the run, from this moment on. */
  readonly fail: (error: unknown) => void;
  /** The sinks that write in the transaction which the store commits: what they write during a commit belongs to the next one. */
  readonly transactional?: ReadonlyMap<string, SinkRunner>;
  /** Keeps the idle steps that a checkpoint holds, for replays. */
  readonly idleLog?: IdleLog;
}

/** What is known at the moment of a checkpoint, and the states whose changes have to be written. */
interface Cut {
  readonly checkpoint: Checkpoint;
  readonly states: readonly KeyedState<unknown>[];
  /** Idle steps that need not be taken again. */
  readonly idle: readonly { readonly task: Task; readonly step: IdleStep }[];
}

/**
 * Takes checkpoints: holds the intake, waits until the sinks have confirmed all that was read, takes state, watermarks and
 * positions of one moment, lets the intake go on, writes what was taken meanwhile, and commits it as one unit.
 */
export class Checkpointer {
  readonly gate = new Gate();
  /** The last durable checkpoint. */
  last: Checkpoint | undefined;
  readonly #store: StateStore;
  readonly #clock: Clock;
  readonly #covered: Covered;
  readonly #identity: { plan: Plan; hash: string; steps: Record<string, StepIdentity> };
  readonly #partitions: Record<string, StoredPartition>;
  #sinks: SinkPositions | undefined;
  #underWay: Promise<void> | undefined;
  #changed = false;
  #records = 0;
  #writing = false;
  #idleSequence = 0;
  /** Idle steps in the store, by name: those of this run, and those that it takes again. */
  readonly #idleSteps = new Map<string, { task: Task; step: IdleStep }>();

  constructor(
    store: StateStore,
    clock: Clock,
    identity: { plan: Plan; hash: string; steps: Record<string, StepIdentity> },
    covered: Covered,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#identity = identity;
    this.#covered = covered;
    this.last = readCheckpoint(store);
    this.#partitions = { ...this.last?.partitions };
    if (covered.transactional === undefined) this.#sinks = readSinks(store);
  }

  /** Something has happened that the next checkpoint has to hold. */
  get due(): boolean {
    return this.#changed || this.#underWay !== undefined;
  }

  /** Records since the last cut. */
  get records(): number {
    return this.#records;
  }

  stored(partition: string): StoredPartition | undefined {
    return this.#partitions[partition];
  }

  /** Where a sink stood at the last checkpoint, or as it was first opened; `undefined` when that is not known. */
  sinkPosition(id: string): Position | undefined {
    return this.#sinks?.[id];
  }

  /** Writes down where the sinks stand, before they write anything: what they write before the first checkpoint can be taken back too. */
  async noteSinks(): Promise<void> {
    const changes: Changes = { puts: [], removes: [] };
    const before = JSON.stringify(this.#sinks);
    this.#putSinks(changes);
    if (JSON.stringify(this.#sinks) !== before) await this.#commit(changes);
  }

  /** Something happened that the next checkpoint has to hold. */
  changed(records = 0): void {
    this.#changed = true;
    this.#records += records;
  }

  /** Takes a checkpoint when anything has changed. One at a time: a call during another waits, then takes its own. */
  async take(ended = false): Promise<void> {
    while (this.#underWay) await this.#underWay;
    const due = this.#changed || (ended && this.last?.ended !== true);
    if (!due || this.#covered.failure() !== undefined) return;
    this.#underWay = this.#cutAndCommit(ended).finally(() => {
      this.#underWay = undefined;
    });
    await this.#underWay;
  }

  /**
   * Moves event time on because inputs are silent. Written before it is taken: after a crash the same step is taken at the
   * same place, and windows close as they did. Not so in transactions: nothing of what follows it can be seen before the commit that
   * holds it too. Resolves at once, with nothing done, while a checkpoint holds the intake or is being written.
   */
  async takeIdleStep(task: Task, step: IdleStep): Promise<void> {
    if (this.gate.closed || this.#writing) return;
    this.gate.close();
    try {
      if (this.#covered.transactional === undefined) await this.#record(task, step);
      this.changed();
      task.takeIdleStep(step);
    } catch (error) {
      // Before the gate opens: a step taken by half must not get into a checkpoint.
      this.#covered.fail(error);
    } finally {
      this.gate.open();
    }
  }

  async #record(task: Task, step: IdleStep): Promise<void> {
    const name = idleName(task.id, this.#idleSequence++);
    await this.#commit({ puts: [[name, encode(name, step)]], removes: [] });
    this.#idleSteps.set(name, { task, step });
  }

  /** Gives a restored task the idle steps that were taken after its checkpoint. */
  restoreIdleSteps(task: Task): void {
    const recorded = readIdleSteps(this.#store, task.id);
    for (const { name, step } of recorded) {
      this.#idleSteps.set(name, { task, step });
      // Names give the order in which steps are taken again: this run's own come after these.
      this.#idleSequence = Math.max(this.#idleSequence, idleSequenceOf(name) + 1);
    }
    task.expectIdleSteps(recorded.map(({ step }) => step));
  }

  async #cutAndCommit(ended: boolean): Promise<void> {
    const changes = new Delta();
    const transactional = [...(this.#covered.transactional?.values() ?? [])];
    let cut: Cut;
    while (this.gate.closed) await this.gate.closed;
    this.gate.close();
    try {
      await this.#flush();
      cut = this.#cut(changes, ended);
      for (const runner of transactional) runner.hold();
    } finally {
      this.gate.open();
    }
    const { checkpoint, states, idle } = cut;
    await this.#write(states, changes);
    // Before the commit takes them out of the store: a crash in between leaves them in both.
    await this.#covered.idleLog?.append(idle);
    await this.#commit(changes, Object.values(checkpoint.partitions)[0]?.position);
    for (const runner of transactional) runner.release();
    this.last = checkpoint;
    await Promise.all(this.#covered.hosts.map((host) => host.committed()));
  }

  /** Makes the bytes of a cut while processing goes on. The first part is made at once: mostly it is all. */
  async #write(states: readonly KeyedState<unknown>[], changes: Delta): Promise<void> {
    this.#writing = true;
    try {
      for (let most = sliceBytes; ; most = changes.bytes + sliceBytes) {
        if (states.every((keyed) => keyed.write(most))) return;
        await nextTurn();
        const failure = this.#covered.failure();
        if (failure !== undefined) throw failure;
      }
    } finally {
      this.#writing = false;
    }
  }

  /** Commits. As long as the disk is full nothing is taken in, and the same commit is tried again. */
  async #commit(changes: Changes, position?: Position): Promise<void> {
    let held = false;
    try {
      for (;;) {
        try {
          return await this.#store.commit(changes, position);
        } catch (error) {
          if (!(error instanceof DiskFullError) || this.#covered.failure() !== undefined) throw error;
        }
        if (!this.gate.closed) {
          this.gate.close();
          held = true;
        }
        await this.#clock.sleep(fullDiskRetryMs);
      }
    } finally {
      if (held) this.gate.open();
    }
  }

  /** Resolves when every sink has confirmed all that was handed to it, dead letters of refused records included. */
  async #flush(): Promise<void> {
    for (;;) {
      const failure = this.#covered.failure();
      if (failure !== undefined) throw failure;
      const tasks = [...this.#covered.tasks.values()];
      const busy = [...this.#covered.runners.values()].filter((runner) =>
        tasks.some((task) => runner.pendingOf(task) > 0),
      );
      if (busy.length === 0) return;
      await Promise.all(busy.map((runner) => runner.progress()));
    }
  }

  // Nothing else runs during this call: state, positions and watermarks are of one moment.
  #cut(changes: Delta, ended: boolean): Cut {
    this.#changed = false;
    this.#records = 0;
    const states: KeyedState<unknown>[] = [];
    for (const task of this.#covered.tasks.values()) {
      states.push(...task.cut(changes));
      for (const partition of task.partitions) this.#partitions[partition.name] = partition.stored();
    }
    for (const host of this.#covered.hosts) host.notePositions();
    const idle: { task: Task; step: IdleStep }[] = [];
    for (const [name, { task, step }] of this.#idleSteps) {
      if (task.awaits(step)) continue;
      idle.push({ task, step });
      changes.remove(name);
      this.#idleSteps.delete(name);
    }
    const { plan, hash, steps } = this.#identity;
    const checkpoint: Checkpoint = {
      format: 1,
      id: (this.last?.id ?? 0) + 1,
      at: this.#clock.now(),
      topology: plan.name,
      topologyHash: hash,
      steps,
      watermarks: this.#watermarks(),
      partitions: { ...this.#partitions },
      // A partition that went to another process has not ended here.
      ...(ended && Object.values(this.#partitions).every((partition) => partition.ended) && { ended: true as const }),
    };
    const beside: Changes = { puts: [], removes: [] };
    putCheckpoint(beside, checkpoint);
    this.#putSinks(beside);
    changes.add(beside);
    return { checkpoint, states, idle };
  }

  // Partitions that are committed one by one share such a sink: no position of it is that of all of them.
  #putSinks(changes: Changes): void {
    if (this.#covered.transactional !== undefined) return;
    const positions = [...this.#covered.runners].flatMap(([id, { position }]) =>
      position === undefined ? [] : [[id, position] as const],
    );
    if (positions.length === 0 && this.#sinks === undefined) return;
    this.#sinks = Object.fromEntries(positions);
    putSinks(changes, this.#sinks);
  }

  #watermarks(): Record<string, number> {
    const known = Object.entries(this.last?.watermarks ?? {});
    const now = [...this.#covered.tasks.values()].map((task) => [task.id, task.watermark] as const);
    return Object.fromEntries([...known, ...now].filter(([, watermark]) => Number.isFinite(watermark)));
  }
}
