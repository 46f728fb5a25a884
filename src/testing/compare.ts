import { isDeepStrictEqual } from 'node:util';
import type { StreamRecord } from '../operator.ts';
import type { ExpectedRecord } from '../topology/tests.ts';
import { plain } from './collector.ts';

/** A record that came out, as JSON has it. */
export interface ActualRecord {
  readonly key?: string | number | boolean;
  readonly value: unknown;
}

/** How what came out of one stream or sink differs from what was expected. */
export interface Difference {
  readonly output: string;
  /** Expected, and not there: or not in this place among the records of its key. */
  readonly missing: readonly ExpectedRecord[];
  /** There, and not expected. */
  readonly extra: readonly ActualRecord[];
}

/**
 * Compares records with what is expected of them: in order within a key, not across keys. Gives `undefined` when they agree.
 * A record that is expected without a key may have any.
 */
export function compare(
  output: string,
  records: readonly StreamRecord[],
  expected: readonly ExpectedRecord[],
): Difference | undefined {
  const queues = new Map<unknown, ActualRecord[]>();
  for (const record of records.map(asJson)) {
    const queue = queues.get(record.key) ?? [];
    queues.set(record.key, queue);
    queue.push(record);
  }
  const missing: ExpectedRecord[] = [];
  const extra = new Set<ActualRecord>();
  for (const wanted of expected) {
    const queue = [...queues.values()].find(([first]) => first !== undefined && agrees(first, wanted));
    if (queue) queue.shift();
    else {
      // What stands before it in its key is not expected; without that, one surplus record would make all behind it wrong.
      const later = [...queues.values()].find((rest) => rest.some((record) => agrees(record, wanted)));
      if (later) {
        const at = later.findIndex((record) => agrees(record, wanted));
        for (const passed of later.splice(0, at + 1).slice(0, -1)) extra.add(passed);
      } else missing.push(wanted);
    }
  }
  for (const queue of queues.values()) for (const record of queue) extra.add(record);
  return missing.length + extra.size === 0 ? undefined : { output, missing, extra: [...extra] };
}

/** A record as JSON has it. */
export function asJson({ key, value }: StreamRecord): ActualRecord {
  return { ...(key !== undefined && { key }), value: plain(value) };
}

/** Whether a record is one that was expected. */
export function agrees({ key, value }: ActualRecord, wanted: ExpectedRecord): boolean {
  if (wanted.key !== undefined && wanted.key !== key) return false;
  return 'like' in wanted ? isLike(value, wanted.like) : isDeepStrictEqual(value, plain(wanted.value));
}

function isLike(value: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted))
    return Array.isArray(value) && value.length === wanted.length && wanted.every((one, n) => isLike(value[n], one));
  if (typeof wanted !== 'object' || wanted === null) return isDeepStrictEqual(value, plain(wanted));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.entries(wanted).every(
    ([name, one]) => Object.hasOwn(value, name) && isLike((value as Record<string, unknown>)[name], one),
  );
}
