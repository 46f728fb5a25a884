import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type MergeRequest, merge } from './chunk-merge.ts';

// There is such a file where the sources have been compiled.
const program = new URL('./chunk-merge-worker.js', import.meta.url);
const threaded = program.protocol === 'file:' && existsSync(fileURLToPath(program));

/** Puts chunks together in a thread of its own, so that records go on meanwhile; where that cannot be, here and now. */
export class ChunkMerger {
  #worker: Worker | undefined;
  /** What comes of the request that is under way: there is one at a time. */
  #settle: { resolve(made: [string, Uint8Array][]): void; reject(error: Error): void } | undefined;
  #closed = false;

  /** Takes the chunks: nobody may read them after that. Rejects when it has been closed meanwhile. */
  async merge(request: MergeRequest): Promise<[name: string, chunk: Buffer][]> {
    if (!threaded) return merge(request);
    this.#worker ??= this.#begin();
    const worker = this.#worker;
    // As long as it works, the process waits for it.
    worker.ref();
    const made = await new Promise<[string, Uint8Array][]>((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#closed) reject(new Error('the thread for it was closed'));
      worker.postMessage(
        request,
        request.chunks.map(({ buffer }) => buffer as ArrayBuffer),
      );
    });
    worker.unref();
    return made.map(([name, { buffer, byteOffset, length }]) => [
      name,
      Buffer.from(buffer as ArrayBuffer, byteOffset, length),
    ]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.terminate();
  }

  #begin(): Worker {
    const worker = new Worker(program);
    worker.on('message', (made) => this.#settle?.resolve(made));
    worker.on('error', (error) => this.#settle?.reject(error));
    worker.on('exit', () => {
      this.#worker = undefined;
      this.#settle?.reject(new Error('the thread for it was closed'));
    });
    return worker;
  }
}
