import { StreamRecord } from '../record.ts';
import type { Coming } from './arbitraries.ts';

/** The records as two source partitions hold them, each with the keys that are its own, in the same order as before. */
export function partitioned(all: readonly Coming[]): Coming[] {
  const offsets = new Map<string, number>();
  const keys = [...new Set(all.map(({ record }) => record.key))];
  return all.map(({ record, ...from }) => {
    const origin = `in/${keys.indexOf(record.key) % 2}`;
    const offset = offsets.get(origin) ?? 0;
    offsets.set(origin, offset + 1);
    const { value, key, time, meta, window, partition, part } = record;
    return { record: new StreamRecord(value, key, time, offset, meta, window, partition, origin, part), ...from };
  });
}

/** Without the records that are late in their own partition: whether those are late for all depends on the others. */
export function onTime(all: readonly Coming[], outOfOrderMs: number): Coming[] {
  const newest = new Map<string, number>();
  return all.filter(({ record: { origin, time } }) => {
    const before = newest.get(origin) ?? Number.NEGATIVE_INFINITY;
    if (time < before - outOfOrderMs) return false;
    newest.set(origin, Number.isNaN(time) ? before : Math.max(before, time));
    return true;
  });
}
