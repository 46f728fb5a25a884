import { isUtf8 } from 'node:buffer';
import type { Batch, Meta, PullLimits, RawRecord, SourcePartition } from '../../src/operator.ts';
import type { Fetched, FetchedRecord, TopicPartition } from './driver.ts';

/** What an intake asks of its surroundings. */
export interface IntakeHost {
  /** The broker answers: silence means that there is nothing to read. */
  readonly live: boolean;
  /** There is room again. */
  onRoom(partition: TopicPartition): void;
  now(): number;
  readonly keyFormat: 'text' | 'base64' | 'ignore';
}

/** So many fetches wait for the engine before the partition is paused: one to work on while the next one comes. */
const mostWaiting = 2;

/**
 * One partition between the driver, which pushes what it has fetched, and the engine, which pulls. Holds two fetches at most.
 * A position that the engine does not have (the chosen start, offsets without records) is handed over as an empty batch:
 * otherwise a restart would choose the start again and, with `latest`, skip what came in between.
 */
export class Intake implements SourcePartition, TopicPartition {
  readonly id: string;
  readonly topic: string;
  readonly partition: number;
  readonly #host: IntakeHost;
  /** A bounded read ends before this offset. */
  readonly #until: number;
  readonly #queue: Waiting[] = [];
  #expected: number;
  /** The position that the engine has. */
  #handed: number | undefined;
  #end: number;
  #ended = false;
  #full = false;
  #pulling: { limits: PullLimits; resolve: (batch: Batch | null) => void } | undefined;

  constructor(
    { topic, partition }: TopicPartition,
    { start, end, known }: { start: number; end: number; known: boolean },
    host: IntakeHost,
    until = Number.POSITIVE_INFINITY,
  ) {
    this.id = `${topic}/${partition}`;
    this.topic = topic;
    this.partition = partition;
    this.#expected = start;
    this.#handed = known ? start : undefined;
    this.#end = end;
    this.#host = host;
    this.#until = until;
  }

  /** The offset that has to come next. */
  get expected(): number {
    return this.#expected;
  }

  get full(): boolean {
    return this.#full;
  }

  get caughtUp(): boolean {
    return this.#queue.length === 0 && this.#expected >= this.#end && this.#host.live;
  }

