import { crc32 } from 'node:zlib';
import type { Changes } from '../operator.ts';
import { Packer } from './pack.ts';
import { checkpointName } from './store.ts';

/**
 * What one commit changed, cut into chunks of 60 kB and what the last entry has more, each stored as a value of its own:
 *
 *     crc32 u32 over the chunk's name and the rest, then entries …
 *     entry   name length u32, value length u32 (0xffffffff: removed), name, value; little-endian
 */
export const chunkBytes = 60 * 1024;
export const headBytes = 4;
const sumBytes = 4;
export const entryHeadBytes = 8;
const removed = 0xffff_ffff;

/** Names of chunks begin with this. No stored value has such a name. */
export const chunkPrefix = 'delta\u0000';

/** The name of a chunk: sorted by name, chunks are in the order in which they were written. */
export function chunkName(checkpoint: number, index: number): string {
  return `${chunkPrefix}${String(checkpoint).padStart(12, '0')}\u0000${String(index).padStart(8, '0')}`;
}

/** The checkpoint that a chunk belongs to, and its place in it; `undefined` when this is no name of a chunk. */
export function parseChunkName(name: string): { checkpoint: number; index: number } | undefined {
  const parts = /^delta\0(\d{12})\0(\d{8})$/.exec(name);
  return parts === null ? undefined : { checkpoint: Number(parts[1]), index: Number(parts[2]) };
}

/** Changes that are to be committed together, as the chunks that a store keeps them in: made once, whatever the store. */
export class Delta implements Changes {
  /** A checkpoint is among them. */
  isCheckpoint = false;
  readonly #puts = new Chunks();
  readonly #removes = new Chunks();

  static of(changes: Changes): Delta {
    if (changes instanceof Delta) return changes;
    const delta = new Delta();
    delta.add(changes);
    return delta;
  }

  /** So many bytes in all. */
  get bytes(): number {
    return this.#puts.bytes + this.#removes.bytes;
  }

