import { type DeadLetter, deadLetterOf, markDeadLetter } from '../dead-letter.ts';
import { RunError } from '../errors.ts';
import { type Log, type OpenSink, type Ports, RawRecord, type Refused, type StreamRecord } from '../operator.ts';
import type { BufferSettings } from '../topology/plan.ts';
import type { BufferStore, Forwarded } from './buffer-store.ts';
import { decode, encode } from './codec.ts';
import { Bell } from './journal-bell.ts';

/** What a buffer stands between. */
export interface BufferedSinkParts {
  readonly id: string;
  readonly settings: BufferSettings;
  readonly store: BufferStore;
  readonly ports: Ports;
  readonly log: Log;
  /** Aborted when the run is forced to end. */
  readonly signal: AbortSignal;
  /** Opens the sink behind the buffer; `ending` is aborted when it has to give up. */
  open(ending: AbortSignal): Promise<OpenSink>;
  /** Takes what the target refuses, long after the write was confirmed. Resolves once the dead letters are where they belong. */
  refuse(refused: readonly { readonly record: StreamRecord; readonly why: Omit<Refused, 'index'> }[]): Promise<void>;
  /** Ends the run. */
  fail(error: unknown): void;
}

/** What a buffer has done since the start, and what waits in it. */
export interface BufferCounts {
  readonly waiting: number;
  readonly bytes: number;
  readonly forwarded: number;
  /** To make room, and because they had waited for longer than `maxAge`. */
  readonly dropped: number;
  readonly expired: number;
}

interface Entry {
  readonly offset: number;
  /** Records before it, since the buffer was made. */
  readonly before: number;
  readonly arrival: number;
  readonly records: readonly StreamRecord[];
}

const entryRecords = 500;
const entriesAhead = { records: 16, bytes: 4 << 20 };
const codecName = 'buffered';
const wait = { firstMs: 1_000, longestMs: 30_000, closeMs: 2_000 };

/**
 * A sink whose records wait on disk: a write is confirmed once they are durable there, and a forwarder writes them to the target in the same
 * order, as fast as it takes them or as `rate` says. A target that is away, from the start too, holds nothing up. After a crash the last
 * write may be done again. One batch at a time is in memory.
 */
export class BufferedSink implements OpenSink {
  readonly maxRecords = 5_000;
  readonly #parts: BufferedSinkParts;
  readonly #ending = new AbortController();
  readonly #closing = new AbortController();
  readonly #bell = new Bell();
  readonly #counts = { forwarded: 0, dropped: 0, expired: 0 };
  #at: Forwarded;
  /** Records that have ever come. */
  #came = 0;
  #ahead: Entry[] = [];
  #sink: OpenSink | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #forwarding: Promise<void> = Promise.resolve();
  #writing = false;
  #toldFull = false;

  private constructor(parts: BufferedSinkParts) {
    this.#parts = parts;
    this.#at = parts.store.forwarded;
  }

  /** Finds what waits from before, and begins to forward. */
  static async open(parts: BufferedSinkParts): Promise<BufferedSink> {
    const sink = new BufferedSink(parts);
    await sink.#recover();
    parts.signal.addEventListener('abort', () => sink.#end(), { once: true });
    if (parts.signal.aborted) sink.#end();
    sink.#forwarding = sink.#forward().catch((error) => {
      if (!sink.#closing.signal.aborted) parts.fail(error);
    });
    return sink;
  }

