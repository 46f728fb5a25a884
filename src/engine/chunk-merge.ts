import { chunkBytes, chunkName, entryEnd, entryHeadBytes, headBytes, sealed, valueAt } from './delta.ts';

/** Chunks of some checkpoints, from the oldest to the newest, that are to become those of the newest one of them. */
export interface MergeRequest {
  readonly checkpoint: number;
  readonly chunks: readonly Uint8Array[];
}

/** Chunks with the last value of each name, and no name that was removed: nothing older is left that could show through. */
export function merge({ checkpoint, chunks }: MergeRequest): [name: string, chunk: Buffer][] {
  const from = chunks.map(({ buffer, byteOffset, length }) => Buffer.from(buffer as ArrayBuffer, byteOffset, length));
  // By the bytes of the name, one character each. A name keeps its first place, so that what came together stays together.
  const last = new Map<string, { chunk: Buffer; at: number; end: number }>();
  for (const chunk of from) {
    for (let at = headBytes; ; ) {
      const end = entryEnd(chunk, at);
      if (end === undefined) break;
      const name = chunk.toString('latin1', at + entryHeadBytes, at + entryHeadBytes + chunk.readUInt32LE(at));
      const found = last.get(name);
      if (found === undefined) last.set(name, { chunk, at, end });
      else Object.assign(found, { chunk, at, end });
      at = end;
    }
  }
  const made = new Joined(checkpoint);
  for (const { chunk, at, end } of last.values()) if (valueAt(chunk, at) !== null) made.add(chunk, at, end);
  return made.all();
}

/** Entries that are copied into new chunks. */
class Joined {
  readonly #checkpoint: number;
  readonly #made: [name: string, chunk: Buffer][] = [];
  #parts: Uint8Array[] = [];
  #bytes = headBytes;

  constructor(checkpoint: number) {
    this.#checkpoint = checkpoint;
  }

  add(chunk: Buffer, at: number, end: number): void {
    this.#parts.push(chunk.subarray(at, end));
    this.#bytes += end - at;
    if (this.#bytes >= chunkBytes) this.#cut();
  }

  // A checkpoint without a chunk would be one that is missing.
  all(): [name: string, chunk: Buffer][] {
    if (this.#parts.length > 0 || this.#made.length === 0) this.#cut();
    return this.#made;
  }

  #cut(): void {
    const chunk = Buffer.allocUnsafeSlow(this.#bytes);
    let at = headBytes;
    for (const part of this.#parts) {
      chunk.set(part, at);
      at += part.length;
    }
    this.#made.push(sealed(chunkName(this.#checkpoint, this.#made.length), chunk));
    this.#parts = [];
    this.#bytes = headBytes;
  }
}
