import { RunError } from '../errors.ts';
import type { Changes, Position } from '../operator.ts';

/** A commit that holds a value of this name is a checkpoint, and one that can be gone back to. */
export const checkpointName = 'checkpoint';

/** A commit found no room: nothing of it is in the store, and the same commit may be tried again. */
export class DiskFullError extends RunError {
  /** `place` is the folder of the store. */
  constructor(place: string) {
    super(
      `The disk is full: the checkpoint could not be written to ${place}, and nothing more is taken in until it is. Free some space; the run then goes on by itself.`,
    );
  }
}

/**
 * Where checkpoints live: named bytes, and one atomic, durable commit. Values carry their own checksum (see codec).
 * `memory` is for tests and throw-away runs, `disk` (LMDB) is the default.
 */
export interface StateStore {
  get(name: string): Buffer | undefined;
  /** All values whose name begins with `prefix`, in no order. */
  entries(prefix: string): Iterable<[name: string, bytes: Buffer]>;
  /**
   * All or nothing; durable once it resolves. Rejects with a DiskFullError while there is no room for it.
   * `position` is for stores that live with a source.
   */
  commit(changes: Changes, position?: Position): Promise<void>;
  close(): Promise<void>;
}

/** A store that lives as long as the process, or as the test that holds it. */
export class MemoryStore implements StateStore {
  readonly #values: Map<string, Buffer>;

  /** Begins with a copy of another store's values. */
  constructor(from?: MemoryStore) {
    this.#values = new Map(from === undefined ? [] : from.#values);
  }

  get(name: string): Buffer | undefined {
    return this.#values.get(name);
  }

  *entries(prefix: string): Iterable<[string, Buffer]> {
    for (const entry of this.#values) if (entry[0].startsWith(prefix)) yield entry;
  }

  async commit({ puts, removes }: Changes): Promise<void> {
    for (const name of removes) this.#values.delete(name);
    for (const [name, bytes] of puts) this.#values.set(name, bytes);
  }

  async close(): Promise<void> {}
}
