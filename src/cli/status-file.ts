import { readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Run } from '../engine/run.ts';
import type { Status } from '../engine/status.ts';

const everyMs = 1_000;

/** What a run writes about itself into its state folder, for commands in other processes. */
export interface StatusFile {
  readonly version: 1;
  readonly pid: number;
  /** When it was written, in ms since the epoch. */
  readonly at: number;
  readonly status: Status;
}

/** Writes the status of a run into its state folder each second, and at the end. What cannot be written is left: the run counts. */
export function keepStatusFile(run: Pick<Run, 'status'>, folder: string): { close(): Promise<void> } {
  const path = join(folder, 'status.json');
  let writing: Promise<void> | undefined;
  const write = async () => {
    const file: StatusFile = { version: 1, pid: process.pid, at: Date.now(), status: run.status() };
    await mkdir(folder, { recursive: true });
    // Whoever reads it finds the old one or the new one, whole.
    await writeFile(`${path}.new`, JSON.stringify(file));
    await rename(`${path}.new`, path);
  };
  const tick = () => {
    writing ??= write()
      .catch(() => undefined)
      .finally(() => {
        writing = undefined;
      });
    return writing;
  };
  void tick();
  const timer = setInterval(() => void tick(), everyMs).unref();
  return {
    async close() {
      clearInterval(timer);
      await writing;
      await tick();
    },
  };
}

/** The status that a run has written last; `undefined` when there is none. */
export function readStatusFile(folder: string): StatusFile | undefined {
  try {
    const file = JSON.parse(readFileSync(join(folder, 'status.json'), 'utf8')) as StatusFile;
    return file.version === 1 ? file : undefined;
  } catch {
    return undefined;
  }
}

/** The process that wrote the status is still there. */
export function isAlive({ pid }: StatusFile): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
