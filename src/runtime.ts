import { join, resolve } from 'node:path';
import { openBufferStore } from './engine/buffer-store.ts';
import { openDiskStore } from './engine/disk-store.ts';
import { keptCheckpoints } from './engine/generations.ts';
import type { Catalogue } from './engine/graph.ts';
import { IdleLog, idleLogBytes } from './engine/idle-log.ts';
import { openJournal } from './engine/journal.ts';
import { Run } from './engine/run.ts';
import { discardState } from './engine/state-folder.ts';
import { MemoryStore, type StateStore } from './engine/store.ts';
import { RunError } from './errors.ts';
import type { Journal, Log, Ports } from './operator.ts';
import { systemPorts } from './ports/system.ts';
import type { Plan } from './topology/plan.ts';
import { planHash } from './topology/plan-json.ts';

export interface StartOptions {
  /** Folder for checkpoints, journals and dead letters; `.penstock/<topology>` in the working folder unless given. */
  readonly state?: string;
  /** Drops the checkpoints of that folder first. Journals stay: what they hold has been acknowledged. */
  readonly fresh?: boolean;
  /**
   * Ids of steps and sources whose state and positions are dropped first, because they no longer fit the plan or are to begin anew.
   * Nothing is dropped when the rest does not fit either, or when there is nothing of one of them.
   */
  readonly discard?: readonly string[];
  /** A checkpoint is taken so often, in ms; unless given what the plan's `state.every` says, else 5,000. */
  readonly checkpointMs?: number;
  /** What becomes of open windows when all inputs have ended: `flush` closes them, `hold` keeps them for the next start. `flush` unless given. */
  readonly onEnd?: 'flush' | 'hold';
  readonly log?: Log;
  readonly ports?: Ports;
  /** Aborting it stops the run as `stop()` does. */
  readonly signal?: AbortSignal;
}

// A run that falls back to the oldest kept checkpoint reads on from there.
const trimsKept = keptCheckpoints - 1;

/** Log lines go nowhere unless a log is given. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * Starts a plan with its state on disk. Rejects with a RunError when the state does not fit, is in use, or a connection is
 * refused; nothing is running then.
 */
export async function start(plan: Plan, catalogue: Catalogue, options: StartOptions = {}): Promise<Run> {
  const { log = silentLog, ports = systemPorts(), signal, checkpointMs = plan.state?.every, onEnd } = options;
  const state = stateFolder(plan, options);
  const store = openStore(plan, state, options);
  const { discard = [] } = options;
  const journals: Journal[] = [];
  try {
    if (discard.length > 0) await discardState(discardable(store), discard, { plan, catalogue });
    const run = await Run.start({
      plan: withDeadLetters(plan, state),
      topologyHash: planHash(plan),
      catalogue,
      ports,
      log,
      ...(store && { store }),
      journals: join(state, 'journal'),
      idleLog: new IdleLog(async () => {
        const size = { maxBytes: idleLogBytes, keepMs: Number.POSITIVE_INFINITY };
        const journal = await openJournal(ports.disk, idleFolder(state), { log, clock: ports.clock, ...size });
        journals.push(journal);
        return journal;
      }, ports.clock),
      openJournal: async (name, size) => {
        const place = join(state, 'journal', name);
        const journal = await openJournal(ports.disk, place, { log, clock: ports.clock, trimsKept, ...size });
        journals.push(journal);
        return journal;
      },
      openBuffer: (sink, { folder, maxBytes, whenFull }) =>
        openBufferStore(
          ports.disk,
          folder === undefined ? join(state, 'buffer', sink) : join(folder, plan.name, sink),
          {
            maxBytes,
            blocks: whenFull === 'block',
            log,
            clock: ports.clock,
          },
        ),
      ...(checkpointMs !== undefined && { checkpointMs }),
      ...(onEnd !== undefined && { onEnd }),
    });
    const stop = () => void run.stop().catch(() => undefined);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    void run.done
      .catch(() => undefined)
      .finally(() => {
        signal?.removeEventListener('abort', stop);
        return Promise.allSettled(journals.map((journal) => journal.close()));
      });
    return run;
  } catch (error) {
    await store?.close();
    throw error;
  }
}

function discardable(store: StateStore | undefined): StateStore {
  if (store) return store;
  throw new RunError(
    'State that lives with its source cannot be dropped step by step. Give `state.topic` another name to begin with empty state.',
  );
}

// State that lives with its source is opened with it.
function openStore(
  { state: { store = 'disk' } = {} }: Plan,
  folder: string,
  options: StartOptions,
): StateStore | undefined {
  const { log = silentLog, fresh = false } = options;
  if (store === 'disk') return openDiskStore(folder, { fresh, log });
  if (store !== 'memory') return undefined;
  log.warn(
    'State is kept in memory: it is lost when this process ends, and inputs are read again as if for the first time.',
  );
  return new MemoryStore();
}

/** Where a run keeps the steps that event time took over silent inputs. */
export function idleFolder(state: string): string {
  return join(state, 'idle');
}

/** Where a plan keeps its state. */
export function stateFolder(plan: Plan, { state }: Pick<StartOptions, 'state'>): string {
  return resolve(state ?? join('.penstock', plan.name));
}

/** A plan without an `otherwise` of its own gets one: dead letters go to a file in the state folder, never to nowhere. */
export function withDeadLetters(plan: Plan, state: string): Plan {
  if (plan.otherwise !== undefined) return plan;
  const taken = new Set(plan.streams.flatMap((stream) => [stream.name, ...stream.steps.map(({ id }) => id)]));
  let name = 'deadLetters';
  for (let n = 2; taken.has(name) || taken.has(`${name}.file`); n++) name = `deadLetters-${n}`;
  const file = {
    kind: 'sink' as const,
    id: `${name}.file`,
    operator: 'file',
    options: { path: join(state, 'dead-letters.jsonl') },
  };
  return { ...plan, otherwise: name, streams: [...plan.streams, { name, from: [], steps: [file] }] };
}
