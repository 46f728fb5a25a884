import {
  durationMs,
  type Journal,
  type OpenSink,
  type Position,
  RawRecord,
  type Refused,
  type SinkContext,
  type StreamRecord,
  sizeBytes,
} from '../../src/operator.ts';
import { encodeEntry, entryFlag, takeHead } from './entry.ts';

export interface SinkOptions {
  readonly path: string;
  readonly keep?: string;
  readonly maxBytes?: string;
}

/** What a checkpoint holds of the journal. */
interface Mark {
  readonly path: string;
  readonly next: number;
}

const largestValue = 16 << 20;
// So many records more than were written after the checkpoint, and what has not come again by then never will.
const patience = 100_000;

/** Opens the journal for appending. What was written after the checkpoint stays, as others may have read it, and is known when it comes again. */
export async function openJournalSink(options: SinkOptions, context: SinkContext): Promise<OpenSink> {
  const { path, keep, maxBytes = '1GiB' } = options;
  const keepMs = keep === undefined ? Number.POSITIVE_INFINITY : durationMs(keep);
  const journal = await context.journal(path, { maxBytes: sizeBytes(maxBytes), keepMs });
  try {
    return new JournalSink(path, context, journal, await writtenAfter(path, context, journal));
  } catch (error) {
    await journal.close();
    throw error;
  }
}

/** The offsets of the records that were written after the checkpoint, by their ids, oldest first. */
async function writtenAfter(path: string, context: SinkContext, journal: Journal): Promise<Map<string, number[]>> {
  const found = new Map<string, number[]>();
  const mark = context.position as Mark | undefined;
  if (mark?.path !== path) return found;
  if (mark.next > journal.end) {
    context.log.warn(
      'The journal is not the one that was written before, or its end is gone: results are appended to what is there.',
      { path, records: journal.end, expectedRecords: mark.next },
    );
    return found;
  }
  const raw = new RawRecord();
  for (let next = Math.max(mark.next, journal.begin); next < journal.end; ) {
    const batch = (await journal.read(next, { records: 10_000, bytes: 4 << 20 }, context.signal))!;
    if (batch === null) break;
    for (let index = 0; index < batch.length; index++) {
      const { flags } = batch.read(index, raw);
      const id = flags & entryFlag ? takeHead(raw)?.id : undefined;
      if (id !== undefined) found.set(id, [...(found.get(id) ?? []), next + index]);
    }
    next = batch.next;
  }
  return found;
}

class JournalSink implements OpenSink {
  readonly #path: string;
  readonly #context: SinkContext;
  readonly #journal: Journal;
  readonly #topic: string;
  /** Written before this run and expected to come again. */
  readonly #there: Map<string, number[]>;
  #patience: number;

  constructor(path: string, context: SinkContext, journal: Journal, there: Map<string, number[]>) {
    this.#path = path;
    this.#context = context;
    this.#journal = journal;
    this.#topic = `${context.topology}/${context.stream}`;
    this.#there = there;
    this.#patience = patience + there.size;
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    const appends: Promise<number>[] = [];
    for (const [index, record] of records.entries()) {
      const id = this.#context.recordId(record);
      if (this.#isThere(id)) continue;
      const payload = payloadOf(record, id);
      if (typeof payload === 'string') refused.push({ index, message: payload });
      else {
        const arrival = this.#context.ports.clock.now();
        appends.push(this.#journal.append({ topic: this.#topic, payload, arrival, flags: entryFlag }));
      }
    }
    await Promise.all(appends);
    this.#lose(records.length);
    // All of it may go when it is old, or the room is needed: readers do not hold it.
    await this.#journal.trim(this.#journal.end);
    return refused.length > 0 ? refused : undefined;
  }

  position(): Position {
    let next = this.#journal.end;
    for (const [first = next] of this.#there.values()) next = Math.min(next, first);
    return { path: this.#path, next };
  }

  close(): Promise<void> {
    return this.#journal.close();
  }

  #isThere(id: string): boolean {
    const offsets = this.#there.get(id);
    if (offsets === undefined) return false;
    offsets.shift();
    if (offsets.length === 0) this.#there.delete(id);
    return true;
  }

  #lose(records: number): void {
    if (this.#there.size === 0) return;
    this.#patience -= records;
    if (this.#patience > 0) return;
    this.#context.log.warn(
      'Records that were written after the last checkpoint have not come again: the topology gives other results than before. They stay in the journal.',
      { path: this.#path, records: this.#there.size },
    );
    this.#there.clear();
  }
}

/** The bytes of a record, or why there are none. */
function payloadOf({ value, key, time, meta }: StreamRecord, id: string): Buffer | string {
  let bytes: Uint8Array;
  if (value instanceof Uint8Array) bytes = value;
  else {
    try {
      const text: string | undefined = typeof value === 'string' ? value : JSON.stringify(value);
      if (text === undefined) return 'The value is undefined or a function; expected what JSON can hold.';
      bytes = Buffer.from(text);
    } catch (error) {
      return `The value cannot be written as JSON: ${(error as Error).message}`;
    }
  }
  if (bytes.length > largestValue) return `The value has ${bytes.length} bytes; a journal takes ${largestValue}.`;
  const headers = meta?.headers;
  return encodeEntry(
    { id, ...(key !== undefined && { key }), ...(Number.isFinite(time) && { time }), ...(headers && { headers }) },
    bytes,
  );
}
