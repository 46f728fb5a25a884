import type { Fed } from './check.ts';

/** Numbers in [0, 1) from a seed (mulberry32): the same seed gives the same run. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How far the keys' clocks are apart. */
const jitterMs = 300;
/** What the source has to wait for. */
export const outOfOrderMs = 500;

export interface InputShape {
  readonly records: number;
  readonly seed: number;
  /** Event time begins here. */
  readonly base: number;
  readonly partitions: number;
}

/**
 * Keyed, numbered records: some ten of each key in a window of a second. Time never goes back for a key; between keys it does, within
 * what the source allows. The last ones, one for each partition, are an hour later and close all windows.
 */
export function* input({ records, seed, base, partitions }: InputShape): Generator<Fed & { partition?: number }> {
  const random = randomFrom(seed);
  const keys = keyCount(records);
  const seqs = new Uint32Array(keys);
  const behind = Array.from({ length: keys }, () => Math.floor(random() * jitterMs));
  const perMs = keys / 100;
  for (let id = 0; id < records; id++) {
    const k = Math.floor(random() * keys);
    const ts = base + Math.floor(id / perMs) + behind[k]!;
    yield { id, key: `k${k}`, seq: seqs[k]!++, ts, v: Math.floor(random() * 1_000) };
  }
  for (let partition = 0; partition < partitions; partition++) {
    const ts = base + Math.floor(records / perMs) + 3_600_000;
    yield { id: records + partition, key: `closing${partition}`, seq: 0, ts, v: 1, closing: true, partition };
  }
}

/** Several thousand for a million records; each has some 250. */
export function keyCount(records: number): number {
  return Math.max(50, Math.min(5_000, Math.floor(records / 250)));
}
