import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RunError } from '../errors.ts';

/**
 * Takes the folder for this process and gives what releases it; a lock left by a process that is gone is taken over.
 * Raises a RunError that names the process when another one has it.
 */
export function lockFolder(
  directory: string,
  what = { name: 'state folder', wayOut: 'Stop that run, or give this one another folder with --state.' },
): () => void {
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
        throw new RunError(`The ${what.name} ${directory} cannot be locked: ${(error as Error).message}`, {
          cause: error,
        });
      }
      const [pid, started] = readLock(path);
      if (pid !== undefined && alive(pid, started)) {
        throw new RunError(`The ${what.name} ${directory} is in use by process ${pid}. ${what.wayOut}`);
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
