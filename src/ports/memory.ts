import { dirname } from 'node:path';
import { RunError } from '../errors.ts';
import type { Clock, Disk, DiskFile, Ports } from '../ports.ts';

/** A clock that stands still until a test advances it. Sleepers wake in the order of their times. */
export class ManualClock implements Clock {
  #now: number;
  #sleepers: { at: number; wake: () => void }[] = [];
  constructor(start = 0) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  /** How many sleepers wait. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = {
        at: this.#now + ms,
        wake: () => {
          signal?.removeEventListener('abort', sleeper.wake);
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
          resolve();
        },
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', sleeper.wake, { once: true });
    });
  }

  /** Moves time on and wakes whoever is due. */
  advance(ms: number): void {
    this.#now += ms;
    for (const sleeper of this.#sleepers.filter(({ at }) => at <= this.#now).sort((a, b) => a.at - b.at))
      sleeper.wake();
  }
}

type Change = { position: number; data: Buffer } | { length: number };
interface Inode {
  /** What a reader sees. */
  content: Buffer;
  /** What is sure to survive a crash. */
  durable: Buffer;
  /** Changes since the last sync, in order. */
  changes: Change[];
}

/**
 * A disk in memory which behaves like a real one when the power goes: of what was not synced, any part may be there
 * or not, in any order; this holds for directory entries too. A full disk takes what fits, then reports ENOSPC.
 */
export class MemoryDisk implements Disk {
  /** Bytes that all files together may take. */
  capacity = Number.POSITIVE_INFINITY;
  /** Called before each operation, with its name and path; whatever it throws is the operation's error. */
  before: (operation: string, path: string) => void = () => {};
  /** Raise it to kill the process, but not the power: older file handles are dead, and what was written stays. */
  life = 0;
  #entries = new Map<string, Inode>();
  #durableEntries = new Map<string, Inode>();
  readonly #directories = new Set<string>(['/']);
  /** Who has locked a folder dies with the process. */
  readonly #locks = new Map<string, number>();

