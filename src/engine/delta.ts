import { crc32 } from 'node:zlib';
import type { Changes } from '../operator.ts';

/**
 * What one commit changed, cut into chunks of about 64 kB, each stored as a value of its own:
 *
 *     crc32 u32 over the chunk's name and the rest, then entries …
 *     entry   name length u32, value length u32 (0xffffffff: removed), name, value; little-endian
 */
const chunkBytes = 64 * 1024;
const headBytes = 4;
const entryHeadBytes = 8;
const removed = 0xffff_ffff;

/** Names of chunks begin with this. No stored value has such a name. */
export const chunkPrefix = 'delta\u0000';

/** What names hold after some commits: bytes, or `null` where a value was removed. */
export type Overlay = Map<string, Buffer | null>;

/** The name of a chunk: sorted by name, chunks are in the order in which they were written. */
export function chunkName(checkpoint: number, index: number): string {
  return `${chunkPrefix}${String(checkpoint).padStart(12, '0')}\u0000${String(index).padStart(8, '0')}`;
}

/** The checkpoint that a chunk belongs to, and its place in it; `undefined` when this is no name of a chunk. */
export function parseChunkName(name: string): { checkpoint: number; index: number } | undefined {
  const parts = /^delta\0(\d{12})\0(\d{8})$/.exec(name);
  return parts === null ? undefined : { checkpoint: Number(parts[1]), index: Number(parts[2]) };
}

/** Cuts changes into chunks, numbered from `index` on. */
export function* encodeChunks(
  { puts, removes }: Changes,
  checkpoint: number,
  index: number,
): Generator<[name: string, bytes: Buffer]> {
  let writer = new ChunkWriter();
  for (const name of removes) {
    if (!writer.fits(name, undefined)) {
      yield writer.finish(chunkName(checkpoint, index++));
      writer = new ChunkWriter();
    }
    writer.add(name, undefined);
  }
  for (const [name, bytes] of puts) {
    if (!writer.fits(name, bytes)) {
      yield writer.finish(chunkName(checkpoint, index++));
      writer = new ChunkWriter(name.length * 3 + bytes.length);
    }
    writer.add(name, bytes);
  }
  if (!writer.empty) yield writer.finish(chunkName(checkpoint, index));
}

class ChunkWriter {
  #at = headBytes;
  readonly #bytes: Buffer;

  constructor(atLeast = 0) {
    this.#bytes = Buffer.allocUnsafe(Math.max(chunkBytes, headBytes + entryHeadBytes + atLeast));
  }

  get empty(): boolean {
    return this.#at === headBytes;
  }

  fits(name: string, bytes: Buffer | undefined): boolean {
    return this.empty || this.#at + entryHeadBytes + name.length * 3 + (bytes?.length ?? 0) <= this.#bytes.length;
  }

  add(name: string, bytes: Buffer | undefined): void {
    const into = this.#bytes;
    const start = this.#at + entryHeadBytes;
    const length = into.write(name, start);
    into.writeUInt32LE(length, this.#at);
    into.writeUInt32LE(bytes?.length ?? removed, this.#at + 4);
    bytes?.copy(into, start + length);
    this.#at = start + length + (bytes?.length ?? 0);
  }

  finish(name: string): [string, Buffer] {
    const chunk = this.#bytes.subarray(0, this.#at);
    chunk.writeUInt32LE(crc32(chunk.subarray(headBytes), crc32(name)), 0);
    return [name, chunk];
  }
}

/** Whether a chunk is as it was written, under this name. */
export function isWhole(name: string, chunk: Buffer): boolean {
  return chunk.length >= headBytes && chunk.readUInt32LE(0) === crc32(chunk.subarray(headBytes), crc32(name));
}

/** Reads a chunk's entries into `into`. Of a damaged chunk it gives those that can be told apart. */
export function readChunk(chunk: Buffer, into: Overlay): void {
  for (let at = headBytes; at + entryHeadBytes <= chunk.length; ) {
    const nameStart = at + entryHeadBytes;
    const nameEnd = nameStart + chunk.readUInt32LE(at);
    const length = chunk.readUInt32LE(at + 4);
    const end = nameEnd + (length === removed ? 0 : length);
    if (end > chunk.length) return;
    into.set(chunk.toString('utf8', nameStart, nameEnd), length === removed ? null : chunk.subarray(nameEnd, end));
    at = end;
  }
}
