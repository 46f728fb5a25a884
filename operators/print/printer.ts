import { type Key, type OpenSink, RunError, type SinkContext, type StreamRecord } from '../../src/operator.ts';
import { compactLine, jsonLine, type Layout, table } from './layout.ts';

export interface PrintOptions extends Layout {
  readonly format?: 'json' | 'table' | undefined;
}

/** What is printed to: standard output, or a stream of a test. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  write(text: string, done: (error?: Error | null) => void): boolean;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

const redrawMs = 100;

/** Prints to `output`. On a terminal a table is drawn again in place, at most ten times a second. */
export function openPrinter(options: PrintOptions, context: SinkContext, output: Output): OpenSink {
  const writer = new Writer(output, context.id);
  if (options.format !== 'table') return new Lines(writer, (record) => jsonLine(record.value));
  return output.isTTY
    ? new Screen(writer, options, context)
    : new Lines(writer, (record) => compactLine(record, options));
}

/** Writes text and waits until it is taken, so that a slow reader slows the topology down. */
class Writer {
  readonly output: Output;
  readonly #id: string;
  #error: Error | undefined;
  readonly #onError = (error: Error) => {
    this.#error ??= error;
  };

  constructor(output: Output, id: string) {
    this.output = output;
    this.#id = id;
    output.on('error', this.#onError);
  }

  async write(text: string): Promise<void> {
    const error =
      this.#error ?? (await new Promise<Error | null | undefined>((resolve) => this.output.write(text, resolve)));
    if (!error) return;
    const gone = (error as NodeJS.ErrnoException).code === 'EPIPE';
    throw new RunError(
      gone
        ? `Whoever read the output of \`${this.#id}\` has closed it. Keep the reader open, or print less.`
        : `\`${this.#id}\` cannot print: ${error.message}`,
      { cause: error },
    );
  }

  close(): void {
    // One turn later: a stream reports a broken pipe after its callback.
    setImmediate(() => this.output.off('error', this.#onError));
  }
}

class Lines implements OpenSink {
  readonly #writer: Writer;
  readonly #toLine: (record: StreamRecord) => string;

  constructor(writer: Writer, toLine: (record: StreamRecord) => string) {
    this.#writer = writer;
    this.#toLine = toLine;
  }

  async write(records: readonly StreamRecord[]): Promise<undefined> {
    let text = '';
    for (const record of records) text += `${this.#toLine(record)}\n`;
    await this.#writer.write(text);
  }

  async close(): Promise<void> {
    this.#writer.close();
  }
}

/** The latest record of each key, in place. */
class Screen implements OpenSink {
  readonly #writer: Writer;
  readonly #layout: Layout;
  readonly #context: SinkContext;
  readonly #latest = new Map<Key, StreamRecord>();
  #drawn = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  /** A drawing that waits for its time, and its error. */
  #later: Promise<void> | undefined;
  #error: unknown;
  readonly #closing = new AbortController();

  constructor(writer: Writer, layout: Layout, context: SinkContext) {
    this.#writer = writer;
    this.#layout = layout;
    this.#context = context;
  }

  async write(records: readonly StreamRecord[]): Promise<undefined> {
    if (this.#error) throw this.#error;
    for (const record of records) this.#latest.set(record.key ?? '', record);
    if (this.#later) return;
    const { clock } = this.#context.ports;
    const wait = this.#drawnAt + redrawMs - clock.now();
    if (wait <= 0) await this.#draw();
    else this.#later = this.#drawLater(wait);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#later;
    this.#writer.close();
  }

  async #drawLater(wait: number): Promise<void> {
    try {
      await this.#context.ports.clock.sleep(wait, this.#closing.signal);
      this.#later = undefined;
      await this.#draw();
    } catch (error) {
      this.#error = error;
    }
  }

  async #draw(): Promise<void> {
    const { columns = 80, rows = 24 } = this.#writer.output;
    this.#drawnAt = this.#context.ports.clock.now();
    const lines = table([...this.#latest.values()], this.#layout, columns, rows - 1);
    const back = this.#drawn > 0 ? `\u001b[${this.#drawn}A` : '';
    this.#drawn = lines.length;
    await this.#writer.write(`${back}${lines.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`);
  }
}
