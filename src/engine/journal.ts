import { RunError } from '../errors.ts';
import type { Journal, JournalBatch, JournalRecord, Log, PullLimits } from '../operator.ts';
import { systemPorts } from '../ports/system.ts';
import type { Clock, Disk, DiskFile } from '../ports.ts';
import { Bell } from './journal-bell.ts';
import { JournalReader } from './journal-reader.ts';
import { encodeRecord, fileHeader, fileHeaderBytes, recordHeaderBytes } from './journal-record.ts';
import { firstArrival, listSegments, recoverLast, type Segment, segmentAt } from './journal-segments.ts';

export interface JournalOptions {
  /** A file is closed and the next one begun at about this size. Default: 16 MiB. */
  readonly segmentBytes?: number;
  /** Appends wait while all files together are this large, until something is trimmed. Default: 1 GiB. */
  readonly maxBytes?: number;
  /**
   * What has been trimmed stays for so long after it came, in ms, for those who read it again; Infinity: as long as there is room.
   * `maxBytes` wins: when an append needs the room, the oldest of it goes. Default: 0.
   */
  readonly keepMs?: number;
  /** A trim takes effect so many trims later, unless the journal is full: who trims may go back to an older one. Default: 0. */
  readonly trimsKept?: number;
  readonly log?: Log;
  /** Paces the retries on a full disk. Default: the system's. */
  readonly clock?: Clock;
}

/** A journal that tells of its files. */
export interface SizedJournal extends Journal {
  /** Durable bytes of all files. */
  readonly bytes: number;
  readonly files: number;
  /** Offset of the first record behind the oldest file: with a trim up to there the file goes. */
  readonly nextFile: number;
}

const maxTopicBytes = 0xffff;
const writeBytes = 8 << 20;
const fullDiskRetryMs = 500;

/**
 * Opens the journal in a folder, or makes an empty one. What a crash left half-written at the very end is cut off; a record
 * that is bad anywhere else is a RunError which names the file, here or when it is read.
 */
export async function openJournal(disk: Disk, directory: string, options: JournalOptions = {}): Promise<SizedJournal> {
  try {
    const journal = new SegmentJournal(disk, directory, await listSegments(disk, directory), options);
    await journal.recover();
    return journal;
  } catch (error) {
    if (error instanceof RunError) throw error;
    throw new RunError(`The journal in ${directory} could not be opened: ${text(error)}.`, { cause: error });
  }
}

interface Append {
  readonly record: JournalRecord;
  readonly topicBytes: number;
  readonly bytes: number;
  resolve(offset: number): void;
  reject(error: Error): void;
}

/** Appends are collected while a sync runs; then all of them go out in one write and one sync. */
class SegmentJournal implements SizedJournal {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #log: Log | undefined;
  readonly #clock: Clock;
  readonly #segmentBytes: number;
  readonly #maxBytes: number;
  readonly #trimsKept: number;
  readonly #keepMs: number;
  readonly #segments: Segment[];
  readonly #reader: JournalReader;
  readonly #closing = new AbortController();
  readonly #bell = new Bell();
  #file: DiskFile | undefined;
  #queue: Append[] = [];
  #scratch = Buffer.alloc(0);
  #end = 0;
  #trimmed = 0;
  /** Trims that have not taken effect, oldest first. */
  readonly #trims: number[] = [];
  #pendingBytes = 0;
  #draining: Promise<void> | undefined;
  #reading: Promise<unknown> = Promise.resolve();
  #removing: Promise<unknown> = Promise.resolve();
  #failure: RunError | undefined;

  constructor(disk: Disk, directory: string, segments: Segment[], options: JournalOptions) {
    this.#disk = disk;
    this.#directory = directory;
    this.#segments = segments;
    this.#log = options.log;
    this.#clock = options.clock ?? systemPorts().clock;
    this.#maxBytes = options.maxBytes ?? 2 ** 30;
    this.#trimsKept = options.trimsKept ?? 0;
    this.#keepMs = options.keepMs ?? 0;
    // Only whole files can be trimmed: with fewer than four, a full journal would give little room back.
    this.#segmentBytes = Math.min(options.segmentBytes ?? 16 << 20, Math.floor(this.#maxBytes / 4));
    this.#reader = new JournalReader(disk);
  }