  /**
   * Takes what was fetched, without what has been taken before, and answers whether there is room for more.
   * A fetch from behind the expected offset is refused with `gap`: records in between would be lost.
   */
  offer(fetched: Fetched, arrival: number): 'room' | 'full' | 'gap' {
    if (this.#ended) return 'full';
    if (fetched.from !== undefined && fetched.from > this.#expected) return 'gap';
    const records = between(fetched.records, this.#expected, this.#until);
    this.#expected = Math.max(this.#expected, fetched.next);
    this.#end = fetched.end;
    if (records.length > 0) this.#queue.push(new Waiting(this.topic, records, fetched.next, arrival, this.#host));
    this.#serve();
    this.#full = this.#queue.length >= mostWaiting || this.#bounded;
    return this.#full ? 'full' : 'room';
  }

  pull(limits: PullLimits): Promise<Batch | null> {
    return new Promise((resolve) => {
      this.#pulling = { limits, resolve };
      this.#serve();
    });
  }

  /** Drops what waits and answers an open pull with `null`: the partition is not ours any more, or the run ends. */
  end(): void {
    this.#ended = true;
    this.#queue.length = 0;
    this.#serve();
  }

  get #bounded(): boolean {
    return this.#expected >= this.#until;
  }

  #serve(): void {
    const pulling = this.#pulling;
    if (pulling === undefined) return;
    const first = this.#queue[0];
    if (first === undefined) {
      const moved = this.#expected !== this.#handed;
      if (!this.#ended && !this.#bounded && !moved) return;
      this.#pulling = undefined;
      this.#handed = this.#expected;
      pulling.resolve(moved && !this.#ended ? { length: 0, next: this.#expected, read: () => undefined } : null);
      return;
    }
    this.#pulling = undefined;
    const batch = first.take(pulling.limits);
    this.#handed = batch.next as number;
    if (first.empty) this.#queue.shift();
    if (this.#full && this.#queue.length < mostWaiting && !this.#bounded) {
      this.#full = false;
      this.#host.onRoom(this);
    }
    pulling.resolve(batch);
  }
}

/** The records with offsets in `[from, to)`. */
function between(records: readonly FetchedRecord[], from: number, to: number): readonly FetchedRecord[] {
  let start = 0;
  let end = records.length;
  while (start < end && Number(records[start]!.offset) < from) start++;
  while (end > start && Number(records[end - 1]!.offset) >= to) end--;
  return start === 0 && end === records.length ? records : records.slice(start, end);
}

/** A fetch that is handed out piece by piece. */
class Waiting {
  readonly topic: Meta;
  readonly #records: readonly FetchedRecord[];
  readonly #next: number;
  readonly #arrival: number;
  readonly #keyFormat: IntakeHost['keyFormat'];
  #at = 0;

  constructor(
    topic: string,
    records: readonly FetchedRecord[],
    next: number,
    arrival: number,
    { keyFormat }: IntakeHost,
  ) {
    this.topic = { topic };
    this.#records = records;
    this.#next = next;
    this.#arrival = arrival;
    this.#keyFormat = keyFormat;
  }

  get empty(): boolean {
    return this.#at === this.#records.length;
  }

  /** The next records within the limits, but one at least. */
  take({ records, bytes }: PullLimits): Batch {
    const from = this.#at;
    const most = Math.min(this.#records.length, from + records);
    let size = sizeOf(this.#records[from]!);
    let to = from + 1;
    while (to < most) {
      size += sizeOf(this.#records[to]!);
      if (size > bytes) break;
      to++;
    }
    this.#at = to;
    const next = this.empty ? this.#next : Number(this.#records[to - 1]!.offset) + 1;
    return {
      length: to - from,
      next,
      read: (index, into) => this.#read(this.#records[from + index]!, into),
    };
  }

  #read(record: FetchedRecord, into: RawRecord): void {
    const { value } = record;
    if (value === null) {
      into.value = null;
      into.decoded = true;
      into.start = 0;
      into.end = 0;
    } else {
      into.data = value;
      into.start = 0;
      into.end = value.length;
      into.decoded = false;
    }
    into.refused = undefined;
    into.key = this.#key(record, into);
    const timestamp = Number(record.timestamp);
    into.timestamp = timestamp >= 0 ? timestamp : Number.NaN;
    into.arrival = this.#arrival;
    into.offset = Number(record.offset);
    into.captures = undefined;
    into.meta = metaOf(this.topic, record.headers);
  }

  #key({ key }: FetchedRecord, into: RawRecord): string | undefined {
    if (key === null || key === undefined || this.#keyFormat === 'ignore') return undefined;
    if (this.#keyFormat === 'base64') return key.toString('base64');
    // Decoding would replace what is not UTF-8, and different keys would become one.
    if (isUtf8(key)) return key.toString('utf8');
    into.refused = {
      code: 'key-invalid',
      message: 'The message key is not UTF-8 text. Set `keyFormat` of the source to `base64`, or to `ignore`.',
    };
    return undefined;
  }
}

function sizeOf({ key, value }: FetchedRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0);
}

function metaOf(plain: Meta, headers: FetchedRecord['headers']): Meta {
  if (headers === undefined) return plain;
  const names = Object.keys(headers);
  if (names.length === 0) return plain;
  const texts: [string, string | string[]][] = names.map((name) => {
    const value = headers[name];
    return [name, Array.isArray(value) ? value.map(String) : String(value ?? '')];
  });
  return { topic: plain.topic!, headers: Object.fromEntries(texts) };
}
