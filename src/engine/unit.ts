import { RunError } from '../errors.ts';
import { type Log, type PartitionState, type Ports, TransactionError } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import { readCheckpoint, type StepIdentity } from './checkpoint.ts';
import { Checkpointer } from './checkpointer.ts';
import { checkCompatible } from './compatible.ts';
import type { Catalogue, Graph } from './graph.ts';
import type { IdleLog } from './idle-log.ts';
import { MigratedStore, migrationsOf } from './migrate.ts';
import type { Outputs } from './outputs.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { SourceHost } from './source-host.ts';
import type { StateStore } from './store.ts';
import type { IdleStep } from './task.ts';
import { Tasks } from './tasks.ts';

/** What all units of a run have in common. */
export interface UnitParts {
  readonly plan: Plan;
  readonly topologyHash: string;
  readonly catalogue: Catalogue;
  readonly graph: Graph;
  readonly steps: Record<string, StepIdentity>;
  readonly ports: Ports;
  readonly log: Log;
  readonly outputs: Outputs;
  readonly idleLog?: IdleLog;
  /** Idle steps of a run that is replayed, by task. */
  readonly idleSteps?: ReadonlyMap<string, readonly IdleStep[]>;
  /** What has ended the run, if anything. */
  readonly failure: () => unknown;
  /** Ends the run. */
  readonly fail: (error: unknown) => void;
}

/**
 * What is committed together: tasks, the sinks they write to, and the store of their state. A run is one unit, or, where state lives
 * with the source, one unit for each source partition, which comes and goes with it.
 */
export class Unit {
  readonly tasks: Tasks;
  readonly checkpointer: Checkpointer;
  /** All sinks by id: those of this unit alone, and those that the run has for all. */
  readonly runners: ReadonlyMap<string, SinkRunner>;
  /** Those that write for this unit alone. */
  readonly own: ReadonlyMap<string, SinkRunner>;
  readonly #parts: UnitParts;
  readonly #store: StateStore | PartitionState;
  readonly #onLost: ((error: TransactionError) => void) | undefined;
  #lost: TransactionError | undefined;
  #closing: Promise<void> | undefined;

  private constructor(
    parts: UnitParts,
    store: StateStore | PartitionState,
    sinks: { all: ReadonlyMap<string, SinkRunner>; own: ReadonlyMap<string, SinkRunner> },
    hosts: readonly SourceHost[],
    onLost?: (error: TransactionError) => void,
  ) {
    const { plan, topologyHash: hash, steps, ports } = parts;
    this.#parts = parts;
    this.#store = store;
    this.own = sinks.own;
    this.#onLost = onLost;
    this.runners = sinks.all;
    const taken = takenUp(store, parts);
    this.tasks = new Tasks({ ...parts, store: taken.store, runners: this.runners });
    this.checkpointer = new Checkpointer(
      taken.store,
      ports.clock,
      { plan, hash, steps },
      {
        tasks: this.tasks.all,
        hosts,
        runners: this.runners,
        failure: () => this.failure,
        fail: (error) => this.fail(error),
        ...(onLost && { transactional: sinks.own }),
        ...(parts.idleLog && { idleLog: parts.idleLog }),
      },
    );
    if (taken.migrated) this.checkpointer.changed();
  }

  /** All of a run. Throws a RunError when the state does not fit the plan. */
  static ofRun(
    parts: UnitParts,
    store: StateStore,
    runners: ReadonlyMap<string, SinkRunner>,
    hosts: readonly SourceHost[],
  ): Unit {
    return new Unit(parts, store, { all: runners, own: new Map() }, hosts);
  }

  /**
   * One source partition, whose state lives with the source. A transaction that fails ends this unit alone: `onLost` is told, and
   * nothing of the unit counts any more but what was committed. Throws a RunError when the state does not fit the plan.
   */
  static ofPartition(
    parts: UnitParts,
    state: PartitionState,
    sinks: { all: ReadonlyMap<string, SinkRunner>; own: ReadonlyMap<string, SinkRunner> },
    onLost: (error: TransactionError) => void,
  ): Unit {
    return new Unit(parts, state, sinks, [], onLost);
  }

  /** What has ended this unit or the run, if anything: no checkpoint is taken any more. */
  get failure(): unknown {
    return this.#parts.failure() ?? this.#lost;
  }

  /** Ends this unit, when it is one that can be begun again from its last commit, or the run. */
  fail(error: unknown): void {
    // What was under way when the unit ended may fail in any way: none of it counts.
    if (this.#lost !== undefined) return;
    if (this.#onLost === undefined || !(error instanceof TransactionError)) {
      this.#parts.fail(error);
      return;
    }
    this.#lost = error;
    this.#onLost(error);
  }

  /** Ends the unit without a commit: whoever claims its partition goes on from the last one. Never rejects. */
  drop(): Promise<void> {
    this.#lost ??= new TransactionError('The partition has been given back.', false);
    return this.close();
  }

  /** Closes the sinks of this unit alone and the store. Rejects when the store does. */
  close(): Promise<void> {
    this.#closing ??= Promise.allSettled([...this.own.values()].map((runner) => runner.close())).then(() =>
      this.#store.close(),
    );
    return this.#closing;
  }
}

/** The store as the steps of the plan read it. Throws a RunError when what it holds does not fit them, or all of its input has ended. */
function takenUp(
  store: StateStore | PartitionState,
  { plan, steps, catalogue, log }: UnitParts,
): { store: StateStore; migrated: boolean } {
  const last = readCheckpoint(store);
  if (last === undefined) return { store, migrated: false };
  checkCompatible(last, plan, steps, catalogue);
  if (last.ended) throw hasEnded(plan.name, last);
  const migrations = migrationsOf(last, steps, { plan, catalogue });
  if (migrations.size === 0) return { store, migrated: false };
  const migrated = new MigratedStore(store, migrations);
  for (const id of migrations.keys()) {
    log.info('State made by an older form of the step is carried over', { step: id, checkpoint: last.id });
  }
  return { store: migrated, migrated: true };
}

function hasEnded(name: string, { id, at }: { id: number; at: number }): RunError {
  return new RunError(
    `The input of \`${name}\` has ended and its windows are closed (checkpoint ${id} of ${new Date(at).toISOString()}). ` +
      'Start with --fresh to process it again from the beginning.',
  );
}
