import { Duplex } from 'node:stream';
import type { ConnectOptions, Network } from '../../src/ports.ts';

/** What a network does to the connections that go through it. All of it may change while they are open. */
export class FaultyNetwork implements Network {
  /** Each piece of data takes so many ms, in either direction. */
  latencyMs = 0;
  /** Bytes that come through in a second, in either direction, over all connections. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Bytes that came in, over all connections. */
  received = 0;
  /** How often something was asked to connect or to fetch. */
  attempts = 0;
  readonly #real: Network;
  readonly #open = new Set<(error: Error) => void>();
  #away = false;
  #silence: { promise: Promise<void>; end: () => void } | undefined;
  /** When the line is free again, in ms. */
  #freeAt = 0;
  #passesLeft = Number.POSITIVE_INFINITY;

  constructor(real: Network) {
    this.#real = real;
  }

  /** Connections that are open now, and requests under way. */
  get open(): number {
    return this.#open.size;
  }

  /** Resets all connections. A request may have been carried out all the same: its answer is lost. */
  cut(): void {
    for (const end of [...this.#open]) end(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
  }

  /** Resets all connections once so many more pieces of data, to either side, have come through. */
  cutAfter(pieces: number): void {
    this.#passesLeft = pieces;
  }

  /** Resets all connections, and refuses new ones until `back`. */
  away(): void {
    this.#away = true;
    this.cut();
  }

  back(): void {
    this.#away = false;
  }

  /** Nothing comes through any more, and nobody is told, until `speak`: connections stay half open. */
  hush(): void {
    let end = () => {};
    const promise = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.#silence ??= { promise, end };
  }

  speak(): void {
    this.#silence?.end();
    this.#silence = undefined;
  }

  connect(options: ConnectOptions): Duplex {
    this.attempts++;
    if (this.#away) {
      const refused = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
      const error = new Error(`connect ECONNREFUSED ${options.host}:${options.port}`);
      process.nextTick(() => refused.destroy(Object.assign(error, { code: 'ECONNREFUSED' })));
      return refused;
    }
    const link = new Link(this, this.#real.connect(options));
    const end = (error: Error) => void link.destroy(error);
    this.#open.add(end);
    link.once('close', () => this.#open.delete(end));
    return link;
  }

  async fetch(url: string, init: RequestInit): Promise<Response> {
    this.attempts++;
    if (this.#away) throw new TypeError('fetch failed', { cause: new Error(`connect ECONNREFUSED ${url}`) });
    let end = (_error: Error) => {};
    const lost = new Promise<never>((_resolve, reject) => {
      end = (error) => reject(new TypeError('fetch failed', { cause: error }));
    });
    lost.catch(() => {});
    this.#open.add(end);
    try {
      await Promise.race([lost, this.pass(Buffer.byteLength(String(init.body ?? '')))]);
      const response = await Promise.race([lost, this.#real.fetch(url, init)]);
      await Promise.race([lost, this.pass(0)]);
      return response;
    } finally {
      this.#open.delete(end);
    }
  }

  /** Resolves when so many bytes have come through. */
  async pass(bytes: number): Promise<void> {
    while (this.#silence !== undefined) await this.#silence.promise;
    if (--this.#passesLeft < 0) {
      this.#passesLeft = Number.POSITIVE_INFINITY;
      this.cut();
    }
    const now = performance.now();
    this.#freeAt = Math.max(now, this.#freeAt) + (bytes / this.bytesPerSecond) * 1_000;
    const wait = Math.max(this.latencyMs, this.#freeAt - now);
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/** A connection whose data goes through a FaultyNetwork, in order. */
class Link extends Duplex {
  readonly #network: FaultyNetwork;
  readonly #real: Duplex;

  constructor(network: FaultyNetwork, real: Duplex) {
    super({ allowHalfOpen: false });
    this.#network = network;
    this.#real = real;
    for (const event of ['connect', 'secureConnect']) real.once(event, () => this.emit(event));
    real.on('error', (error) => this.destroy(error));
    real.once('close', () => this.destroy());
    real.once('end', () => this.push(null));
    real.pause();
  }

  /** As a socket says it. */
  get readyState(): string {
    return this.destroyed ? 'closed' : 'open';
  }

  override _read(): void {
    const chunk = this.#real.read() as Buffer | null;
    if (chunk === null) {
      this.#real.once('readable', () => this._read());
      return;
    }
    void this.#network.pass(chunk.length).then(() => {
      this.#network.received += chunk.length;
      this.push(chunk);
    });
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    void this.#network.pass(chunk.length).then(() => {
      if (this.#real.destroyed) done();
      else this.#real.write(chunk, () => done());
    });
  }

  override _final(done: () => void): void {
    this.#real.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#real.destroy();
    done(error);
  }
}
