import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { connect as connectTcp, isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import type { Clock, ConnectOptions, Disk, DiskFile, Network, Ports } from '../ports.ts';
import { lockFolder } from './folder-lock.ts';

/** The real outside: wall clock, `Math.random`, the file system, TCP, TLS and `fetch`. */
export function systemPorts(): Ports {
  return { clock: systemClock, random: Math.random, disk: systemDisk, network: systemNetwork };
}

const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(ms, signal) {
    if (signal?.aborted) return;
    try {
      await delay(ms, undefined, signal ? { signal } : {});
    } catch (error) {
      if (!signal?.aborted) throw error;
    }
  },
};

const systemNetwork: Network = {
  connect({ host, port, tls }: ConnectOptions) {
    if (!tls) return connectTcp({ host, port, noDelay: true });
    // An address cannot be a server name: with one, TLS sends none and checks the certificate's addresses.
    const servername = tls.servername ?? (isIP(host) ? undefined : host);
    return connectTls({ host, port, ...tls, ...(servername === undefined ? {} : { servername }) }).setNoDelay(true);
  },
  fetch: (url, init) => fetch(url, init),
};

const systemDisk: Disk = {
  open: async (path, flags) => new SystemFile(await open(path, flags)),
  readFile: (path) => readFile(path),
  mkdir: async (path) => void (await mkdir(path, { recursive: true })),
  list: (path) => readdir(path),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { recursive: true, force: true }),
  async size(path) {
    try {
      return (await stat(path)).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  },
  lock: (path) =>
    lockFolder(path, {
      name: 'journal',
      wayOut: 'One process alone may write it. Stop that one, or name another folder.',
    }),
  async syncDirectory(path) {
    // Windows keeps directory entries durable by itself and cannot open a directory.
    if (process.platform === 'win32') return;
    const directory = await open(path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  },
};

class SystemFile implements DiskFile {
  readonly #handle: FileHandle;
  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(into: Buffer, offset: number, length: number, position: number): Promise<number> {
    return (await this.#handle.read(into, offset, length, position)).bytesRead;
  }

  write(data: Uint8Array, position: number): Promise<void> {
    return writeAll((from, length, at) => this.#handle.write(data, from, length, at), data.length, position);
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/**
 * Calls `write` until all bytes are taken. A disk that fills up takes a part and reports no error; the next call reports it.
 * One that takes nothing at all, without an error, counts as full.
 */
export async function writeAll(
  write: (from: number, length: number, position: number) => Promise<{ bytesWritten: number }>,
  length: number,
  position: number,
): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesWritten } = await write(done, length - done, position + done);
    if (bytesWritten === 0)
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    done += bytesWritten;
  }
}
