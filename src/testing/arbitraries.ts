import fc from 'fast-check';
import type { Key } from '../record.ts';
import { StreamRecord } from '../record.ts';

/** One thing that happens to a step: a record comes, perhaps from a stream that is a further input, or silence moves event time on to `watermark`. */
export type Arrival = Coming | { readonly watermark: number };

/** A record on its way to a step. */
export interface Coming {
  readonly record: StreamRecord;
  /** The stream it comes from, when that is a further input of the step. */
  readonly stream?: string;
}

/** Keys of few values, so that they meet again, of which some differ in nothing but their type: `1` and `"1"`, `true` and `"true"`. */
export function keys(): fc.Arbitrary<Key> {
  return fc.constantFrom<Key>('a', 'b', '1', 1, '');
}

export interface ArrivalOptions<T> {
  readonly value: fc.Arbitrary<T>;
  /** `keys()` unless given; `fc.constant(undefined)` for records without one. */
  readonly key?: fc.Arbitrary<Key | undefined>;
  /**
   * Times lie on multiples of this many ms, or 1 ms beside one: choose a divisor of the step's own lengths, so that records meet its
   * boundaries. 1,000 unless given.
   */
  readonly gridMs?: number;
  /** The first record's time, in ms; 0 unless given. */
  readonly startMs?: number;
  /** Records are at most this many ms older than the newest before them, most of them none; four times `gridMs` unless given. */
  readonly disorderMs?: number;
  /** The field of a value, when it is an object, that says how many records came before: what stands for which record is then known. */
  readonly numbered?: string;
  /** Streams that are further inputs of the step: records come from them as well. */
  readonly inputs?: readonly string[];
  /** Records whose time is `NaN` come too. */
  readonly timeless?: boolean;
  /** At most this many arrivals; 12 unless given. */
  readonly maxLength?: number;
}

const kinds = ['record', 'record', 'record', 'record', 'record', 'again', 'silence', 'timeless'] as const;

/**
 * Records in the order in which they reach a step, from one source partition: out of order up to a bound, some twice, with the watermark
 * moved on by silence now and then. Smaller cases have fewer records, in order, of the first key.
 */
export function arrivals<T>({
  value,
  key = keys(),
  gridMs = 1_000,
  startMs = 0,
  disorderMs = 4 * gridMs,
  numbered,
  inputs = [],
  timeless = false,
  maxLength = 12,
}: ArrivalOptions<T>): fc.Arbitrary<readonly Arrival[]> {
  const back = Math.floor(disorderMs / gridMs);
  const arrival = fc.tuple(
    key,
    value,
    // How far the newest time moves on, and how far behind it this record is, in steps of the grid.
    fc.constantFrom(0, 0, 1, 1, 2, 3),
    fc.oneof({ arbitrary: fc.constant(0), weight: 2 }, fc.nat({ max: back })),
    fc.constantFrom(0, 0, 0, -1, 1),
    fc.constantFrom(...kinds.slice(0, timeless ? kinds.length : -1)),
    fc.constantFrom(undefined, ...inputs),
  );
  return fc.array(arrival, { maxLength, size: 'max' }).map((steps) => {
    const all: Arrival[] = [];
    const records: StreamRecord<T>[] = [];
    let newest = startMs;
    for (const [itsKey, itsValue, ahead, behind, beside, kind, stream] of steps) {
      newest += ahead * gridMs;
      const time = kind === 'timeless' ? Number.NaN : newest - behind * gridMs + beside;
      const again = kind === 'again' ? records[records.length - 1 - (behind % records.length)] : undefined;
      if (kind === 'silence') all.push({ watermark: newest + beside });
      else {
        const offset = records.length;
        const value = numbered === undefined || !isObject(itsValue) ? itsValue : { ...itsValue, [numbered]: offset };
        const from = again ?? { value: frozen(value), key: itsKey, time };
        const record = new StreamRecord(
          from.value,
          from.key,
          from.time,
          offset,
          undefined,
          undefined,
          undefined,
          origin,
        );
        records.push(record);
        all.push({ record, ...(stream !== undefined && { stream }) });
      }
    }
    return all;
  });
}

const origin = 'in/0';

/** Places at which to cut `length` things in parts, in order; none twice. */
export function cuts(numbers: readonly number[], length: number): readonly number[] {
  return [...new Set(numbers.map((number) => number % (length + 1)))].sort((a, b) => a - b);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

// As `JSON.parse` makes it, which knows no object without a prototype; and frozen: a step that writes into a record, which others hold as
// well, is told so at once.
function frozen<T>(value: T): T {
  if (Array.isArray(value)) return Object.freeze(value.map(frozen)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return value;
  return Object.freeze(Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, frozen(inner)]))) as T;
}
