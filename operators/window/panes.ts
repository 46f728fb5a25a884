import {
  compareRecords,
  durationMs,
  fieldReader,
  putField,
  type StepContext,
  StreamRecord,
  type Window,
} from '../../src/operator.ts';
import { Aggregates, type Parts } from './aggregates.ts';
import type { Options } from './options.ts';

/** What is known of one window that is still open. Plain data: it stands in checkpoints. */
export interface Pane {
  start: number;
  end: number;
  parts: Parts;
  /** The last record by event time; of its value only the fields to keep. In a window without a record, that of the window before. */
  last: StreamRecord;
  /** How many records it holds. */
  count: number;
  /** How many results it has given. */
  seq: number;
  /** It holds a record that none of its results has seen. */
  fresh: boolean;
  /** It has given its final result, and stays for late records only. */
  over: boolean;
  /** In a window without a record: the aggregates of the last one that had any. */
  before?: object;
}

/** Opens panes, adds records to them, merges and emits them, as the options say. */
export class Panes {
  readonly aggregates: Aggregates;
  readonly #keep: readonly { name: string; read: (value: unknown) => unknown }[];
  readonly #label: Options['label'];
  readonly #fill: Options['fill'];
  /** Windows of a number of records may begin at one time: their results are told apart by the newest record of each. */
  readonly #counted: boolean;
  readonly #id: string;

  constructor(given: Options, id: string) {
    this.aggregates = new Aggregates(given.aggregate);
    this.#keep = (given.keep ?? []).map((name) => ({ name, read: fieldReader(name) }));
    this.#label = given.label;
    this.#fill = given.fill;
    this.#counted = given.count !== undefined;
    this.#id = id;
  }

  /** Rejects a record that no window can take: it then leaves no trace. */
  refuses<S>(record: StreamRecord, step: StepContext<S>): boolean {
    const reason = this.aggregates.refusal(record);
    if (reason !== undefined) step.reject(record, 'schema-violation', reason);
    return reason !== undefined;
  }

  open(start: number, end: number, record: StreamRecord): Pane {
    const parts = this.aggregates.begin();
    this.aggregates.add(parts, record);
    return { start, end, parts, last: this.#kept(record), count: 1, seq: 0, fresh: true, over: false };
  }

  /** A window that no record has reached yet, behind one that has closed. */
  openEmpty(start: number, end: number, { parts, last, count, before }: Pane): Pane {
    const found = count === 0 ? before : {};
    if (count > 0) this.aggregates.result(parts, found!);
    const empty = { parts: this.aggregates.begin(), last, count: 0, seq: 0, fresh: false, over: false };
    return { start, end, ...empty, ...(this.#fill === 'previous' && { before: found! }) };
  }

  add(pane: Pane, record: StreamRecord): void {
    this.aggregates.add(pane.parts, record);
    if (compareRecords(pane.last, record) <= 0) pane.last = this.#kept(record);
    pane.count++;
    pane.fresh = true;
  }

  /** One pane of two whose times do not overlap; `a` began earlier. */
  merge(a: Pane, b: Pane): Pane {
    return { ...b, start: a.start, parts: this.aggregates.merge(a.parts, b.parts), count: a.count + b.count };
  }

  emit<S>(pane: Pane, step: StepContext<S>, why: Window['pane']): void {
    const { start, end, last, seq } = pane;
    const value = { ...(last.value as object) };
    if (pane.count > 0) this.aggregates.result(pane.parts, value);
    else if (this.#fill === 'previous' && pane.before !== undefined) Object.assign(value, pane.before);
    else if (typeof this.#fill === 'object' && this.#fill !== null) this.aggregates.fill(this.#fill.value, value);
    else this.aggregates.result(pane.parts, value);
    const label = this.#label === 'lastEvent' ? last.time : this.#label === 'start' ? start : end;
    const result = last.withValue(value).withWindow({ step: this.#id, start, end, label, pane: why, seq });
    step.emit(this.#counted ? result.withPart(placeOf(last)) : result);
    pane.seq++;
    pane.fresh = false;
  }

  #kept(record: StreamRecord): StreamRecord {
    const fields = {};
    for (const { name, read } of this.#keep) {
      const value = read(record.value);
      if (value !== undefined) putField(fields, name, value);
    }
    const { key, time, offset, meta, partition, origin, part } = record;
    return new StreamRecord(fields, key, time, offset, meta, undefined, partition, origin, part);
  }
}

/** How long after the end of a window its result waits, and how long the window takes records after that. */
export function waits({ outOfOrder = '0s', lateness = '0s', emit = 'final' }: Options): {
  result: number;
  all: number;
} {
  const all = durationMs(outOfOrder) + durationMs(lateness);
  return { result: emit === 'final' ? all : durationMs(outOfOrder), all };
}

/** Rejects a record that has no event time. */
export function isTimeless<S>(record: StreamRecord, step: StepContext<S>): boolean {
  if (!Number.isNaN(record.time)) return false;
  step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
  return true;
}

/** Sends a record on whose windows have all closed. */
export function late<S>(record: StreamRecord, end: number, step: StepContext<S>): void {
  step.late(record, `Its window ended at ${new Date(end).toISOString()} and closed before the record came.`);
}

/** Why a window that is due gives its result. */
export function whyNow<S>({ ending }: StepContext<S>): 'final' | 'drained' {
  return ending ? 'drained' : 'final';
}

function placeOf({ origin, offset, part }: StreamRecord): string {
  return part === undefined ? `${origin}/${offset}` : `${origin}/${offset}#${part}`;
}
