import { durationMs, RunError, type SinkContext } from '../../src/operator.ts';
import { type HttpOptions, originForm } from './options.ts';

/** What one request came to. What must end the run is thrown instead. */
export type Answer =
  | { readonly kind: 'written' }
  /** The server will not take this request as it is. */
  | { readonly kind: 'refused'; readonly message: string }
  /** Passing trouble; `waitMs` when the server said how long. */
  | { readonly kind: 'again'; readonly message: string; readonly waitMs?: number | undefined };

export interface Request {
  readonly url: string;
  readonly id: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly type: string;
  readonly body: string | Buffer | undefined;
}

const passingStatus = new Set([408, 425, 429]);
const answerBytesMax = 64 << 10;
/** The clock of the server may be wrong: no longer time is believed. */
const longestWaitMs = 3_600_000;

/** The server of one sink. One call is one request. */
export class Server {
  /** For messages: without what comes from records. */
  readonly address: string;
  readonly #options: HttpOptions;
  readonly #context: SinkContext;
  readonly #timeoutMs: number;
  readonly #fixed: Record<string, string>;
  readonly #idHeader: string;

  constructor(options: HttpOptions, context: SinkContext) {
    this.address = new URL(originForm.exec(options.url)![0]).origin;
    this.#options = options;
    this.#context = context;
    this.#timeoutMs = durationMs(options.timeout ?? '30s');
    this.#idHeader = options.idempotencyHeader ?? 'Idempotency-Key';
    this.#fixed = fixedHeaders(options, context.id);
  }

  async send({ url, id, headers, type, body }: Request): Promise<Answer> {
    const { ports, signal } = this.#context;
    const request = new AbortController();
    const answered = new AbortController();
    const stop = () => request.abort();
    signal.addEventListener('abort', stop);
    void ports.clock.sleep(this.#timeoutMs, answered.signal).then(() => {
      if (!answered.signal.aborted) request.abort(new Error(`no answer within ${this.#timeoutMs} ms`));
    });
    try {
      const response = await ports.network.fetch(url, {
        method: this.#options.method ?? 'POST',
        redirect: 'manual',
        headers: {
          ...(body !== undefined && { 'content-type': type }),
          ...Object.fromEntries(headers),
          [this.#idHeader]: id,
          ...this.#fixed,
        },
        ...(body !== undefined && { body }),
        signal: request.signal,
      });
      const answer = this.#judge(response);
      await readPast(response);
      return answer;
    } catch (error) {
      if (error instanceof RunError) throw error;
      return { kind: 'again', message: reason(error) };
    } finally {
      answered.abort();
      signal.removeEventListener('abort', stop);
    }
  }

  // The text of an answer may repeat the payload: only the status gets into messages.
  #judge({ status, ok, headers }: Response): Answer {
    if (ok) return { kind: 'written' };
    if (status >= 500 || passingStatus.has(status)) {
      return { kind: 'again', message: String(status), waitMs: this.#retryAfter(headers.get('retry-after')) };
    }
    const chosen = this.#options.url.includes('{');
    if (status >= 400 && status !== 401 && status !== 403 && (status !== 404 || chosen)) {
      return { kind: 'refused', message: `The server answered ${status}.` };
    }
    throw new RunError(`${this.address} answered ${status}: ${this.#advice(status)} See \`${this.#context.id}\`.`);
  }

  #advice(status: number): string {
    if (status === 401) return 'it does not know us. Check `token`, `username` and `password`, or `secretHeaders`.';
    if (status === 403) return 'we may not do that. Check the rights of these credentials, and `url`.';
    if (status === 404) return 'there is nothing at this address. Check `url`.';
    if (status >= 300) return 'it sends us on, and redirects are not followed. Put the final address into `url`.';
    return 'that is no answer to a request. Check `url`.';
  }

  #retryAfter(text: string | null): number | undefined {
    if (text === null) return undefined;
    const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1_000 : Date.parse(text) - this.#context.ports.clock.now();
    return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), longestWaitMs);
  }
}

function fixedHeaders({ token, username, password, secretHeaders = {} }: HttpOptions, id: string) {
  const fixed: Record<string, string> = {};
  if (token) fixed['authorization'] = `Bearer ${token.reveal()}`;
  if (username !== undefined) {
    fixed['authorization'] = `Basic ${Buffer.from(`${username}:${password?.reveal()}`).toString('base64')}`;
  }
  for (const [name, value] of Object.entries(secretHeaders)) fixed[name.toLowerCase()] = value.reveal();
  // Otherwise the client's own error would quote it.
  const wrong = Object.keys(fixed).find((name) => /[^\t\x20-\x7e]/.test(fixed[name]!));
  if (wrong === undefined) return fixed;
  throw new RunError(
    `The secret for the header \`${wrong}\` of \`${id}\` holds a character that no header can hold, such as a line end.`,
  );
}

/** Reads the answer to its end, so that the connection can be used again; one that is too long is broken off. */
async function readPast({ body }: Response): Promise<void> {
  if (body === null) return;
  const reader = body.getReader();
  for (let bytes = 0; bytes <= answerBytesMax; ) {
    const { done, value } = await reader.read();
    if (done) return;
    bytes += value.length;
  }
  await reader.cancel();
}

function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}
