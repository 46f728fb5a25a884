import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { RunError } from '../errors.ts';
import type { Changes, Log } from '../operator.ts';
import { lockFolder } from '../ports/folder-lock.ts';
import { readCheckpoint } from './checkpoint.ts';
import { ChunkMerger } from './chunk-merger.ts';
import { damageWayOut } from './codec.ts';
import { chunkPrefix, Delta } from './delta.ts';
import { describe, type Generation, type Inspection, inspect, keptCheckpoints } from './generations.ts';
import { secure } from './lmdb-file.ts';
import { Overlay } from './overlay.ts';
import { checkpointName, DiskFullError, type StateStore } from './store.ts';

export interface DiskStoreOptions {
  /** Drops what the store holds, once the folder is ours. */
  readonly fresh?: boolean;
  /** Hears of a damaged checkpoint, and of a full disk. */
  readonly log?: Log;
  /** Older checkpoints are put together once so many bytes have come since the last time, and as many as were left then. Default: 32 MiB. */
  readonly foldBytes?: number;
}

/** A store whose old checkpoints can be put together at any time. */
export interface DiskStateStore extends StateStore {
  /** Puts the checkpoints together that nobody goes back behind. What goes wrong leaves all as it was, and is said in the log. */
  settle(): Promise<void>;
}

/**
 * A store in one LMDB environment: a commit is one transaction, flushed to disk before it resolves. A second process on the
 * same folder is refused. The last three checkpoints are kept: opening looks at every stored byte, and when the newest one is
 * damaged the store holds the one before, and says so in the log. Raises a RunError that names the damage when none of them
 * is whole, or when the folder cannot be used.
 */
export function openDiskStore(directory: string, options: DiskStoreOptions = {}): DiskStateStore {
  mkdirSync(directory, { recursive: true });
  const release = lockFolder(directory);
  const path = join(directory, 'state.mdb');
  let db: RootDatabase<Buffer, Buffer> | undefined;
  try {
    if (options.fresh) for (const file of [path, `${path}-lock`, markOf(directory)]) rmSync(file, { force: true });
    const torn = secure(path);
    if (torn !== undefined) {
      options.log?.warn(
        `The state file ${path} is damaged: ${torn}. It has been set back to what it held one commit before. Check the disk.`,
      );
    }
    // Of no use to a process that has the folder for itself, and damaged as easily as any other file.
    rmSync(`${path}-lock`, { force: true });
    db = open<Buffer, Buffer>({
      path,
      encoding: 'binary',
      keyEncoding: 'binary',
      cache: false,
      // A commit is one transaction anyway, and with batches LMDB rejects promises of its own that nobody can handle.
      eventTurnBatching: false,
    });
    return new DiskStore(directory, db, release, options);
  } catch (error) {
    void db?.close();
    release();
    if (error instanceof RunError) throw error;
    throw new RunError(
      `The state in ${path} cannot be opened: ${(error as Error).message}. If the file is damaged: ${damageWayOut}`,
      { cause: error },
    );
  }
}

/**
 * What each checkpoint has changed lies in chunks of its own (see `delta.ts`): to give a checkpoint up is to leave its chunks unread.
 * Those that nobody goes back behind are put together into one, now and then, while records go on. Reads see all chunks, one
 * applied after the other. Earlier releases kept the oldest of it name by name: such a base lies under the chunks until they replace it.
 */
class DiskStore implements DiskStateStore {
  readonly #directory: string;
  readonly #db: RootDatabase<Buffer, Buffer>;
  readonly #release: () => void;
  readonly #log: Log | undefined;
  readonly #foldBytes: number;
  readonly #generations: Generation[];
  /** Chunks of given-up checkpoints: they go with the next commit. */
  #dropped: readonly string[];
  #newest: number;
  readonly #merger = new ChunkMerger();
  /** Values stand there name by name, from an earlier release. */
  #hasBase: boolean;
  /** All chunks in one, made when somebody reads, gone with the next commit. */
  #overlay: Overlay | undefined;
  /** The last commit, whatever came of it: one at a time. */
  #committed: Promise<void> = Promise.resolve();
  /** Older checkpoints could not be put together: not again before there is so much more of them. */
  #notBefore = 0;
  #marked = false;
  #full = false;
  #failed = false;
  #closed = false;

