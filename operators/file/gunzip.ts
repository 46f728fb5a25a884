import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { DiskFile } from '../../src/operator.ts';

const readBytes = 64 * 1024;

/** A compressed file as what is in it: positions are those of the unpacked bytes. To go back means to begin anew. Read only. */
export class Gunzipped implements DiskFile {
  readonly #file: DiskFile;
  #unpacked: AsyncIterator<Buffer> | undefined;
  #chunk: Buffer = Buffer.alloc(0);
  /** Where the chunk begins. */
  #at = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  async read(into: Buffer, offset: number, length: number, position: number): Promise<number> {
    if (this.#unpacked === undefined || position < this.#at) this.#begin();
    while (position >= this.#at + this.#chunk.length) {
      const { done, value } = await this.#unpacked!.next();
      if (done) return 0;
      this.#at += this.#chunk.length;
      this.#chunk = value;
    }
    return this.#chunk.copy(into, offset, position - this.#at, position - this.#at + length);
  }

  write(): Promise<void> {
    return Promise.reject(new Error('A compressed file is only read.'));
  }

  truncate(): Promise<void> {
    return this.write();
  }

  async sync(): Promise<void> {}

  async close(): Promise<void> {
    await this.#unpacked?.return?.();
    await this.#file.close();
  }

  #begin(): void {
    void this.#unpacked?.return?.();
    const packed = Readable.from(bytesOf(this.#file));
    // Whoever reads gets the error.
    const unpacked = pipeline(packed, createGunzip(), () => undefined);
    this.#unpacked = unpacked[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    this.#chunk = Buffer.alloc(0);
    this.#at = 0;
  }
}

async function* bytesOf(file: DiskFile): AsyncGenerator<Buffer> {
  for (let position = 0; ; ) {
    const bytes = Buffer.allocUnsafe(readBytes);
    const count = await file.read(bytes, 0, bytes.length, position);
    if (count === 0) return;
    yield bytes.subarray(0, count);
    position += count;
  }
}
