import { setImmediate as nextTurn } from 'node:timers/promises';
import { recordId, type StreamRecord } from '../record.ts';
import type { DriverCheckpoint } from '../testing.ts';
import { inAnotherTime } from './another-time.ts';
import { type Arrival, cuts } from './arbitraries.ts';
import { onTime, partitioned } from './law-partitions.ts';
import {
  byInputKey,
  driverOf,
  feed,
  finish,
  isComing,
  joined,
  type LawSubject,
  type Outcome,
  placeOf,
  recordsOf,
  runWhole,
  sameOutcome,
  type Trace,
  Violation,
} from './law-run.ts';
import { showArrival, showKey, showRecord } from './law-text.ts';

/** One input, and numbers that choose the places at which a law cuts it. */
export interface LawCase {
  readonly arrivals: readonly Arrival[];
  readonly numbers: readonly number[];
  /** How many arrivals a crash undoes. */
  readonly lost: number;
}

/** Throws a Violation when it does not hold. `whole` is what the input gives without any interruption. */
export type StepLaw = (subject: LawSubject, given: LawCase, whole: Trace) => Promise<void> | void;

/** Cutting the input into batches, with a turn of the event loop between them, changes nothing. */
async function batching(subject: LawSubject, { arrivals, numbers }: LawCase, whole: Trace): Promise<void> {
  const driver = driverOf(subject);
  const places = cuts(numbers, arrivals.length);
  for (const part of parts(arrivals, places)) {
    feed(driver, part);
    await nextTurn();
  }
  const found = finish(driver);
  await nextTurn();
  if (driver.output.length > found.output.length)
    throw new Violation('A result came by itself, after the call that it belongs to.', shown(arrivals), whole, driver);
  expectSame(whole, found, 'In other batches, the same records give something else.', () =>
    shown(arrivals, places, 'next batch'),
  );
}

/** Going on from a checkpoint at any cut, also after work that a crash has undone, changes nothing. */
function restart(subject: LawSubject, { arrivals, numbers, lost }: LawCase, whole: Trace): void {
  const outcomes: Outcome[] = [];
  const places = cuts(numbers, arrivals.length);
  let from: DriverCheckpoint | undefined;
  let end = 0;
  const all = parts(arrivals, places);
  for (const [n, part] of all.entries()) {
    const driver = feed(driverOf(subject, from && { from }), part);
    end += part.length;
    if (n === all.length - 1) driver.end();
    outcomes.push(joined([driver]));
    from = driver.checkpoint();
    // Done again behind the checkpoint: it must leave no trace there.
    feed(driver, arrivals.slice(end, end + lost));
  }
  const what = lost === 0 ? 'checkpoint, restart' : `checkpoint, crash ${lost} later, go on from the checkpoint`;
  expectSame(whole, joined(outcomes), 'With restarts, the same records give something else.', () =>
    shown(arrivals, places, what),
  );
}

/** Doing it again, at another time of day and after other runs, gives the same; taking checkpoints changes nothing. */
function replay(subject: LawSubject, { arrivals, numbers }: LawCase, whole: Trace): void {
  const places = cuts(numbers, arrivals.length);
  const found = inAnotherTime(() => {
    const driver = driverOf(subject);
    for (const part of parts(arrivals, places)) feed(driver, part).checkpoint();
    return finish(driver);
  });
  expectSame(whole, found, 'Played again, the same records give something else.', () =>
    shown(arrivals, places, 'checkpoint'),
  );
}

/** A key gives what it gives alone, when event time moves on alike. */
function keys(subject: LawSubject, { arrivals }: LawCase, whole: Trace): void {
  const { outOfOrderMs = 0 } = subject;
  const records = recordsOf(arrivals);
  const among = byInputKey(records, whole);
  let held = 0;
  for (const key of new Set(records.map((record) => record.key))) {
    const only = arrivals.map((one) =>
      isComing(one) && one.record.key !== key ? { watermark: one.record.time - outOfOrderMs } : one,
    );
    const alone = runWhole(subject, only);
    held += alone.before.keys;
    const found = among.get(key) ?? nothing;
    if (!sameOutcome(alone, found)) {
      const steps = [...shown(arrivals), `compared for key ${showKey(key)}`];
      throw new Violation('A key gives something else among other keys than alone.', steps, alone, found);
    }
    among.delete(key);
  }
  for (const [key, found] of among)
    throw new Violation(
      `Something came out for key ${showKey(key)}, of which no record came in.`,
      shown(arrivals),
      nothing,
      found,
    );
  if (held !== whole.before.keys)
    throw new Violation(`${whole.before.keys} keys hold state together, and ${held} do so alone.`, shown(arrivals));
}