  constructor(directory: string, db: RootDatabase<Buffer, Buffer>, release: () => void, options: DiskStoreOptions) {
    this.#directory = directory;
    this.#db = db;
    this.#release = release;
    this.#log = options.log;
    this.#foldBytes = options.foldBytes ?? 32 << 20;
    const found = inspect(this.#stored());
    this.#generations = found.generations;
    this.#hasBase = found.hasBase;
    this.#dropped = found.dropped;
    this.#newest = found.generations.at(-1)?.id ?? 0;
    this.#checkStructure(found);
    if (found.generations.length === 0) this.#newest = readCheckpoint(this)?.id ?? 0;
    this.#checkDamage(found);
    this.#checkPresence();
  }

  get(name: string): Buffer | undefined {
    const changed = this.#changes().get(name);
    return changed === undefined ? this.#db.get(Buffer.from(name)) : (changed ?? undefined);
  }

  *entries(prefix: string): Iterable<[name: string, bytes: Buffer]> {
    const changes = this.#changes();
    for (const [name, bytes] of changes.entries(prefix)) if (bytes !== null) yield [name, bytes];
    if (!this.#hasBase) return;
    for (const [name, bytes] of this.#stored(prefix)) {
      if (!changes.has(name) && !name.startsWith(chunkPrefix)) yield [name, bytes];
    }
  }

  commit(changes: Changes): Promise<void> {
    const committed = this.#committed.then(() => this.#commit(changes));
    this.#committed = committed.then(() => this.#settle(this.#foldBytes)).catch(() => undefined);
    return committed;
  }

  async #commit(changes: Changes): Promise<void> {
    // Whatever else is committed goes with the checkpoint before it.
    const delta = Delta.of(changes);
    const begins = delta.isCheckpoint;
    const id = begins ? this.#newest + 1 : this.#newest;
    const current = this.#generations.at(-1);
    const generation = begins || current?.id !== id ? { id, chunks: [], bytes: 0 } : current;
    const chunks = delta.chunks(id, generation.chunks.length);
    await this.#write(chunks);
    if (generation !== current) this.#generations.push(generation);
    for (const [name, bytes] of chunks) {
      generation.chunks.push(name);
      generation.bytes += bytes.length;
    }
    this.#newest = id;
    this.#dropped = [];
    this.#overlay = undefined;
    if (!this.#marked && begins) writeFileSync(markOf(this.#directory), markText, { flush: true });
    this.#marked ||= begins;
  }

  settle(): Promise<void> {
    return this.#committed.then(() => this.#settle(0));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#merger.close();
    await this.#committed;
    // After a failed commit LMDB never comes to the end of closing. What it holds goes with the process.
    if (!this.#failed) await this.#db.close();
    this.#release();
  }

  async #write(chunks: [string, Buffer][]): Promise<void> {
    const bytes = sumOf(chunks.map(([, { length }]) => length));
    // LMDB prints each failure: it is asked again when there is room.
    if (this.#full && !hasRoom(this.#directory, bytes)) throw new DiskFullError(this.#directory);
    try {
      await this.#db.transaction(() => {
        for (const name of this.#dropped) this.#db.remove(Buffer.from(name));
        for (const [name, bytes] of chunks) this.#db.put(Buffer.from(name), bytes);
      });
      await this.#db.flushed;
    } catch (error) {
      const reason = await reasonOf(error);
      if (!hasRoom(this.#directory, bytes)) throw this.#tellFull();
      this.#failed = true;
      throw new RunError(
        `The checkpoint could not be written to ${this.#path}: ${reason}. Check the disk and start again: the last checkpoint is whole.`,
        { cause: error },
      );
    }
    if (this.#full) this.#log?.info('The disk has room again: checkpoints go on.', { state: this.#directory });
    this.#full = false;
  }

  #tellFull(): DiskFullError {
    const error = new DiskFullError(this.#directory);
    if (!this.#full) this.#log?.error(error.message, { state: this.#directory });
    this.#full = true;
    return error;
  }

  /** Puts checkpoints together once that is worth the work: there are so many bytes more, and as many as were left the last time. */
  async #settle(atLeast: number): Promise<void> {
    const settled = this.#generations.filter(({ id }) => id <= this.#newest - keptCheckpoints + 1);
    const [first, ...later] = settled;
    if (this.#closed || this.#full || first === undefined || later.length === 0) return;
    const grown = sumOf(later.map(({ bytes }) => bytes));
    if (grown < (atLeast && Math.max(atLeast, first.bytes, this.#notBefore))) return;
    const id = settled.at(-1)!.id;
    const replaced = this.#hasBase ? [...this.#read(settled).entries('')].map(([name]) => name) : [];
    let made: [name: string, chunk: Buffer][];
    try {
      made = await this.#merger.merge({ checkpoint: id, chunks: await this.#chunksOf(settled) });
      if (this.#closed) return;
      await this.#db.transaction(() => {
        for (const name of [...settled.flatMap(({ chunks }) => chunks), ...replaced])
          this.#db.remove(Buffer.from(name));
        for (const [name, chunk] of made) this.#db.put(Buffer.from(name), chunk);
      });
      await this.#db.flushed;
    } catch (error) {
      if (this.#closed) return;
      // It takes more room than a checkpoint: it is not tried after each of them.
      this.#notBefore = 2 * grown;
      this.#log?.warn(
        `Older checkpoints could not be put together in ${this.#path}: ${await reasonOf(error)}. They stay as they are; check the disk.`,
      );
      return;
    }
    const bytes = sumOf(made.map(([, { length }]) => length));
    this.#generations.splice(0, settled.length, { id, chunks: made.map(([name]) => name), bytes });
    this.#overlay = undefined;
  }

  // Read with pauses: there may be many.
  async #chunksOf(generations: readonly Generation[]): Promise<Buffer[]> {
    const chunks: Buffer[] = [];
    for (const name of generations.flatMap((generation) => generation.chunks)) {
      chunks.push(this.#chunk(name));
      if (chunks.length % 64 === 0) await nextTurn();
    }
    return chunks;
  }

  #changes(): Overlay {
    this.#overlay ??= this.#read(this.#generations);
    return this.#overlay;
  }

  #read(generations: readonly Generation[]): Overlay {
    const overlay = new Overlay();
    for (const generation of generations) {
      for (const chunk of generation.content ?? generation.chunks.map((name) => this.#chunk(name))) overlay.add(chunk);
      // Read once, as it was looked at; the overlay has it now.
      delete generation.content;
    }
    return overlay;
  }

  #chunk(name: string): Buffer {
    return this.#db.get(Buffer.from(name))!;
  }

  *#stored(prefix = ''): Iterable<[name: string, bytes: Buffer]> {
    const start = Buffer.from(prefix);
    // No UTF-8 text has a byte 0xff.
    const range = prefix === '' ? {} : { start, end: Buffer.concat([start, Buffer.of(0xff)]) };
    let last: Buffer | undefined;
    for (const { key, value } of this.#db.getRange(range)) {
      // A page that leads to itself would go on for ever.
      if (last !== undefined && last.compare(key) >= 0) throw new Error('its entries are out of order');
      last = key;
      yield [key.toString(), value];
    }
  }

  // Values carry checksums, and so a damaged page shows itself by entries that are not there.
  #checkStructure({ count }: Inspection): void {
    const { entryCount } = this.#db.getStats() as { entryCount: number };
    if (count === entryCount) return;
    throw new RunError(
      `The state file ${this.#path} is damaged: it says that it has ${entryCount} entries, and ${count} can be found. ${damageWayOut}`,
    );
  }

  #checkDamage({ broken, damage, newest }: Inspection): void {
    const changes = this.#changes();
    const lost = broken.filter((name) => !changes.has(name));
    if (lost.length > 0) {
      throw new RunError(
        `The state file ${this.#path} is damaged: ${describe(lost)} does not match its checksum, and all checkpoints that are kept need it. ${damageWayOut}`,
      );
    }
    if (broken.length > 0) {
      this.#log?.warn(
        `The state file ${this.#path} is damaged: ${describe(broken)}. Newer values have replaced it, so nothing is lost; check the disk.`,
      );
    }
    if (damage === undefined) return;
    const last = readCheckpoint(this);
    if (last === undefined || newest! - this.#newest >= keptCheckpoints) {
      throw new RunError(
        `The state file ${this.#path} is damaged in ${damage}, and no checkpoint that is kept can do without it. ${damageWayOut}`,
      );
    }
    this.#log?.warn(
      `The state file ${this.#path} is damaged in ${damage}. The run goes on from checkpoint ${last.id}, taken at ${new Date(last.at).toISOString()}: what came in since then is read again. Check the disk.`,
    );
  }

  // Without it, an empty store would look like that of a first start, and all that sources have let go of would be lost unseen.
  #checkPresence(): void {
    this.#marked = existsSync(markOf(this.#directory));
    if (!this.#marked || this.get(checkpointName) !== undefined) return;
    throw new RunError(
      `The folder ${this.#directory} has held checkpoints, and ${this.#path} holds none: it has been deleted or emptied. ${damageWayOut}`,
    );
  }

  get #path(): string {
    return join(this.#directory, 'state.mdb');
  }
}

const markOf = (directory: string) => join(directory, 'checkpoints');
const markText = 'There are checkpoints in state.mdb.\n';

const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number, 0);

/** Whether the disk takes a commit of so many bytes. LMDB reports a full disk as an I/O error, as it does a broken one. */
function hasRoom(directory: string, bytes: number): boolean {
  const probe = join(directory, 'room');
  try {
    // Pages that change are written anew: some more than what goes in.
    writeFileSync(probe, Buffer.alloc(2 * bytes + 256 * 1024));
    return true;
  } catch (error) {
    return !['ENOSPC', 'EDQUOT', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '');
  } finally {
    rmSync(probe, { force: true });
  }
}

// LMDB gives the reason as a promise of its own, which ends the process when it rejects and nobody has looked at it.
async function reasonOf(error: unknown): Promise<string> {
  const { message, commitError } = error as Error & { commitError?: Promise<unknown> };
  const reason = commitError?.then(
    () => message,
    (cause: Error) => cause.message,
  );
  return reason === undefined ? message : Promise.race([reason, nextTurn(message)]);
}
