import { isUtf8 } from 'node:buffer';
import type { DiskFile } from '../../src/operator.ts';

/** Where reading stands: the byte after the last record, and the number of that line, from 0. */
export interface FilePosition {
  readonly offset: number;
  readonly line: number;
  /** The offset lies inside a line that was too long: the rest of that line is passed over. */
  readonly skipping?: true;
}

/**
 * Finds the newline that ends the record at `start`, or -1. Nothing before `searched` is one.
 * `data` ends where the bytes read so far end.
 */
export type FindEnd = (data: Buffer, start: number, searched: number) => number;

/** Records are lines. */
export const lineEnd: FindEnd = (data, _start, searched) => data.indexOf(newline, searched);

const newline = 10;
const carriageReturn = 13;
const readSize = 1 << 20;

/**
 * One read of the file, cut into records. Its buffer is used again by the next `fill`.
 * Memory is bounded by twice the longest record that is allowed, and never less than two reads.
 */
export class Chunk {
  data: Buffer = Buffer.allocUnsafe(2 * readSize);
  /** Records `[starts[i], ends[i])`, and the line each begins on. */
  starts = new Int32Array(8192);
  ends = new Int32Array(8192);
  lines = new Float64Array(8192);
  count = 0;
  /** Records that are longer than allowed; the last one may be cut off. */
  readonly tooLong = new Set<number>();
  /** File offset of `data[0]`. */
  base = 0;
  /** Everything before this index has been cut into records; `line` is the number of the line there. */
  tail = 0;
  line = 0;
  skipping = false;
  /** End of the bytes in `data`. */
  filled = 0;
  /** The file had no more bytes when it was read. */
  ended = false;
  clean = false;

  /** Where reading goes on after this chunk. */
  get next(): FilePosition {
    return { offset: this.base + this.tail, line: this.line, ...(this.skipping && { skipping: true as const }) };
  }

  /** Where reading goes on before record `index`. */
  before(index: number): FilePosition {
    return { offset: this.base + this.starts[index]!, line: this.lines[index]! };
  }

  /** Starts at a position of the file, with nothing read yet. */
  reset(position: FilePosition): this {
    this.count = 0;
    this.base = position.offset;
    this.tail = 0;
    this.filled = 0;
    this.line = position.line;
    this.skipping = position.skipping === true;
    this.ended = false;
    return this;
  }

  /** Reads on after `previous`, whose unfinished last record is taken over. */
  async fill(file: DiskFile, previous: Chunk, cut: Cutter): Promise<this> {
    const carried = previous.filled - previous.tail;
    // A long record is read in steps that double, so that what is carried over is not copied again and again.
    const wanted = Math.max(readSize, carried);
    if (this.data.length < carried + wanted) this.data = Buffer.allocUnsafe(carried + 2 * wanted);
    previous.data.copy(this.data, 0, previous.tail, previous.filled);
    this.reset(previous.next);
    const read = await file.read(this.data, carried, wanted, this.base + carried);
    this.filled = carried + read;
    this.ended = read === 0;
    cut.cut(this, carried);
    return this;
  }
}

/** Cuts the bytes of a chunk into records. */
export class Cutter {
  readonly #findEnd: FindEnd;
  readonly #maxBytes: number;
  /** Whether an unfinished last line is a record once the file has ended. */
  readonly #keepLast: boolean;

  constructor(findEnd: FindEnd, maxBytes: number, keepLast: boolean) {
    this.#findEnd = findEnd;
    this.#maxBytes = maxBytes;
    this.#keepLast = keepLast;
  }

  /** Records of `chunk.data[0, filled)`. No record ends before `searched`: those bytes have been looked at before. */
  cut(chunk: Chunk, searched: number): void {
    chunk.tooLong.clear();
    const data = chunk.data.subarray(0, chunk.filled);
    let at = chunk.base === 0 && hasByteOrderMark(data) ? 3 : 0;
    if (chunk.skipping) at = passOver(chunk, data);
    let from = Math.max(at, searched);
    for (let end = this.#findEnd(data, at, from); end !== -1; end = this.#findEnd(data, at, from)) {
      this.#add(chunk, data, at, end);
      chunk.line += this.#findEnd === lineEnd ? 1 : countLines(data, at, end + 1);
      at = end + 1;
      from = at;
    }
    chunk.tail = at;
    if (chunk.ended && this.#keepLast && at < chunk.filled && !chunk.skipping) this.#addLast(chunk, data);
    else if (chunk.filled - at > this.#maxBytes + 1 && !chunk.skipping) this.#cutShort(chunk, data);
    if (chunk.skipping) chunk.tail = chunk.filled;
    const cutBytes = data.subarray(0, chunk.tail);
    chunk.clean = isUtf8(cutBytes) && !cutBytes.includes('\\u') && !cutBytes.includes('__proto__');
  }

  #add(chunk: Chunk, data: Buffer, start: number, lineEnd: number): void {
    const end = lineEnd > start && data[lineEnd - 1] === carriageReturn ? lineEnd - 1 : lineEnd;
    if (end === start) return;
    const index = chunk.count++;
    if (index === chunk.starts.length) grow(chunk);
    chunk.starts[index] = start;
    chunk.ends[index] = end;
    chunk.lines[index] = chunk.line;
    if (end - start > this.#maxBytes) chunk.tooLong.add(index);
  }

  #addLast(chunk: Chunk, data: Buffer): void {
    this.#add(chunk, data, chunk.tail, chunk.filled);
    chunk.line += 1 + countLines(data, chunk.tail, chunk.filled);
    chunk.tail = chunk.filled;
  }

  // The record is refused now, by its beginning; what follows is passed over, so that memory stays bounded.
  #cutShort(chunk: Chunk, data: Buffer): void {
    this.#add(chunk, data, chunk.tail, chunk.filled);
    chunk.line += countLines(data, chunk.tail, chunk.filled);
    chunk.skipping = true;
  }
}

function passOver(chunk: Chunk, data: Buffer): number {
  const end = data.indexOf(newline);
  if (end === -1) return chunk.filled;
  chunk.skipping = false;
  chunk.line++;
  return end + 1;
}

function hasByteOrderMark(data: Buffer): boolean {
  return data.length >= 3 && data[0] === 0xef && data[1] === 0xbb && data[2] === 0xbf;
}

function countLines(data: Buffer, start: number, end: number): number {
  const part = data.subarray(start, end);
  let lines = 0;
  for (let at = part.indexOf(newline); at !== -1; at = part.indexOf(newline, at + 1)) lines++;
  return lines;
}

function grow(chunk: Chunk): void {
  const length = chunk.starts.length * 2;
  const bigger = <T extends Int32Array | Float64Array>(old: T, next: T): T => {
    next.set(old);
    return next;
  };
  chunk.starts = bigger(chunk.starts, new Int32Array(length));
  chunk.ends = bigger(chunk.ends, new Int32Array(length));
  chunk.lines = bigger(chunk.lines, new Float64Array(length));
}
