import type { FluxTableMetaData } from '@influxdata/influxdb-client';
import { RunError, type Secret, type SourceContext } from '../../src/operator.ts';
import { addressOf, messageOf, passes, reason, retryAfterMs } from './answers.ts';

export interface QueryOptions {
  readonly url: string;
  readonly org: string;
  readonly token: Secret;
  readonly timeoutMs: number;
}

/** What takes the rows of one answer. A new one for each attempt, as an answer may break off. */
export interface Collector {
  add(values: readonly string[], meta: FluxTableMetaData): void;
}

type Outcome =
  | { readonly kind: 'whole'; readonly bytes: number }
  /** The answer was larger than allowed and was not read to its end. */
  | { readonly kind: 'too-large' }
  | { readonly kind: 'again'; readonly message: string; readonly waitMs?: number | undefined };

const firstWaitMs = 500;
const longestWaitMs = 30_000;
const remindEvery = 20;

/** The query API of InfluxDB 2. Answers are read as they come, and no further than their size allows. */
export class QueryApi {
  readonly address: string;
  readonly #options: QueryOptions;
  readonly #context: SourceContext;
  /** Attempts in a row that had no answer. */
  #failures = 0;

  constructor(options: QueryOptions, context: SourceContext) {
    this.address = addressOf(options.url);
    this.#options = options;
    this.#context = context;
  }

  /**
   * Asks until there is an answer: passing trouble is waited out for ever, or for so many `attempts`. `make` gives what takes the rows, anew for
   * each attempt. Resolves with the answer's size in bytes, with `too-large` (also after the last attempt: it may have been too much to ask for),
   * or with `undefined` when the run ends meanwhile. Rejects with a RunError on what does not pass.
   */
  async ask(
    flux: string,
    make: () => Collector,
    maxBytes: number,
    attempts = Number.POSITIVE_INFINITY,
  ): Promise<number | 'too-large' | undefined> {
    const { ports, signal, log } = this.#context;
    for (let attempt = 1; !signal.aborted; attempt++) {
      const outcome = await this.once(flux, make(), maxBytes);
      if (outcome.kind !== 'again') {
        if (this.#failures > 0) log.info('InfluxDB answers queries again.', { url: this.address });
        this.#failures = 0;
        return outcome.kind === 'whole' ? outcome.bytes : 'too-large';
      }
      if (signal.aborted) break;
      if (this.#failures++ % remindEvery === 0) {
        log.warn('InfluxDB does not answer queries: trying again until it does.', {
          url: this.address,
          answer: outcome.message,
          failures: this.#failures,
        });
      }
      const longest = Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(this.#failures, 10));
      await ports.clock.sleep(outcome.waitMs ?? longest * (0.5 + ports.random() / 2), signal);
      if (attempt >= attempts) return 'too-large';
    }
    return undefined;
  }

  /** One request. Rejects with a RunError on what does not pass: a wrong token, a bucket that is not there. */
  async once(flux: string, into: Collector, maxBytes: number): Promise<Outcome> {
    const { ports, signal } = this.#context;
    const request = new AbortController();
    const stop = () => request.abort();
    signal.addEventListener('abort', stop);
    const alive = new Watch(() => request.abort(new Error(`nothing came for ${this.#options.timeoutMs} ms`)));
    const rest = () => ports.clock.sleep(this.#options.timeoutMs, alive.anew());
    try {
      void alive.over(rest());
      const response = await ports.network.fetch(this.#target(), { ...this.#request(flux), signal: request.signal });
      if (response.status !== 200) return this.#judge(response, await response.text());
      return await this.#read(response, into, maxBytes, () => void alive.over(rest()));
    } catch (error) {
      if (error instanceof RunError) throw error;
      return { kind: 'again', message: reason(error) };
    } finally {
      alive.anew();
      request.abort();
      signal.removeEventListener('abort', stop);
    }
  }

  #target(): string {
    return `${this.address}/api/v2/query?${new URLSearchParams({ org: this.#options.org })}`;
  }

  #request(flux: string): RequestInit {
    return {
      method: 'POST',
      redirect: 'manual',
      headers: {
        authorization: `Token ${this.#options.token.reveal()}`,
        'content-type': 'application/json',
        accept: 'application/csv',
      },
      body: JSON.stringify({ query: flux, type: 'flux', dialect: { annotations: ['datatype', 'group', 'default'] } }),
    };
  }

  async #read(response: Response, into: Collector, maxBytes: number, onBytes: () => void): Promise<Outcome> {
    const { chunksToLinesIterable, linesToRowsIterable } = await import('@influxdata/influxdb-client');
    let bytes = 0;
    const counted = async function* () {
      for await (const chunk of response.body ?? []) {
        onBytes();
        bytes += chunk.length;
        if (bytes > maxBytes) return;
        yield chunk;
      }
    };
    for await (const { values, tableMeta } of linesToRowsIterable(chunksToLinesIterable(counted()))) {
      if (bytes > maxBytes) break;
      // Trouble that comes up while an answer is on its way is told in a table of its own.
      const trouble = tableMeta.columns.find(({ label }) => label === 'error');
      if (trouble && tableMeta.columns.some(({ label }) => label === 'reference')) {
        return { kind: 'again', message: messageOf(values[trouble.index] ?? '').slice(2) };
      }
      into.add(values, tableMeta);
    }
    return bytes > maxBytes ? { kind: 'too-large' } : { kind: 'whole', bytes };
  }

  #judge(response: Response, body: string): Outcome {
    const { status } = response;
    const message = `${status}${messageOf(body)}`;
    if (passes(status)) return { kind: 'again', message, waitMs: retryAfterMs(response, this.#context.ports.clock) };
    throw new RunError(`InfluxDB at ${this.address} answered ${message}: ${this.#advice(response)}`);
  }

  #advice({ status, headers }: Response): string {
    const { id } = this.#context;
    if (status === 401) return `it does not know the token. Check \`token\` of \`${id}\`.`;
    if (status === 403) return `the token may not read that bucket. Check \`token\` and \`bucket\` of \`${id}\`.`;
    if (status === 404)
      return `there is no such bucket in the organization \`${this.#options.org}\`. Check \`bucket\`, \`org\` and \`url\` of \`${id}\`.`;
    if (status >= 300 && status < 400)
      return `it sends us on to ${headers.get('location') ?? 'elsewhere'}. Put that address into \`url\` of \`${id}\`.`;
    return `it does not take the query. Check \`url\` of \`${id}\`: expected is InfluxDB 2 with its Flux API.`;
  }
}

/** Notices when something that has to go on stands still. */
class Watch {
  readonly #expired: () => void;
  #waiting = new AbortController();

  constructor(expired: () => void) {
    this.#expired = expired;
  }

  /** It goes on: the wait before no longer counts. */
  anew(): AbortSignal {
    this.#waiting.abort();
    this.#waiting = new AbortController();
    return this.#waiting.signal;
  }

  async over(wait: Promise<void>): Promise<void> {
    const { signal } = this.#waiting;
    await wait;
    if (!signal.aborted) this.#expired();
  }
}
