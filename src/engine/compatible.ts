import { RunError } from '../errors.ts';
import type { Plan } from '../topology/plan.ts';
import type { Checkpoint, StepIdentity } from './checkpoint.ts';
import type { Catalogue } from './graph.ts';
import { migrationOf } from './migrate.ts';

/** What becomes of the state of one step, or of the position of one source, under a plan. */
export interface StateVerdict {
  readonly id: string;
  readonly kind: 'step' | 'source';
  /**
   * `keep`: goes on where it stands. `migrate`: goes on, carried over to what the step is now. `discard`: means nothing under the plan,
   * and has to be dropped first. `new`: begins empty.
   */
  readonly verdict: 'keep' | 'migrate' | 'discard' | 'new';
  /** A full sentence. */
  readonly reason: string;
  /** `discard`: what to change in the topology so that it can be kept. */
  readonly undo?: string;
}

/** Says of all that a checkpoint holds, and of all keyed steps of a plan, what becomes of it. */
export function compareState(
  checkpoint: Checkpoint,
  plan: Plan,
  steps: Readonly<Record<string, StepIdentity>>,
  catalogue: Catalogue,
): StateVerdict[] {
  const held = Object.entries(checkpoint.steps).map(([id, old]) => {
    const now = steps[id];
    const migrates = now !== undefined && migrationOf(id, old, now, { plan, catalogue }) !== undefined;
    return verdictOn(id, old, now, migrates);
  });
  const added = Object.keys(steps)
    .filter((id) => checkpoint.steps[id] === undefined)
    .map((id) => ({
      id,
      kind: 'step' as const,
      verdict: 'new' as const,
      reason: 'The checkpoint holds no state of it.',
    }));
  return [...held, ...added, ...sourceVerdicts(checkpoint, plan)];
}

/** Refuses a plan whose keyed steps or sources no longer fit the state that is there. Nothing is dropped without being told so. */
export function checkCompatible(
  checkpoint: Checkpoint,
  plan: Plan,
  steps: Readonly<Record<string, StepIdentity>>,
  catalogue: Catalogue,
): void {
  if (checkpoint.topology !== plan.name) {
    throw new RunError(
      `The state folder holds state of the topology \`${checkpoint.topology}\`, not of \`${plan.name}\`. Give this one another folder with --state.`,
    );
  }
  const lost = compareState(checkpoint, plan, steps, catalogue).filter(({ verdict }) => verdict === 'discard');
  if (lost.length === 0) return;
  const [{ id, reason, undo }, ...others] = lost as [StateVerdict, ...StateVerdict[]];
  const more =
    others.length === 0 ? '' : ` The same is true of ${others.map((other) => `\`${other.id}\``).join(', ')}.`;
  const flags = [id, ...others.map((other) => other.id)].map((one) => `--discard ${one}`).join(' ');
  throw new RunError(
    `${reason}${more} ${undo}, or start with --fresh to drop all state and positions of this folder, or with ${flags} to drop only what no longer fits.`,
  );
}

function verdictOn(id: string, old: StepIdentity, now: StepIdentity | undefined, migrates: boolean): StateVerdict {
  const discard = (reason: string, undo: string): StateVerdict => ({
    id,
    kind: 'step',
    verdict: 'discard',
    reason,
    undo,
  });
  if (now === undefined) {
    return discard(
      `The state folder holds state of the step \`${id}\`, which the topology no longer has.`,
      `Give the step its id \`${id}\` back`,
    );
  }
  const before = describe(old);
  const after = describe(now);
  if (before !== after && !migrates) {
    return discard(
      `The state of the step \`${id}\` was made by ${before}; the topology now says ${after}.`,
      'Change it back',
    );
  }
  if (old.key !== undefined && old.key !== now.key) {
    return discard(
      `The state of the step \`${id}\` is kept by the key \`${old.key}\`; its records now have the key \`${now.key}\`.`,
      'Change it back',
    );
  }
  // State belongs to the partitions that feed a step: with other sources it would lie where nobody looks for it.
  if (old.sources.length !== now.sources.length || !old.sources.every((source) => now.sources.includes(source))) {
    return discard(
      `The state of the step \`${id}\` was made from ${named(old.sources)}; its task now reads ${named(now.sources)}.`,
      'Change it back',
    );
  }
  if (migrates) {
    const reason = `Its state was made by ${before}, and is carried over to ${after}.`;
    return { id, kind: 'step', verdict: 'migrate', reason };
  }
  return { id, kind: 'step', verdict: 'keep', reason: `It is ${after}, as when its state was made.` };
}

function sourceVerdicts({ partitions }: Checkpoint, { streams }: Plan): StateVerdict[] {
  const ids = new Set(streams.flatMap(({ steps }) => steps.map(({ id }) => id)));
  const counts = new Map<string, number>();
  for (const name of Object.keys(partitions)) counts.set(sourceOf(name), (counts.get(sourceOf(name)) ?? 0) + 1);
  return [...counts].map(([id, count]) =>
    ids.has(id)
      ? {
          id,
          kind: 'source',
          verdict: 'keep',
          reason: `It goes on in ${count} ${count === 1 ? 'partition' : 'partitions'}.`,
        }
      : {
          id,
          kind: 'source',
          verdict: 'discard',
          reason: `The state folder holds the position of the source \`${id}\`, which the topology no longer has.`,
          undo: `Give the source its id \`${id}\` back`,
        },
  );
}

/** Id of the source of a partition, from the partition's name in a checkpoint. */
export function sourceOf(partition: string): string {
  return partition.slice(0, partition.indexOf('/'));
}

function named(ids: readonly string[]): string {
  return `${ids.length === 1 ? 'the source' : 'the sources'} ${ids.map((id) => `\`${id}\``).join(', ')}`;
}

function describe({ operator, version, options }: StepIdentity): string {
  const given = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `\`${operator}\` (${[`state version ${version}`, ...given].join(', ')})`;
}
