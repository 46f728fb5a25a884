import { RunError } from '../errors.ts';
import type { Changes, Position, StepDefinition } from '../operator.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import { decode, encode } from './codec.ts';
import { type Catalogue, definitionOf, Graph } from './graph.ts';
import type { StoredPartition } from './partition.ts';
import { checkpointName, type StateStore } from './store.ts';
import type { IdleStep } from './task.ts';

const formatVersion = 1;

/** What a checkpoint holds beside keyed state: written in the same commit. */
export interface Checkpoint {
  readonly format: typeof formatVersion;
  /** Counts the checkpoints of this state folder, from 1. */
  readonly id: number;
  /** When it was taken, in ms since the epoch. */
  readonly at: number;
  readonly topology: string;
  readonly topologyHash: string;
  /** The keyed steps that have state here, and what that state depends on. */
  readonly steps: Readonly<Record<string, StepIdentity>>;
  /** Watermark of each task that has one, in ms. */
  readonly watermarks: Readonly<Record<string, number>>;
  readonly partitions: Readonly<Record<string, StoredPartition>>;
  /** All inputs have ended and their windows are closed. */
  readonly ended?: true;
}

/** What a keyed step's state depends on: when it changes, the old state means nothing any more. */
export interface StepIdentity {
  readonly operator: string;
  readonly version: number;
  readonly options: Readonly<Record<string, unknown>>;
  /** Sources whose partitions own the state. */
  readonly sources: readonly string[];
  /** What its records are keyed by, as text; absent in checkpoints of earlier releases. */
  readonly key?: string;
}

/** The checkpoint of a store, or `undefined` when there is none. Throws a RunError when it is damaged or of another format. */
export function readCheckpoint(store: StateStore): Checkpoint | undefined {
  const bytes = store.get(checkpointName);
  if (bytes === undefined) return undefined;
  const checkpoint = decode(checkpointName, bytes) as Checkpoint;
  if (checkpoint.format !== formatVersion) {
    throw new RunError(
      `The state was written in checkpoint format ${checkpoint.format}; this version of penstock reads format ${formatVersion}. ` +
        'Run it with the version that wrote it, or start with --fresh to build the state anew.',
    );
  }
  return checkpoint;
}

/** Makes a checkpoint part of a commit. */
export function putCheckpoint(changes: Changes, checkpoint: Checkpoint): void {
  changes.puts.push([checkpointName, encode(checkpointName, checkpoint)]);
}

/** Where each sink stands that can be set back, by id. */
export type SinkPositions = Readonly<Record<string, Position>>;

const sinksName = 'sinks';

/** Where the sinks stood at the last checkpoint, or where they were opened since; `undefined` when none was ever written down. */
export function readSinks(store: StateStore): SinkPositions | undefined {
  const bytes = store.get(sinksName);
  return bytes && (decode(sinksName, bytes) as SinkPositions);
}

/** Makes the positions of sinks part of a commit. They stand beside the checkpoint, as the first ones are older than any checkpoint. */
export function putSinks(changes: Changes, positions: SinkPositions): void {
  changes.puts.push([sinksName, encode(sinksName, positions)]);
}

/** The keyed steps of a plan with what their state depends on. */
export function stepIdentities(plan: Plan, catalogue: Catalogue): Record<string, StepIdentity> {
  const identities: Record<string, StepIdentity> = {};
  const graph = new Graph(plan, catalogue);
  for (const step of plan.streams.flatMap(({ steps }) => steps)) {
    if (step.kind !== 'step') continue;
    const definition: StepDefinition = definitionOf(catalogue, 'step', step.operator);
    if (definition.keyed) identities[step.id] = identity(step, definition, graph);
  }
  return identities;
}

/** Name of a recorded idle step of a task. */
export function idleName(task: string, sequence: number): string {
  return `idle\u0000${task}\u0000${String(sequence).padStart(12, '0')}`;
}

/** The place of a recorded idle step in the order in which they were taken. */
export function idleSequenceOf(name: string): number {
  return Number(name.slice(name.lastIndexOf('\u0000') + 1));
}

/** The idle steps of a task that were taken after its checkpoint, in order. */
export function readIdleSteps(store: StateStore, task: string): { name: string; step: IdleStep }[] {
  return [...store.entries(`idle\u0000${task}\u0000`)]
    .map(([name, bytes]) => ({ name, step: decode(name, bytes) as IdleStep }))
    .sort((a, b) => idleSequenceOf(a.name) - idleSequenceOf(b.name));
}

function identity(step: PlanStep, definition: StepDefinition, graph: Graph): StepIdentity {
  const given = (step.options ?? {}) as Record<string, unknown>;
  const names = definition.stateDependsOn ?? [];
  return {
    operator: step.operator,
    version: definition.stateVersion ?? 1,
    options: Object.fromEntries(names.map((name) => [name, given[name] ?? null])),
    sources: graph.owners(step.id),
    key: graph.keys(step.id).map(keyText).sort().join(' or '),
  };
}

function keyText({ options }: PlanStep): string {
  const given = Object.entries((options ?? {}) as Record<string, unknown>);
  return given
    .map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join(', ');
}
