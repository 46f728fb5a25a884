import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { RunError } from '../errors.ts';
import type { Log } from '../operator.ts';
import type { Clock, Disk, DiskFile } from '../ports.ts';
import { openJournal, type SizedJournal } from './journal.ts';

/** How far a buffer has been forwarded. */
export interface Forwarded {
  /** The entry that is next, and how many of its records are done. */
  readonly offset: number;
  readonly index: number;
  /** Records before that, since the buffer was made. */
  readonly records: number;
}

/** What a buffer keeps on disk: entries that wait, and how far they have been forwarded. */
export interface BufferStore {
  readonly journal: SizedJournal;
  /** As it was saved last. */
  readonly forwarded: Forwarded;
  /** Resolves once it is durable. Rejects with a RunError. */
  save(forwarded: Forwarded): Promise<void>;
  close(): Promise<void>;
}

const slotBytes = 32;
const nowhere: Forwarded = { offset: 0, index: 0, records: 0 };

/**
 * Opens the buffer in a folder, or makes an empty one. How far it was forwarded stands in two places that are written in turn, so that a
 * write torn by a crash leaves the one before it.
 */
export async function openBufferStore(
  disk: Disk,
  folder: string,
  { maxBytes, blocks, log, clock }: { maxBytes: number; blocks: boolean; log: Log; clock: Clock },
): Promise<BufferStore> {
  // A full one gives back file by file: small ones, for not too much at a time.
  const segmentBytes = Math.min(16 << 20, Math.max(4_096, Math.floor(maxBytes / 16)));
  const limit = blocks ? maxBytes : Number.POSITIVE_INFINITY;
  const journal = await openJournal(disk, folder, { maxBytes: limit, segmentBytes, log, clock });
  try {
    return await openPosition(disk, folder, journal);
  } catch (error) {
    await journal.close();
    if (error instanceof RunError) throw error;
    throw unusable(folder, error);
  }
}

async function openPosition(disk: Disk, folder: string, journal: SizedJournal): Promise<BufferStore> {
  const path = join(folder, 'forwarded');
  const there = (await disk.size(path)) !== undefined;
  const slots = there ? readSlots(await disk.readFile(path)) : [];
  const last = slots.reduce((a, b) => (b.turn > a.turn ? b : a), { turn: 0, forwarded: nowhere });
  const file = await disk.open(path, there ? 'r+' : 'w');
  let { turn, forwarded } = last;
  if (forwarded.offset > journal.end) {
    await file.close();
    throw new RunError(
      `The buffer in ${folder} was forwarded up to entry ${forwarded.offset}, but ends at ${journal.end}. Its files do not belong together: restore them from the same copy, or move the folder away to begin with an empty one.`,
    );
  }
  if (forwarded.offset < journal.begin) forwarded = { ...forwarded, offset: journal.begin, index: 0 };
  if (!there) {
    await file.write(Buffer.alloc(2 * slotBytes), 0);
    await file.sync();
    await disk.syncDirectory(folder);
  }
  return {
    journal,
    forwarded,
    async save(next) {
      turn++;
      try {
        await writeSlot(file, turn, next);
      } catch (error) {
        throw unusable(folder, error);
      }
    },
    async close() {
      await journal.close();
      await file.close();
    },
  };
}

async function writeSlot(file: DiskFile, turn: number, { offset, index, records }: Forwarded): Promise<void> {
  const slot = Buffer.alloc(slotBytes);
  slot.writeUIntLE(turn, 4, 6);
  slot.writeUIntLE(offset, 10, 6);
  slot.writeUInt32LE(index, 16);
  slot.writeUIntLE(records, 20, 6);
  slot.writeUInt32LE(crc32(slot.subarray(4)), 0);
  await file.write(slot, (turn % 2) * slotBytes);
  await file.sync();
}

function readSlots(content: Buffer): { turn: number; forwarded: Forwarded }[] {
  return [0, slotBytes].flatMap((at) => {
    const slot = content.subarray(at, at + slotBytes);
    if (slot.length < slotBytes || slot.readUInt32LE(0) !== crc32(slot.subarray(4))) return [];
    const forwarded = { offset: slot.readUIntLE(10, 6), index: slot.readUInt32LE(16), records: slot.readUIntLE(20, 6) };
    return [{ turn: slot.readUIntLE(4, 6), forwarded }];
  });
}

function unusable(folder: string, cause: unknown): RunError {
  return new RunError(
    `The buffer in ${folder} cannot be used: ${(cause as Error).message}. Check the disk, then start again.`,
    { cause },
  );
}