  get counts(): BufferCounts {
    return { ...this.#counts, waiting: this.#came - this.#at.records, bytes: this.#parts.store.journal.bytes };
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    const appends: Promise<unknown>[] = [];
    for (const { from, part, payload } of packed(records, refused)) {
      if (await this.#hasRoom(payload.length)) {
        // The journal's topic holds how many came before: what waits is then known without reading it all.
        const topic = String(this.#came);
        this.#came += part.length;
        const arrival = this.#parts.ports.clock.now();
        appends.push(this.#parts.store.journal.append({ topic, payload, arrival, flags: part.length }));
      } else {
        const message = `The buffer of \`${this.#parts.id}\` is full.`;
        refused.push(...part.map((_, n) => ({ index: from + n, code: 'buffer-full' as const, message })));
      }
    }
    await this.#unlessEnded(Promise.all(appends));
    this.#bell.ring();
    return refused.length > 0 ? refused.sort((a, b) => a.index - b.index) : undefined;
  }

  /** Resolves when all is with the target, or the run is forced to end. */
  async drained(): Promise<void> {
    while (this.#at.offset < this.#parts.store.journal.end && !this.#closing.signal.aborted)
      await this.#bell.wait(this.#closing.signal);
  }

  /** Lets a write that is under way come to its end, for a while. What waits is forwarded after the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#writing && !this.#ending.signal.aborted) await this.#patience();
    this.#end();
    await this.#patience();
    const closed = await Promise.allSettled([this.#sink?.close(), this.#turn]);
    await this.#parts.store.close();
    for (const one of closed) if (one.status === 'rejected') throw one.reason;
  }

  async #patience(): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.#forwarding, this.#parts.ports.clock.sleep(wait.closeMs, over.signal)]);
    over.abort();
  }

  #end(): void {
    this.#closing.abort();
    this.#ending.abort();
  }

  async #recover(): Promise<void> {
    const { journal } = this.#parts.store;
    const last = journal.end > journal.begin ? (await this.#read(journal.end - 1))[0] : undefined;
    this.#came = last ? last.before + last.records.length : this.#at.records;
    if (this.#at.offset >= journal.end) return;
    const [next] = await this.#read(this.#at.offset);
    this.#at = { ...this.#at, records: next!.before + this.#at.index };
    this.#parts.log.info('Records wait in the buffer from before', { sink: this.#parts.id, ...this.counts });
  }

  // Room for an entry, made or waited for as `whenFull` says.
  async #hasRoom(bytes: number): Promise<boolean> {
    const { settings, store, log, id } = this.#parts;
    // With `block` the journal itself waits, and says so.
    if (settings.whenFull === 'block') return true;
    const over = () => store.journal.bytes + store.journal.pendingBytes + bytes > settings.maxBytes;
    if (!over()) {
      this.#toldFull = false;
      return true;
    }
    if (!this.#toldFull) log.warn('The buffer is full', { sink: id, whenFull: settings.whenFull, ...this.counts });
    this.#toldFull = true;
    if (settings.whenFull === 'dropNewest') return false;
    while (over() && store.journal.files > 1) await this.#alone(() => this.#dropOldest());
    return true;
  }

  async #dropOldest(): Promise<void> {
    const { store } = this.#parts;
    const { nextFile: offset, end } = store.journal;
    if (offset > this.#at.offset) {
      const before = offset < end ? (await this.#read(offset))[0]!.before : this.#came;
      this.#counts.dropped += before - this.#at.records;
      this.#ahead = [];
      await this.#save({ offset, index: 0, records: before });
    }
    await store.journal.trim(offset);
  }

  async #forward(): Promise<void> {
    const sink = await this.#connect();
    while (sink !== undefined && !this.#closing.signal.aborted) {
      const next = await this.#alone(() => this.#next(sink.maxRecords ?? 5_000));
      if (next === undefined) {
        // Also when all that came next was too old.
        if (this.#at.offset >= this.#parts.store.journal.end) await this.#bell.wait(this.#closing.signal);
        continue;
      }
      const began = this.#parts.ports.clock.now();
      await this.#write(sink, next);
      const { rate } = this.#parts.settings;
      const rest =
        rate === undefined ? 0 : began + (1_000 * next.records.length) / rate - this.#parts.ports.clock.now();
      if (rest > 0) await this.#parts.ports.clock.sleep(rest, this.#closing.signal);
    }
  }

  async #write(sink: OpenSink, { records, behind }: { records: StreamRecord[]; behind: Forwarded }): Promise<void> {
    this.#writing = true;
    try {
      const refused = (await sink.write(records)) ?? [];
      if (refused.length > 0)
        await this.#parts.refuse(refused.map(({ index, ...why }) => ({ record: records[index]!, why })));
      this.#counts.forwarded += records.length - refused.length;
      await this.#alone(() => this.#advance(behind));
    } finally {
      this.#writing = false;
    }
  }

  async #advance(to: Forwarded): Promise<void> {
    // Some of it may have been dropped meanwhile, to make room.
    if (to.records > this.#at.records) await this.#save(to);
    await this.#parts.store.journal.trim(this.#at.offset);
    this.#bell.ring();
  }

  async #save(to: Forwarded): Promise<void> {
    await this.#parts.store.save(to);
    this.#at = to;
  }

  /** The records to write next, and where the buffer stands behind them; passes over what is too old. */
  async #next(most: number): Promise<{ records: StreamRecord[]; behind: Forwarded } | undefined> {
    const { settings, ports } = this.#parts;
    // Slices of a quarter of a second: a slow link is not flooded and then left alone.
    const limit = settings.rate === undefined ? most : Math.min(most, Math.max(1, Math.floor(settings.rate / 4)));
    const oldest = ports.clock.now() - (settings.maxAgeMs ?? Number.POSITIVE_INFINITY);
    const records: StreamRecord[] = [];
    let at = this.#at;
    while (records.length < limit) {
      const entry = await this.#entry(at.offset);
      if (entry === undefined) break;
      const some = entry.arrival < oldest ? [] : entry.records.slice(at.index, at.index + limit - records.length);
      if (entry.arrival < oldest) this.#counts.expired += entry.records.length - at.index;
      records.push(...some);
      const index = entry.arrival < oldest ? entry.records.length : at.index + some.length;
      const done = index >= entry.records.length;
      at = { offset: done ? entry.offset + 1 : entry.offset, index: done ? 0 : index, records: entry.before + index };
    }
    if (records.length > 0) return { records, behind: at };
    if (at.records > this.#at.records) await this.#advance(at);
    return undefined;
  }

  async #entry(offset: number): Promise<Entry | undefined> {
    while (this.#ahead.length > 0 && this.#ahead[0]!.offset < this.#at.offset) this.#ahead.shift();
    const found = this.#ahead.find((entry) => entry.offset === offset);
    if (found) return found;
    if (offset >= this.#parts.store.journal.end) return undefined;
    this.#ahead = await this.#read(offset);
    return this.#ahead[0];
  }

  async #read(offset: number): Promise<Entry[]> {
    const batch = await this.#parts.store.journal.read(offset, entriesAhead, new AbortController().signal);
    const raw = new RawRecord();
    return Array.from({ length: batch?.length ?? 0 }, (_, index) => {
      const { topic } = batch!.read(index, raw);
      const records = unpackEntry(raw.data.subarray(raw.start, raw.end));
      return { offset: offset + index, before: Number(topic), arrival: raw.arrival, records };
    });
  }

  // A target that is away when the run starts is waited for, like one that goes away later.
  async #connect(): Promise<OpenSink | undefined> {
    const { ports, log, id } = this.#parts;
    for (let ms = wait.firstMs; !this.#closing.signal.aborted; ms = Math.min(2 * ms, wait.longestMs)) {
      try {
        const sink = await this.#parts.open(this.#ending.signal);
        if (this.#closing.signal.aborted) return void (await sink.close());
        this.#sink = sink;
        return sink;
      } catch (error) {
        if (!(error instanceof RunError)) throw error;
        log.warn('The target behind the buffer cannot be opened: records wait on disk', {
          sink: id,
          reason: error.message,
        });
        await ports.clock.sleep(ms * (0.5 + ports.random() / 2), this.#closing.signal);
      }
    }
    return undefined;
  }

  // Reading, dropping and moving on take turns: what is read must not be removed meanwhile.
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #unlessEnded(work: Promise<unknown>): Promise<void> {
    const { signal } = this.#ending;
    let stop = () => {};
    const ended = new Promise<never>((_, reject) => {
      stop = () => reject(new RunError(`Stopped while the buffer of \`${this.#parts.id}\` was full.`));
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    });
    work.catch(() => undefined);
    await Promise.race([work, ended]).finally(() => signal.removeEventListener('abort', stop));
  }
}

interface Packed {
  readonly from: number;
  readonly part: readonly StreamRecord[];
  readonly payload: Buffer;
}

// One that cannot be written makes its entry fall into entries of one record each.
function* packed(records: readonly StreamRecord[], refused: Refused[]): Generator<Packed> {
  for (let from = 0; from < records.length; from += entryRecords) {
    const part = records.slice(from, from + entryRecords);
    const whole = pack(part);
    if (Buffer.isBuffer(whole)) yield { from, part, payload: whole };
    else
      for (const [n, record] of part.entries()) {
        const payload = pack([record]);
        if (Buffer.isBuffer(payload)) yield { from: from + n, part: [record], payload };
        else refused.push({ index: from + n, message: `The value cannot be kept in a buffer: ${payload.message}.` });
      }
  }
}

function pack(records: readonly StreamRecord[]): Buffer | Error {
  const letters = records.flatMap((record, index) => (deadLetterOf(record) ? [index] : []));
  try {
    return encode(codecName, { records, letters });
  } catch (error) {
    return error as Error;
  }
}

/** The records of one entry of a buffer, from its bytes. Raises a RunError when they are damaged. */
export function unpackEntry(bytes: Buffer): StreamRecord[] {
  const { records, letters } = decode(codecName, bytes) as { records: StreamRecord[]; letters: number[] };
  for (const index of letters) markDeadLetter(records[index]!.value as DeadLetter);
  return records;
}