  async open(path: string, flags: 'r' | 'r+' | 'a+' | 'w'): Promise<DiskFile> {
    this.enter('open', path);
    let inode = this.#entries.get(path);
    if (!inode && (flags === 'r' || flags === 'r+')) throw code('ENOENT', path);
    if (!this.#directories.has(dirname(path))) throw code('ENOENT', dirname(path));
    if (!inode) {
      inode = { content: Buffer.alloc(0), durable: Buffer.alloc(0), changes: [] };
      this.#entries.set(path, inode);
    } else if (flags === 'w') apply(inode, { length: 0 });
    return new MemoryFile(this, path, inode, flags);
  }

  async readFile(path: string): Promise<Buffer> {
    this.enter('readFile', path);
    const inode = this.#entries.get(path);
    if (!inode) throw code('ENOENT', path);
    return Buffer.from(inode.content);
  }

  async mkdir(path: string): Promise<void> {
    this.enter('mkdir', path);
    for (let folder = path; !this.#directories.has(folder); folder = dirname(folder)) this.#directories.add(folder);
  }

  async list(path: string): Promise<string[]> {
    this.enter('list', path);
    if (!this.#directories.has(path)) throw code('ENOENT', path);
    return [...this.#entries.keys(), ...this.#directories].flatMap((entry) =>
      entry !== path && dirname(entry) === path ? [entry.slice(path === '/' ? 1 : path.length + 1)] : [],
    );
  }

  async rename(from: string, to: string): Promise<void> {
    this.enter('rename', from);
    const inode = this.#entries.get(from);
    if (!inode) throw code('ENOENT', from);
    this.#entries.delete(from);
    this.#entries.set(to, inode);
  }

  async remove(path: string): Promise<void> {
    this.enter('remove', path);
    this.#entries.delete(path);
  }

  async size(path: string): Promise<number | undefined> {
    this.enter('size', path);
    return this.#entries.get(path)?.content.length;
  }

  lock(path: string): () => void {
    if (this.#locks.get(path) === this.life) throw new RunError(`The journal ${path} is in use by process 1.`);
    const life = this.life;
    this.#locks.set(path, life);
    return () => void (this.#locks.get(path) === life && this.#locks.delete(path));
  }

  async syncDirectory(path: string): Promise<void> {
    this.enter('syncDirectory', path);
    this.#settleEntries(path, () => true);
  }

  /** Pulls the plug. `random` decides what of the unsynced survives; without it nothing does. */
  crash(random: () => number = () => 1): void {
    this.life++;
    const survives = () => random() < 0.5;
    this.#settleEntries(undefined, survives);
    this.#entries = new Map(this.#durableEntries);
    for (const inode of new Set(this.#entries.values())) {
      inode.content = Buffer.from(inode.durable);
      for (const change of inode.changes.splice(0)) {
        for (const part of parts(change, random)) if (survives()) put(inode, part);
      }
      inode.durable = Buffer.from(inode.content);
    }
  }

  /** Changes bytes of a file behind everybody's back, durably. */
  damage(path: string, change: (content: Buffer) => Buffer): void {
    const inode = this.#entries.get(path)!;
    inode.content = change(Buffer.from(inode.content));
    inode.durable = Buffer.from(inode.content);
  }

  /** @internal */
  enter(operation: string, path: string, life = this.life): void {
    if (life !== this.life) throw code('EBADF', path);
    this.before(operation, path);
    if (life !== this.life) throw code('EIO', path);
  }

  /** @internal */
  get free(): number {
    let used = 0;
    for (const inode of this.#entries.values()) used += inode.content.length;
    return Math.max(0, this.capacity - used);
  }

  #settleEntries(folder: string | undefined, decide: () => boolean): void {
    for (const path of new Set([...this.#entries.keys(), ...this.#durableEntries.keys()])) {
      if (folder !== undefined && dirname(path) !== folder) continue;
      const inode = this.#entries.get(path);
      if (inode === this.#durableEntries.get(path) || !decide()) continue;
      if (inode) this.#durableEntries.set(path, inode);
      else this.#durableEntries.delete(path);
    }
  }
}

class MemoryFile implements DiskFile {
  readonly #disk: MemoryDisk;
  readonly #path: string;
  readonly #inode: Inode;
  readonly #life: number;
  readonly #append: boolean;
  constructor(disk: MemoryDisk, path: string, inode: Inode, flags: string) {
    this.#disk = disk;
    this.#path = path;
    this.#inode = inode;
    this.#life = disk.life;
    this.#append = flags === 'a+';
  }

  async read(into: Buffer, offset: number, length: number, position: number): Promise<number> {
    this.#disk.enter('read', this.#path, this.#life);
    return this.#inode.content.copy(into, offset, position, position + length);
  }

  async write(data: Uint8Array, position: number): Promise<void> {
    this.#disk.enter('write', this.#path, this.#life);
    const at = this.#append ? this.#inode.content.length : position;
    const room = this.#disk.free + Math.max(0, this.#inode.content.length - at);
    apply(this.#inode, { position: at, data: Buffer.from(data.subarray(0, Math.min(room, data.length))) });
    if (data.length > room) throw code('ENOSPC', this.#path);
  }

  async truncate(length: number): Promise<void> {
    this.#disk.enter('truncate', this.#path, this.#life);
    apply(this.#inode, { length });
  }

  async sync(): Promise<void> {
    this.#disk.enter('sync', this.#path, this.#life);
    this.#inode.durable = Buffer.from(this.#inode.content);
    this.#inode.changes = [];
  }

  async close(): Promise<void> {}
}

function apply(inode: Inode, change: Change): void {
  put(inode, change);
  inode.changes.push(change);
}

function put(inode: Inode, change: Change): void {
  const end = 'length' in change ? change.length : Math.max(inode.content.length, change.position + change.data.length);
  const content = Buffer.alloc(end);
  inode.content.copy(content, 0, 0, Math.min(end, inode.content.length));
  if ('data' in change) change.data.copy(content, change.position);
  inode.content = content;
}

/** One write reaches the disk in pieces: of three in a row, the middle one may be missing. */
function parts(change: Change, random: () => number): Change[] {
  if ('length' in change || random() < 0.5) return [change];
  const { data, position } = change;
  const cuts = [random(), random()].map((at) => Math.floor(at * data.length)).sort((a, b) => a - b);
  return [0, ...cuts].map((from, n) => ({ position: position + from, data: data.subarray(from, cuts[n]) }));
}

function code(name: string, path: string): Error {
  return Object.assign(new Error(`${name}: ${path}`), { code: name });
}

/** Random numbers from a seed: the same seed gives the same run. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** An outside for tests: time by hand, a disk in memory, chance from a seed, and no network at all. */
export function memoryPorts(seed = 1): Ports & { readonly clock: ManualClock; readonly disk: MemoryDisk } {
  const unreachable = () => {
    throw code('ENETUNREACH', 'there is no network in memory');
  };
  return {
    clock: new ManualClock(),
    disk: new MemoryDisk(),
    random: seededRandom(seed),
    network: { connect: unreachable, fetch: async () => unreachable() },
  };
}
