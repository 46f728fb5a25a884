import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pc from 'picocolors';
import type { Checkpoint } from '../engine/checkpoint.ts';
import { compactState } from '../engine/compact.ts';
import { openDiskStore } from '../engine/disk-store.ts';
import { checkpointOf, discardState, type StoredEntry, storedEntries } from '../engine/state-folder.ts';
import type { StateStore } from '../engine/store.ts';
import { stateFolder } from '../runtime.ts';
import { Exit, exitCodes } from './exit.ts';
import { findTopology, type LoadFlags, loadOrExit, readEnvFiles } from './load.ts';

export interface StateFlags extends LoadFlags {
  readonly state?: string;
  readonly json?: boolean;
}

/**
 * Opens the state in a folder, for as long as `work` takes. Ends the command with code 1 when there is none, and with a RunError that
 * names the process when a run is at work on it.
 */
export async function withStore<T>(folder: string, work: (store: StateStore) => T | Promise<T>): Promise<T> {
  if (!existsSync(join(folder, 'state.mdb'))) {
    throw new Exit(
      exitCodes.failed,
      `There is no state in ${folder}. Name the state folder of a topology that has run.`,
    );
  }
  const store = openDiskStore(folder);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** The state folder that a command is about: `--state`, or that of the topology. */
export async function folderOf(given: string | undefined, flags: StateFlags): Promise<string> {
  if (flags.state !== undefined && given === undefined) return resolve(flags.state);
  readEnvFiles(flags.envFile);
  return stateFolder(await loadOrExit(findTopology(given), flags), flags);
}

/** `penstock state list`: the checkpoint, and of each step how many keys and bytes it holds. */
export async function listCommand(given: string | undefined, flags: StateFlags): Promise<void> {
  const folder = await folderOf(given, flags);
  const { checkpoint, steps } = await withStore(folder, (store) => {
    const found = checkpointOf(store, folder);
    return { checkpoint: found, steps: countSteps(found, storedEntries(store)) };
  });
  const { id, at, topology, partitions, watermarks, ended = false } = checkpoint;
  if (flags.json) {
    print({ version: 1, topology, checkpoint: { id, at }, ended, steps, partitions, watermarks });
    return;
  }
  const lines = [
    `${pc.bold(topology)} ${pc.dim(`checkpoint ${id} of ${iso(at)}${ended ? ', all input has ended' : ''}`)}`,
    ...steps.map(
      (step) => `  ${pc.bold(step.id)}  ${step.operator}, ${count(step.keys, 'key')}, ${count(step.bytes, 'byte')}`,
    ),
    ...Object.entries(partitions).map(([name, { position, maxTime }]) => {
      const newest = maxTime === undefined ? '' : `, newest record ${iso(maxTime)}`;
      return `  ${name}  at ${JSON.stringify(position ?? null)}${newest}`;
    }),
    ...Object.entries(watermarks).map(([task, watermark]) => `  ${task}  event time ${iso(watermark)}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** `penstock state inspect`: the state of one key of a step, in every partition that has it. Code 1 when none has. */
export async function inspectCommand(
  step: string,
  key: string,
  given: string | undefined,
  flags: StateFlags,
): Promise<void> {
  const folder = await folderOf(given, flags);
  const found = await withStore(folder, (store) => {
    const { steps } = checkpointOf(store, folder);
    if (steps[step] === undefined) throw unknownStep(step, Object.keys(steps));
    return [...storedEntries(store, step)].filter((entry) => String(entry.key) === key);
  });
  if (found.length === 0)
    throw new Exit(exitCodes.failed, `The step \`${step}\` holds no state of the key \`${key}\`.`);
  if (flags.json) print({ version: 1, entries: found.map(plain) });
  else process.stdout.write(`${found.map((entry) => JSON.stringify(plain(entry), null, 2)).join('\n')}\n`);
}

/** `penstock state export`: the checkpoint in the first line, then each key's state in a line of its own. */
export async function exportCommand(
  given: string | undefined,
  flags: StateFlags & { readonly step: readonly string[] },
): Promise<void> {
  const folder = await folderOf(given, flags);
  await withStore(folder, (store) => {
    const checkpoint = checkpointOf(store, folder);
    const unknown = flags.step.find((id) => checkpoint.steps[id] === undefined);
    if (unknown !== undefined) throw unknownStep(unknown, Object.keys(checkpoint.steps));
    print({ version: 1, checkpoint });
    for (const entry of storedEntries(store)) {
      if (flags.step.length === 0 || flags.step.includes(entry.step)) print(plain(entry));
    }
  });
}

/** `penstock state reset`: drops what is named, or everything but the journals; without `--yes` only says what that is. */
export async function resetCommand(
  given: string | undefined,
  flags: StateFlags & { readonly step: readonly string[]; readonly all?: boolean; readonly yes?: boolean },
): Promise<void> {
  if (flags.step.length > 0 === (flags.all === true)) {
    throw new Exit(exitCodes.usage, 'Say what to drop: --step <id> (several times if need be), or --all.');
  }
  const folder = await folderOf(given, flags);
  const dropped = await withStore(folder, async (store) => {
    const checkpoint = checkpointOf(store, folder);
    const steps = countSteps(checkpoint, storedEntries(store));
    const sources = new Set(Object.keys(checkpoint.partitions).map((name) => name.slice(0, name.indexOf('/'))));
    const ids = flags.all ? [...steps.map(({ id }) => id), ...sources] : flags.step;
    if (flags.yes && !flags.all) await discardState(store, ids);
    return ids.map((id) => ({ id, keys: steps.find((step) => step.id === id)?.keys ?? 0 }));
  });
  if (flags.yes && flags.all) await openDiskStore(folder, { fresh: true }).close();
  if (flags.json) print({ version: 1, dropped: flags.yes === true, state: dropped });
  else for (const { id, keys } of dropped) process.stdout.write(`${id}  ${count(keys, 'key')}\n`);
  if (!flags.yes) throw new Exit(exitCodes.failed, 'Nothing was dropped: say --yes to drop this.');
}

/** `penstock state compact`: gives the room back that old state has left free in the file. */
export async function compactCommand(given: string | undefined, flags: StateFlags): Promise<void> {
  const folder = await folderOf(given, flags);
  await withStore(folder, (store) => checkpointOf(store, folder));
  const { before, after } = await compactState(folder);
  if (flags.json) print({ version: 1, before, after });
  else process.stdout.write(`${count(before, 'byte')} before, ${count(after, 'byte')} now\n`);
}

function countSteps({ steps }: Checkpoint, entries: Iterable<StoredEntry>) {
  const counts = new Map(Object.keys(steps).map((id) => [id, { keys: 0, bytes: 0 }]));
  for (const { step, bytes } of entries) {
    const sum = counts.get(step);
    if (sum === undefined) continue;
    sum.keys++;
    sum.bytes += bytes;
  }
  return [...counts].map(([id, sum]) => ({ id, operator: steps[id]!.operator, version: steps[id]!.version, ...sum }));
}

/** An entry as JSON can hold it: numbers that it has no sign for become text. */
function plain({ step, task, key, state, timers }: StoredEntry): unknown {
  return { step, task, key, timers, state: readable(state) };
}

function readable(value: unknown): unknown {
  if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))) return String(value);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof Map) return [...value].map((pair) => pair.map(readable));
  if (value instanceof Set || Array.isArray(value)) return [...value].map(readable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, readable(one)]));
}

function unknownStep(step: string, known: readonly string[]): Exit {
  const has =
    known.length === 0
      ? 'It holds state of no step.'
      : `It holds state of ${known.map((id) => `\`${id}\``).join(', ')}.`;
  return new Exit(exitCodes.usage, `The state folder holds nothing of a step \`${step}\`. ${has}`);
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
