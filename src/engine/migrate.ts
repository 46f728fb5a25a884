import { isDeepStrictEqual } from 'node:util';
import { RunError } from '../errors.ts';
import type { Changes, Position, StepDefinition } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import type { Checkpoint, StepIdentity } from './checkpoint.ts';
import { decode, encode } from './codec.ts';
import { type Catalogue, definitionOf } from './graph.ts';
import type { Stored } from './keyed-state.ts';
import { checkpointName, type StateStore } from './store.ts';

/** Turns the state of one key into what the step holds now; `undefined` forgets the key. */
export type Migrate = (state: unknown) => unknown;

/** What carries the state of a step over to what it is now; `undefined` when there is nothing to carry over, or no way to. */
export function migrationOf(
  id: string,
  old: StepIdentity,
  now: StepIdentity,
  { plan, catalogue }: { readonly plan: Plan; readonly catalogue: Catalogue },
): Migrate | undefined {
  if (old.operator !== now.operator || old.version > now.version) return undefined;
  if (old.version === now.version && isDeepStrictEqual(old.options, now.options)) return undefined;
  const definition: StepDefinition = definitionOf(catalogue, 'step', now.operator);
  const { options } = plan.streams.flatMap(({ steps }) => steps).find((step) => step.id === id)!;
  return definition.migrate?.(options, { version: old.version, options: old.options });
}

/** The steps whose state is carried over as this checkpoint is taken up, with what does it. */
export function migrationsOf(
  checkpoint: Checkpoint,
  steps: Readonly<Record<string, StepIdentity>>,
  context: { readonly plan: Plan; readonly catalogue: Catalogue },
): Map<string, Migrate> {
  const found = new Map<string, Migrate>();
  for (const [id, old] of Object.entries(checkpoint.steps)) {
    const now = steps[id];
    const migrate = now && migrationOf(id, old, now, context);
    if (migrate) found.set(id, migrate);
  }
  return found;
}

/**
 * A store whose old state is read as if it had been made by the steps of today. The store itself stays as it is until the first
 * checkpoint, which holds all of the state carried over, and says so: a crash before it finds the old state, one after it the new.
 */
export class MigratedStore implements StateStore {
  readonly #store: Omit<StateStore, 'close'>;
  readonly #migrations: ReadonlyMap<string, Migrate>;
  #written = false;

  /** Carries all of it over once, to see that it can be done. Throws a RunError that names the key when it cannot. */
  constructor(store: Omit<StateStore, 'close'>, migrations: ReadonlyMap<string, Migrate>) {
    this.#store = store;
    this.#migrations = migrations;
    for (const id of migrations.keys())
      for (const [name, bytes] of store.entries(prefixOf(id))) this.#carry(name, bytes);
  }

  get(name: string): Buffer | undefined {
    return this.#store.get(name);
  }

  *entries(prefix: string): Iterable<[name: string, bytes: Buffer]> {
    for (const [name, bytes] of this.#store.entries(prefix)) {
      const carried = this.#written ? bytes : this.#carry(name, bytes);
      if (carried !== undefined) yield [name, carried];
    }
  }

  async commit(changes: Changes, position?: Position): Promise<void> {
    // A recorded idle step is no checkpoint: what stands there still says that the state is the old one.
    const first = !this.#written && changes.puts.some(([name]) => name === checkpointName);
    await this.#store.commit(first ? this.#withAll(changes) : changes, position);
    this.#written ||= first;
  }

  /** Never called: whoever has opened the store below closes it. */
  async close(): Promise<void> {}

  // Also that of partitions which are not at work here: a checkpoint speaks for all that the store holds.
  #withAll({ puts, removes }: Changes): Changes {
    const all: Changes = { puts: [...puts], removes: [...removes] };
    const fresh = new Set([...puts.map(([name]) => name), ...removes]);
    for (const id of this.#migrations.keys()) {
      for (const [name, bytes] of this.#store.entries(prefixOf(id))) {
        if (fresh.has(name)) continue;
        const carried = this.#carry(name, bytes);
        if (carried === undefined) all.removes.push(name);
        else all.puts.push([name, carried]);
      }
    }
    return all;
  }

  #carry(name: string, bytes: Buffer): Buffer | undefined {
    const [kind, step = ''] = name.split('\u0000', 2);
    const migrate = kind === 'state' ? this.#migrations.get(step) : undefined;
    if (migrate === undefined) return bytes;
    const [key, old, timers, ...more] = decode(name, bytes) as Stored;
    const state = old === undefined ? undefined : carried(migrate, old, step, key);
    if (state === undefined && timers.length === 0) return undefined;
    return encode(name, [key, state, timers, ...more]);
  }
}

function carried(migrate: Migrate, state: unknown, step: string, key: unknown): unknown {
  try {
    return migrate(state);
  } catch (error) {
    throw new RunError(
      `The state of the step \`${step}\` for the key ${JSON.stringify(key)} cannot be carried over: ${(error as Error)?.message ?? error}. Nothing was changed. ` +
        `Change the step back, or start with --discard ${step} to drop its state.`,
      { cause: error, where: step },
    );
  }
}

function prefixOf(step: string): string {
  return `state\u0000${step}\u0000`;
}
