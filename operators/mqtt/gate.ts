import { Duplex } from 'node:stream';

const puback = 4;
const pubrec = 5;

interface Held {
  readonly packetId: number;
  frame: Buffer | undefined;
  durable: boolean;
}

/**
 * Stands between the MQTT client and the network and holds back acknowledgements until what they acknowledge is durable,
 * in the order in which the messages came. All else passes at once, so that neither a slow disk nor a full one
 * stops the keep-alive. With the connection the held ones are gone: the broker then delivers those messages again.
 */
export class AckGate extends Duplex {
  readonly #socket: Duplex;
  readonly #held: Held[] = [];
  /** How many of them, from the first on, the client has written. */
  #framed = 0;
  #partial: Buffer = Buffer.alloc(0);
  #corked = false;

  constructor(socket: Duplex) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on('end', () => this.push(null));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
  }

  /** How many acknowledgements wait. */
  get held(): number {
    return this.#held.length;
  }

  /** Announces that this message's acknowledgement is to be held back. Call what it gives once the message is durable. */
  expect(packetId: number): () => void {
    const held: Held = { packetId, frame: undefined, durable: false };
    this.#held.push(held);
    return () => {
      held.durable = true;
      this.#release();
    };
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#held.length = 0;
    this.#framed = 0;
    this.#socket.destroy();
    done(error);
  }

  /** Cuts what the client writes into packets by their fixed header: type, then the length in groups of seven bits. */
  #send(chunks: Buffer[], done: (error?: Error | null) => void): void {
    const data = Buffer.concat([this.#partial, ...chunks]);
    let at = 0;
    for (let end = frameEnd(data, at); end !== undefined; end = frameEnd(data, at)) {
      const frame = data.subarray(at, end);
      const type = frame[0]! >> 4;
      if (type === puback || type === pubrec) this.#hold(frame);
      else this.#pass(frame);
      at = end;
    }
    this.#partial = data.subarray(at);
    if (this.#socket.writableNeedDrain && !this.#socket.destroyed) this.#socket.once('drain', done);
    else done();
  }

  #hold(frame: Buffer): void {
    const next = this.#held[this.#framed];
    // An acknowledgement that nobody announced is left over from the connection before: its message comes again.
    if (next?.packetId !== frame.readUInt16BE(headerBytes(frame))) return;
    this.#framed++;
    next.frame = frame;
    this.#release();
  }

  #release(): void {
    let count = 0;
    for (const { durable, frame } of this.#held) {
      if (!durable || frame === undefined) break;
      this.#pass(frame);
      count++;
    }
    if (count === 0) return;
    this.#held.splice(0, count);
    this.#framed -= count;
  }

  /** One sync of the journal releases many acknowledgements one by one: they leave in one write. */
  #pass(frame: Buffer): void {
    if (this.#socket.destroyed) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(frame);
  }
}

/** Bytes before a packet's own content. */
function headerBytes(frame: Buffer): number {
  let at = 1;
  while (frame[at]! & 0x80) at++;
  return at + 1;
}

/** Where the packet ends that begins at `at`; `undefined` when it is not all there. */
function frameEnd(data: Buffer, at: number): number | undefined {
  let length = 0;
  for (let n = 0; n < 4; n++) {
    const byte = data[at + 1 + n];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** n;
    if (byte & 0x80) continue;
    const end = at + 2 + n + length;
    return end <= data.length ? end : undefined;
  }
  return undefined;
}
