import { BoundedState } from './bounded-state.ts';
import type { BufferCounts } from './buffered-sink.ts';
import type { Checkpoint } from './checkpoint.ts';
import { type EventTime, eventTimeOf } from './event-time.ts';
import type { Silence } from './idle.ts';
import type { KeyedState } from './keyed-state.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { SourceHost } from './source-host.ts';
import type { Task } from './task.ts';

/** What one step has done so far, in all tasks together. */
export interface StepStatus {
  in: number;
  out: number;
  rejected: number;
  late: number;
  /** Keyed steps: keys that hold state or wait for a timer now. */
  keys?: number;
  /** Where state is bounded: keys dropped because they were older than `ttl`, and to make room within `maxKeys`. */
  dropped?: { ttl: number; maxKeys: number };
}

/** What one sink has written so far. With a `buffer`, what is in the buffer counts as written. */
export interface SinkStatus {
  readonly written: number;
  readonly refused: number;
  readonly pending: number;
  readonly buffer?: BufferCounts;
}

/** What a run has done so far and where it stands. Counts begin anew with each start. */
export interface Status {
  readonly topology: string;
  readonly partitions: readonly {
    readonly name: string;
    readonly read: number;
    readonly rejected: number;
    readonly offset: number;
    /** Event time up to which the partition is complete, in ms; absent when it holds nothing back. */
    readonly watermark?: number;
    readonly idle: boolean;
    /** How far it is read behind its end, in offsets, as last heard; absent where the source does not tell. */
    readonly lag?: number;
  }[];
  readonly steps: Readonly<Record<string, StepStatus>>;
  readonly sinks: Readonly<Record<string, SinkStatus>>;
  /** What sources count beside the records that were read, by the id of their step. */
  readonly sources: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Where event time stands in each task, what holds it back and what waits for it: why a window has not fired yet. */
  readonly time: readonly EventTime[];
  readonly checkpoint?: { readonly id: number; readonly at: number };
}

/** Adds up the counters of a run's tasks and sinks. */
export function readStatus(
  topology: string,
  tasks: Iterable<Task>,
  runners: Iterable<SinkRunner>,
  checkpoint: Checkpoint | undefined,
  silences: (task: Task) => readonly Silence[],
  hosts: readonly SourceHost[] = [],
): Status {
  const all = [...tasks];
  const steps: Record<string, StepStatus> = {};
  for (const task of all) {
    for (const node of task.nodes) {
      steps[node.id] ??= { in: 0, out: 0, rejected: 0, late: 0 };
      const sum = steps[node.id]!;
      for (const name of ['in', 'out', 'rejected', 'late'] as const) sum[name] += node.counts[name];
    }
    for (const { id, keyed } of task.keyed) addKeys(steps[id]!, keyed);
  }
  const lags = lagsOf(hosts);
  const partitions = all.flatMap((task) =>
    task.partitions.map((p) => ({
      name: p.name,
      read: p.counts.in,
      rejected: p.counts.rejected,
      offset: p.lastOffset,
      ...(Number.isFinite(p.watermark) && { watermark: p.watermark }),
      idle: p.idle,
      ...(lags.has(p.name) && { lag: lags.get(p.name)! }),
    })),
  );
  const sinks: Record<string, SinkStatus> = {};
  for (const { id, counts, pending, buffer } of runners) {
    // Where state lives with the source, a sink is opened once for each partition.
    const { written, refused, pending: waiting } = sinks[id] ?? { written: 0, refused: 0, pending: 0 };
    sinks[id] = {
      written: written + counts.written,
      refused: refused + counts.refused,
      pending: waiting + pending,
      ...(buffer && { buffer }),
    };
  }
  return {
    topology,
    partitions,
    steps,
    sinks,
    sources: Object.fromEntries(hosts.flatMap((host) => (host.counters ? [[host.source.step.id, host.counters]] : []))),
    time: all.flatMap((task) => eventTimeOf(task, silences(task)) ?? []),
    ...(checkpoint && { checkpoint: { id: checkpoint.id, at: checkpoint.at } }),
  };
}

function lagsOf(hosts: readonly SourceHost[]): Map<string, number> {
  const lags = new Map<string, number>();
  for (const host of hosts) {
    for (const { input, partition } of host.readers) {
      if (partition.lag !== undefined) lags.set(input.name, partition.lag);
    }
  }
  return lags;
}

function addKeys(sum: StepStatus, keyed: KeyedState<unknown>): void {
  sum.keys = (sum.keys ?? 0) + keyed.size;
  if (!(keyed instanceof BoundedState)) return;
  sum.dropped ??= { ttl: 0, maxKeys: 0 };
  sum.dropped.ttl += keyed.dropped.ttl;
  sum.dropped.maxKeys += keyed.dropped.maxKeys;
}
