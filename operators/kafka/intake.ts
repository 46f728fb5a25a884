import { isUtf8 } from 'node:buffer';
import {
  type Batch,
  type Key,
  type Meta,
  type PullLimits,
  type RawRecord,
  RejectError,
  type SourcePartition,
} from '../../src/operator.ts';
import type { Fetched, FetchedRecord, TopicPartition } from './driver.ts';
import { keyOf, type RegistryDecoder } from './registry-decoder.ts';

/** What an intake asks of its surroundings. */
export interface IntakeHost {
  /** The broker answers: silence means that there is nothing to read. */
  readonly live: boolean;
  /** There is room again. */
  onRoom(partition: TopicPartition): void;
  now(): number;
  /** What ends the run, in its form. */
  asError(error: unknown): unknown;
  readonly keyFormat: KeyFormat;
  /** Values, and keys where their format says so, were written with a schema registry. */
  readonly decoder?: RegistryDecoder | undefined;
}

export type KeyFormat = 'text' | 'base64' | 'json' | 'registry' | 'ignore';

/** A batch, and the records it is made of. */
interface Taken extends Batch {
  readonly raw: readonly FetchedRecord[];
}

const noBytes = Buffer.alloc(0);
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
  readonly #start: number;
  #expected: number;
  /** The position that the engine has. */
  #handed: number | undefined;
  #end: number;
  #ended = false;
  #full = false;
  #held = false;
  #pulling: { limits: PullLimits; resolve: (batch: Taken | null) => void } | undefined;

  constructor(
    { topic, partition }: TopicPartition,
    { start, end, known }: { start: number; end: number; known: boolean },
    host: IntakeHost,
    until = Number.POSITIVE_INFINITY,
  ) {
    this.id = `${topic}/${partition}`;
    this.topic = topic;
    this.partition = partition;
    this.#start = start;
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

  /** The position that the engine has; `undefined` before it has any. */
  get handed(): number | undefined {
    return this.#handed;
  }

  /** Hands nothing over while it is held. */
  hold(held: boolean): void {
    this.#held = held;
    this.#serve();
  }

  get full(): boolean {
    return this.#full;
  }

  get lag(): number {
    return Math.max(0, Math.min(this.#end, this.#until) - (this.#handed ?? this.#start));
  }

  /** Where the partition ends now: a full one is not fetched from, and hears nothing. */
  heard(end: number): void {
    this.#end = Math.max(this.#end, end);
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
    const taken = new Promise<Taken | null>((resolve) => {
      this.#pulling = { limits, resolve };
      this.#serve();
    });
    const { decoder } = this.#host;
    return decoder === undefined ? taken : this.#prepared(taken, decoder);
  }

  async #prepared(taken: Promise<Taken | null>, decoder: RegistryDecoder): Promise<Batch | null> {
    const batch = await taken;
    try {
      if (batch !== null) await decoder.prepare(batch.raw);
    } catch (error) {
      if (this.#ended) return null;
      throw this.#host.asError(error);
    }
    return batch;
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
    if (pulling === undefined || (this.#held && !this.#ended)) return;
    const first = this.#queue[0];
    if (first === undefined) {
      const moved = this.#expected !== this.#handed;
      if (!this.#ended && !this.#bounded && !moved) return;
      this.#pulling = undefined;
      this.#handed = this.#expected;
      pulling.resolve(
        moved && !this.#ended ? { length: 0, next: this.#expected, raw: [], read: () => undefined } : null,
      );
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
  readonly #host: IntakeHost;
  #at = 0;

  constructor(topic: string, records: readonly FetchedRecord[], next: number, arrival: number, host: IntakeHost) {
    this.topic = { topic };
    this.#records = records;
    this.#next = next;
    this.#arrival = arrival;
    this.#host = host;
  }

  get empty(): boolean {
    return this.#at === this.#records.length;
  }

  /** The next records within the limits, but one at least. */
  take({ records, bytes }: PullLimits): Taken {
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
      raw: this.#records.slice(from, to),
      read: (index, into) => this.#read(this.#records[from + index]!, into),
    };
  }

  #read(record: FetchedRecord, into: RawRecord): void {
    const { value } = record;
    into.refused = undefined;
    into.data = value ?? noBytes;
    into.start = 0;
    into.end = into.data.length;
    into.decoded = value === null;
    into.value = null;
    if (value !== null && this.#host.decoder !== undefined) this.#decode(value, this.#host.decoder, into);
    into.key = this.#key(record, into);
    const timestamp = Number(record.timestamp);
    into.timestamp = timestamp >= 0 ? timestamp : Number.NaN;
    into.arrival = this.#arrival;
    into.offset = Number(record.offset);
    into.captures = undefined;
    into.meta = metaOf(this.topic, record.headers);
  }

  #decode(value: Buffer, decoder: RegistryDecoder, into: RawRecord): void {
    const found = orRefused(into, () => decoder.value(value));
    if (found === undefined) return;
    if ('json' in found) {
      into.data = found.json;
      into.end = found.json.length;
    } else {
      into.value = found.value;
      into.decoded = true;
    }
  }

  #key({ key }: FetchedRecord, into: RawRecord): Key | undefined {
    const { keyFormat, decoder } = this.#host;
    if (key === null || key === undefined || keyFormat === 'ignore') return undefined;
    if (keyFormat === 'base64') return key.toString('base64');
    if (keyFormat === 'registry') return orRefused(into, () => decoder!.key(key));
    // Decoding would replace what is not UTF-8, and different keys would become one.
    if (!isUtf8(key)) {
      into.refused ??= {
        code: 'key-invalid',
        message: 'The message key is not UTF-8 text. Set `keyFormat` of the source to `base64`, or to `ignore`.',
      };
      return undefined;
    }
    const text = key.toString('utf8');
    return keyFormat === 'json' ? orRefused(into, () => jsonKey(text)) : text;
  }
}

function jsonKey(text: string): Key {
  try {
    return keyOf(JSON.parse(text));
  } catch {
    throw new RejectError('key-invalid', 'The message key is not JSON. Set `keyFormat` of the source to `text`.');
  }
}

/** What was read, or `undefined`, and the record is refused: the first reason stays. */
function orRefused<T>(into: RawRecord, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RejectError)) throw error;
    into.refused ??= { code: error.code, message: error.message };
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
    return [name, Array.isArray(value) ? value.map(headerText) : headerText(value ?? '')];
  });
  return { topic: plain.topic!, headers: Object.fromEntries(texts) };
}

// Headers are text; bytes that are none would be lost.
function headerText(value: Buffer | string): string {
  if (typeof value === 'string' || isUtf8(value)) return String(value);
  return `base64:${value.toString('base64')}`;
}