/** Each partition has its keys and its order; how partitions meet changes nothing of what a key gives. */
function partitions(subject: LawSubject, { arrivals, numbers }: LawCase): void {
  const { outOfOrderMs = 0 } = subject;
  const coming = onTime(partitioned(arrivals.filter(isComing)), outOfOrderMs);
  const records = recordsOf(coming);
  const names = [...new Set(records.map(({ origin }) => origin))];
  if (names.length < 2) return;
  const each = names.map((name) => coming.filter(({ record }) => record.origin === name));
  const expected = byInputKey(records, runWhole(subject, coming, { partitions: names }));
  for (const order of [each.flat(), interleaved(each, numbers)]) {
    const found = byInputKey(records, runWhole(subject, order, { partitions: names }));
    for (const key of new Set([...expected.keys(), ...found.keys()])) {
      const [before, now] = [expected.get(key) ?? nothing, found.get(key) ?? nothing];
      if (sameOutcome(before, now)) continue;
      const steps = [...shown(coming), 'and again as', ...shown(order), `compared for key ${showKey(key)}`];
      throw new Violation('When partitions meet in another order, a key gives something else.', steps, before, now);
    }
  }
}

/** Every record is part of a result, is rejected, is held, or was ended on purpose; and no result comes of nothing. */
function conservation(subject: LawSubject, { arrivals }: LawCase, whole: Trace): void {
  const { partOf = samePlace, mostResults = 1, mayEnd = () => false, mayHold = false } = subject;
  const coming = arrivals.filter(isComing);
  const records = coming.map(({ record }) => record);
  const fail = (message: string): never => {
    throw new Violation(message, shown(arrivals), undefined, whole);
  };
  const all = [...whole.output, ...[...whole.routed.values()].flat()];
  const uses = all.map(() => 0);
  const waiting = new Set<unknown>();
  const refused = new Map<string, number>();
  for (const { record, code, message } of whole.rejected) {
    // `process` rejects with this code too, in the words of its author.
    if (code === 'step-failed' && message.startsWith('The step failed'))
      fail(`The step threw at ${showRecord(record)}: ${message}`);
    refused.set(placeOf(record), (refused.get(placeOf(record)) ?? 0) + 1);
  }
  for (const [n, { record, stream }] of coming.entries()) {
    const results = all.flatMap((result, at) => (partOf(record, result) ? [at] : []));
    for (const at of results) uses[at]!++;
    const times = refused.get(placeOf(record)) ?? 0;
    if (times > 1) fail(`${showRecord(record)} was rejected ${times} times.`);
    if (times > 0) {
      if (subject.partOf === undefined && results.length > 0)
        fail(`${showRecord(record)} was rejected, and came out too.`);
      continue;
    }
    if (results.length > mostResults) fail(`${showRecord(record)} is part of ${results.length} results.`);
    if (results.length === 0 && !mayHold && !mayEnd(record, { stream, before: records.slice(0, n), results: all }))
      fail(`${showRecord(record)} is gone: it is part of no result, and was not rejected.`);
    if (results.every((at) => at >= whole.before.output && at < whole.output.length) && results.length > 0)
      waiting.add(record.key);
  }
  const again = subject.sameIds ? undefined : sameId(whole);
  if (again) fail(`Two results have the id \`${recordId(again)}\`: a sink that overwrites would keep only one.`);
  const invented = subject.mayInvent ? -1 : uses.indexOf(0);
  if (invented >= 0) fail(`${showRecord(all[invented]!)} came out, and no record is part of it.`);
  if (waiting.size > whole.before.keys)
    fail(`Records of ${waiting.size} keys were waiting before the end, and ${whole.before.keys} keys hold state.`);
}

function sameId({ output, routed }: Outcome): StreamRecord | undefined {
  for (const records of [output, ...routed.values()]) {
    const ids = new Set<string>();
    for (const record of records) {
      // A key of another type is another key, though an id does not show it.
      const id = `${typeof record.key} ${recordId(record)}`;
      if (ids.has(id)) return record;
      ids.add(id);
    }
  }
  return undefined;
}

/** All laws of a step, by name. */
export const stepLaws = { batching, restart, replay, keys, partitions, conservation } as const satisfies Record<
  string,
  StepLaw
>;
export type LawName = keyof typeof stepLaws;

/** The names of all laws, in the order in which they are checked. */
export const lawNames = Object.keys(stepLaws) as readonly LawName[];

const nothing: Outcome = { output: [], routed: new Map(), rejected: [] };
const samePlace = (input: StreamRecord, result: StreamRecord) =>
  input.offset === result.offset && input.origin === result.origin;

function expectSame(expected: Outcome, found: Outcome, message: string, steps: () => readonly string[]): void {
  if (!sameOutcome(expected, found)) throw new Violation(message, steps(), expected, found);
}

function parts<T>(all: readonly T[], places: readonly number[]): T[][] {
  const bounds = [0, ...places, all.length];
  return bounds.slice(1).map((end, n) => all.slice(bounds[n], end));
}

function shown(arrivals: readonly Arrival[], places: readonly number[] = [], cut = ''): string[] {
  return parts(arrivals, places).flatMap((part, n) => [...(n > 0 ? [`— ${cut} —`] : []), ...part.map(showArrival)]);
}

// Takes from one of the lists after another, as the numbers say.
function interleaved<T>(lists: readonly (readonly T[])[], numbers: readonly number[]): T[] {
  const rest = lists.map((list) => [...list]);
  const all: T[] = [];
  for (let n = 0; rest.some((list) => list.length > 0); n++) {
    const open = rest.filter((list) => list.length > 0);
    const number = numbers.length === 0 ? n : numbers[n % numbers.length]! + n;
    all.push(open[number % open.length]!.shift()!);
  }
  return all;
}
