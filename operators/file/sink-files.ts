import { basename, dirname, join } from 'node:path';
import { type Disk, type DiskFile, type Log, RunError, type SinkContext } from '../../src/operator.ts';

const newline = 10;

/** What a checkpoint holds of the output. */
export interface Mark {
  readonly path: string;
  /** Length of the file that is written. */
  readonly bytes: number;
  /** With `rotate`: the number of that file, and when it was begun, in ms. */
  readonly number?: number;
  readonly since?: number;
}

/** The file that is written next. */
export interface Current {
  readonly file: DiskFile;
  readonly bytes: number;
  readonly number: number;
  readonly since: number;
}

/** What the output is like. */
export interface Layout {
  readonly path: string;
  readonly rotates: boolean;
  readonly gzip: boolean;
  /** The longest write whose parts a crash may leave. */
  readonly blockBytes: number;
}

/** Name of a file of a rotated output: `results.jsonl` gives `results.000001.jsonl`. */
export function numbered(path: string, number: number): string {
  const name = basename(path);
  const dot = name.indexOf('.', 1);
  const [stem, rest] = dot === -1 ? [name, ''] : [name.slice(0, dot), name.slice(dot)];
  return join(dirname(path), `${stem}.${String(number).padStart(6, '0')}${rest}`);
}

/** Opens an empty file, and makes its name durable. */
export async function create(disk: Disk, path: string): Promise<DiskFile> {
  const file = await disk.open(path, 'w');
  await disk.syncDirectory(dirname(path));
  return file;
}

/** Opens the output where the last checkpoint stands, or behind what is there. */
export async function openOutput(layout: Layout, context: SinkContext): Promise<Current> {
  const { disk } = context.ports;
  const mark = context.position as Mark | undefined;
  const own = mark?.path === layout.path && (mark.number !== undefined) === layout.rotates ? mark : undefined;
  await disk.mkdir(dirname(layout.path));
  return layout.rotates ? openRotated(layout, own, context) : openOnly(layout, own, context);
}

async function openOnly(layout: Layout, mark: Mark | undefined, context: SinkContext): Promise<Current> {
  const { path, gzip, blockBytes } = layout;
  const { ports, log, id } = context;
  const size = await ports.disk.size(path);
  if (size === undefined) {
    if (mark !== undefined && mark.bytes > 0) warnOfAnother(log, path, 0, mark.bytes);
    return { file: await create(ports.disk, path), bytes: 0, number: 0, since: 0 };
  }
  const file = await ports.disk.open(path, 'r+');
  const cut = mark && (await cutBack(file, size, path, mark, gzip, log));
  if (gzip && cut === undefined && size > 0) {
    await file.close();
    throw new RunError(
      `\`${path}\` is there, and no checkpoint tells how much of it is whole. Move it away, or set \`rotate\` on \`${id}\`: then a new file is begun.`,
    );
  }
  const kept = cut ?? size;
  const bytes = gzip || kept === 0 ? kept : await cutUnfinished(file, kept, path, blockBytes, log);
  return { file, bytes, number: 0, since: 0 };
}

async function openRotated(layout: Layout, mark: Mark | undefined, context: SinkContext): Promise<Current> {
  const { path, gzip } = layout;
  const { ports, log } = context;
  const numbers = await numbersOf(ports.disk, path);
  if (mark?.number !== undefined) {
    const current = numbered(path, mark.number);
    const size = await ports.disk.size(current);
    const file = size === undefined ? undefined : await ports.disk.open(current, 'r+');
    const bytes = file && (await cutBack(file, size!, current, mark, gzip, log));
    if (file && bytes !== undefined) {
      for (const later of numbers.filter((number) => number > mark.number!))
        await ports.disk.remove(numbered(path, later));
      await ports.disk.syncDirectory(dirname(path));
      return { file, bytes, number: mark.number, since: mark.since ?? 0 };
    }
    await file?.close();
    if (size === undefined) warnOfAnother(log, current, 0, mark.bytes);
  }
  const number = Math.max(0, ...numbers) + 1;
  return { file: await create(ports.disk, numbered(path, number)), bytes: 0, number, since: 0 };
}

/** Numbers of the files of a rotated output that are there. */
async function numbersOf(disk: Disk, path: string): Promise<number[]> {
  const names = new Set(await disk.list(dirname(path)));
  const digits = [...names].flatMap((name) => /\.(\d{6,15})(?=\.|$)/.exec(name)?.[1] ?? []);
  return [...new Set(digits.map(Number))].filter((number) => names.has(basename(numbered(path, number))));
}

/** Cuts the file back to the checkpoint; gives its size then. `undefined` for a file that is not the same any more: it is left as it is. */
async function cutBack(
  file: DiskFile,
  size: number,
  path: string,
  mark: Mark,
  gzip: boolean,
  log: Log,
): Promise<number | undefined> {
  if (mark.bytes === size) return size;
  if (mark.bytes > size || !(await endsThere(file, mark.bytes, gzip))) {
    warnOfAnother(log, path, size, mark.bytes);
    return undefined;
  }
  log.info('What was written after the last checkpoint has been cut off: it is written again.', {
    path,
    bytes: size - mark.bytes,
  });
  await file.truncate(mark.bytes);
  await file.sync();
  return mark.bytes;
}

function warnOfAnother(log: Log, path: string, bytes: number, expectedBytes: number): void {
  const what =
    'The file is not the one that was written before, or a part of it is gone: results go behind what is there.';
  log.warn(what, { path, bytes, expectedBytes });
}

// A line ends before, or compressed data begins behind.
async function endsThere(file: DiskFile, bytes: number, gzip: boolean): Promise<boolean> {
  if (gzip) {
    const magic = Buffer.alloc(2);
    const read = await file.read(magic, 0, 2, bytes);
    return read < 2 || magic.readUInt16BE(0) === 0x1f8b || magic.readUInt16BE(0) === 0;
  }
  const last = Buffer.of(newline);
  if (bytes > 0) await file.read(last, 0, 1, bytes - 1);
  return last[0] === newline;
}

/**
 * A power cut may leave any part of the last write: holes of zeros, and a last line that does not end. Lines hold no zero byte.
 * Confirmed lines lie before that write, which is never longer than `blockBytes` or one line.
 */
async function cutUnfinished(
  file: DiskFile,
  size: number,
  path: string,
  blockBytes: number,
  log: Log,
): Promise<number> {
  const from = await lineStart(file, Math.max(0, size - blockBytes));
  const last = Buffer.alloc(size - from);
  for (let read = 0, got = -1; read < last.length && got !== 0; read += got) {
    got = await file.read(last, read, last.length - read, from + read);
  }
  const hole = last.indexOf(0);
  const end = from + 1 + (hole === -1 ? last.lastIndexOf(newline) : last.lastIndexOf(newline, hole));
  if (end < size) {
    log.warn('The file ended in an unfinished write, as a crash leaves it: it has been cut off.', {
      path,
      bytes: size - end,
    });
    await file.truncate(end);
    await file.sync();
  }
  return end;
}

/** Where the line begins that holds the byte before `offset`, or 0. */
async function lineStart(file: DiskFile, offset: number): Promise<number> {
  const block = Buffer.allocUnsafe(64 * 1024);
  for (let end = offset; end > 0; ) {
    const from = Math.max(0, end - block.length);
    const read = await file.read(block, 0, end - from, from);
    const found = block.subarray(0, read).lastIndexOf(newline);
    if (found !== -1) return from + found + 1;
    end = from;
  }
  return 0;
}
