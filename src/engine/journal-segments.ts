import { dirname, join } from 'node:path';
import { RunError } from '../errors.ts';
import type { Log } from '../operator.ts';
import type { Disk, DiskFile } from '../ports.ts';
import {
  arrivalAt,
  checkFileHeader,
  fileHeader,
  fileHeaderBytes,
  recordHeaderBytes,
  scanRecords,
} from './journal-record.ts';

/** One file of a journal. Its name is the offset of its first record. */
export interface Segment {
  readonly base: number;
  readonly path: string;
  /** Durable bytes. */
  size: number;
  /** When its first record came, once that is known. */
  first?: number;
}

const namePattern = /^(\d{16})\.log$/;

/** The file that begins at an offset. It need not exist. */
export function segmentAt(directory: string, base: number): Segment {
  return { base, path: join(directory, `${String(base).padStart(16, '0')}.log`), size: fileHeaderBytes };
}

/** The files of a journal in the order of their offsets. Makes the folder, durably, when there is none. */
export async function listSegments(disk: Disk, directory: string): Promise<Segment[]> {
  await disk.mkdir(directory);
  await disk.syncDirectory(dirname(directory));
  await disk.syncDirectory(directory);
  return findSegments(disk, directory);
}

/** The files of a journal that is there, in the order of their offsets, with the bytes they hold, durable or not. */
export async function findSegments(disk: Disk, directory: string): Promise<Segment[]> {
  const segments: Segment[] = [];
  for (const name of await disk.list(directory)) {
    const base = namePattern.exec(name)?.[1];
    if (base === undefined) continue;
    const segment = segmentAt(directory, Number(base));
    segment.size = (await disk.size(segment.path)) ?? 0;
    segments.push(segment);
  }
  return segments.sort((a, b) => a.base - b.base);
}

/** When the first record of a file came, in ms; `undefined` while it has none. */
export async function firstArrival(disk: Disk, segment: Segment): Promise<number | undefined> {
  if (segment.first !== undefined) return segment.first;
  const file = await disk.open(segment.path, 'r');
  try {
    const head = Buffer.alloc(recordHeaderBytes);
    if ((await file.read(head, 0, head.length, fileHeaderBytes)) < head.length) return undefined;
    segment.first = arrivalAt(head, 0);
    return segment.first;
  } finally {
    await file.close();
  }
}

/** Names a journal file that cannot be trusted, and what to do. */
export function damaged(path: string, what: string): RunError {
  return new RunError(
    `The journal file ${path} is damaged: it ${what}. Records that had been acknowledged are lost or wrong, so the run does not go on. Restore the file from a copy, or move the journal's folder away to begin with an empty one.`,
  );
}

/**
 * Opens the last file of a journal for appending. What a crash left half-written is cut off, and what it left whole is made
 * durable before anybody reads it. Throws a RunError when a record is bad that had been durable.
 */
export async function recoverLast(
  disk: Disk,
  segment: Segment,
  log: Log | undefined,
): Promise<{ file: DiskFile; next: number }> {
  const content = await disk.readFile(segment.path);
  const file = await disk.open(segment.path, 'r+');
  try {
    const problem = checkFileHeader(content);
    // The head is durable before the first record is written: a bad one with nothing behind it is a torn write.
    if (problem !== undefined && content.length > fileHeaderBytes) throw damaged(segment.path, problem);
    if (problem !== undefined) {
      await file.truncate(0);
      await file.write(fileHeader(), 0);
    }
    const { end, next, lost } =
      problem === undefined
        ? scanRecords(content, segment.base)
        : { end: fileHeaderBytes, next: segment.base, lost: false };
    if (lost)
      throw damaged(segment.path, `holds a bad record ${next} at byte ${end}, with good ones written later behind it`);
    if (content.length > end) {
      log?.warn(
        'The last write to the journal was torn by a crash and has been cut off. Nothing in it had been acknowledged.',
        {
          file: segment.path,
          bytes: content.length - end,
        },
      );
      await file.truncate(end);
    }
    await file.sync();
    segment.size = end;
    return { file, next };
  } catch (error) {
    await file.close();
    throw error;
  }
}
