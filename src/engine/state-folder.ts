import { RunError } from '../errors.ts';
import type { Changes, Key } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import { type Checkpoint, putCheckpoint, readCheckpoint, stepIdentities } from './checkpoint.ts';
import { decode } from './codec.ts';
import { checkCompatible, sourceOf } from './compatible.ts';
import type { Catalogue } from './graph.ts';
import type { StateStore } from './store.ts';

const separator = '\u0000';

/** The state of one key in one step, as a checkpoint holds it. */
export interface StoredEntry {
  readonly step: string;
  readonly task: string;
  readonly key: Key;
  readonly state: unknown;
  /** Event times at which the step wants to be called for this key, in ms. */
  readonly timers: readonly number[];
  readonly bytes: number;
}

/** All entries of a store, or those of one step. Throws a RunError at one that is damaged. */
export function* storedEntries(store: StateStore, step?: string): Iterable<StoredEntry> {
  for (const [name, bytes] of store.entries(step === undefined ? prefix() : prefix(step))) {
    const [, owner = '', task = ''] = name.split(separator);
    const [key, state, timers] = decode(name, bytes) as [Key, unknown, [at: number, order: number][]];
    yield { step: owner, task, key, state, timers: timers.map(([at]) => at), bytes: bytes.length };
  }
}

/** The checkpoint of a store. Throws a RunError when there is none. */
export function checkpointOf(store: StateStore, folder: string): Checkpoint {
  const checkpoint = readCheckpoint(store);
  if (checkpoint !== undefined) return checkpoint;
  throw new RunError(`The state folder ${folder} holds no checkpoint: nothing was kept yet.`);
}

/**
 * Drops the state of steps and the positions of sources, as one commit: what belongs to others stays. `plan`: the plan that the rest has
 * to fit, else nothing is dropped. Throws a RunError when one of the ids has nothing there.
 */
export async function discardState(
  store: StateStore,
  ids: readonly string[],
  fits?: { readonly plan: Plan; readonly catalogue: Catalogue },
): Promise<void> {
  const checkpoint = readCheckpoint(store);
  if (checkpoint === undefined) return;
  const known = [...Object.keys(checkpoint.steps), ...new Set(Object.keys(checkpoint.partitions).map(sourceOf))];
  for (const id of ids) {
    if (known.includes(id)) continue;
    throw new RunError(
      `The state folder holds nothing of \`${id}\`, so there is nothing to discard. It holds ${known.map((one) => `\`${one}\``).join(', ')}.`,
    );
  }
  const half = Object.entries(checkpoint.steps).filter(
    ([id, { sources }]) => !ids.includes(id) && sources.some((source) => ids.includes(source)),
  );
  if (half.length > 0) {
    throw new RunError(
      `${half.map(([id]) => `\`${id}\``).join(', ')} would keep what was made of records that are then read again. Discard it together with its source.`,
    );
  }
  const rest = without(checkpoint, ids);
  if (fits) checkCompatible(rest, fits.plan, stepIdentities(fits.plan, fits.catalogue), fits.catalogue);
  const changes: Changes = { puts: [], removes: [] };
  for (const id of ids) {
    for (const [name] of store.entries(prefix(id))) changes.removes.push(name);
  }
  for (const [name] of store.entries(`idle${separator}`)) {
    if (isOf(name.split(separator)[1] ?? '', ids)) changes.removes.push(name);
  }
  putCheckpoint(changes, rest);
  await store.commit(changes);
}

function without(checkpoint: Checkpoint, ids: readonly string[]): Checkpoint {
  const kept = <T>(given: Readonly<Record<string, T>>, gone: (name: string) => boolean) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => !gone(name)));
  // What is left has not ended when some of it begins anew.
  const { ended, ...rest } = checkpoint;
  const sourceGone = Object.keys(checkpoint.partitions).some((name) => ids.includes(sourceOf(name)));
  return {
    ...rest,
    ...(ended && !sourceGone && { ended }),
    id: checkpoint.id + 1,
    steps: kept(checkpoint.steps, (id) => ids.includes(id)),
    watermarks: kept(checkpoint.watermarks, (task) => isOf(task, ids)),
    partitions: kept(checkpoint.partitions, (partition) => ids.includes(sourceOf(partition))),
  };
}

/** The task reads one of these sources. */
function isOf(task: string, sources: readonly string[]): boolean {
  const shared = /^shared\/(.*)$/.exec(task)?.[1]?.split('+');
  return shared ? shared.some((id) => sources.includes(id)) : sources.includes(sourceOf(task));
}

function prefix(step?: string): string {
  return step === undefined ? `state${separator}` : `state${separator}${step}${separator}`;
}
