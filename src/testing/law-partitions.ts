import { StreamRecord } from '../record.ts';

/** The records as two source partitions hold them, each with the keys that are its own, in the same order as before. */
export function partitioned(records: readonly StreamRecord[]): StreamRecord[] {
  const offsets = new Map<string, number>();
  const keys = [...new Set(records.map(({ key }) => key))];
  return records.map((record) => {
    const origin = `in/${keys.indexOf(record.key) % 2}`;
    const offset = offsets.get(origin) ?? 0;
    offsets.set(origin, offset + 1);
    const { value, key, time, meta, window, partition } = record;
    return new StreamRecord(value, key, time, offset, meta, window, partition, origin);
  });
}

/** Without the records that are late in their own partition: whether those are late for all depends on the others. */
export function onTime(records: readonly StreamRecord[], outOfOrderMs: number): StreamRecord[] {
  const newest = new Map<string, number>();
  return records.filter(({ origin, time }) => {
    const before = newest.get(origin) ?? Number.NEGATIVE_INFINITY;
    if (time < before - outOfOrderMs) return false;
    newest.set(origin, Number.isNaN(time) ? before : Math.max(before, time));
    return true;
  });
}
