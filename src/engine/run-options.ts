import type { Journal, JournalSize, Log, Ports } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import type { Catalogue } from './graph.ts';
import type { IdleLog } from './idle-log.ts';
import type { OpenBuffer } from './open-sinks.ts';
import type { StateStore } from './store.ts';
import type { IdleStep } from './task.ts';

/** What a run is made of: what to run, where its state is kept, and how it reaches the outside. */
export interface RunOptions {
  readonly plan: Plan;
  readonly topologyHash: string;
  readonly catalogue: Catalogue;
  readonly ports: Ports;
  readonly log: Log;
  /** Where state is kept; not needed where it lives with the source. */
  readonly store?: StateStore;
  /** Opens the durable log of a source under the state folder. */
  openJournal(name: string, size?: JournalSize): Promise<Journal>;
  /** Opens the buffer of a sink; without it sinks write to their targets at once. */
  readonly openBuffer?: OpenBuffer;
  /** Keeps the steps that event time takes over silent inputs, for replays. */
  readonly idleLog?: IdleLog;
  /** Those of a run that is replayed, by task: they are taken again at their places. */
  readonly idleSteps?: ReadonlyMap<string, readonly IdleStep[]>;
  /** The folder that holds the journals, for those who only read. */
  readonly journals?: string;
  /** A checkpoint is taken so often, in ms; 5,000 unless given. */
  readonly checkpointMs?: number;
  /** … and after so many records; 1,000,000 unless given. */
  readonly checkpointRecords?: number;
  /** Partitions of one task are brought together by event time. For inputs that have an end, and runs that nobody goes on from. */
  readonly mergeByTime?: boolean;
  /** What becomes of open windows when all inputs have ended: `flush` closes them, `hold` keeps them in the checkpoint. `flush` unless given. */
  readonly onEnd?: 'flush' | 'hold';
}
