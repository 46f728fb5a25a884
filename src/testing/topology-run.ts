import type { Definition, Key, StreamRecord } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import { plain } from './collector.ts';
import type { FedRecord } from './feed.ts';
import { type FeedEvent, type Feeding, type FeedOptions, type Feeds, partitionOf, sourceOf, stamped } from './feeds.ts';
import type { Tally } from './law-check.ts';
import { type Outcome, placeOf } from './law-run.ts';
import { showKey } from './law-text.ts';
import { TopologyDriver, type TopologyDriverOptions } from './topology-driver.ts';

/** A topology as the laws see it, and what they must be told of it because no run shows it. */
export interface TopologySubject extends FeedOptions, Pick<TopologyDriverOptions, 'partitions'> {
  readonly plan: Plan;
  readonly catalogue: readonly Definition[];
  /** The key that a record is to have in the steps; unless given, its own, else its topic. */
  readonly keyOf?: (record: FedRecord, stream: string) => Key | undefined;
  /** Whether a record that was fed has become part of a result. Unless given: the result has its place in the source. */
  readonly partOf?: (fed: Fed, result: StreamRecord) => boolean;
  /** Of how many results one record can become a part in one stream or sink; 1 unless given. */
  readonly mostResults?: number;
  /** Whether the topology may end this record on purpose, as a filter does. */
  readonly mayEnd?: (fed: Fed, results: readonly StreamRecord[]) => boolean;
  /** A result may stand for no record at all, as one that fills a gap does. */
  readonly mayInvent?: boolean;
  /** Two results of one stream or sink may have the same id. */
  readonly sameIds?: boolean;
}

/** A record as it was fed, with its event time in it. */
export interface Fed {
  readonly stream: string;
  readonly record: FedRecord;
  /** Event time in ms; `NaN` when it bears none. */
  readonly time: number;
}

/** What befalls a run between two records. After a crash or a stop it is restored at once. */
export type Interruption = 'checkpoint' | 'crash' | 'stop' | 'rebalance';

/** How a run differs from one that gets one record after another. */
export interface Course {
  readonly plan?: Plan;
  readonly start?: number;
  /** As many records at once as come from one partition between two cuts. */
  readonly batches?: boolean;
  /** What happens before the event of this number; `undefined` is a cut alone. */
  readonly at?: ReadonlyMap<number, Interruption | undefined>;
}

/** Whether a record comes; else all are silent. */
export function isFeeding(event: FeedEvent): event is Feeding {
  return 'given' in event;
}

/** Runs a topology over all events and ends it. What came out stands under the name of its stream or sink. */
export async function play(
  { plan: own, catalogue, partitions = {} }: TopologySubject,
  { start: from, events }: Feeds,
  { plan = own, start = from, batches = false, at = new Map() }: Course = {},
): Promise<Outcome> {
  const driver = await TopologyDriver.start(plan, catalogue, { start, partitions });
  const place = (event: Feeding) => `${event.stream}/${partitionOf(event, partitions[event.stream])}`;
  for (let n = 0; n <= events.length; ) {
    const interruption = at.get(n);
    if (interruption) await interrupt(driver, interruption, events[n] ?? events.findLast(isFeeding), partitions);
    const event = events[n];
    if (event === undefined) break;
    n++;
    if (isFeeding(event)) {
      const batch = [event];
      while (batches && !at.has(n) && isAt(events[n], place(event), place)) batch.push(events[n++] as Feeding);
      await driver.push(event.stream, ...batch.map((one) => stamped(plan, one)));
    } else if (event.silence > driver.now) await driver.advanceTo(event.silence);
  }
  await driver.end();
  const names = plan.streams.flatMap(({ name, steps }) => [
    name,
    ...steps.filter(({ kind }) => kind === 'sink').map(({ id }) => id),
  ]);
  if (driver.deadLetters !== undefined) names.push(driver.deadLetters);
  return { output: [], routed: new Map(names.map((name) => [name, driver.output(name)])), rejected: [] };
}

/** The same, each key by itself: across keys there is no order. What has no key is in the order of its partition. */
export function byKey({ routed }: Outcome, isWanted: (record: StreamRecord) => boolean = () => true): Outcome {
  const groups = new Map<string, StreamRecord[]>();
  for (const [name, records] of routed)
    for (const record of records.filter(isWanted)) {
      const group = `${name}, ${record.key === undefined ? record.origin : `key ${showKey(record.key)}`}`;
      groups.set(group, [...(groups.get(group) ?? []), record]);
    }
  return { output: [], routed: groups, rejected: [] };
}

/** The place of each record that is fed, as `placeOf` says it of what comes out; in order. */
export function placesOf({ plan, partitions = {} }: TopologySubject, events: readonly FeedEvent[]): string[] {
  const offsets = new Map<string, number>();
  return events.map((event) => {
    if (!isFeeding(event)) return '';
    const origin = `${sourceOf(plan, event.stream).id}/${partitionOf(event, partitions[event.stream])}`;
    const offset = offsets.get(origin) ?? 0;
    offsets.set(origin, offset + 1);
    return placeOf({ origin, offset } as StreamRecord);
  });
}

/** One line for each thing that happened. */
export function showEvents(plan: Plan, events: readonly FeedEvent[], at: Course['at'] = new Map()): string[] {
  const cut = (n: number) => (at.has(n) ? [`— ${at.get(n) ?? 'next batch'} —`] : []);
  const lines = events.flatMap((event, n) => [...cut(n), isFeeding(event) ? showFed(plan, event) : showSilence(event)]);
  return [...lines, ...cut(events.length)];
}

/** A record that is fed, in one line. */
export function showFed(plan: Plan, event: Feeding): string {
  const { arrival: _, payload, ...record } = stamped(plan, event);
  return `${event.stream}: ${JSON.stringify({ ...record, ...(payload !== undefined && { payload: plain(payload) }) })}`;
}

function showSilence({ silence }: { readonly silence: number }): string {
  return `silence, until ${new Date(silence).toISOString()}`;
}

function isAt(event: FeedEvent | undefined, where: string, place: (event: Feeding) => string): boolean {
  return event !== undefined && isFeeding(event) && place(event) === where;
}

async function interrupt(
  driver: TopologyDriver,
  what: Interruption,
  next: FeedEvent | undefined,
  partitions: Readonly<Record<string, number>>,
): Promise<void> {
  if (what === 'rebalance') {
    if (next !== undefined && isFeeding(next))
      await driver.rebalance(next.stream, partitionOf(next, partitions[next.stream]));
    return;
  }
  await driver[what]();
  if (what !== 'checkpoint') await driver.restore();
}

/** What came in and out, for a report. A stream counts with its end alone, not with its sinks. */
export function tallyOf({ plan }: TopologySubject, { events }: Feeds, { routed }: Outcome): Tally {
  const names = new Set(plan.streams.map(({ name }) => name).filter((name) => name !== plan.otherwise));
  const count = (isCounted: (name: string) => boolean) =>
    [...routed].reduce((sum, [name, records]) => sum + (isCounted(name) ? records.length : 0), 0);
  const sinks = new Set(plan.streams.flatMap(({ steps }) => steps.map(({ id }) => id)));
  return {
    records: events.filter(isFeeding).length,
    results: count((name) => names.has(name)),
    rejected: count((name) => !names.has(name) && !sinks.has(name)),
  };
}
