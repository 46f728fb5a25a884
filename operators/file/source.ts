import { isUtf8 } from 'node:buffer';
import {
  type Batch,
  type DiskFile,
  type Meta,
  type OpenSource,
  type PullLimits,
  type RawRecord,
  RunError,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
} from '../../src/operator.ts';
import { type CellType, csvDecoder, csvEnd, splitCells } from './csv.ts';
import { Gunzipped } from './gunzip.ts';
import { Chunk, Cutter, type FilePosition, lineEnd } from './records.ts';

export interface FileOptions {
  readonly path: string;
  readonly follow?: boolean;
  readonly maxPayload?: string;
  readonly csv?: {
    readonly delimiter?: string;
    readonly header?: boolean;
    readonly columns?: readonly string[];
    readonly types?: Readonly<Record<string, CellType>>;
  };
}

const pollMs = 250;

type Decode = ReturnType<typeof csvDecoder>;

/** Opens the file at its checkpointed position, or at its beginning. */
export async function openFile(options: FileOptions, context: SourceContext): Promise<OpenSource> {
  const { partition } = await openPartition(options, context, context.position('0'));
  context.assign(partition);
  context.complete();
  return { close: () => partition.close() };
}

/** Opens one file to be read from a position on. One that is followed ends once `over` says that nothing more comes. */
export async function openPartition(
  options: FileOptions,
  context: SourceContext,
  stored: unknown,
  over?: () => Promise<boolean>,
): Promise<{ partition: SourcePartition & { close(): Promise<void> }; followed: boolean }> {
  const { disk } = context.ports;
  const { path } = options;
  const size = await disk.size(path);
  if (size === undefined) throw new RunError(`There is no file \`${path}\`. Check \`path\` of \`${context.id}\`.`);
  const packed = path.endsWith('.gz');
  const position = checkedPosition(path, stored, packed ? Number.POSITIVE_INFINITY : size, context.id);
  const raw = await disk.open(path, 'r');
  const file = packed ? new Gunzipped(raw) : raw;
  try {
    const columns = options.csv ? await csvColumns(options, file) : undefined;
    // A replay ends where the file ends.
    const read = context.replay ? { ...options, follow: false } : options;
    const partition = new FilePartition(read, context, file, columns, position, over);
    return { partition, followed: read.follow === true };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function checkedPosition(path: string, stored: unknown, size: number, id: string): FilePosition {
  if (stored === undefined) return { offset: 0, line: 0 };
  const position = stored as FilePosition;
  if (!Number.isSafeInteger(position.offset) || !Number.isSafeInteger(position.line)) {
    throw new RunError(
      `The checkpoint holds a position of \`${id}\` that is not one of a file. Was it another source before?`,
    );
  }
  if (position.offset > size) throw shorter(path, size, position.offset);
  return position;
}

function shorter(path: string, size: number, offset: number): RunError {
  return new RunError(
    `\`${path}\` has ${size} bytes, but ${offset} have been read before: it was cut off or replaced. ` +
      'Put the old file back, or start with --fresh to read the new one from its beginning.',
  );
}

/** Names of the columns and where the first record begins. */
interface Columns {
  readonly names: readonly string[];
  readonly start: FilePosition;
}

async function csvColumns({ path, csv, maxPayload = '1MiB' }: FileOptions, file: DiskFile): Promise<Columns> {
  const { delimiter = ',', header = true, columns } = csv!;
  if (!header) return { names: columns ?? [], start: { offset: 0, line: 0 } };
  const cutter = new Cutter(csvEnd(delimiter), sizeBytes(maxPayload), true);
  let chunk = new Chunk();
  do chunk = await new Chunk().fill(file, chunk, cutter);
  while (chunk.count === 0 && !chunk.ended);
  if (chunk.count === 0)
    throw new RunError(`\`${path}\` is empty; expected a header line with the names of the columns.`);
  const cells = splitCells(chunk.data.toString('utf8', chunk.starts[0], chunk.ends[0]), delimiter);
  if (typeof cells === 'string') throw new RunError(`The header line of \`${path}\` is not CSV: ${cells}.`);
  const twice = cells.find((name, i) => cells.indexOf(name) !== i || name === '__proto__');
  if (twice !== undefined) {
    throw new RunError(
      `The header of \`${path}\` names the column \`${twice}\` twice, or it is \`__proto__\`. Rename it.`,
    );
  }
  return { names: cells, start: chunk.count > 1 ? chunk.before(1) : chunk.next };
}

class FilePartition implements SourcePartition {
  readonly id = '0';
  caughtUp = false;
  readonly #path: string;
  readonly #follow: boolean;
  readonly #context: SourceContext;
  readonly #file: DiskFile;
  readonly #cutter: Cutter;
  readonly #decode: Decode | undefined;
  readonly #maxPayload: string;
  readonly #meta: Meta;
  readonly #over: () => Promise<boolean>;
  /** The chunk whose records are handed out, and the one that is read meanwhile. */
  #current = new Chunk();
  #spare = new Chunk();
  #ahead: Promise<Chunk> | undefined;
  #given = 0;

  constructor(
    options: FileOptions,
    context: SourceContext,
    file: DiskFile,
    columns: Columns | undefined,
    position: FilePosition,
    over: () => Promise<boolean> = async () => false,
  ) {
    this.#over = over;
    const { csv, path, follow = false, maxPayload = '1MiB' } = options;
    this.#path = path;
    this.#follow = follow;
    this.#context = context;
    this.#file = file;
    this.#maxPayload = maxPayload;
    this.#meta = { topic: path };
    this.#decode = columns && csvDecoder(columns.names, csv?.delimiter ?? ',', csv?.types ?? {});
    this.#cutter = new Cutter(csv ? csvEnd(csv.delimiter ?? ',') : lineEnd, sizeBytes(maxPayload), !follow);
    this.#current.reset(columns && position.offset < columns.start.offset ? columns.start : position);
    this.#readAhead();
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    while (!this.#context.signal.aborted) {
      if (this.#given < this.#current.count) return this.#batch(limits);
      if (this.#current.ended && !(await this.#grown())) return null;
      const used = this.#current;
      this.#current = await this.#ahead!;
      this.#spare = used;
      this.#given = 0;
      this.#readAhead();
    }
    return null;
  }

  async close(): Promise<void> {
    await this.#ahead?.catch(() => undefined);
    await this.#file.close();
  }

  // The other buffer is filled while the records of this one are worked on: only its last, unfinished line is copied.
  #readAhead(): void {
    this.#ahead = this.#spare.fill(this.#file, this.#current, this.#cutter).catch((cause) => {
      throw new RunError(`\`${this.#path}\` cannot be read: ${(cause as Error).message}`, { cause });
    });
    this.#ahead.catch(() => undefined); // whoever pulls next gets it
  }

  /** At the end of the file: waits until there is more, if it is to be followed. */
  async #grown(): Promise<boolean> {
    this.caughtUp = true;
    if (!this.#follow) return false;
    const { signal, ports } = this.#context;
    const read = this.#current.base + this.#current.filled;
    while (!signal.aborted) {
      const over = await this.#over();
      const size = await ports.disk.size(this.#path);
      if (size === undefined) throw new RunError(`\`${this.#path}\` has been removed while it was followed.`);
      if (size < read) throw shorter(this.#path, size, read);
      if (size > read) {
        this.caughtUp = false;
        await this.#ahead; // it may have met the old end: read once more
        this.#readAhead();
        return true;
      }
      if (over) return false;
      await ports.clock.sleep(pollMs, signal);
    }
    return false;
  }

  #batch(limits: PullLimits): Batch {
    const chunk = this.#current;
    const first = this.#given;
    const most = Math.min(chunk.count, first + Math.max(1, limits.records));
    let last = first + 1;
    const fits = chunk.starts[first]! + limits.bytes;
    if (chunk.ends[most - 1]! <= fits) last = most;
    else while (last < most && chunk.ends[last]! <= fits) last++;
    this.#given = last;
    const next = last === chunk.count ? chunk.next : chunk.before(last);
    return new FileBatch(
      chunk,
      first,
      last,
      next,
      this.#context.ports.clock.now(),
      this.#meta,
      this.#maxPayload,
      this.#decode,
    );
  }
}

/** Records `[first, last)` of a chunk. */
class FileBatch implements Batch {
  readonly length: number;
  readonly clean: boolean;
  readonly next: { readonly [field: string]: unknown };
  readonly #chunk: Chunk;
  readonly #first: number;
  readonly #arrival: number;
  readonly #meta: Meta;
  readonly #maxPayload: string;
  readonly #decode: Decode | undefined;

  constructor(
    chunk: Chunk,
    first: number,
    last: number,
    next: FilePosition,
    arrival: number,
    meta: Meta,
    maxPayload: string,
    decode: Decode | undefined,
  ) {
    this.length = last - first;
    this.clean = chunk.clean;
    this.next = { ...next };
    this.#chunk = chunk;
    this.#first = first;
    this.#arrival = arrival;
    this.#meta = meta;
    this.#maxPayload = maxPayload;
    this.#decode = decode;
  }

  read(index: number, into: RawRecord): void {
    const chunk = this.#chunk;
    const at = this.#first + index;
    into.data = chunk.data;
    into.start = chunk.starts[at]!;
    into.end = chunk.ends[at]!;
    into.offset = chunk.lines[at]!;
    into.arrival = this.#arrival;
    into.meta = this.#meta;
    into.refused = undefined;
    if (chunk.tooLong.size > 0 && chunk.tooLong.has(at)) {
      into.decoded = false;
      into.refused = {
        code: 'payload-too-large',
        message: `Line ${into.offset + 1} is longer than \`maxPayload\` (${this.#maxPayload}); only its beginning may be kept.`,
      };
    } else if (this.#decode) this.#decodeInto(into, this.#decode);
  }

  #decodeInto(into: RawRecord, decode: Decode): void {
    into.decoded = false;
    if (!this.clean && !isUtf8(into.data.subarray(into.start, into.end))) {
      into.refused = { code: 'payload-encoding', message: `Line ${into.offset + 1} is not UTF-8 text.` };
      return;
    }
    const decoded = decode(into.data.toString('utf8', into.start, into.end));
    if ('problem' in decoded) {
      into.refused = {
        code: 'payload-malformed',
        message: `Line ${into.offset + 1} does not fit the columns: ${decoded.problem}`,
      };
    } else {
      into.decoded = true;
      into.value = decoded.value;
    }
  }
}
