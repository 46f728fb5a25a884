import type { Batch, Key, RawRecord, SourceContext, SourceDefinition, SourcePartition } from '../operator.ts';

/** A record as it reaches a source in a test. */
export interface FedRecord {
  /** What comes over the wire. A text stands for its UTF-8 bytes. */
  readonly payload?: string | Uint8Array;
  /** Instead of a payload: the value, which goes through JSON and the source's own decoding. A text stays as it is where the source reads text or bytes. */
  readonly value?: unknown;
  readonly key?: Key;
  /** The topic it comes on. Levels that the source captures from it become fields. */
  readonly topic?: string;
  /** When it arrives, in ms; also its timestamp in the source system. The clock's time unless given. */
  readonly arrival?: number;
}

interface Entry extends FedRecord {
  readonly arrival: number;
}

/** What a test feeds to one source. It outlives a crash: a restored run reads it again from its checkpointed position. */
export class Feed {
  readonly #entries: Entry[] = [];
  #reader: FedPartition | undefined;
  #ended = false;
  #wake: (() => void)[] = [];

  /** All that was fed has been read and processed: the engine asks for more. */
  get atRest(): boolean {
    return this.#reader?.waiting === true && this.#reader.at === this.#entries.length;
  }

  add(...entries: readonly Entry[]): void {
    this.#entries.push(...entries);
    this.#wakeAll();
  }

  /** No more will come: the input ends once it is read. */
  end(): void {
    this.#ended = true;
    this.#wakeAll();
  }

  /** The source's definition with this feed in place of its connection. */
  opened(definition: SourceDefinition, options: unknown, context: SourceContext): void {
    const capture = (topic: string) => definition.captures?.(options as never, topic);
    const reads = { captures: definition.captures === undefined ? undefined : capture, bytes: encoder(options) };
    this.#reader = new FedPartition(this.#entries, reads, context, () => this.#more(context.signal));
    context.signal.addEventListener('abort', () => this.#wakeAll(), { once: true });
    context.assign(this.#reader);
    context.complete();
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
  readonly bytes: (record: FedRecord) => Buffer;
}

class FedPartition implements SourcePartition {
  readonly id = '0';
  at: number;
  /** A pull is open and has found nothing. */
  waiting = false;
  readonly #entries: readonly Entry[];
  readonly #reads: Reads;
  readonly #more: More;

  constructor(entries: readonly Entry[], reads: Reads, context: SourceContext, more: More) {
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

function fill(into: RawRecord, entry: Entry, offset: number, { captures, bytes }: Reads): void {
  const { topic } = entry;
  into.data = bytes(entry);
  into.start = 0;
  into.end = into.data.length;
  into.key = entry.key;
  into.arrival = entry.arrival;
  into.timestamp = entry.arrival;
  into.offset = offset;
  into.meta = topic === undefined ? undefined : { topic };
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
