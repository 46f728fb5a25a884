import { basename, dirname, join } from 'node:path';
import {
  type Batch,
  type OpenSource,
  type Position,
  type PullLimits,
  type RawRecord,
  RunError,
  type SourceContext,
  type SourcePartition,
} from '../../src/operator.ts';
import type { FilePosition } from './records.ts';
import { type FileOptions, openPartition } from './source.ts';

/** Where the reading of several files stands. */
interface FilesPosition extends FilePosition {
  readonly file: string;
  /** Lines of the files before this one. */
  readonly before: number;
}

type Open = Awaited<ReturnType<typeof openPartition>>;

/** Opens the files that match `path`, to be read one after the other. */
export async function openFiles(options: FileOptions, context: SourceContext): Promise<OpenSource> {
  const partition = new Files(options, context);
  await partition.begin();
  context.assign(partition);
  context.complete();
  return { close: () => partition.close() };
}

/** One partition out of files that follow each other in the order of their names. */
class Files implements SourcePartition {
  readonly id = '0';
  readonly #options: FileOptions;
  readonly #context: SourceContext;
  readonly #folder: string;
  readonly #matches: (name: string) => boolean;
  #open: Open | undefined;
  #position: FilesPosition = { file: '', offset: 0, line: 0, before: 0 };

  constructor(options: FileOptions, context: SourceContext) {
    this.#options = options;
    this.#context = context;
    this.#folder = dirname(options.path);
    this.#matches = matcher(basename(options.path));
  }

  async begin(): Promise<void> {
    const { path } = this.#options;
    const { id, log } = this.#context;
    const stored = this.#context.position(this.id) as FilesPosition | undefined;
    if (stored === undefined) {
      if (!this.#follows && (await this.#after('')) === undefined)
        throw new RunError(`No file is called \`${path}\`. Check \`path\` of \`${id}\`.`);
      return;
    }
    if (typeof stored.file !== 'string' || !Number.isSafeInteger(stored.before)) {
      throw new RunError(
        `The checkpoint of \`${id}\` is of one file, and \`path\` now names several. Start with --fresh.`,
      );
    }
    this.#position = stored;
    if (stored.file === '') return;
    const current = join(this.#folder, stored.file);
    if ((await this.#context.ports.disk.size(current)) !== undefined) await this.#openAt(stored);
    else log.warn('The file that was read last is gone: reading goes on with the next one.', { path: current });
  }

  get caughtUp(): boolean {
    return this.#open?.partition.caughtUp ?? true;
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const { signal } = this.#context;
    while (!signal.aborted) {
      const batch = await this.#open?.partition.pull(limits);
      if (batch) {
        const before = this.#position.before;
        this.#position = { ...this.#position, ...(batch.next as unknown as FilePosition) };
        return new BatchOfFiles(batch, before, { ...this.#position });
      }
      if (signal.aborted) return null;
      // It was followed, and another file has come: what it ends in is a record by now.
      if (this.#open?.followed) await this.#openAt(this.#position);
      else if (!(await this.#next())) return null;
    }
    return null;
  }

  async close(): Promise<void> {
    await this.#open?.partition.close();
  }

  get #follows(): boolean {
    return this.#options.follow === true && this.#context.replay === undefined;
  }

  /** Opens the next file; waits for one while files are followed. */
  async #next(): Promise<boolean> {
    const { signal, ports } = this.#context;
    for (;;) {
      const file = await this.#after(this.#position.file);
      if (file !== undefined) {
        await this.#openAt({ file, offset: 0, line: 0, before: this.#position.before + this.#position.line });
        return true;
      }
      if (!this.#follows || signal.aborted) return false;
      await ports.clock.sleep(250, signal);
    }
  }

  async #openAt(position: FilesPosition): Promise<void> {
    await this.#open?.partition.close();
    this.#position = position;
    const { file, offset, line } = position;
    const last = this.#follows && !file.endsWith('.gz') && (await this.#after(file)) === undefined;
    this.#open = await openPartition(
      { ...this.#options, path: join(this.#folder, file), follow: last },
      this.#context,
      { offset, line },
      async () => (await this.#after(file)) !== undefined,
    );
  }

  /** The first file behind this name. */
  async #after(name: string): Promise<string | undefined> {
    const names = await this.#context.ports.disk.list(this.#folder);
    return names.filter((other) => other > name && this.#matches(other)).sort()[0];
  }
}

/** `*` stands for any text. Linear in the length of the name. */
function matcher(pattern: string): (name: string) => boolean {
  const [first = '', ...parts] = pattern.split('*');
  const last = parts.pop() ?? '';
  return (name) => {
    if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
    let at = first.length;
    for (const part of parts) {
      const found = name.indexOf(part, at);
      if (found === -1 || found + part.length > name.length - last.length) return false;
      at = found + part.length;
    }
    return true;
  };
}

/** Records of one of several files: they are counted over all of them. */
class BatchOfFiles implements Batch {
  readonly length: number;
  readonly clean: boolean;
  readonly next: Position;
  readonly #batch: Batch;
  readonly #before: number;

  constructor(batch: Batch, before: number, next: FilesPosition) {
    this.length = batch.length;
    this.clean = batch.clean ?? false;
    this.next = { ...next };
    this.#batch = batch;
    this.#before = before;
  }

  read(index: number, into: RawRecord): void {
    this.#batch.read(index, into);
    into.offset += this.#before;
  }
}