  get puts(): [name: string, bytes: Buffer][] {
    // Copies: a value that lives long must not keep its chunk.
    return [...lastOf(this.#puts.all())].map(([name, bytes]) => [name, Buffer.from(bytes!)]);
  }

  /** None of these is put as well. */
  get removes(): string[] {
    const last = lastOf([...this.#removes.all(), ...this.#puts.all()]);
    return [...last].flatMap(([name, bytes]) => (bytes === null ? [name] : []));
  }

  /** Stores a value as `encode` does. The name is `prefix` and `rest`: of what many names have in common the checksum is known. */
  put(prefix: Prefix, rest: string, value: unknown): void {
    this.#puts.addValue(prefix, rest, value);
  }

  /** Adds values that `encode` made. */
  add({ puts, removes }: Changes): void {
    for (const name of removes) this.remove(name);
    for (const [name, bytes] of puts) this.#puts.add(name, bytes);
    this.isCheckpoint ||= puts.some(([name]) => name === checkpointName);
  }

  /** Removes a value that an earlier commit stored; one that is put here stays. */
  remove(name: string): void {
    this.#removes.add(name, undefined);
  }

  /** All changes in chunks, numbered from `index` on. What was put comes behind what was removed. */
  chunks(checkpoint: number, index: number): [name: string, bytes: Buffer][] {
    const chunks = joined(this.#removes.all(), this.#puts.all());
    return chunks.map((chunk, n) => sealed(chunkName(checkpoint, index + n), chunk));
  }
}

// Mostly there is little of both: one chunk then.
function joined(first: readonly Buffer[], then: readonly Buffer[]): readonly Buffer[] {
  const [last, next] = [first.at(-1), then[0]];
  if (last === undefined || next === undefined || last.length + next.length > chunkBytes) return [...first, ...then];
  return [...first.slice(0, -1), Buffer.concat([last, next.subarray(headBytes)]), ...then.slice(1)];
}

/** What many names begin with. */
export class Prefix {
  readonly text: string;
  readonly bytes: Buffer;
  readonly sum: number;

  constructor(text: string) {
    this.text = text;
    this.bytes = Buffer.from(text);
    this.sum = crc32(this.bytes);
  }
}

/** Entries, one behind the other, in a chunk that is copied out when it is full. */
class Chunks {
  readonly #packer = new Packer(4 * 1024);
  readonly #full: Buffer[] = [];
  #fullBytes = 0;

  constructor() {
    this.#packer.at = headBytes;
  }

  get bytes(): number {
    return this.#fullBytes + this.#packer.at - headBytes;
  }

  add(name: string, bytes: Buffer | undefined): void {
    const packer = this.#packer;
    const start = packer.at;
    packer.skip(entryHeadBytes);
    packer.utf8(name);
    const length = packer.at - start - entryHeadBytes;
    if (bytes !== undefined) packer.copy(bytes);
    this.#end(start, length, bytes?.length ?? removed);
  }

  addValue(prefix: Prefix, rest: string, value: unknown): void {
    const packer = this.#packer;
    const start = packer.at;
    packer.skip(entryHeadBytes);
    packer.copy(prefix.bytes);
    const restStart = packer.at;
    packer.utf8(rest);
    const nameEnd = packer.at;
    packer.skip(sumBytes);
    packer.value(value);
    const { bytes, at } = packer;
    const sum = crc32(bytes.subarray(nameEnd + sumBytes, at), sumOf(bytes, restStart, nameEnd, prefix.sum));
    bytes.writeUInt32BE(sum, nameEnd);
    this.#end(start, nameEnd - start - entryHeadBytes, at - nameEnd);
  }

  /** The chunks so far. Nothing may be added after that. */
  all(): Buffer[] {
    if (this.#packer.at > headBytes) this.#cut();
    return this.#full;
  }

  #end(start: number, nameLength: number, valueLength: number): void {
    const { bytes } = this.#packer;
    bytes.writeUInt32LE(nameLength, start);
    bytes.writeUInt32LE(valueLength, start + 4);
    if (this.#packer.at >= chunkBytes) this.#cut();
  }

  #cut(): void {
    const packer = this.#packer;
    this.#fullBytes += packer.at - headBytes;
    this.#full.push(Buffer.from(packer.bytes.subarray(0, packer.at)));
    packer.at = headBytes;
  }
}

const sums = Int32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? 0xedb88320 ^ (sum >>> 1) : sum >>> 1;
  return sum;
});

/** CRC-32 of a few bytes: done sooner than a call into Node is. */
function sumOf(bytes: Buffer, from: number, to: number, before: number): number {
  let sum = ~before;
  for (let at = from; at < to; at++) sum = sums[(sum ^ bytes[at]!) & 255]! ^ (sum >>> 8);
  return ~sum >>> 0;
}

/** Whether a chunk is as it was written, under this name. */
export function isWhole(name: string, chunk: Buffer): boolean {
  return chunk.length >= headBytes && chunk.readUInt32LE(0) === crc32(chunk.subarray(headBytes), crc32(name));
}

/** Puts the checksum of a chunk that is to have this name into it. */
export function sealed(name: string, chunk: Buffer): [name: string, chunk: Buffer] {
  chunk.writeUInt32LE(crc32(chunk.subarray(headBytes), crc32(name)), 0);
  return [name, chunk];
}

/** Calls `visit` with the name and the place of each entry in turn. Of a damaged chunk it gives those that can be told apart. */
export function readChunk(chunk: Buffer, visit: (name: string, at: number) => void): void {
  for (let at = headBytes; ; ) {
    const end = entryEnd(chunk, at);
    if (end === undefined) return;
    const nameStart = at + entryHeadBytes;
    visit(chunk.toString('utf8', nameStart, nameStart + chunk.readUInt32LE(at)), at);
    at = end;
  }
}

/** Where the entry that begins at `at` ends; `undefined` when there is none. */
export function entryEnd(chunk: Buffer, at: number): number | undefined {
  if (at + entryHeadBytes > chunk.length) return undefined;
  const length = chunk.readUInt32LE(at + 4);
  const end = at + entryHeadBytes + chunk.readUInt32LE(at) + (length === removed ? 0 : length);
  return end > chunk.length ? undefined : end;
}

/** The value of the entry that begins at `at`; `null` when the name was removed. */
export function valueAt(chunk: Buffer, at: number): Buffer | null {
  const length = chunk.readUInt32LE(at + 4);
  const start = at + entryHeadBytes + chunk.readUInt32LE(at);
  return length === removed ? null : chunk.subarray(start, start + length);
}

function lastOf(chunks: readonly Buffer[]): Map<string, Buffer | null> {
  const last = new Map<string, Buffer | null>();
  for (const chunk of chunks) readChunk(chunk, (name, at) => last.set(name, valueAt(chunk, at)));
  return last;
}
