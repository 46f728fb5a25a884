import { RunError } from '../errors.ts';
import type { JournalBatch, JournalView, PullLimits } from '../operator.ts';
import { RawRecord } from '../operator.ts';
import type { Clock, Disk, DiskFile } from '../ports.ts';
import { JournalReader } from './journal-reader.ts';
import { checkFileHeader, fileHeaderBytes, isRecord, lengthAt, offsetAt, recordHeaderBytes } from './journal-record.ts';
import { damaged, findSegments, firstArrival, type Segment } from './journal-segments.ts';

const pollMs = 100;
const scanBytes = 1 << 20;

/**
 * Opens the journal in a folder to read it, beside whoever writes it. It writes nothing there. A folder that is not there is an empty
 * journal, which may come. Rejects with a RunError when a file is none of a journal, or is damaged.
 */
export async function openJournalView(disk: Disk, directory: string, clock: Clock): Promise<JournalView> {
  const view = new FolderView(disk, directory, clock);
  await view.refresh();
  return view;
}

class FolderView implements JournalView {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #reader: JournalReader;
  #segments: Segment[] = [];
  #end = 0;
  /** The work that must not be done twice at once: looking and reading, one after the other. */
  #busy: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, directory: string, clock: Clock) {
    this.#disk = disk;
    this.#directory = directory;
    this.#clock = clock;
    this.#reader = new JournalReader(disk);
  }

  get begin(): number {
    return this.#segments[0]?.base ?? 0;
  }

  get end(): number {
    return this.#end;
  }

  refresh(): Promise<void> {
    return this.#alone(() => this.#look());
  }

  async read(offset: number, limits: PullLimits, signal: AbortSignal): Promise<JournalBatch | null> {
    while (!signal.aborted) {
      const batch = await this.#alone(() => this.#read(offset, limits));
      if (batch !== undefined) return batch;
      await this.#clock.sleep(pollMs, signal);
    }
    return null;
  }

  async offsetAt(arrival: number): Promise<number> {
    if (arrival === Number.NEGATIVE_INFINITY) return this.begin;
    if (arrival === Number.POSITIVE_INFINITY) return this.#end;
    let from = this.begin;
    for (const segment of this.#segments) {
      const first = await firstArrival(this.#disk, segment).catch(() => undefined);
      if (first === undefined || first >= arrival) break;
      from = segment.base;
    }
    const raw = new RawRecord();
    while (from < this.#end) {
      const batch = (await this.#alone(() => this.#read(from, { records: 10_000, bytes: scanBytes })))!;
      for (let index = 0; index < batch.length; index++) {
        batch.read(index, raw);
        if (raw.arrival >= arrival) return from + index;
      }
      from = batch.next;
    }
    return from;
  }

  async close(): Promise<void> {
    await this.#alone(() => this.#reader.close());
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#busy.then(work);
    this.#busy = done.catch(() => {});
    return done;
  }

  async #read(offset: number, limits: PullLimits): Promise<JournalBatch | undefined> {
    if (offset >= this.#end || offset < this.begin) await this.#look();
    if (offset < this.begin) throw this.#removed(offset);
    if (offset >= this.#end) return undefined;
    const at = this.#segments.findLastIndex(({ base }) => base <= offset);
    const segment = this.#segments[at]!;
    try {
      return await this.#reader.read(segment, segment.size, offset, limits);
    } catch (error) {
      // The writer may have let go of the file since it was listed.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await this.#look();
      throw this.#removed(offset);
    }
  }

  #removed(offset: number): RunError {
    return new RunError(
      `Record ${offset} of the journal in ${this.#directory} has been removed: the journal now holds records ${this.begin} to ${this.#end}, as long as \`keep\` and \`maxBytes\` of its writer say. ` +
        'Begin anew with what is there (--discard and the id of the source), and let the writer keep more if readers can be away for so long.',
    );
  }

  /** Takes up what has been written, and lets go of what has been removed, since the last look. */
  async #look(): Promise<void> {
    for (;;) {
      try {
        return await this.#lookOnce();
      } catch (error) {
        // The writer has let go of the file since it was listed.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  }

  async #lookOnce(): Promise<void> {
    const found = await findSegments(this.#disk, this.#directory).catch(nothingThere);
    const last = this.#segments.at(-1);
    if (last && (found.at(-1)?.base ?? -1) < last.base) throw this.#replaced();
    const known = new Map(this.#segments.map((segment) => [segment.base, segment]));
    const segments: Segment[] = [];
    for (const [index, segment] of found.entries()) {
      const before = known.get(segment.base);
      const next = found[index + 1];
      // A file with one behind it is complete and durable, and its end is known by the name of the next.
      if (next === undefined) segments.push(await this.#lookAtLast(segment, before));
      else segments.push(before === undefined || before.size < segment.size ? segment : before);
    }
    this.#segments = segments;
  }

  /** Finds out how far the last file goes: whole records only, made durable before anybody sees them. */
  async #lookAtLast(found: Segment, before: Segment | undefined): Promise<Segment> {
    const segment = before ?? { ...found, size: fileHeaderBytes };
    const known = before !== undefined && this.#segments.at(-1) === before;
    let end = known ? this.#end : found.base;
    if (found.size < segment.size) {
      if (known && end > found.base) throw this.#replaced();
      this.#end = Math.max(this.#end, end);
      return segment;
    }
    const file = await this.#disk.open(found.path, 'r');
    try {
      const scan = await scanFrom(file, found, segment.size, end);
      if (scan.size > segment.size) {
        // What a crash could still take away must not be seen: the writer may just be about to make it durable.
        await file.sync();
        segment.size = scan.size;
        end = scan.end;
      }
    } finally {
      await file.close();
    }
    this.#end = end;
    return segment;
  }

  #replaced(): RunError {
    return new RunError(
      `The journal in ${this.#directory} is not the one that was read before: records that had been read are gone from its end. Was it deleted and made anew, or restored from an old copy? Begin anew with --discard and the id of the source.`,
    );
  }
}

/** A folder that is not there holds nothing. */
function nothingThere(error: NodeJS.ErrnoException): Segment[] {
  if (error.code === 'ENOENT') return [];
  throw error;
}

/** Walks whole records from a place on; a record that is not whole, or not the next, is where it ends for now. */
async function scanFrom(
  file: DiskFile,
  { path, size: length }: Segment,
  from: number,
  next: number,
): Promise<{ size: number; end: number }> {
  if (from === fileHeaderBytes) {
    const head = Buffer.alloc(fileHeaderBytes);
    if ((await file.read(head, 0, head.length, 0)) < head.length) return { size: from, end: next };
    const problem = checkFileHeader(head);
    // A head of zeros is one that the power took: its writer makes it anew.
    if (problem !== undefined && !head.every((byte) => byte === 0)) throw damaged(path, problem);
    if (problem !== undefined) return { size: from, end: next };
  }
  let size = from;
  let end = next;
  let window = scanBytes;
  for (;;) {
    const data = Buffer.allocUnsafe(Math.min(window, length - size));
    const got = await readFully(file, data, size);
    let at = 0;
    while (isRecord(data, at, got) && offsetAt(data, at) === end) {
      at += lengthAt(data, at);
      end++;
    }
    size += at;
    if (at > 0) continue;
    const whole = got >= recordHeaderBytes ? lengthAt(data, 0) : 0;
    // One record may be larger than the window; what is no record ends the walk.
    if (whole <= got || whole > length - size) return { size, end };
    window = whole;
  }
}

async function readFully(file: DiskFile, data: Buffer, position: number): Promise<number> {
  let got = 0;
  for (let count = -1; got < data.length && count !== 0; got += count) {
    count = await file.read(data, got, data.length - got, position + got);
  }
  return got;
}
