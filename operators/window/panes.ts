import { fieldReader, putField, type StepContext, StreamRecord } from '../../src/operator.ts';
import { Aggregates, type Parts } from './aggregates.ts';
import type { Options } from './options.ts';

/** What is known of one window that is still open. Plain data: it stands in checkpoints. */
export interface Pane {
  start: number;
  end: number;
  parts: Parts;
  /** The last record by event time; of its value only the fields to keep. */
  last: StreamRecord;
  /** How many records it holds; counted where that decides. */
  count: number;
}

/** Opens panes, adds records to them, merges and emits them, as the options say. */
export class Panes {
  readonly aggregates: Aggregates;
  readonly #keep: readonly { name: string; read: (value: unknown) => unknown }[];
  readonly #label: Options['label'];
  readonly #id: string;

  constructor(given: Options, id: string) {
    this.aggregates = new Aggregates(given.aggregate);
    this.#keep = (given.keep ?? []).map((name) => ({ name, read: fieldReader(name) }));
    this.#label = given.label;
    this.#id = id;
  }

  /** Rejects a record that no window can take: it then leaves no trace. */
  refuses(record: StreamRecord, step: StepContext<Pane[]>): boolean {
    const reason = this.aggregates.refusal(record);
    if (reason !== undefined) step.reject(record, 'schema-violation', reason);
    return reason !== undefined;
  }

  open(start: number, end: number, record: StreamRecord): Pane {
    const parts = this.aggregates.begin();
    this.aggregates.add(parts, record);
    return { start, end, parts, last: this.#kept(record), count: 1 };
  }

  add(pane: Pane, record: StreamRecord): void {
    this.aggregates.add(pane.parts, record);
    pane.count++;
    if (!isNewer(pane.last, record)) pane.last = this.#kept(record);
  }

  /** One pane of two whose times do not overlap; `a` began earlier. */
  merge(a: Pane, b: Pane): Pane {
    const { start } = a;
    const { end, last } = b;
    return { start, end, parts: this.aggregates.merge(a.parts, b.parts), last, count: a.count + b.count };
  }

  emit(pane: Pane, step: StepContext<Pane[]>): void {
    const { start, end, last } = pane;
    const value = { ...(last.value as object) };
    this.aggregates.result(pane.parts, value);
    const label = this.#label === 'lastEvent' ? last.time : this.#label === 'start' ? start : end;
    step.emit(last.withValue(value).withWindow({ step: this.#id, start, end, label }));
  }

  #kept(record: StreamRecord): StreamRecord {
    const fields = {};
    for (const { name, read } of this.#keep) {
      const value = read(record.value);
      if (value !== undefined) putField(fields, name, value);
    }
    const { key, time, offset, meta, partition, origin } = record;
    return new StreamRecord(fields, key, time, offset, meta, undefined, partition, origin);
  }
}

// By event time, then by place in the source: the choice must not depend on how partitions happened to interleave.
function isNewer(a: StreamRecord, b: StreamRecord): boolean {
  if (a.time !== b.time) return a.time > b.time;
  if (a.origin !== b.origin) return a.origin > b.origin;
  return a.offset > b.offset;
}
