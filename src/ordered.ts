import type { StreamRecord } from './record.ts';

/**
 * The order of two records by event time, and of those at one time by their place in the source: below 0 when `a` comes first. It does
 * not depend on how partitions happened to interleave.
 */
export function compareRecords(a: StreamRecord, b: StreamRecord): number {
  if (a.time !== b.time) return a.time - b.time;
  if (a.origin !== b.origin) return compareNumbered(a.origin, b.origin);
  if (a.offset !== b.offset) return a.offset - b.offset;
  return compareNumbered(a.part ?? '', b.part ?? '');
}

/** The order of two texts that end in a number, as source partitions of one topic and parts of one record do: `2` before `10`. */
export function compareNumbered(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a === b ? 0 : a < b ? -1 : 1;
}

/** How many items at the beginning of an ordered list are `before` something: where it has to be put in. Takes log(n) looks. */
export function countBefore<T>(list: readonly T[], before: (item: T) => boolean): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (before(list[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}
