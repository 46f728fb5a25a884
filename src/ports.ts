import type { Duplex } from 'node:stream';

/**
 * All that the engine and the connectors may know of the outside: clock, randomness, disk, network.
 * A run gets them once; nothing below reads a global clock, so that a whole run can be simulated from a seed.
 */
export interface Ports {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly disk: Disk;
  readonly network: Network;
}

export interface Clock {
  /** ms since the epoch. */
  now(): number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Network {
  /** Opens a TCP or, with `tls`, a TLS connection. The stream emits `error` and `close` as a socket does. */
  connect(options: ConnectOptions): Duplex;
  fetch(url: string, init: RequestInit): Promise<Response>;
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly tls?: { ca?: string; cert?: string; key?: string; servername?: string; rejectUnauthorized?: boolean };
}

/** The few file operations that the engine uses. Paths are absolute. */
export interface Disk {
  open(path: string, flags: 'r' | 'r+' | 'a+' | 'w'): Promise<DiskFile>;
  readFile(path: string): Promise<Buffer>;
  mkdir(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** `undefined` when there is no such file. */
  size(path: string): Promise<number | undefined>;
  /**
   * Takes a folder for one writer and gives what releases it. Throws a RunError that names the process which has it; one that is gone
   * has it no longer. A disk without it is one process's own.
   */
  lock?(path: string): () => void;
  /** Makes a directory's own entries durable. */
  syncDirectory(path: string): Promise<void>;
}

export interface DiskFile {
  /** Reads up to `length` bytes at `position`; gives the count, 0 at the end. */
  read(into: Buffer, offset: number, length: number, position: number): Promise<number>;
  /** Writes all of `data` at `position`: loops until every byte is written, as a full disk writes short without an error. */
  write(data: Uint8Array, position: number): Promise<void>;
  truncate(length: number): Promise<void>;
  /** fdatasync. An error here is final: what was written since the last one counts as lost. */
  sync(): Promise<void>;
  close(): Promise<void>;
}
