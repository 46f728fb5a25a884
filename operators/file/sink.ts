import { dirname } from 'node:path';
import {
  type DiskFile,
  type Log,
  type OpenSink,
  type Position,
  type Refused,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';

const firstWaitMs = 500;
const longestWaitMs = 30_000;
const newline = 10;
// A character takes at most three bytes.
const blockCharacters = 1 << 20;
const blockBytes = 3 * blockCharacters;
// Places where waiting helps: no space, over quota, no descriptors left.
const passing = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EAGAIN']);

/** What a checkpoint holds of the file. */
interface Mark {
  readonly path: string;
  readonly bytes: number;
}

/**
 * Opens the file for appending. What was written after the checkpoint that the run goes on from is cut off, and so is what a crash left of an
 * unfinished last line: those records come again.
 */
export async function openAppend(options: { path: string; sync?: boolean }, context: SinkContext): Promise<OpenSink> {
  const { path, sync = true } = options;
  const { disk } = context.ports;
  try {
    const size = await disk.size(path);
    if (size === undefined) await disk.mkdir(dirname(path));
    const file = await disk.open(path, size === undefined ? 'w' : 'r+');
    if (size === undefined) await disk.syncDirectory(dirname(path));
    const kept = await cutBack(file, size ?? 0, path, context);
    const end = kept > 0 ? await cutUnfinished(file, kept, path, context.log) : 0;
    return new Appender(path, file, end, sync, context);
  } catch (cause) {
    throw new RunError(
      `\`${path}\` cannot be opened for writing: ${(cause as Error).message}. Check \`path\` of \`${context.id}\` and its permissions.`,
      { cause },
    );
  }
}

/** Cuts the file back to the checkpoint; gives the size it then has. A file that is no longer the same is left as it is. */
async function cutBack(file: DiskFile, size: number, path: string, { position, log }: SinkContext): Promise<number> {
  const mark = position as Mark | undefined;
  if (mark?.path !== path || mark.bytes === size) return size;
  const last = Buffer.of(newline);
  if (mark.bytes > 0 && mark.bytes < size) await file.read(last, 0, 1, mark.bytes - 1);
  if (mark.bytes > size || last[0] !== newline) {
    log.warn(
      'The file is not the one that was written before, or a part of it is gone: results are appended to what is there.',
      {
        path,
        bytes: size,
        expectedBytes: mark.bytes,
      },
    );
    return size;
  }
  log.info('What was written after the last checkpoint has been cut off: it is written again.', {
    path,
    bytes: size - mark.bytes,
  });
  await file.truncate(mark.bytes);
  await file.sync();
  return mark.bytes;
}

/**
 * A power cut may leave any part of the last write: holes of zeros, and a last line that does not end. Lines of JSON hold no zero byte.
 * Confirmed lines lie before that write, which is never longer than `blockBytes` or one line.
 */
async function cutUnfinished(file: DiskFile, size: number, path: string, log: Log): Promise<number> {
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

class Appender implements OpenSink {
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #sync: boolean;
  readonly #context: SinkContext;
  #end: number;

  constructor(path: string, file: DiskFile, end: number, sync: boolean, context: SinkContext) {
    this.#path = path;
    this.#file = file;
    this.#end = end;
    this.#sync = sync;
    this.#context = context;
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    for (const text of blocks(records, refused)) {
      const data = Buffer.from(text);
      await this.#append(data);
      this.#end += data.length;
      if (this.#sync) await this.#makeDurable();
    }
    return refused.length > 0 ? refused : undefined;
  }

  position(): Position {
    return { path: this.#path, bytes: this.#end };
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  // A write that stopped half-way is done again at the same place, so that no half line stays behind.
  async #append(data: Buffer): Promise<void> {
    const { ports, signal, log } = this.#context;
    for (let wait = firstWaitMs, tries = 1; ; wait = Math.min(2 * wait, longestWaitMs), tries++) {
      try {
        await this.#file.write(data, this.#end);
        if (tries > 1) log.info('The file can be written again.', { path: this.#path });
        return;
      } catch (cause) {
        const { code, message } = cause as NodeJS.ErrnoException;
        if (!passing.has(code ?? '')) throw new RunError(`\`${this.#path}\` cannot be written: ${message}`, { cause });
        if (tries === 1)
          log.error('The file cannot be written: waiting until there is room.', { path: this.#path, code });
        await ports.clock.sleep(wait * (0.5 + ports.random() / 2), signal);
        if (signal.aborted)
          throw new RunError(`Stopped while \`${this.#path}\` could not be written: ${message}`, { cause });
      }
    }
  }

  async #makeDurable(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (cause) {
      throw new RunError(
        `\`${this.#path}\` could not be made durable: ${(cause as Error).message}. What was written last may be lost; ` +
          'check the disk, then start again: the run goes on from its last checkpoint.',
        { cause },
      );
    }
  }
}

function* blocks(records: readonly StreamRecord[], refused: Refused[]): Generator<string> {
  let text = '';
  for (let index = 0; index < records.length; index++) {
    const line = toLine(records[index]!.value, index, refused);
    if (line === undefined) continue;
    if (text.length > 0 && text.length + line.length >= blockCharacters) {
      yield text;
      text = '';
    }
    text += `${line}\n`;
  }
  if (text.length > 0) yield text;
}

function toLine(value: unknown, index: number, refused: Refused[]): string | undefined {
  try {
    const line: string | undefined = JSON.stringify(value);
    if (line === undefined)
      refused.push({ index, message: 'The value is undefined or a function; expected what JSON can hold.' });
    return line;
  } catch (error) {
    refused.push({ index, message: `The value cannot be written as JSON: ${(error as Error).message}` });
    return undefined;
  }
}
