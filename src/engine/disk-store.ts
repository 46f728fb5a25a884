import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { open, type RootDatabase } from 'lmdb';
import { RunError } from '../errors.ts';
import type { Changes } from '../operator.ts';
import type { StateStore } from './store.ts';

/**
 * A store in one LMDB environment: a commit is one transaction, flushed to disk before it resolves.
 * A second process on the same folder is refused. `fresh` drops what the store holds, once the folder is ours.
 * Raises a RunError when the folder cannot be used.
 */
export function openDiskStore(directory: string, { fresh = false } = {}): StateStore {
  mkdirSync(directory, { recursive: true });
  const release = lock(directory);
  if (fresh) for (const file of ['state.mdb', 'state.mdb-lock']) rmSync(join(directory, file), { force: true });
  let db: RootDatabase<Buffer, Buffer>;
  try {
    db = open<Buffer, Buffer>({
      path: join(directory, 'state.mdb'),
      encoding: 'binary',
      keyEncoding: 'binary',
      cache: false,
      // A commit is one transaction anyway, and with batches LMDB rejects promises of its own that nobody can handle.
      eventTurnBatching: false,
    });
  } catch (error) {
    release();
    throw new RunError(`The state in ${directory} cannot be opened: ${(error as Error).message}`, { cause: error });
  }
  let closed = false;
  let failed = false;
  return {
    get: (name) => db.get(Buffer.from(name)),
    *entries(prefix) {
      const start = Buffer.from(prefix);
      // No UTF-8 text has a byte 0xff.
      const end = Buffer.concat([start, Buffer.of(0xff)]);
      for (const { key, value } of db.getRange({ start, end })) yield [key.toString(), value];
    },
    async commit({ puts, removes }: Changes) {
      try {
        await db.transaction(() => {
          for (const name of removes) db.remove(Buffer.from(name));
          for (const [name, bytes] of puts) db.put(Buffer.from(name), bytes);
        });
        await db.flushed;
      } catch (error) {
        failed = true;
        throw new RunError(
          `The checkpoint could not be written to ${directory}: ${await reasonOf(error)}. Free space on the disk and start again: the last checkpoint is whole.`,
          { cause: error },
        );
      }
    },
    async close() {
      if (closed) return;
      closed = true;
      // After a failed commit LMDB never comes to the end of closing. What it holds goes with the process.
      if (!failed) await db.close();
      release();
    },
  };
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

/** Takes the folder for this process; a lock left by a process that is gone is taken over. */
function lock(directory: string): () => void {
  const path = join(directory, 'lock');
  const draft = join(directory, `lock-${process.pid}-${Math.random().toString(36).slice(2)}`);
  const mine = `${process.pid} ${startTime(process.pid)}`;
  for (let attempt = 0; ; attempt++) {
    try {
      // Appears with its content: one that is still empty would look like that of a process which is gone.
      writeFileSync(draft, mine);
      linkSync(draft, path);
      rmSync(draft, { force: true });
      return () => rmSync(path, { force: true });
    } catch (error) {
      rmSync(draft, { force: true });
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 3) {
        throw new RunError(`The state folder ${directory} cannot be locked: ${(error as Error).message}`, {
          cause: error,
        });
      }
      const [pid, started] = readLock(path);
      if (pid !== undefined && alive(pid, started)) {
        throw new RunError(
          `The state folder ${directory} is in use by process ${pid}. Stop that run, or give this one another folder with --state.`,
        );
      }
      rmSync(path, { force: true });
    }
  }
}

function readLock(path: string): [pid: number | undefined, started: string] {
  try {
    const [pid, started = ''] = readFileSync(path, 'utf8').split(' ');
    return [Number(pid) || undefined, started];
  } catch {
    return [undefined, ''];
  }
}

function alive(pid: number, started: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return startTime(pid) === started;
}

// A pid is used again after a reboot; together with the start time it names one process. Only Linux tells it as a file.
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
