import type { Log, Ports } from '../operator.ts';
import { type BuildContext, buildTask, statePrefix } from './build-task.ts';
import type { Checkpointer } from './checkpointer.ts';
import { FailureRates } from './failure-rate.ts';
import type { Catalogue, Graph, PlannedSource } from './graph.ts';
import type { Outputs } from './outputs.ts';
import type { InputPartition } from './partition.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { StateStore } from './store.ts';
import { type IdleStep, Task } from './task.ts';

/** What tasks are built of. */
export interface TaskParts {
  readonly graph: Graph;
  readonly catalogue: Catalogue;
  readonly topologyHash: string;
  readonly ports: Ports;
  readonly log: Log;
  readonly store: StateStore;
  readonly runners: ReadonlyMap<string, SinkRunner>;
  readonly outputs: Outputs;
  /** Idle steps of a run that is replayed, by task. */
  readonly idleSteps?: ReadonlyMap<string, readonly IdleStep[]>;
}

/** The tasks of a unit: made and restored when their first partition comes, gone with their last one. */
export class Tasks {
  readonly all = new Map<string, Task>();
  readonly #parts: TaskParts;
  readonly #rates: FailureRates;

  constructor(parts: TaskParts) {
    this.#parts = parts;
    this.#rates = new FailureRates(parts.graph.plan, parts.ports.clock);
  }

  /** The task that owns this partition. `complete` are the sources that will show no further partition. */
  of(source: PlannedSource, input: InputPartition, complete: readonly string[], checkpointer: Checkpointer): Task {
    const id = source.shared === undefined ? input.name : `shared/${source.shared.join('+')}`;
    let task = this.all.get(id);
    if (task === undefined) {
      task = new Task(id, source.shared ?? [source.step.id]);
      for (const known of complete) task.expectNoMore(known);
      task.watermark = checkpointer.last?.watermarks[id] ?? task.watermark;
      buildTask(task, this.#starts(source), this.#context());
      for (const { id: step, keyed } of task.keyed) keyed.restore(this.#parts.store.entries(statePrefix(id, step)));
      checkpointer.restoreIdleSteps(task);
      const again = this.#parts.idleSteps?.get(id);
      if (again) task.expectIdleSteps(again);
      this.all.set(id, task);
    }
    if (task.join(input)) checkpointer.changed();
    return task;
  }

  /** A source will show no further partition: whoever waited for it goes on. */
  expectNoMore(source: string, checkpointer: Checkpointer): void {
    for (const task of this.all.values()) {
      if (!task.awaited.has(source)) continue;
      checkpointer.changed();
      task.expectNoMore(source);
    }
  }

  /** Closes the windows of tasks that have come to the end of all their inputs. `open` are the sources that have not. */
  finish(open: readonly string[], checkpointer: Checkpointer): void {
    for (const task of this.all.values()) {
      if (task.watermark === Number.POSITIVE_INFINITY || task.sources.some((source) => open.includes(source))) continue;
      if (!task.partitions.every(({ ended }) => ended)) continue;
      checkpointer.changed();
      task.finish();
    }
  }

  /** Closes all open windows, whatever event time has come to. */
  drain(checkpointer: Checkpointer): void {
    checkpointer.changed();
    for (const task of this.all.values()) task.drain();
  }

  /** A partition has left this process, and with the last one its task. */
  leave(task: Task, input: InputPartition): void {
    task.leave(input);
    if (task.partitions.length === 0) this.all.delete(task.id);
  }

  #starts({ stream, shared }: PlannedSource): string[] {
    if (shared === undefined) return [stream.name];
    const all = this.#parts.graph.sources().filter(({ step }) => shared.includes(step.id));
    return all.map((source) => source.stream.name);
  }

  #context(): BuildContext {
    const { clock } = this.#parts.ports;
    return { ...this.#parts, clock, rates: this.#rates, watched: (stream) => this.#parts.outputs.of(stream) };
  }
}
