import type { JournalBatch, PullLimits, RawRecord } from '../operator.ts';
import type { Disk, DiskFile } from '../ports.ts';
import {
  arrivalAt,
  fileHeaderBytes,
  flagsAt,
  isRecord,
  lengthAt,
  offsetAt,
  recordHeaderBytes,
  topicBytesAt,
} from './journal-record.ts';
import { damaged, type Segment } from './journal-segments.ts';

const scanBytes = 1 << 20;

/** Reads durable records of a journal's files. It remembers where it stopped, so that reading on costs one read. */
export class JournalReader {
  readonly #disk: Disk;
  readonly #topics = new TopicCache();
  #file: { path: string; handle: DiskFile } | undefined;
  #cursor = { path: '', offset: -1, position: 0 };

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** Records from `offset` on, all from this segment; at least one. `size` is the end of its durable part. */
  async read(segment: Segment, size: number, offset: number, limits: PullLimits): Promise<JournalBatch> {
    let position = await this.#seek(segment, size, offset);
    const data = await this.#chunk(segment, position, size, limits.bytes, offset);
    const starts: number[] = [];
    let at = 0;
    while (starts.length < Math.max(1, limits.records) && fits(data, at)) {
      this.#check(segment, data, at, position, offset + starts.length);
      starts.push(at);
      const length = lengthAt(data, at);
      at += length;
      position += length;
    }
    this.#cursor = { path: segment.path, offset: offset + starts.length, position };
    return new Records(data, starts, offset, this.#topics);
  }

  async close(): Promise<void> {
    const open = this.#file;
    this.#file = undefined;
    await open?.handle.close();
  }

  async #seek(segment: Segment, size: number, offset: number): Promise<number> {
    if (this.#cursor.path === segment.path && this.#cursor.offset === offset) return this.#cursor.position;
    let position = fileHeaderBytes;
    for (let next = segment.base; next < offset; ) {
      const data = await this.#chunk(segment, position, size, scanBytes, next);
      for (let at = 0; next < offset && fits(data, at); next++) {
        this.#check(segment, data, at, position, next);
        position += lengthAt(data, at);
        at += lengthAt(data, at);
      }
    }
    return position;
  }

  #check(segment: Segment, data: Buffer, at: number, position: number, offset: number): void {
    if (isRecord(data, at, data.length) && offsetAt(data, at) === offset) return;
    throw damaged(segment.path, `holds a bad record ${offset} at byte ${position}`);
  }

  /** Bytes from `position` on: about `bytes` of them, but always a whole record. */
  async #chunk(segment: Segment, position: number, size: number, bytes: number, offset: number): Promise<Buffer> {
    const left = size - position;
    if (left < recordHeaderBytes) throw damaged(segment.path, `ends at byte ${size}, before record ${offset}`);
    let data = await this.#bytes(segment, position, Math.min(left, Math.max(bytes, recordHeaderBytes)));
    const first = lengthAt(data, 0);
    if (first > left || first < recordHeaderBytes)
      throw damaged(segment.path, `holds a bad record ${offset} at byte ${position}`);
    if (first > data.length) data = await this.#bytes(segment, position, first);
    return data;
  }

  async #bytes(segment: Segment, position: number, length: number): Promise<Buffer> {
    if (this.#file?.path !== segment.path) {
      await this.close();
      this.#file = { path: segment.path, handle: await this.#disk.open(segment.path, 'r') };
    }
    const data = Buffer.allocUnsafeSlow(length);
    for (let done = 0; done < length; ) {
      const count = await this.#file.handle.read(data, done, length - done, position + done);
      if (count === 0)
        throw damaged(segment.path, `ends at byte ${position + done}, where ${length - done} more had been written`);
      done += count;
    }
    return data;
  }
}

const fits = (data: Buffer, at: number) =>
  data.length - at >= recordHeaderBytes && data.length - at >= lengthAt(data, at);

class Records implements JournalBatch {
  readonly length: number;
  readonly next: number;
  readonly #data: Buffer;
  readonly #starts: readonly number[];
  readonly #first: number;
  readonly #topics: TopicCache;
  readonly #facts = { topic: '', flags: 0 };

  constructor(data: Buffer, starts: readonly number[], first: number, topics: TopicCache) {
    this.length = starts.length;
    this.next = first + starts.length;
    this.#data = data;
    this.#starts = starts;
    this.#first = first;
    this.#topics = topics;
  }

  read(index: number, into: RawRecord): { topic: string; flags: number } {
    const at = this.#starts[index]!;
    const topicStart = at + recordHeaderBytes;
    const topicEnd = topicStart + topicBytesAt(this.#data, at);
    into.data = this.#data;
    into.start = topicEnd;
    into.end = at + lengthAt(this.#data, at);
    into.arrival = arrivalAt(this.#data, at);
    into.offset = this.#first + index;
    into.value = undefined;
    into.decoded = false;
    into.key = undefined;
    into.timestamp = Number.NaN;
    this.#facts.topic = this.#topics.text(this.#data, topicStart, topicEnd);
    this.#facts.flags = flagsAt(this.#data, at);
    return this.#facts;
  }
}

/** Gives the same string for the same bytes, so that the many records of one topic do not each make their own. */
class TopicCache {
  readonly #known = new Map<number, { bytes: Buffer; text: string }>();

  text(data: Buffer, start: number, end: number): string {
    let hash = 0x811c9dc5;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ data[at]!, 0x01000193);
    const known = this.#known.get(hash);
    if (known?.bytes.length === end - start && known.bytes.compare(data, start, end) === 0) return known.text;
    if (this.#known.size >= 65_536) this.#known.clear();
    const text = data.toString('utf8', start, end);
    this.#known.set(hash, { bytes: Buffer.from(data.subarray(start, end)), text });
    return text;
  }
}
