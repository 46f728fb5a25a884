import fc from 'fast-check';
import { durationMs, kafkaPartition, type TimeOption } from '../operator.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import type { FedRecord } from './feed.ts';

/** A record on its way to a source, before its event time is written into it. */
export interface Feeding {
  readonly stream: string;
  /** What the setting's arbitrary gave. */
  readonly given: FedRecord;
  /** Event time in ms; `NaN` when it can bear none: the source has no `time`, or the record is no object. */
  readonly time: number;
  /** When it arrives, in ms. */
  readonly arrival: number;
}

/** One thing that happens to a topology: a record reaches a source, or all sources are silent until the clock says `silence`, in ms. */
export type FeedEvent = Feeding | { readonly silence: number };

/** What a topology is fed in one case, from the moment at which its clock starts. */
export interface Feeds {
  readonly start: number;
  readonly events: readonly FeedEvent[];
}

export interface FeedOptions {
  /** The records of each stream that begins with a source. The event time that the source's `time` asks for is added to them. */
  readonly input: Readonly<Record<string, fc.Arbitrary<FedRecord>>>;
  /** Times lie on multiples of this many ms, or 1 ms beside one: choose a divisor of the steps' lengths. 1,000 unless given. */
  readonly gridMs?: number;
  /** The first record's time, in ms; the beginning of 2026 unless given. */
  readonly startMs?: number;
  /** Records are at most this many ms older than the newest before them; four times `gridMs` unless given. */
  readonly disorderMs?: number;
  /** At most so many events; 12 unless given. */
  readonly maxLength?: number;
}

// The engine looks at silence this often: clocks that are multiples of it show every run the same.
const lookMs = 200;

/**
 * Records for the sources of a plan in the order in which they arrive, out of order up to a bound, with a silence now and then that is longer
 * than any `idle` time. The clock moves in silence alone: wherever records are cut into batches, it says the same.
 */
export function feedsOf(plan: Plan, options: FeedOptions): fc.Arbitrary<Feeds> {
  const { input, gridMs = 1_000, startMs = Date.UTC(2026, 0, 1), disorderMs = 4 * gridMs, maxLength = 12 } = options;
  const streams = Object.keys(input);
  for (const stream of streams) sourceOf(plan, stream);
  const idle = Math.max(0, ...streams.map((stream) => idleMs(sourceOf(plan, stream))));
  const record = fc.oneof(...streams.map((stream) => input[stream]!.map((given) => ({ stream, given }))));
  const ahead = fc.constantFrom(0, 0, 1, 1, 2, 3, 6);
  const behind = fc.oneof({ arbitrary: fc.constant(0), weight: 2 }, fc.nat({ max: Math.floor(disorderMs / gridMs) }));
  const kind = fc.constantFrom('record', 'record', 'record', 'record', 'record', 'record', 'record', 'silence');
  const step = fc.tuple(record, ahead, behind, fc.constantFrom(0, 0, 0, -1, 1), kind);
  return fc.array(step, { maxLength, size: 'max' }).map((steps) => {
    let newest = startMs;
    const epochs: { readonly stream: string; readonly given: FedRecord; readonly time: number }[][] = [[]];
    for (const [{ stream, given }, further, back, beside, what] of steps) {
      newest += further * gridMs;
      if (what === 'silence' && idle > 0) epochs.push([]);
      else epochs.at(-1)!.push({ stream, given, time: newest - back * gridMs + beside });
    }
    let clock = Math.ceil(startMs / lookMs) * lookMs;
    const clocks = epochs.map((epoch, n) => {
      const newestHere = Math.max(...epoch.map(({ time }) => time));
      clock = Math.ceil(Math.max(n === 0 ? clock : clock + idle + lookMs, newestHere) / lookMs) * lookMs;
      return clock;
    });
    const events = epochs.flatMap((epoch, n): FeedEvent[] => [
      ...(n > 0 ? [{ silence: clocks[n]! }] : []),
      ...epoch.map(({ time, ...fed }) => timed(plan, { ...fed, time, arrival: clocks[n]! })),
    ]);
    return { start: clocks[0]!, events };
  });
}

/** The source of a stream, by the stream's name. Throws a TypeError when it has none. */
export function sourceOf(plan: Plan, stream: string): PlanStep {
  const source = plan.streams.find(({ name }) => name === stream)?.steps.find(({ kind }) => kind === 'source');
  if (!source) throw new TypeError(`\`input\` names \`${stream}\`, which is no stream of the plan with a source.`);
  return source;
}

/** Which partition of its source a record goes to. */
export function partitionOf({ given: { key, partition } }: Feeding, partitions = 1): number {
  return partition ?? (key === undefined ? 0 : kafkaPartition(key, partitions));
}

/** The record as it is pushed, with its event time in it. */
export function stamped(plan: Plan, { stream, given, time, arrival }: Feeding): FedRecord {
  const option = timeOf(sourceOf(plan, stream));
  if (Number.isNaN(time) || option === undefined) return { ...given, arrival };
  if (option.from !== undefined) return { ...given, arrival: time };
  const { field = 'time', unit = 'ms' } = option;
  // Nanoseconds do not fit a JSON number exactly.
  const inUnit = {
    s: time / 1e3,
    ms: time,
    us: time * 1e3,
    ns: `${time}000000`,
    rfc3339: new Date(time).toISOString(),
  };
  return { ...given, value: withField(given.value as object, field.split('.'), inUnit[unit]), arrival };
}

/** The same plan without `idle`: silence no longer moves event time. */
export function withoutIdle(plan: Plan): Plan {
  const awake = (step: PlanStep): PlanStep => {
    const option = step.kind === 'source' ? timeOf(step) : undefined;
    if (option?.idle === undefined) return step;
    const { idle: _, ...time } = option;
    return { ...step, options: { ...(step.options as object), time } };
  };
  return { ...plan, streams: plan.streams.map((stream) => ({ ...stream, steps: stream.steps.map(awake) })) };
}

function timed(plan: Plan, feeding: Feeding): Feeding {
  const option = timeOf(sourceOf(plan, feeding.stream));
  const { value, payload } = feeding.given;
  const isObject = payload === undefined && typeof value === 'object' && value !== null && !Array.isArray(value);
  const bears = option?.from !== undefined || isObject;
  if (option === undefined || !bears) return { ...feeding, time: Number.NaN };
  return option.from === 'arrival' ? { ...feeding, time: feeding.arrival } : feeding;
}

function timeOf({ options }: PlanStep): Exclude<TimeOption, string> | undefined {
  const { time } = (options ?? {}) as { time?: TimeOption };
  return typeof time === 'string' ? { from: time } : time;
}

function idleMs(source: PlanStep): number {
  const idle = timeOf(source)?.idle;
  return idle === undefined ? 0 : durationMs(idle);
}

function withField(value: object, [name, ...rest]: readonly string[], time: unknown): object {
  const inner = (value as Record<string, unknown>)[name!];
  const nested = typeof inner === 'object' && inner !== null ? inner : {};
  return { ...value, [name!]: rest.length === 0 ? time : withField(nested, rest, time) };
}
