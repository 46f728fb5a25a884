import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { durationMs, type Journal, RunError, readTlsFiles, type SourceContext, sizeBytes } from '../../src/operator.ts';
import type { Address, ServerOptions } from './options.ts';
import { Refusals } from './refusals.ts';
import { Repetitions } from './repetitions.ts';
import { bearsToken, compilePath, isSigned, linesOf, Refusal, shapeOf } from './request.ts';

/** Above so many bytes that are not yet durable, nothing more is taken. */
const waitingBytesMax = 16 << 20;
const headerBytesMax = 16 << 10;
const keyCharactersMax = 255;

/** What the journal keeps of a request beside the body, as JSON: the path, and fields and headers if there are any. */
export interface Envelope {
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Answers requests: puts the records of those that are as they should be into the journal, and says 202 once they are durable there. All that is
 * held in memory is bounded, and so are the time that a request may take and the number of connections.
 */
export class Receiver {
  readonly #options: ServerOptions;
  readonly #context: SourceContext;
  readonly #journal: Journal;
  readonly #match: ReturnType<typeof compilePath>;
  readonly #maxBody: number;
  readonly #timeoutMs: number;
  readonly #closing = new AbortController();
  readonly #refusals: Refusals;
  readonly #repetitions: Repetitions | undefined;
  readonly #underWay = new Set<Promise<void>>();
  #server: Server | undefined;
  /** Bytes of bodies that are not yet handed to the journal. */
  #held = 0;

  constructor(options: ServerOptions, context: SourceContext, journal: Journal) {
    this.#options = options;
    this.#context = context;
    this.#journal = journal;
    this.#match = compilePath(options.path ?? '/');
    this.#maxBody = sizeBytes(options.maxBody ?? '1MiB');
    this.#timeoutMs = durationMs(options.timeout ?? '30s');
    this.#refusals = new Refusals(context.log, context.ports.clock, this.#closing.signal);
    const { idempotency } = options;
    this.#repetitions =
      idempotency && new Repetitions(durationMs(idempotency.window ?? '10m'), idempotency.keys ?? 100_000);
  }

