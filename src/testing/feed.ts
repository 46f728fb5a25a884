import {
  type Batch,
  type Key,
  kafkaPartition,
  type RawRecord,
  type SourceContext,
  type SourceDefinition,
  type SourcePartition,
} from '../operator.ts';

/** A record as it reaches a source in a test. */
export interface FedRecord {
  /** What comes over the wire. A text stands for its UTF-8 bytes. */
  readonly payload?: string | Uint8Array;
  /** Instead of a payload: the value, which goes through JSON and the source's own decoding. A text stays as it is where the source reads text or bytes. */
  readonly value?: unknown;
  readonly key?: Key;
  /** The topic it comes on. Levels that the source captures from it become fields. */
  readonly topic?: string;
  /** The partition of the source that holds it; chosen from the key, as Kafka does, unless given. */
  readonly partition?: number;
  /** When it arrives, in ms; also its timestamp in the source system. The clock's time unless given. */
  readonly arrival?: number;
}

interface Entry extends FedRecord {
  readonly arrival: number;
}

/** What a test feeds to one source. It outlives a crash: a restored run reads it again from its checkpointed position. */
export class Feed {
  readonly #entries: readonly Entry[][];
  readonly #readers = new Map<number, FedPartition>();
  #assign: ((partition: number) => void) | undefined;
  #complete: (() => void) | undefined;
  #revoke: ((id: string) => Promise<void>) | undefined;
  #ended = false;
  #wake: (() => void)[] = [];

  constructor(partitions = 1) {
    this.#entries = Array.from({ length: partitions }, () => []);
  }

  /** All that was fed has been read and processed: the engine asks for more. */
  get atRest(): boolean {
    return this.#entries.every((entries, n) => {
      const reader = this.#readers.get(n);
      return reader?.waiting === true && reader.at === entries.length;
    });
  }

  add(...entries: readonly Entry[]): void {
    const { length } = this.#entries;
    for (const entry of entries) {
      const { partition = entry.key === undefined ? 0 : kafkaPartition(entry.key, length) } = entry;
      const list = this.#entries[partition];
      if (!list) throw new RangeError(`There is no partition ${partition}: the source has ${length} in this test.`);
      list.push(entry);
    }
    this.#wakeAll();
  }

  /** Takes a partition away, which a checkpoint follows, and gives it back: with the state and position that the checkpoint holds. */
  async move(partition: number): Promise<void> {
    if (!this.#entries[partition])
      throw new RangeError(`There is no partition ${partition}: the source has ${this.#entries.length} in this test.`);
    await this.#revoke?.(String(partition));
    this.#assign?.(partition);
  }

  /** No more will come: the input ends once it is read. */
  end(): void {
    this.#ended = true;
    this.#complete?.();
    this.#wakeAll();
  }

  /** The source's definition with this feed in place of its connection. */
  opened(definition: SourceDefinition, options: unknown, context: SourceContext): void {
    const capture = (topic: string) => definition.captures?.(options as never, topic);
    const reads = {
      captures: definition.captures === undefined ? undefined : capture,
      route: (topic: string) => definition.route?.(options as never, topic),
      bytes: encoder(options),
    };
    this.#assign = (partition) => {
      const more = () => this.#more(context.signal);
      const reader = new FedPartition(String(partition), this.#entries[partition]!, reads, context, more);
      this.#readers.set(partition, reader);
      context.assign(reader);
    };
    this.#revoke = (id) => context.revoke(id);
    context.signal.addEventListener('abort', () => this.#wakeAll(), { once: true });
    for (const partition of this.#entries.keys()) this.#assign(partition);
    // Not before the end: a run whose only partition is on its way would have nothing left to wait for.
    this.#complete = () => context.complete();
  }

  #more(signal: AbortSignal): Promise<boolean> {
    if (this.#ended || signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => this.#wake.push(() => resolve(!signal.aborted)));
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

/** Resolves with whether there may be more to read. */
type More = () => Promise<boolean>;

interface Reads {
  readonly captures: ((topic: string) => RawRecord['captures']) | undefined;
  readonly route: (topic: string) => string | undefined;
  readonly bytes: (record: FedRecord) => Buffer;
}

class FedPartition implements SourcePartition {
  readonly id: string;
  at: number;
  /** A pull is open and has found nothing. */
  waiting = false;
  readonly #entries: readonly Entry[];
  readonly #reads: Reads;
  readonly #more: More;

  constructor(id: string, entries: readonly Entry[], reads: Reads, context: SourceContext, more: More) {
    this.id = id;
    this.#entries = entries;
    this.#reads = reads;
    this.#more = more;
    this.at = (context.position(this.id) as number | undefined) ?? 0;
  }

  get caughtUp(): boolean {
    return this.at >= this.#entries.length;
  }

  async pull({ records }: { readonly records: number }): Promise<Batch | null> {
    while (this.caughtUp) {
      this.waiting = true;
      if (!(await this.#more())) return null;
      this.waiting = false;
    }
    const first = this.at;
    this.at = Math.min(this.#entries.length, first + records);
    return {
      length: this.at - first,
      next: this.at,
      read: (index, into) => fill(into, this.#entries[first + index]!, first + index, this.#reads),
    };
  }
}

function fill(into: RawRecord, entry: Entry, offset: number, { captures, route, bytes }: Reads): void {
  const { topic } = entry;
  into.data = bytes(entry);
  into.start = 0;
  into.end = into.data.length;
  into.key = entry.key;
  into.arrival = entry.arrival;
  into.timestamp = entry.arrival;
  into.offset = offset;
  const named = topic === undefined ? undefined : route(topic);
  into.meta = topic === undefined ? undefined : { topic, ...(named !== undefined && { route: named }) };
  if (topic === undefined || captures === undefined) return;
  into.captures = captures(topic);
  if (into.captures === undefined)
    into.refused = { code: 'topic-unknown', message: `The topic \`${topic}\` is none of those that the source reads.` };
}

function encoder(options: unknown): Reads['bytes'] {
  const { format = 'json' } = (options ?? {}) as { format?: string };
  return ({ payload, value }) => {
    if (payload !== undefined) return Buffer.from(payload as string);
    if (typeof value === 'string' && format !== 'json') return Buffer.from(value);
    return Buffer.from(JSON.stringify(value) ?? 'null');
  };
}
