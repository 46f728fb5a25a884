import { once } from 'node:events';
import type { Sql } from 'postgres';
import { RunError, readTlsFiles, type SinkContext, tlsRefusal } from '../../src/operator.ts';
import { type Address, type PostgresOptions, parseAddress } from './options.ts';

/** What one statement came to. What must end the run is thrown instead. */
export type Answer =
  | { readonly kind: 'written' }
  /** Not as it is: one of its rows is at fault, or, with `together`, they cannot go in one statement. */
  | { readonly kind: 'refused'; readonly message: string; readonly together: boolean }
  /** Passing trouble. */
  | { readonly kind: 'again'; readonly message: string };

type Postgres = typeof import('postgres');

/** One connection to the server, made anew when it is lost. */
export class Server {
  readonly address: Address;
  readonly #postgres: Postgres;
  readonly #options: PostgresOptions;
  readonly #timeoutMs: number;
  readonly #context: SinkContext;
  readonly #tls: Awaited<ReturnType<typeof readTlsFiles>> | undefined;
  #sql: Sql | undefined;

  /** Makes ready to connect. Rejects with a RunError when the client library or a file of `tls` is missing. */
  static async open(options: PostgresOptions, timeoutMs: number, context: SinkContext): Promise<Server> {
    let postgres: Postgres;
    try {
      postgres = (await import('postgres')).default as unknown as Postgres;
    } catch (cause) {
      throw new RunError(`\`${context.id}\` needs the package \`postgres\`. Install it: npm install postgres.`, {
        cause,
      });
    }
    const tls = options.tls && { ...options.tls, ...(await readTlsFiles(options.tls, 'tls', context.ports.disk)) };
    return new Server(postgres, options, timeoutMs, context, tls);
  }

  private constructor(
    postgres: Postgres,
    options: PostgresOptions,
    timeoutMs: number,
    context: SinkContext,
    tls: Awaited<ReturnType<typeof readTlsFiles>> | undefined,
  ) {
    this.address = parseAddress(options.url)!;
    this.#postgres = postgres;
    this.#options = options;
    this.#timeoutMs = timeoutMs;
    this.#context = context;
    this.#tls = tls;
  }

  /** Runs a statement whose only parameter is a text. It is committed when it was `written`. */
  async run(statement: string, parameter: string): Promise<Answer> {
    const { ports, signal } = this.#context;
    const answered = new AbortController();
    const over = AbortSignal.any([answered.signal, signal]);
    // The server breaks off by itself; if it does not, nobody is there any more.
    const late = ports.clock.sleep(this.#timeoutMs + 5_000, over).then(() => {
      if (answered.signal.aborted) return;
      throw Object.assign(new Error(`no answer within ${this.#timeoutMs} ms`), { code: 'CONNECT_TIMEOUT' });
    });
    try {
      this.#sql ??= this.#connect();
      await Promise.race([this.#sql.unsafe(statement, [parameter]), late]);
      return { kind: 'written' };
    } catch (error) {
      return await this.#judge(error);
    } finally {
      answered.abort();
      late.catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    const sql = this.#sql;
    this.#sql = undefined;
    await sql?.end({ timeout: 0 });
  }

  #connect(): Sql {
    const { username, password } = this.#options;
    const { host, port, database } = this.address;
    const { network } = this.#context.ports;
    // The library knows this option, its types do not: a socket that is connected.
    const connected = {
      async socket() {
        const socket = network.connect({ host, port });
        await once(socket, 'connect');
        return socket;
      },
    };
    return this.#postgres({
      ...connected,
      host,
      port,
      database,
      username,
      password: password?.reveal() ?? '',
      // Without the host, a certificate for an IP address would be taken for one of `localhost`.
      ssl: this.#tls ? { host, ...this.#tls } : false,
      max: 1,
      connect_timeout: Math.ceil(this.#timeoutMs / 1_000),
      // Pauses are ours.
      backoff: () => 0,
      // Notices may quote rows.
      onnotice: () => undefined,
      fetch_types: false,
      connection: {
        application_name: 'penstock',
        statement_timeout: this.#timeoutMs,
        DateStyle: 'ISO',
        TimeZone: 'UTC',
      },
    });
  }

  async #judge(error: unknown): Promise<Answer> {
    const { code = '', message } = error as { code?: string; message: string };
    const state = /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
    if (state !== undefined && refusals.test(state)) {
      return { kind: 'refused', message: reasonOf(error as Details, state), together: state === '21000' };
    }
    const mayBeData = this.#options.columns === undefined && state === '42703';
    if (mayBeData) return { kind: 'refused', message: reasonOf(error as Details, state), together: false };
    if (state !== undefined && mistakes.test(state)) throw this.#mistake(message, state);
    const tls = this.#tls && tlsRefusal(error, 'tls', 'tls.servername');
    if (tls !== undefined) throw new RunError(`${this.address.text}: ${tls} See \`${this.#context.id}\`.`);
    // Whatever it was: the next try begins with a connection of its own.
    await this.close().catch(() => undefined);
    return { kind: 'again', message: state ?? (code || message) };
  }

  #mistake(message: string, state: string): RunError {
    const { username, table } = this.#options;
    // The table is first met as the type of its rows.
    const said = state === '42704' ? `there is no table \`${table}\`` : message;
    const advice = state.startsWith('28')
      ? `Check \`username\` (${username}) and \`password\``
      : state === '3D000'
        ? 'Check the database in `url`'
        : state === '42P10'
          ? 'Make a unique constraint on exactly these columns'
          : state === '42501'
            ? `Give ${username} the right to write to the table`
            : 'Check `table`, `schema`, `columns` and `key`';
    return new RunError(
      `PostgreSQL at ${this.address.text} says: ${said} (${state}). ${advice}. See \`${this.#context.id}\`.`,
    );
  }
}

/** States that a row brings about: values that do not fit, constraints, triggers, limits. */
const refusals = /^(21000|22...|23...|44...|54...|P0...)$/;
/** States that no waiting changes. */
const mistakes = /^(0A...|28...|3D...|3F...|42...)$/;

interface Details {
  readonly message: string;
  readonly column_name?: string;
  readonly constraint_name?: string;
}

// The server quotes values of the row: they must not reach logs.
function reasonOf({ message, column_name: column, constraint_name: constraint }: Details, state: string): string {
  const text = message
    .replace(/".*"/s, '"…"')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .slice(0, 200);
  const where = constraint ? `, constraint \`${constraint}\`` : column ? `, column \`${column}\`` : '';
  return `PostgreSQL refused the row (${state}${where}): ${text}.`;
}
