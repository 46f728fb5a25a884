import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { RunError, type Secret, type SinkContext } from '../../src/operator.ts';

export interface ServerOptions {
  readonly url: string;
  readonly org: string;
  readonly bucket: string;
  readonly token: Secret;
  readonly precision: string;
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
const passingStatus = new Set([408, 425, 429]);
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
    this.address = url.origin + url.pathname.replace(/\/$/, '');
    const { org, bucket, precision } = options;
    this.#target = `${this.address}/api/v2/write?${new URLSearchParams({ org, bucket, precision })}`;
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
      return this.#judge(response, text);
    } catch (error) {
      if (error instanceof RunError) throw error;
      return { kind: 'again', message: reason(error), poison: false };
    } finally {
      answered.abort();
      signal.removeEventListener('abort', stop);
    }
  }

  async #request(body: string): Promise<RequestInit> {
    const headers: Record<string, string> = {
      authorization: `Token ${this.#options.token.reveal()}`,
      'content-type': 'text/plain; charset=utf-8',
    };
    // A redirect would turn the write into a read of some page.
    const init = { method: 'POST', redirect: 'manual' as const, headers };
    if (!this.#compresses || body.length <= compressFrom) return { ...init, body };
    headers['content-encoding'] = 'gzip';
    return { ...init, body: await compress(body, { level: 1 }) };
  }

  #judge(response: Response, body: string): Answer {
    const { status } = response;
    if (status === 204) return { kind: 'confirmed' };
    const message = `${status}${messageOf(body)}`;
    if (refusedStatus.has(status)) return { kind: 'refused', message: `InfluxDB answered ${message}` };
    if (status >= 500 || passingStatus.has(status)) {
      return { kind: 'again', message, waitMs: this.#retryAfter(response), poison: status === 500 };
    }
    throw new RunError(`InfluxDB at ${this.address} answered ${message}: ${this.#advice(response)}`);
  }

  #advice({ status, headers }: Response): string {
    const { bucket, org } = this.#options;
    const { id } = this.#context;
    if (status === 401) return `it does not know the token. Check \`token\` of \`${id}\`.`;
    if (status === 403)
      return `the token may not write to bucket \`${bucket}\`. Check \`token\` and \`bucket\` of \`${id}\`.`;
    if (status === 404)
      return `there is no bucket \`${bucket}\` in the organization \`${org}\`. Check \`bucket\`, \`org\` and \`url\` of \`${id}\`.`;
    if (status >= 300 && status < 400)
      return `it sends us on to ${headers.get('location') ?? 'elsewhere'}. Put that address into \`url\` of \`${id}\`.`;
    return `that is no answer of the write API of InfluxDB 2. Check \`url\` of \`${id}\`.`;
  }

  // In seconds, or as a date. The clock of the server may be wrong: an hour is the longest that is believed.
  #retryAfter({ headers }: Response): number | undefined {
    const text = headers.get('retry-after');
    if (text === null) return undefined;
    const seconds = Number(text);
    const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - this.#context.ports.clock.now();
    return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), 3_600_000);
  }
}

// The server quotes lines of the request: they must not reach logs.
function messageOf(body: string): string {
  let text = body;
  try {
    const parsed = JSON.parse(body) as { message?: unknown; error?: unknown };
    text = String(parsed.message ?? parsed.error ?? '');
  } catch {}
  text = text
    .replace(/'.*'/s, "'…'")
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
  return text === '' ? '' : `: ${text.slice(0, 300)}`;
}

function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}
