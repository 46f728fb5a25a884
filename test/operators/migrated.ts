import { decode, encode } from '../../src/engine/codec.ts';
import type { Stored } from '../../src/engine/keyed-state.ts';
import { MemoryStore } from '../../src/engine/store.ts';
import type { DriverCheckpoint } from '../../src/testing.ts';

/** The checkpoint with the state of each key carried over, as a run does it. */
export function migrated(checkpoint: DriverCheckpoint, migrate: (state: unknown) => unknown): DriverCheckpoint {
  const store = new MemoryStore();
  const puts = [...checkpoint.store.entries('')].map(([name, bytes]): [string, Buffer] => {
    const [key, state, ...more] = decode(name, bytes) as Stored;
    return [name, encode(name, [key, migrate(state), ...more])];
  });
  void store.commit({ puts, removes: [] });
  return { ...checkpoint, store };
}
