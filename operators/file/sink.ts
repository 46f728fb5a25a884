import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import {
  type DiskFile,
  durationMs,
  type OpenSink,
  type Position,
  type Refused,
  RunError,
  type SinkContext,
  type StreamRecord,
  sizeBytes,
} from '../../src/operator.ts';
import { type Current, create, numbered, openOutput } from './sink-files.ts';
import { blocks, type CsvOutput, csvLines, jsonLines, type Lines } from './sink-lines.ts';

export interface FileSinkOptions {
  readonly path: string;
  readonly sync?: boolean;
  readonly csv?: CsvOutput;
  readonly gzip?: boolean;
  readonly rotate?: { readonly size?: string; readonly every?: string };
}

const firstWaitMs = 500;
const longestWaitMs = 30_000;
// A character takes at most three bytes.
const blockCharacters = 1 << 20;
const blockBytes = 3 * blockCharacters;
// Places where waiting helps: no space, over quota, no descriptors left.
const passing = new Set(['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'EAGAIN']);
const compress = promisify(gzip);

/**
 * Opens the output for appending. What was written after the checkpoint that the run goes on from is cut off, and so is what a crash left of an
 * unfinished last line: those records come again.
 */
export async function openAppend(options: FileSinkOptions, context: SinkContext): Promise<OpenSink> {
  const { path, gzip: zipped = false, rotate, csv } = options;
  const lines = csv ? csvLines(csv) : jsonLines;
  try {
    const current = await openOutput({ path, gzip: zipped, rotates: rotate !== undefined, blockBytes }, context);
    if (!zipped && current.bytes > 0) await checkHeader(current.file, lines.header, path, context.id);
    return new Appender(options, lines, current, context);
  } catch (cause) {
    if (cause instanceof RunError) throw cause;
    throw new RunError(
      `\`${path}\` cannot be opened for writing: ${(cause as Error).message}. Check \`path\` of \`${context.id}\` and its permissions.`,
      { cause },
    );
  }
}

async function checkHeader(file: DiskFile, header: string, path: string, id: string): Promise<void> {
  const wanted = Buffer.from(header);
  const found = Buffer.alloc(wanted.length);
  await file.read(found, 0, found.length, 0);
  if (found.equals(wanted)) return;
  await file.close();
  throw new RunError(
    `\`${path}\` does not begin with the columns of \`${id}\`. Move it away: a new one is begun. Or put \`csv.columns\` back.`,
  );
}

class Appender implements OpenSink {
  readonly #options: FileSinkOptions;
  readonly #lines: Lines;
  readonly #context: SinkContext;
  readonly #sizeMax: number;
  readonly #ageMaxMs: number;
  #current: Current;

  constructor(options: FileSinkOptions, lines: Lines, current: Current, context: SinkContext) {
    const { size, every } = options.rotate ?? {};
    this.#options = options;
    this.#lines = lines;
    this.#current = current;
    this.#context = context;
    this.#sizeMax = size === undefined ? Number.POSITIVE_INFINITY : sizeBytes(size);
    this.#ageMaxMs = every === undefined ? Number.POSITIVE_INFINITY : durationMs(every);
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    for (const text of blocks(records, this.#lines, blockCharacters, refused)) {
      await this.#patiently(() => this.#rotateIfDue(text.length));
      const { bytes } = this.#current;
      const plain = bytes === 0 ? this.#lines.header + text : text;
      // Each piece can be unpacked by itself, so that the file may be cut off behind any of them.
      const data = this.#options.gzip ? await compress(plain) : Buffer.from(plain);
      // A write that stopped half-way is done again at the same place, so that no half line stays behind.
      await this.#patiently(() => this.#current.file.write(data, bytes));
      const since = bytes === 0 ? this.#context.ports.clock.now() : this.#current.since;
      this.#current = { ...this.#current, bytes: bytes + data.length, since };
      if (this.#options.sync !== false) await this.#makeDurable();
    }
    return refused.length > 0 ? refused : undefined;
  }

  position(): Position {
    const { bytes, number, since } = this.#current;
    const { path, rotate } = this.#options;
    return rotate ? { path, bytes, number, since } : { path, bytes };
  }

  async close(): Promise<void> {
    await this.#current.file.close();
  }

  get #path(): string {
    const { path, rotate } = this.#options;
    return rotate ? numbered(path, this.#current.number) : path;
  }

  /** Begins the next file when the one at hand is old, or would become too large. */
  async #rotateIfDue(more: number): Promise<void> {
    const { file, bytes, number, since } = this.#current;
    const { clock, disk } = this.#context.ports;
    if (bytes === 0) return;
    if (bytes + more <= this.#sizeMax && clock.now() - since < this.#ageMaxMs) return;
    const next = await create(disk, numbered(this.#options.path, number + 1));
    await this.#makeDurable();
    this.#current = { file: next, bytes: 0, number: number + 1, since: 0 };
    await file.close();
  }

  async #patiently(attempt: () => Promise<void>): Promise<void> {
    const { ports, signal, log } = this.#context;
    for (let wait = firstWaitMs, tries = 1; ; wait = Math.min(2 * wait, longestWaitMs), tries++) {
      try {
        await attempt();
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
      await this.#current.file.sync();
    } catch (cause) {
      throw new RunError(
        `\`${this.#path}\` could not be made durable: ${(cause as Error).message}. What was written last may be lost; ` +
          'check the disk, then start again: the run goes on from its last checkpoint.',
        { cause },
      );
    }
  }
}
