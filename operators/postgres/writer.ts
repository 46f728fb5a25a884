import {
  type OpenSink,
  type Refused,
  RejectError,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import { type Latest, latestOfEachKey, statements } from './batches.ts';
import type { PostgresOptions } from './options.ts';
import { probe, type Row, statement } from './rows.ts';
import type { Answer, Server } from './server.ts';

const firstWaitMs = 200;
const longestWaitMs = 30_000;
const remindEvery = 20;

/** Writes rows until each is in the table or refused, however long it takes: one statement at a time, and in order. */
export class Writer implements OpenSink {
  readonly maxRecords = 5_000;
  readonly #options: PostgresOptions;
  readonly #make: (record: StreamRecord, index: number) => Row;
  readonly #server: Server;
  readonly #context: SinkContext;

  constructor(
    options: PostgresOptions,
    make: (record: StreamRecord, index: number) => Row,
    server: Server,
    context: SinkContext,
  ) {
    this.#options = options;
    this.#make = make;
    this.#server = server;
    this.#context = context;
  }

  /** Writes no row at all, which tells about credentials and table. A server that is not there yet is no error: writes wait for it. */
  async greet(): Promise<void> {
    const { columns = {}, key = [], idColumn, timeColumn } = this.#options;
    const names = new Set([
      ...Object.keys(columns),
      ...key,
      ...[idColumn, timeColumn].filter((name) => name !== undefined),
    ]);
    // Without a column that is known beforehand there is still the table.
    const text = names.size === 0 ? probe(this.#options) : statement(this.#options, false, [...names]);
    const answer = await this.#server.run(text, '[]');
    if (answer.kind === 'refused') throw new RunError(`${answer.message} See \`${this.#context.id}\`.`);
    if (answer.kind === 'again') {
      const fields = { url: this.#server.address.text, answer: answer.message };
      this.#context.log.warn('PostgreSQL cannot be reached yet: writes will wait for it.', fields);
    }
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    const rows: Row[] = [];
    for (const [index, record] of records.entries()) {
      try {
        rows.push(this.#make(record, index));
      } catch (error) {
        if (!(error instanceof RejectError)) throw error;
        refused.push({ index, message: error.message });
      }
    }
    await this.#deliverAll(rows, refused);
    return refused.length > 0 ? refused : undefined;
  }

  async close(): Promise<void> {
    await this.#server.close();
  }

  async #deliverAll(rows: readonly Row[], refused: Refused[]): Promise<void> {
    for (const together of statements(latestOfEachKey(rows))) await this.#deliver(together, refused);
  }

  /** A statement that the server refuses is halved until the rows at fault are alone; then those count that they would have replaced. */
  async #deliver(latest: readonly Latest[], refused: Refused[]): Promise<void> {
    const answer = await this.#persist(latest.map(({ row }) => row));
    if (answer.kind !== 'refused') return;
    if (latest.length === 1) {
      const [{ row, covered }] = latest as readonly [Latest];
      refused.push({ index: row.index, message: answer.message });
      return this.#deliverAll(covered, refused);
    }
    const middle = Math.ceil(latest.length / 2);
    await this.#deliver(latest.slice(0, middle), refused);
    await this.#deliver(latest.slice(middle), refused);
  }

  /** Runs the same statement until the server takes or refuses it. */
  async #persist(rows: readonly Row[]): Promise<Answer> {
    const { ports, signal, log } = this.#context;
    const { deletes, columns } = rows[0]!;
    const text = statement(this.#options, deletes, columns);
    const parameter = `[${rows.map(({ json }) => json).join(',')}]`;
    const url = this.#server.address.text;
    for (let tries = 1, last = 'none'; ; tries++) {
      if (signal.aborted) throw stopped(url, rows.length, last);
      const answer = await this.#server.run(text, parameter);
      if (answer.kind !== 'again') {
        if (tries > 1) log.info('PostgreSQL takes rows again.', { url, tries });
        return answer;
      }
      last = answer.message;
      if (tries % remindEvery === 1 && !signal.aborted) {
        log.warn('PostgreSQL does not take rows: trying again until it does.', { url, answer: last, tries });
      }
      // Full jitter, so that many writers do not come back at once.
      const longest = Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(tries, 10));
      await ports.clock.sleep(ports.random() * longest, signal);
    }
  }
}

function stopped(url: string, count: number, answer: string): RunError {
  return new RunError(
    `Stopped before PostgreSQL at ${url} had taken ${count} rows (last answer: ${answer}). ` +
      'They are written again when the topology is started again.',
  );
}
