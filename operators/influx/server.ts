import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { RunError, type SinkContext } from '../../src/operator.ts';
import { addressOf, messageOf, passes, reason, retryAfterMs } from './answers.ts';
import type { Precision } from './lines.ts';
import type { Access } from './options.ts';

export interface ServerOptions extends Access {
  readonly precision: Precision;
  readonly timeoutMs: number;
}

/** What one request came to. What must end the run is thrown instead. */
export type Answer =
  | { readonly kind: 'confirmed' }
  /** The server will not take this request, or not all of it, as it is. */
  | { readonly kind: 'refused'; readonly message: string }
  /** Passing trouble; `waitMs` when the server said how long. `poison` when the request itself may be the cause. */
  | {
      readonly kind: 'again';
      readonly message: string;
      readonly waitMs?: number | undefined;
      readonly poison: boolean;
    };

const compress = promisify(gzip);
const compressFrom = 1000;
const refusedStatus = new Set([201, 400, 413, 422]);

/** The write API of one bucket. One call is one request; only a 204 confirms it. */
export class Server {
  readonly address: string;
  readonly #target: string;
  readonly #options: ServerOptions;
  readonly #context: SinkContext;
  readonly #compresses: boolean;

  constructor(options: ServerOptions, context: SinkContext) {
    const url = new URL(options.url);
    this.#options = options;
    this.#context = context;
    this.address = addressOf(options.url);
    this.#target = `${this.address}${target(options)}`;
    this.#compresses = !/^(localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname);
  }

  async write(body: string): Promise<Answer> {
    const { ports, signal } = this.#context;
    const request = new AbortController();
    const answered = new AbortController();
    const stop = () => request.abort();
    signal.addEventListener('abort', stop);
    void ports.clock.sleep(this.#options.timeoutMs, answered.signal).then(() => {
      if (!answered.signal.aborted) request.abort(new Error(`no answer within ${this.#options.timeoutMs} ms`));
    });
    try {
      const response = await ports.network.fetch(this.#target, {
        ...(await this.#request(body)),
        signal: request.signal,
      });
      const text = await response.text();
      return this.#judge(response, text, body === '');
    } catch (error) {
      if (error instanceof RunError) throw error;
      return { kind: 'again', message: reason(error), poison: false };
    } finally {
      answered.abort();
      signal.removeEventListener('abort', stop);
    }
  }

  async #request(body: string): Promise<RequestInit> {
    const headers = { 'content-type': 'text/plain; charset=utf-8', ...authorization(this.#options) };
    // A redirect would turn the write into a read of some page.
    const init = { method: 'POST', redirect: 'manual' as const, headers };
    if (!this.#compresses || body.length <= compressFrom) return { ...init, body };
    return {
      ...init,
      headers: { ...headers, 'content-encoding': 'gzip' },
      body: await compress(body, { level: 1 }),
    };
  }

  #judge(response: Response, text: string, empty: boolean): Answer {
    const { status } = response;
    // InfluxDB 1.x has another answer where there is nothing to write.
    if (status === 204 || (status === 200 && empty && this.#options.version === 1)) return { kind: 'confirmed' };
    const message = `${status}${messageOf(text)}`;
    if (refusedStatus.has(status)) return { kind: 'refused', message: `InfluxDB answered ${message}` };
    if (passes(status)) {
      const waitMs = retryAfterMs(response, this.#context.ports.clock);
      return { kind: 'again', message, waitMs, poison: status === 500 };
    }
    throw new RunError(`InfluxDB at ${this.address} answered ${message}: ${this.#advice(response)}`);
  }

  #advice({ status, headers }: Response): string {
    const { bucket, org, username, version = 2 } = this.#options;
    const { id } = this.#context;
    if (status === 401 && username !== undefined)
      return `it does not know the user or the password. Check \`username\` and \`password\` of \`${id}\`.`;
    if (status === 401) return `it does not know the token. Check \`token\` of \`${id}\`.`;
    if (status === 403)
      return `the token may not write to bucket \`${bucket}\`. Check \`token\` and \`bucket\` of \`${id}\`.`;
    if (status === 404 && version !== 2)
      return `there is no database \`${bucket}\`, or this is no InfluxDB ${version}. Check \`bucket\`, \`version\` and \`url\` of \`${id}\`.`;
    if (status === 404)
      return `there is no bucket \`${bucket}\` in the organization \`${org}\`. Check \`bucket\`, \`org\` and \`url\` of \`${id}\`.`;
    if (status >= 300 && status < 400)
      return `it sends us on to ${headers.get('location') ?? 'elsewhere'}. Put that address into \`url\` of \`${id}\`.`;
    return `that is no answer of the write API of InfluxDB ${version}. Check \`version\` and \`url\` of \`${id}\`.`;
  }
}

const preciseNames = {
  1: { s: 's', ms: 'ms', us: 'u', ns: 'ns' },
  2: { s: 's', ms: 'ms', us: 'us', ns: 'ns' },
  3: { s: 'second', ms: 'millisecond', us: 'microsecond', ns: 'nanosecond' },
} as const;

function target({ version = 2, org = '', bucket, retentionPolicy, precision }: ServerOptions): string {
  const unit = preciseNames[version][precision];
  if (version === 2) return `/api/v2/write?${new URLSearchParams({ org, bucket, precision: unit })}`;
  if (version === 3) return `/api/v3/write_lp?${new URLSearchParams({ db: bucket, precision: unit })}`;
  const policy = retentionPolicy === undefined ? {} : { rp: retentionPolicy };
  return `/write?${new URLSearchParams({ db: bucket, precision: unit, ...policy })}`;
}

function authorization({ version, token, username = '', password }: ServerOptions): { authorization?: string } {
  if (password) return { authorization: `Basic ${Buffer.from(`${username}:${password.reveal()}`).toString('base64')}` };
  return token ? { authorization: `${version === 3 ? 'Bearer' : 'Token'} ${token.reveal()}` } : {};
}
