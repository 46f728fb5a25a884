import { isDeepStrictEqual } from 'node:util';
import { withoutMoment } from '../dead-letter.ts';
import type { Rejection } from '../engine/node.ts';
import type { StepDefinition } from '../operator.ts';
import type { Key, StreamRecord } from '../record.ts';
import { Driver, type DriverOptions } from '../testing.ts';
import type { Arrival, Coming } from './arbitraries.ts';

/** A step as the laws see it, and what they must be told of it because no run shows it. */
export interface LawSubject {
  readonly definition: StepDefinition;
  /** Options as a plan holds them, without a shorthand. */
  readonly options: unknown;
  /** The watermark stays this many ms behind the newest record; 0 unless given. */
  readonly outOfOrderMs?: number;
  /** Whether an input record has become part of a result. Unless given: the result has its place in the source. */
  readonly partOf?: (input: StreamRecord, result: StreamRecord) => boolean;
  /** Of how many results one record can become a part; 1 unless given. */
  readonly mostResults?: number;
  /** Whether the step may end this record on purpose, as a filter does. It gets all that came in before it and all that came out. */
  readonly mayEnd?: (input: StreamRecord, seen: Seen) => boolean;
  /** A result may stand for no record at all, as one that fills a gap does. */
  readonly mayInvent?: boolean;
  /** Two results may have the same id, by which a sink that overwrites would take them for one. */
  readonly sameIds?: boolean;
  /** The step may still hold records after the input has ended. */
  readonly mayHold?: boolean;
}
export interface Seen {
  /** The further input that the record came from; `undefined` for the first. */
  readonly stream: string | undefined;
  readonly before: readonly StreamRecord[];
  readonly results: readonly StreamRecord[];
}

/** The part of a run that two runs are compared by. */
export interface Outcome {
  readonly output: readonly StreamRecord[];
  /** What was sent to other streams, by their names. */
  readonly routed: ReadonlyMap<string, readonly StreamRecord[]>;
  readonly rejected: readonly Rejection[];
}

/** What came of one run. */
export interface Trace extends Outcome {
  /** How many results there were, and how many keys held something, before the input ended. */
  readonly before: { readonly output: number; readonly keys: number };
}

/** Raised by a law that does not hold for a case. */
export class Violation extends Error {
  override readonly name = 'Violation';
  /** What was done, one line each. */
  readonly steps: readonly string[];
  readonly expected: Outcome | undefined;
  readonly found: Outcome | undefined;
  constructor(message: string, steps: readonly string[] = [], expected?: Outcome, found?: Outcome) {
    super(message);
    this.steps = steps;
    this.expected = expected;
    this.found = found;
  }
}
/** Whether a record comes; else event time moves on. */
export function isComing(arrival: Arrival): arrival is Coming {
  return 'record' in arrival;
}

/** The records among what happens. */
export function recordsOf(arrivals: readonly Arrival[]): StreamRecord[] {
  return arrivals.filter(isComing).map(({ record }) => record);
}

/** A new driver of the subject, or one that goes on from a checkpoint. */
export function driverOf({ definition, options, outOfOrderMs = 0 }: LawSubject, more: DriverOptions = {}): Driver {
  return new Driver(definition, options, { outOfOrderMs, ...more });
}

/** Lets all of it happen, in order; gives the driver. */
export function feed(driver: Driver, arrivals: Iterable<Arrival>): Driver {
  for (const arrival of arrivals) {
    if (isComing(arrival)) {
      if (arrival.stream === undefined) driver.push(arrival.record);
      else driver.pushInput(arrival.stream, arrival.record);
    } else driver.advanceTo(arrival.watermark);
  }
  return driver;
}

/** Ends the input. The lists are copies: what comes out later by itself is not in them. */
export function finish(driver: Driver): Trace {
  const before = { output: driver.output.length, keys: driver.keys };
  driver.end();
  return { ...joined([driver]), before };
}

/** What several runs gave, one after another. */
export function joined(outcomes: readonly Outcome[]): Outcome {
  const routed = new Map<string, StreamRecord[]>();
  for (const one of outcomes)
    for (const [stream, records] of one.routed) routed.set(stream, [...(routed.get(stream) ?? []), ...records]);
  return {
    output: outcomes.flatMap(({ output }) => output),
    routed,
    rejected: outcomes.flatMap(({ rejected }) => rejected),
  };
}

/** Runs one after another and in one go. */
export function runWhole(subject: LawSubject, arrivals: Iterable<Arrival>, more?: DriverOptions): Trace {
  return finish(feed(driverOf(subject, more), arrivals));
}

/** Place of a record in its source, as a text. */
export function placeOf({ origin, offset }: StreamRecord): string {
  return `${origin}#${offset}`;
}

interface Group {
  readonly output: StreamRecord[];
  readonly routed: Map<string, StreamRecord[]>;
  readonly rejected: Rejection[];
}

/** Gives each thing that came out to the key of the record it came of; to its own key when it has no place in the input. */
export function byInputKey(
  inputs: readonly StreamRecord[],
  { output, routed, rejected }: Outcome,
): Map<Key | undefined, Outcome> {
  const places = new Map(inputs.map((record) => [placeOf(record), record.key]));
  const groups = new Map<Key | undefined, Group>();
  const groupOf = (record: StreamRecord) => {
    const place = placeOf(record);
    const key = places.has(place) ? places.get(place) : record.key;
    const group: Group = groups.get(key) ?? { output: [], routed: new Map(), rejected: [] };
    groups.set(key, group);
    return group;
  };
  for (const record of output) groupOf(record).output.push(record);
  for (const [stream, records] of routed)
    for (const record of records) {
      const own = groupOf(record).routed;
      own.set(stream, [...(own.get(stream) ?? []), record]);
    }
  for (const rejection of rejected) groupOf(rejection.record).rejected.push(rejection);
  return groups;
}

/** Two runs gave the same: every field of every record, and every rejection, in the same order. */
export function sameOutcome(a: Outcome, b: Outcome): boolean {
  return (
    sameRecords(a.output, b.output) &&
    a.routed.size === b.routed.size &&
    [...a.routed].every(([stream, records]) => sameRecords(records, b.routed.get(stream) ?? [])) &&
    a.rejected.length === b.rejected.length &&
    a.rejected.every((one, n) => {
      const other = b.rejected[n]!;
      return one.code === other.code && one.message === other.message && sameRecord(one.record, other.record);
    })
  );
}

function sameRecords(a: readonly StreamRecord[], b: readonly StreamRecord[]): boolean {
  return a.length === b.length && a.every((record, n) => sameRecord(record, b[n]!));
}

function sameRecord(a: StreamRecord, b: StreamRecord): boolean {
  return (
    a === b ||
    (a.key === b.key &&
      Object.is(a.time, b.time) &&
      a.offset === b.offset &&
      a.origin === b.origin &&
      a.partition === b.partition &&
      a.part === b.part &&
      same(withoutMoment(a.value), withoutMoment(b.value)) &&
      same(a.window, b.window) &&
      same(a.meta, b.meta))
  );
}

// Most of what is compared is small and plain; only the rest is worth a call that knows everything.
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, n) => same(item, b[n]));
  if (Object.getPrototypeOf(a) !== Object.prototype) return isDeepStrictEqual(a, b);
  const names = Object.keys(a);
  return (
    Object.getPrototypeOf(b) === Object.prototype &&
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && same(a[name as never], b[name as never]))
  );
}
