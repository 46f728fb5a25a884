import { RunError } from '../errors.ts';
import type { Committing, PartitionState, TransactionError, Transactions } from '../operator.ts';
import { committingSource, type PlanStep } from '../topology/plan.ts';
import { warnOfClosing } from './closing.ts';
import { definitionOf } from './graph.ts';
import { type OpenBuffer, openSinks } from './open-sinks.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { SourceHost } from './source-host.ts';
import type { StateStore } from './store.ts';
import { Unit, type UnitParts } from './unit.ts';

/** What the units of a run need of it. */
export interface UnitsContext extends UnitParts {
  /** State of the whole run; not needed where state lives with the source. */
  readonly store?: StateStore;
  readonly hosts: readonly SourceHost[];
  readonly openBuffer?: OpenBuffer;
  /** Aborted when the run is forced to end. */
  readonly signal: AbortSignal;
  /** Nothing more is read: what was not committed waits for the next start. */
  readonly stopping: () => boolean;
}

/** The units of a run: one for all of it, or, where state lives with the source, one for each partition that is ours. */
export class Units {
  readonly #context: UnitsContext;
  /** The source whose transactions the run commits in. */
  readonly #source: (Committing & { readonly id: string }) | undefined;
  readonly #shared = new Map<string, SinkRunner>();
  readonly #units = new Map<string, Unit>();
  readonly #one: Unit | undefined;
  #transactions: Transactions | undefined;
  #closed = false;

  /** Throws a RunError when the state of the run does not fit the plan. */
  constructor(context: UnitsContext) {
    this.#context = context;
    const { plan, catalogue, store, hosts } = context;
    const source = committingSource(plan);
    if (source !== undefined && definitionOf(catalogue, 'source', source.operator).transactions !== undefined) {
      this.#source = source;
      return;
    }
    if (store === undefined) {
      throw new RunError(
        `\`state\` says \`store: ${plan.state?.store}\`, but the topology has no such source, or one that keeps no state. Use \`store: disk\`.`,
      );
    }
    this.#one = Unit.ofRun(context, store, this.#shared, hosts);
    this.#units.set('', this.#one);
  }

  /** Units come and go with the partitions of the source that keeps their state. */
  get transactional(): boolean {
    return this.#source !== undefined;
  }

  /** There is something to go on from; only known of a partition once it is claimed. */
  get resumed(): boolean {
    return this.#one === undefined || this.#one.checkpointer.last !== undefined;
  }

  [Symbol.iterator](): Iterator<Unit> {
    return this.#units.values();
  }

  /** The unit of a source partition; `undefined` when it has left, or was never claimed. */
  of(partition: string): Unit | undefined {
    return this.#one ?? this.#units.get(partition);
  }

  /** All sinks that are open. */
  *runners(): Iterable<SinkRunner> {
    yield* this.#shared.values();
    for (const unit of this.#units.values()) yield* unit.own.values();
  }

  /**
   * Brings what waits in buffers to the targets: nobody starts again what has ended, and that is about to be written down. With the
   * checkpoint all sinks have confirmed what they were given, and what they refuse is in the buffers too.
   */
  async drainBuffers(checkpoint: () => Promise<void>): Promise<void> {
    const buffered = [...this.runners()].filter(({ buffer }) => buffer !== undefined);
    const behind = () => buffered.some(({ buffer, pending }) => pending > 0 || buffer!.waiting > 0);
    if (buffered.length === 0) return;
    await checkpoint();
    while (this.#context.failure() === undefined && behind())
      await Promise.all(buffered.map((runner) => runner.drained()));
  }

  /** Takes a checkpoint of the run now; `undefined` where each partition has its own, in the source's system. */
  get flush(): (() => Promise<void>) | undefined {
    const checkpointer = this.#one?.checkpointer;
    if (checkpointer === undefined) return undefined;
    return () => {
      checkpointer.changed();
      return checkpointer.take();
    };
  }

  /** Opens the sinks that all units share, and the state that lives with the source. */
  async open(): Promise<void> {
    const { plan, catalogue, ports, log, signal, fail, openBuffer } = this.#context;
    const which = (step: PlanStep) => !this.#joins(step);
    const position = (sink: string) => this.#one?.checkpointer.sinkPosition(sink);
    const buffers = openBuffer && { openBuffer };
    await openSinks(this.#shared, { plan, catalogue, ports, log, signal, position, which, fail, ...buffers });
    await this.#one?.checkpointer.noteSinks();
    if (this.#source === undefined) return;
    const { id, operator, options } = this.#source;
    const context = { ports, log, topology: plan.name, id, signal };
    const definition = definitionOf(catalogue, 'source', operator);
    this.#transactions = await definition.transactions!(options, plan.state ?? {}, context);
  }

  /** Makes the state of a source's partitions ours: a unit for each, at what was committed last. */
  async claim(host: SourceHost, partitions: readonly string[]): Promise<void> {
    if (this.#transactions === undefined) return;
    await Promise.all(partitions.map((partition) => this.#claim(host, partition, this.#transactions!)));
  }

  /** A partition has left: nothing of it counts any more but what was committed. Never rejects. */
  async drop(partition: string): Promise<void> {
    const unit = this.#units.get(partition);
    this.#units.delete(partition);
    await unit?.drop().catch((reason) => warnOfClosing(this.#context.log, reason));
  }

  /** Closes the stores. Never rejects. Sinks are closed before. */
  async close(): Promise<void> {
    this.#closed = true;
    const closing = [...this.#units.values()].map((unit) => unit.close());
    const results = await Promise.allSettled(closing);
    if (this.#transactions) results.push(...(await Promise.allSettled([this.#transactions.close()])));
    for (const result of results) if (result.status === 'rejected') warnOfClosing(this.#context.log, result.reason);
  }

  async #claim(host: SourceHost, partition: string, transactions: Transactions): Promise<void> {
    const name = `${host.source.step.id}/${partition}`;
    // Claimed before, and given to another process before it was assigned.
    await this.drop(name);
    const state = await transactions.claim(partition);
    if (this.#closed) return state.close();
    const own = new Map<string, SinkRunner>();
    try {
      this.#units.set(name, await this.#unit(state, own, (error) => this.#lost(host, partition, error)));
    } catch (error) {
      await Promise.allSettled([...own.values()].map((runner) => runner.close()));
      await state.close();
      throw error;
    }
  }

  async #unit(
    state: PartitionState,
    own: Map<string, SinkRunner>,
    onLost: (error: TransactionError) => void,
  ): Promise<Unit> {
    const { transaction } = state;
    const context = this.#context;
    let unit: Unit | undefined;
    const fail = (error: unknown) => (unit ?? context).fail(error);
    await openSinks(own, { ...context, transaction, which: (step) => this.#joins(step), fail });
    unit = Unit.ofPartition(context, state, { all: new Map([...this.#shared, ...own]), own }, onLost);
    return unit;
  }

  #lost(host: SourceHost, partition: string, { message, fenced }: TransactionError): void {
    const what = fenced
      ? 'Another instance has taken a partition over: what this one had not committed is dropped'
      : 'A transaction was not committed, or nobody knows: its records are read again';
    this.#context.log.warn(what, { partition, reason: message });
    if (!this.#context.stopping()) host.restart(partition, fenced);
  }

  #joins({ operator, options }: PlanStep): boolean {
    const definition = definitionOf(this.#context.catalogue, 'sink', operator);
    return this.#source !== undefined && definition.joins?.(options, this.#source) === true;
  }
}
