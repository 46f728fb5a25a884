import fc from 'fast-check';
import { recordId, type StreamRecord } from '../record.ts';
import type { Plan } from '../topology/plan.ts';
import { inAnotherTime } from './another-time.ts';
import {
  type FeedEvent,
  type Feeding,
  type Feeds,
  feedsOf,
  partitionOf,
  sourceOf,
  stamped,
  withoutIdle,
} from './feeds.ts';
import { type Outcome, placeOf, sameOutcome, Violation } from './law-run.ts';
import { showKey, showRecord } from './law-text.ts';
import {
  byKey,
  type Course,
  type Interruption,
  isFeeding,
  placesOf,
  play,
  showEvents,
  showFed,
  type TopologySubject,
} from './topology-run.ts';

/** One input of a topology, and what is done to the run. */
export interface TopologyCase {
  readonly feeds: Feeds;
  readonly cuts: readonly { readonly place: number; readonly what: Interruption }[];
  /** Chooses the key that is looked at alone. */
  readonly chosen: number;
}

/** Throws a Violation when it does not hold. `whole` is what the input gives record by record, without any interruption. */
export type TopologyLaw = (subject: TopologySubject, given: TopologyCase, whole: Outcome) => Promise<void>;

/** Inputs of a topology, with cuts in them. */
export function topologyCases(subject: TopologySubject): fc.Arbitrary<TopologyCase> {
  const what = fc.constantFrom<Interruption>('crash', 'checkpoint', 'stop', 'rebalance');
  const cuts = fc.array(fc.record({ place: fc.nat({ max: 100 }), what }), { maxLength: 4 });
  return fc.record({ feeds: feedsOf(subject.plan, subject), cuts, chosen: fc.nat({ max: 100 }) });
}

/** However many records a source hands over at once, they give the same. */
async function batching(subject: TopologySubject, { feeds, cuts }: TopologyCase, whole: Outcome): Promise<void> {
  const at = new Map(cuts.map(({ place }) => [place % (feeds.events.length + 1), undefined]));
  const found = await play(subject, feeds, { batches: true, at });
  expectSame(subject, whole, found, 'In other batches, the same records give something else.', feeds.events, at);
}

/** Crashes, stops, checkpoints and partitions that move, at any place, change nothing. */
async function restart(subject: TopologySubject, { feeds, cuts }: TopologyCase, whole: Outcome): Promise<void> {
  const at = interruptions(subject, feeds.events, cuts);
  const found = await play(subject, feeds, { at });
  expectSame(subject, whole, found, 'With interruptions, the same records give something else.', feeds.events, at);
}

/** Reading again what was live, at another time of day and as fast as it goes, gives the same; silence aside, which a replay does not see. */
async function replay(subject: TopologySubject, { feeds }: TopologyCase): Promise<void> {
  const plan = withoutIdle(subject.plan);
  const last = Math.max(feeds.start, ...feeds.events.map((one) => (isFeeding(one) ? one.arrival : one.silence)));
  const live = await play(subject, feeds, { plan });
  const again = { start: last + 86_400_000, events: feeds.events.filter(isFeeding) };
  const found = await inAnotherTime(() => play(subject, again, { plan, batches: true }));
  expectSame(subject, live, found, 'Played again, the same records give something else.', feeds.events);
}

/** What a key gives does not depend on what the others say. */
async function keys(subject: TopologySubject, { feeds, chosen }: TopologyCase, whole: Outcome): Promise<void> {
  const { keyOf = ({ key, topic }) => key ?? topic } = subject;
  const keyed = (event: FeedEvent) => (isFeeding(event) ? keyOf(event.given, event.stream) : undefined);
  const all = [...new Set(feeds.events.filter(isFeeding).map(keyed))];
  if (all.length < 2) return;
  const key = all[chosen % all.length];
  const places = placesOf(subject, feeds.events);
  const own = new Set(places.filter((_, n) => isFeeding(feeds.events[n]!) && keyed(feeds.events[n]!) === key));
  const others = hushed(subject, feeds.events, places, own, whole);
  const [among, alone] = [whole, await play(subject, { ...feeds, events: others })].map((outcome) =>
    byKey(outcome, (record) => own.has(placeOf(record))),
  );
  if (sameOutcome(alone!, among!)) return;
  const steps = [...showEvents(subject.plan, feeds.events), 'alone', ...showEvents(subject.plan, others)];
  throw new Violation(`Key ${showKey(key)} gives something else when others come.`, steps, alone, among);
}

