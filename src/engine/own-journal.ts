import type { Journal, JournalSize, Log, Ports } from '../operator.ts';
import { openJournal } from './journal.ts';

/** Opens a journal outside of the state folder, which nothing else keeps others from writing: its folder is locked while it is open. */
export async function openOwnJournal(
  path: string,
  size: JournalSize | undefined,
  { ports: { disk, clock }, log }: { readonly ports: Ports; readonly log: Log },
): Promise<Journal> {
  await disk.mkdir(path);
  const release = disk.lock?.(path);
  try {
    const journal = await openJournal(disk, path, { log, clock, ...size });
    const close = journal.close.bind(journal);
    journal.close = () => close().finally(() => release?.());
    return journal;
  } catch (error) {
    release?.();
    throw error;
  }
}