  async recover(): Promise<void> {
    const last = this.#segments.at(-1);
    if (!last) return this.#roll();
    const { file, next } = await recoverLast(this.#disk, last, this.#log);
    this.#file = file;
    this.#end = next;
    this.#trimmed = this.begin;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get begin(): number {
    return this.#segments[0]!.base;
  }

  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, { size }) => sum + size, 0);
  }

  get files(): number {
    return this.#segments.length;
  }

  get nextFile(): number {
    return this.#segments[1]?.base ?? this.#end;
  }

  append(record: JournalRecord): Promise<number> {
    const topicBytes = Buffer.byteLength(record.topic);
    if (topicBytes > maxTopicBytes) {
      return Promise.reject(
        new RangeError(`A topic has at most ${maxTopicBytes} bytes, and this one has ${topicBytes}.`),
      );
    }
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#closing.signal.aborted) return Promise.reject(this.#closed());
    const bytes = recordHeaderBytes + topicBytes + record.payload.length;
    this.#pendingBytes += bytes;
    return new Promise((resolve, reject) => {
      this.#queue.push({ record, topicBytes, bytes, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  async read(offset: number, limits: PullLimits, signal: AbortSignal): Promise<JournalBatch | null> {
    if (offset < this.begin) {
      throw new RunError(
        `Record ${offset} was asked of the journal in ${this.#directory}, which begins at ${this.begin}. Its files and the checkpoint do not belong together: restore both from the same copy.`,
      );
    }
    while (offset >= this.#end) {
      if (signal.aborted || this.#closing.signal.aborted) return null;
      if (this.#failure) throw this.#failure;
      await this.#bell.wait(signal);
    }
    if (signal.aborted) return null;
    const reading = this.#reading.then(() => {
      const index = this.#segments.findLastIndex(({ base }) => base <= offset);
      const segment = this.#segments[index]!;
      return this.#reader.read(segment, segment.size, offset, limits);
    });
    this.#reading = reading.catch(() => {});
    return reading;
  }

  async trim(offset: number): Promise<void> {
    this.#trims.push(Math.min(offset, this.#end));
    this.#takeTrims(this.#trimsKept);
    await this.#removeTrimmed();
    this.#bell.ring();
  }

  #takeTrims(keep: number): void {
    const taken = this.#trims.splice(0, Math.max(0, this.#trims.length - keep));
    this.#trimmed = Math.max(this.#trimmed, ...taken);
  }

  /** Waits until all appends are durable, unless they wait for room: those are rejected and were never acknowledged. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#bell.ring();
    await this.#draining;
    await this.#removing;
    await this.#reading;
    await this.#reader.close();
    await this.#file?.close();
    this.#file = undefined;
  }

  async #drain(): Promise<void> {
    // One turn later, so that all that one chunk from the network brings goes into the first write too.
    await Promise.resolve();
    while (this.#queue.length > 0 && !this.#failure) {
      const appends = this.#takeBatch();
      const bytes = appends.reduce((sum, append) => sum + append.bytes, 0);
      const first = this.#end;
      try {
        await this.#commit(appends, bytes);
      } catch (error) {
        this.#queue = [...appends, ...this.#queue];
        this.#failure = error instanceof RunError ? error : this.#broken(error);
        break;
      }
      this.#pendingBytes -= bytes;
      for (const [index, append] of appends.entries()) append.resolve(first + index);
      this.#bell.ring();
    }
    if (this.#failure) {
      for (const append of this.#queue.splice(0)) append.reject(this.#failure);
      this.#pendingBytes = 0;
      this.#bell.ring();
    }
    this.#draining = undefined;
  }

  #takeBatch(): Append[] {
    let bytes = 0;
    const over = this.#queue.findIndex((append, index) => {
      bytes += append.bytes;
      return bytes > writeBytes && index > 0;
    });
    return this.#queue.splice(0, over === -1 ? this.#queue.length : over);
  }

  async #commit(appends: readonly Append[], bytes: number): Promise<void> {
    await this.#room(bytes);
    const active = this.#segments.at(-1)!;
    if (active.size > fileHeaderBytes && active.size + bytes > this.#segmentBytes) await this.#roll();
    const segment = this.#segments.at(-1)!;
    if (this.#scratch.length < bytes) this.#scratch = Buffer.allocUnsafeSlow(bytes);
    let at = 0;
    for (const [index, { record, topicBytes }] of appends.entries()) {
      at = encodeRecord(this.#scratch, at, record, topicBytes, this.#end + index, this.#end);
    }
    const data = this.#scratch.subarray(0, bytes);
    // A retry writes the same bytes at the same place: whatever part of them a full disk took is overwritten.
    await this.#patiently(() => this.#file!.write(data, segment.size));
    await this.#file!.sync();
    if (bytes > writeBytes) this.#scratch = Buffer.alloc(0);
    segment.size += bytes;
    this.#end += appends.length;
  }

  /** Begins a new file. The one before it is complete and durable. */
  async #roll(): Promise<void> {
    const segment = segmentAt(this.#directory, this.#end);
    const file = await this.#patiently(async () => {
      const opened = await this.#disk.open(segment.path, 'w');
      try {
        await opened.write(fileHeader(), 0);
        return opened;
      } catch (error) {
        await opened.close();
        throw error;
      }
    });
    await file.sync();
    await this.#disk.syncDirectory(this.#directory);
    await this.#file?.close();
    this.#file = file;
    this.#segments.push(segment);
  }

  /** Resolves once `bytes` more stay within the limit, or once nothing is held that could be trimmed. */
  async #room(bytes: number): Promise<void> {
    let told = false;
    const over = () => this.#segments.reduce((sum, { size }) => sum + size, bytes) > this.#maxBytes;
    while (over()) {
      // What only older checkpoints need is worth less than what comes in.
      this.#takeTrims(0);
      await this.#removeTrimmed(over);
      if (!over()) break;
      const processed = this.#trimmed >= this.#end;
      // The current file cannot be removed while it is the last one.
      if (processed && this.#segments.at(-1)!.size > fileHeaderBytes) {
        await this.#roll();
        continue;
      }
      if (processed && this.#segments.length === 1) break;
      if (this.#closing.signal.aborted) throw this.#closed();
      if (!told) {
        this.#log?.warn(
          'The journal is full: nothing more is taken in until records have been processed and a checkpoint holds them.',
          { journal: this.#directory, maxBytes: this.#maxBytes },
        );
      }
      told = true;
      await this.#bell.wait(this.#closing.signal);
    }
    if (told) this.#log?.info('The journal has room again.', { journal: this.#directory });
  }

  /** Tries again, for as long as it takes, while the only trouble is a full disk. */
  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    for (let told = false; ; told = true) {
      try {
        const result = await attempt();
        if (told) this.#log?.info('The disk has room again.', { journal: this.#directory });
        return result;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
        if (this.#closing.signal.aborted) throw this.#closed();
        if (!told) {
          this.#log?.error(
            'The disk is full: nothing more is taken in until there is room. Free some space; the run then goes on by itself.',
            {
              journal: this.#directory,
            },
          );
        }
        await this.#clock.sleep(fullDiskRetryMs, this.#closing.signal);
      }
    }
  }

  /** Removes the files that hold nothing but trimmed records which need not be kept; `over`: or may not. */
  #removeTrimmed(over: () => boolean = () => false): Promise<void> {
    const removing = this.#removing.then(async () => {
      while (this.#segments.length > 1 && this.#segments[1]!.base <= this.#trimmed) {
        if (!over() && !(await this.#outlived(this.#segments[1]!))) return;
        // One by one, each made durable: a crash can then never bring back a file whose follower is gone.
        await this.#disk.remove(this.#segments[0]!.path);
        await this.#disk.syncDirectory(this.#directory);
        this.#segments.shift();
      }
    });
    this.#removing = removing.catch(() => {});
    return removing.catch((error: unknown) => {
      throw new RunError(
        `A processed file of the journal in ${this.#directory} could not be removed: ${text(error)}.`,
        { cause: error },
      );
    });
  }

  /** All records before this file came longer ago than they are kept. */
  async #outlived(next: Segment): Promise<boolean> {
    if (this.#keepMs === 0) return true;
    if (this.#keepMs === Number.POSITIVE_INFINITY) return false;
    const arrival = await firstArrival(this.#disk, next);
    return arrival !== undefined && arrival + this.#keepMs <= this.#clock.now();
  }

  #closed(): RunError {
    return new RunError(`The journal in ${this.#directory} is closed.`);
  }

  #broken(error: unknown): RunError {
    return new RunError(
      `The journal in ${this.#directory} could not be written: ${text(error)}. What was not durable has not been acknowledged, and its sender will send it again. Check the disk, then start again.`,
      { cause: error },
    );
  }
}

const text = (error: unknown) => (error instanceof Error ? error.message : String(error));