/** Every record is part of a result, is rejected, or was ended on purpose; and no result comes of nothing. */
async function conservation(subject: TopologySubject, { feeds }: TopologyCase, whole: Outcome): Promise<void> {
  const { partOf = () => false, mostResults = 1, mayEnd = () => false } = subject;
  const places = placesOf(subject, feeds.events);
  const fail = (message: string): never => {
    throw new Violation(message, showEvents(subject.plan, feeds.events), undefined, whole);
  };
  const used = new Set<StreamRecord>();
  const everything = [...whole.routed.values()].flat();
  for (const [n, event] of feeds.events.entries()) {
    if (!isFeeding(event)) continue;
    const fed = { stream: event.stream, record: stamped(subject.plan, event), time: event.time };
    const isPart = (result: StreamRecord) => placeOf(result) === places[n] || partOf(fed, result);
    const shown = () => showFed(subject.plan, event);
    let uses = 0;
    for (const [name, records] of whole.routed) {
      const results = records.filter(isPart);
      for (const result of results) used.add(result);
      uses += results.length;
      if (results.length > mostResults) fail(`${shown()} is part of ${results.length} results of \`${name}\`.`);
    }
    if (uses === 0 && !mayEnd(fed, everything)) fail(`${shown()} is gone: it came out nowhere.`);
  }
  const invented = subject.mayInvent ? undefined : everything.find((record) => !used.has(record));
  if (invented) fail(`${showRecord(invented)} came out, and no record is part of it.`);
  if (subject.sameIds) return;
  for (const [name, records] of whole.routed) {
    const ids = new Set<string>();
    for (const record of records) {
      const id = `${typeof record.key} ${recordId(record)}`;
      if (ids.has(id)) fail(`Two results of \`${name}\` have the id \`${recordId(record)}\`.`);
      ids.add(id);
    }
  }
}

/** All laws of a topology, by name. */
export const topologyLawsByName = { batching, restart, replay, keys, conservation } as const satisfies Record<
  string,
  TopologyLaw
>;
export type TopologyLawName = keyof typeof topologyLawsByName;

/** The names of all laws of a topology, in the order in which they are checked. */
export const topologyLawNames = Object.keys(topologyLawsByName) as readonly TopologyLawName[];

function expectSame(
  { plan }: TopologySubject,
  expected: Outcome,
  found: Outcome,
  message: string,
  events: readonly FeedEvent[],
  at?: Course['at'],
): void {
  const [wanted, came] = [byKey(expected), byKey(found)];
  if (!sameOutcome(wanted, came)) throw new Violation(message, showEvents(plan, events, at), wanted, came);
}

// After a crash a source is read again as fast as it goes, so several meet in another order than before: that is no fault of the topology.
// Where several meet, a crash therefore follows upon a checkpoint, and a partition that moves would let event time run ahead.
function interruptions(
  { partitions = {}, input }: TopologySubject,
  events: readonly FeedEvent[],
  cuts: TopologyCase['cuts'],
): Map<number, Interruption> {
  const at = new Map<number, Interruption>();
  let kept = 0;
  for (const { place, what } of cuts.map((cut) => ({ ...cut, place: cut.place % (events.length + 1) })).sort(byPlace)) {
    const since = events.slice(kept, place).filter(isFeeding);
    const sources = new Set(since.map((event) => `${event.stream}/${partitionOf(event, partitions[event.stream])}`));
    const alone = what === 'crash' ? sources.size < 2 : Object.keys(input).length < 2;
    const chosen = alone || what === 'checkpoint' ? what : 'stop';
    at.set(place, chosen);
    if (chosen !== 'crash') kept = place;
  }
  return at;
}

const byPlace = (a: { readonly place: number }, b: { readonly place: number }) => a.place - b.place;

// The other keys say nothing, as far as event time can do without them: what does not move it on becomes a payload that nobody reads. Of
// the rest, each says what another one said.
function hushed(
  { plan, partitions = {} }: TopologySubject,
  events: readonly FeedEvent[],
  places: readonly string[],
  own: ReadonlySet<string>,
  whole: Outcome,
): FeedEvent[] {
  const refused = new Set(
    [...whole.routed.values()].flat().flatMap((one) => (isRefused(plan, one) ? [placeOf(one)] : [])),
  );
  const newest = new Map<string, number>();
  const moving = new Map<string, Feeding[]>();
  const silenced = events.map((event, n): FeedEvent => {
    if (!isFeeding(event)) return event;
    const from = `${event.stream}/${partitionOf(event, partitions[event.stream])}`;
    const counts = !refused.has(places[n]!) && event.time > (newest.get(from) ?? Number.NEGATIVE_INFINITY);
    if (counts) newest.set(from, event.time);
    if (own.has(places[n]!)) return event;
    if (counts) moving.set(from, [...(moving.get(from) ?? []), event]);
    else if (!readsAnything(plan, event.stream)) return { ...event, given: unread(event), time: Number.NaN };
    return event;
  });
  return silenced.map((event) => {
    if (!isFeeding(event)) return event;
    const list = moving.get(`${event.stream}/${partitionOf(event, partitions[event.stream])}`) ?? [];
    const n = list.indexOf(event);
    return n < 0 ? event : { ...event, given: list[(n + 1) % list.length]!.given };
  });
}

const unread = ({ given: { value: _, ...place } }: Feeding): Feeding['given'] => ({ ...place, payload: '{' });

function readsAnything(plan: Plan, stream: string): boolean {
  const { format = 'json' } = (sourceOf(plan, stream).options ?? {}) as { format?: string };
  return format !== 'json';
}

// A record that its source has refused bears no time.
function isRefused({ streams }: Plan, { value }: StreamRecord): boolean {
  const { step } = (value ?? {}) as { step?: unknown };
  return streams.some(({ steps }) => steps.some(({ kind, id }) => kind === 'source' && id === step));
}
