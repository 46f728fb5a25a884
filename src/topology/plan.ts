import type { Committing, Expression, RecordType, StateSettings } from '../operator.ts';

/**
 * A checked topology: what YAML and TypeScript both compile to, and all that the engine, the command line and the docs read.
 * JSON but for two things that print themselves: functions given from TypeScript, and secrets.
 */
export interface Plan {
  readonly version: 1;
  readonly name: string;
  readonly description?: string;
  /** Stream that takes whatever has no `otherwise` or `late` of its own; without it, a file in the state folder does. */
  readonly otherwise?: string;
  /** What becomes of errors beyond that, for steps that say nothing else. */
  readonly onError?: ErrorPolicy;
  /** Where and how state is kept; on disk unless said otherwise. */
  readonly state?: StateSettings;
  /** `exactlyOnce`: refused unless every sink is. */
  readonly delivery?: 'exactlyOnce' | 'atLeastOnce';
  /** In the order of the file. */
  readonly streams: readonly PlanStream[];
}

export interface PlanStream {
  readonly name: string;
  /** The streams this one continues; empty when it begins with a source or takes side outputs only. */
  readonly from: readonly string[];
  readonly steps: readonly PlanStep[];
}

export interface PlanStep {
  readonly kind: 'source' | 'step' | 'sink';
  /** Unique in the topology: as given, else `stream.operator`, with `-2`, `-3` … when there are several. */
  readonly id: string;
  /** Name of the definition in the catalogue, camelCase. */
  readonly operator: string;
  /** Checked against the definition's schema. Defaults are not filled in: definitions do that. Paths are absolute, schemas inlined. */
  readonly options: unknown;
  readonly description?: string;
  readonly when?: Expression;
  /** Stream for rejected records, or `drop`. */
  readonly otherwise?: string;
  /** What becomes of errors beyond that. */
  readonly onError?: ErrorPolicy;
  /** Stream for late records, or `drop`. */
  readonly late?: string;
  /** Streams whose records come to this step as well, as its options name them. */
  readonly inputs?: readonly string[];
  /** Streams that this step sends records to, as its options name them. */
  readonly routes?: readonly string[];
  /** Sinks: records wait on disk until the target takes them. */
  readonly buffer?: BufferSettings;
  /** What is known of the records after this step. */
  readonly type?: RecordType;
}

/** What becomes of records that a step rejects, beside the stream that takes them. */
export interface ErrorPolicy {
  /** The first one ends the run, unless a stream takes it. */
  readonly fail?: true;
  /** Sinks: what the target refuses is written again, `attempts` times in all, after pauses that double from `backoffMs`. */
  readonly retry?: { readonly attempts: number; readonly backoffMs: number };
  /** The run ends when of the records of the last `overMs` this share was rejected, and there were `atLeast` of them. */
  readonly stopAt?: { readonly share: number; readonly overMs: number; readonly atLeast: number };
}

/** A buffer on disk between a sink and its target. */
export interface BufferSettings {
  /** Where it lies; in the state folder unless given. */
  readonly folder?: string;
  readonly maxBytes: number;
  /** What has waited for longer is dropped and counted. */
  readonly maxAgeMs?: number;
  /** At most so many records a second go to the target. */
  readonly rate?: number;
  /** `block`: sources wait. `dropOldest`: what waits longest is dropped and counted. `dropNewest`: what comes becomes dead letters. */
  readonly whenFull: 'block' | 'dropOldest' | 'dropNewest';
}

/** The source in whose transactions a plan commits; `undefined` when its state is kept on disk or in memory. */
export function committingSource({ state, streams }: Plan): (Committing & { readonly id: string }) | undefined {
  const { store = 'disk' } = state ?? {};
  if (store === 'disk' || store === 'memory') return undefined;
  return streams.flatMap(({ steps }) => steps).find(({ kind, operator }) => kind === 'source' && operator === store);
}