  /** Begins to listen. Rejects with a RunError when that address cannot be had, or a file of `tls` is not as it should be. */
  async listen({ host, port }: Address): Promise<void> {
    const server = await this.#create();
    this.#server = server;
    server.maxConnections = this.#options.maxConnections ?? 256;
    server.on('request', (request, response) => this.#begin(request, response));
    server.on('checkContinue', (request, response) => this.#begin(request, response));
    server.on('drop', () => this.#refusals.count('connections', 'There are `maxConnections` already.'));
    server.on('tlsClientError', () => this.#refusals.count('tls', 'The TLS handshake came to nothing.'));
    server.on('clientError', (error, socket) => this.#noRequest(error, socket as Socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const what = cause.code === 'EADDRINUSE' ? 'another program listens there' : cause.message;
        const advice = `Check \`listen\` of \`${this.#context.id}\`.`;
        reject(new RunError(`It is not possible to listen on ${host}:${port}: ${what}. ${advice}`, { cause }));
      });
      server.listen({ host, port }, resolve);
    });
    const { family, address, port: actual } = server.address() as AddressInfo;
    const name = family === 'IPv6' ? `[${address}]` : address;
    const url = `http${this.#options.tls ? 's' : ''}://${name}:${actual}${this.#options.path ?? '/'}`;
    this.#context.log.info(`Listening for records at ${url}.`);
  }

  /** Takes no more; what is under way is answered first, with 503 where it waits. */
  async close(): Promise<void> {
    this.#closing.abort();
    const server = this.#server;
    if (!server?.listening) return;
    const closed = new Promise((resolve) => server.close(resolve));
    await Promise.allSettled(this.#underWay);
    server.closeAllConnections();
    await closed;
  }

  async #create(): Promise<Server> {
    const { tls } = this.#options;
    const limits = {
      maxHeaderSize: headerBytesMax,
      headersTimeout: Math.min(10_000, this.#timeoutMs),
      requestTimeout: this.#timeoutMs,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
    };
    if (!tls) return createServer(limits);
    const files = await readTlsFiles(tls, 'tls', this.#context.ports.disk);
    try {
      const asks = tls.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: true };
      return createTlsServer({ ...limits, ...files, ...asks, minVersion: 'TLSv1.2' });
    } catch (cause) {
      const { message } = cause as Error;
      throw new RunError(`The files of \`tls\` of \`${this.#context.id}\` do not go together: ${message}.`, { cause });
    }
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const work = this.#answer(request, response).finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#take(request, response);
      await finish(response, 202, {}, '');
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(500, 'The request could not be taken.');
      if (refusal !== error)
        this.#context.log.error('A request ended in an error.', { reason: (error as Error).message });
      this.#refusals.count(String(refusal.status), refusal.message);
      const headers = {
        ...(refusal.retryAfter !== undefined && { 'retry-after': String(refusal.retryAfter) }),
        ...(refusal.status === 405 && { allow: this.#options.method ?? 'POST' }),
        ...(refusal.status === 401 && this.#options.token && { 'www-authenticate': 'Bearer' }),
      };
      await finish(response, refusal.status, headers, `${refusal.message}\n`);
    } finally {
      // What was not looked at is read past, so that the answer gets through.
      request.resume();
    }
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'POST', token, signature, format } = this.#options;
    const { headers, url = '' } = request;
    const path = url.split('?', 1)[0]!;
    if (this.#match(path) === undefined) throw new Refusal(404, 'There is nothing here.');
    if (request.method !== method) throw new Refusal(405, `Send it by ${method}.`);
    if (token && !bearsToken(headers, token.reveal())) throw new Refusal(401, 'The token is missing or wrong.');
    const shape = shapeOf(headers, format);
    if (Number(headers['content-length'] ?? 0) > this.#maxBody) throw this.#tooLarge();
    if (this.#closing.signal.aborted || this.#journal.pendingBytes + this.#held > waitingBytesMax) throw this.#busy();
    if (headers.expect !== undefined) response.writeContinue();
    const topic = JSON.stringify(this.#envelope(path, url.slice(path.length + 1), request));
    let length = 0;
    try {
      const body = await this.#body(request, (bytes) => {
        length += bytes;
        this.#held += bytes;
        return length <= this.#maxBody;
      });
      if (signature && !isSigned(headers, body, signature, this.#context.ports.clock.now()))
        throw new Refusal(401, 'The signature is missing or wrong.');
      const records = shape === 'lines' ? linesOf(body) : [body];
      if (records.length === 0 || body.length === 0) throw new Refusal(400, 'The body is empty.');
      await this.#inTime(this.#once(path, headers, () => this.#store(topic, records)));
    } finally {
      this.#held -= length;
    }
  }

  #envelope(path: string, search: string, { headers, socket }: IncomingMessage): Envelope {
    const parameters = new URLSearchParams(search);
    const query: [string, string][] = [];
    for (const name of this.#options.query ?? []) {
      const value = parameters.get(name);
      if (value !== null) query.push([name, value]);
    }
    const kept: [string, string][] = [];
    for (const name of this.#options.headers ?? []) {
      const value = headers[name.toLowerCase()];
      if (value !== undefined) kept.push([name.toLowerCase(), String(value)]);
    }
    if (this.#options.remoteAddress) kept.push(['remote-address', socket.remoteAddress ?? '']);
    return {
      path,
      ...(query.length > 0 && { query: Object.fromEntries(query) }),
      ...(kept.length > 0 && { headers: Object.fromEntries(kept) }),
    };
  }

  /** All of the body; `more` hears of each piece and says whether it still fits. */
  #body(request: IncomingMessage, more: (bytes: number) => boolean): Promise<Buffer> {
    const { signal } = this.#closing;
    const chunks: Buffer[] = [];
    return new Promise<Buffer>((resolve, reject) => {
      const refuse = (refusal: Refusal) => {
        request.removeAllListeners('data');
        chunks.length = 0;
        reject(refusal);
      };
      const stop = () => refuse(this.#busy());
      signal.addEventListener('abort', stop, { once: true });
      request.on('data', (chunk: Buffer) => {
        if (more(chunk.length)) chunks.push(chunk);
        else refuse(this.#tooLarge());
      });
      request.once('error', () => undefined);
      request.once('end', () => resolve(Buffer.concat(chunks)));
      request.once('close', () => {
        signal.removeEventListener('abort', stop);
        reject(new Refusal(400, 'The connection was lost before the request was whole.'));
      });
    });
  }

  #once(path: string, headers: IncomingMessage['headers'], store: () => Promise<unknown>): Promise<unknown> {
    const { idempotency } = this.#options;
    if (!idempotency) return store();
    const name = idempotency.header ?? 'Idempotency-Key';
    const key = headers[name.toLowerCase()];
    if (key === undefined && !idempotency.required) return store();
    if (typeof key !== 'string' || key === '' || key.length > keyCharactersMax) {
      throw new Refusal(400, `The header ${name} is missing, empty or longer than ${keyCharactersMax} characters.`);
    }
    return this.#repetitions!.once(`${path}\n${key}`, this.#context.ports.clock.now(), store);
  }

  #store(topic: string, records: readonly Buffer[]): Promise<unknown> {
    const arrival = this.#context.ports.clock.now();
    const stored = Promise.all(records.map((payload) => this.#journal.append({ topic, payload, arrival })));
    stored.catch((error: Error) => {
      if (!this.#closing.signal.aborted) this.#context.fail(error);
    });
    return stored;
  }

  /** What is not durable by then may yet become so: the sender sends it again. */
  async #inTime(stored: Promise<unknown>): Promise<void> {
    const answered = new AbortController();
    const signal = AbortSignal.any([answered.signal, this.#closing.signal]);
    const late = this.#context.ports.clock.sleep(this.#timeoutMs, signal).then(() => {
      throw this.#busy();
    });
    late.catch(() => undefined);
    try {
      await Promise.race([stored.catch(() => Promise.reject(this.#busy())), late]);
    } finally {
      answered.abort();
    }
  }

  #tooLarge(): Refusal {
    return new Refusal(413, `The body is larger than ${this.#maxBody} bytes.`);
  }

  #busy(): Refusal {
    return new Refusal(503, 'Nothing can be taken right now.', 1 + Math.floor(this.#context.ports.random() * 5));
  }

  #noRequest(error: NodeJS.ErrnoException, socket: Socket): void {
    const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
    const status = late
      ? '408 Request Timeout'
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Too Large'
        : '400 Bad Request';
    if (error.code !== 'ECONNRESET') this.#refusals.count(status.slice(0, 3), 'It was no whole HTTP request in time.');
    if (socket.writable && error.code !== 'ECONNRESET') {
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
    } else socket.destroy();
  }
}

function finish(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  text: string,
): Promise<void> {
  if (response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    response.once('close', resolve);
    response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(text), ...headers });
    response.end(text, () => resolve());
  });
}
