import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import { lockFolder } from '../ports/folder-lock.ts';
import { openDiskStore } from './disk-store.ts';

/**
 * Writes the state file of a folder anew, without the pages that old state has left free in it; the new file takes the place of the old one
 * in one step. Gives the sizes before and after, in bytes. Raises a RunError when a run is at work there, or the state is damaged.
 */
export async function compactState(directory: string): Promise<{ readonly before: number; readonly after: number }> {
  // Looks at every byte: what is damaged is not to be copied over what can still be repaired.
  const store = openDiskStore(directory);
  await store.settle();
  await store.close();
  const release = lockFolder(directory);
  const path = join(directory, 'state.mdb');
  const copy = join(directory, 'state-compact.mdb');
  try {
    const before = statSync(path).size;
    rmSync(copy, { force: true });
    const db = open({ path, encoding: 'binary', keyEncoding: 'binary', cache: false });
    await db.backup(copy, true);
    await db.close();
    sync(copy);
    renameSync(copy, path);
    rmSync(`${path}-lock`, { force: true });
    sync(directory);
    return { before, after: statSync(path).size };
  } finally {
    rmSync(copy, { force: true });
    release();
  }
}

function sync(path: string): void {
  const file = openSync(path, 'r');
  fsyncSync(file);
  closeSync(file);
}
