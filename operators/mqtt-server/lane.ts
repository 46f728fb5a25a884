import { Duplex } from 'node:stream';
import { type FramePart, Frames, packetTypes } from './frames.ts';

/** Why a client was not let in, or was hung up on. */
export type Refusal =
  | 'connections'
  | 'userConnections'
  | 'sessions'
  | 'busy'
  | 'connectTimeout'
  | 'packetTooLarge'
  | 'protocol'
  | 'protocolVersion'
  | 'password'
  | 'clientId'
  | 'publishTopic'
  | 'subscribeTopic'
  | 'subscriptions'
  | 'rate'
  | 'slowReader'
  | 'tls'
  | 'origin';

/** Why a connection has ended. */
export type Ending = Refusal | 'disconnect' | 'lost' | 'keepAliveMissed' | 'takenOver' | 'userChanged' | 'shutdown';

/** What all lanes share. */
export interface LaneRules {
  readonly maxPacket: number;
  /** Packets that a client may send in a second. */
  readonly rate: number;
  readonly overRate: 'slow' | 'disconnect';
  /** QoS 1 and 2 messages of one client that are on their way into the journal. */
  readonly inflight: number;
  readonly connectTimeoutMs: number;
  /** The journal takes nothing more for now. */
  readonly held: boolean;
  /** … and has not for so long that QoS 0 messages are given up. */
  readonly pressed: boolean;
  now(): number;
  /** A whole CONNECT is there: give the lane to the broker, which is to read it. */
  onConnect(lane: Lane): void;
  onRefused(lane: Lane, reason: Refusal): void;
  onDropped(): void;
  /** The rate is exceeded, and the client waits. */
  onSlowed(lane: Lane): void;
}

/** Where a connection comes from. */
export interface Origin {
  readonly address: string;
  readonly listener: string;
  /** The common name of a certificate that was accepted. */
  readonly certified: string | undefined;
}

/** Read from one client while nothing may go on to the broker: enough to see the pings among it. */
const readAhead = 32 << 10;
const connectMost = 64 << 10;
/** Above so much that a client has not taken, the broker waits for it, and does not send it anything new. */
const backlogMost = 512 << 10;
const flushMs = 2_000;
const pingresp = Buffer.from([0xd0, 0]);
/** MQTT 5: unsupported protocol version. */
const connackVersion = Buffer.from([0x20, 3, 0, 0x84, 0]);

/**
 * Stands between one client's connection and the broker. It looks at the head of each packet before the broker reads it: what is too
 * large, too much or no MQTT never gets there. What may not go on for now waits here, and then at the client; pings are answered all the
 * while. It keeps the client's keep-alive, which does not run while it is us who do not read.
 */
export class Lane extends Duplex {
  readonly origin: Origin;
  /** Set by whoever lets the client in. */
  keepAliveMs = 0;
  user: string | undefined;
  clientId: string | undefined;
  ending: Ending | undefined;
  readonly #socket: Duplex;
  readonly #rules: LaneRules;
  readonly #frames: Frames;
  readonly #since: number;
  #stage: 'connect' | 'waiting' | 'open' = 'connect';
  #queue: FramePart[] = [];
  #queuedBytes = 0;
  #wanted = false;
  #skipping = false;
  #sourceEnded = false;
  #paused = false;
  #inflight = 0;
  #allowance: number;
  #slowed = false;
  #lastPacket: number;
  #destroyedAt: number | undefined;

  constructor(socket: Duplex, origin: Origin, rules: LaneRules) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.origin = origin;
    this.#rules = rules;
    this.#frames = new Frames(Math.min(connectMost, rules.maxPacket));
    this.#allowance = rules.rate;
    this.#since = rules.now();
    this.#lastPacket = this.#since;
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    const ended = () => this.#gone();
    socket.on('end', ended);
    socket.on('close', ended);
    // A connection that breaks has come to its end; what it brought before counts.
    socket.on('error', ended);
  }

  /** Bytes that the client has not taken yet. */
  get backlogged(): boolean {
    return this.#socket.writableLength >= backlogMost;
  }

  /** The network has been let go, too. */
  get gone(): boolean {
    return this.destroyed && this.#socket.destroyed;
  }

  /** The broker has answered CONNECT: what the client has sent since may follow. */
  open(): void {
    this.#stage = 'open';
    this.release();
  }

  /** A message that counted as in flight is done. */
  settled(): void {
    this.#inflight--;
    if (this.#queue.length > 0) this.release();
  }

  /** Hangs up for this reason, unless it has been done for another. */
  refuse(reason: Refusal): void {
    if (this.ending === undefined) {
      this.ending = reason;
      this.#rules.onRefused(this, reason);
    }
    this.destroy();
  }

  /** Hangs up without anything to complain of. */
  hangUp(reason: Ending): void {
    this.ending ??= reason;
    this.destroy();
  }

  /** Called each second: time-outs, and a new allowance. */
  tick(now: number): void {
    if (this.destroyed) {
      this.#destroyedAt ??= now;
      if (now - this.#destroyedAt >= flushMs) this.#socket.destroy();
      return;
    }
    if (this.#stage === 'connect' && now - this.#since >= this.#rules.connectTimeoutMs) {
      this.refuse('connectTimeout');
      return;
    }
    if (this.#paused || this.#stage !== 'open') this.#lastPacket = now;
    else if (this.keepAliveMs > 0 && now - this.#lastPacket > 1.5 * this.keepAliveMs) {
      this.hangUp('keepAliveMissed');
      return;
    }
    this.#allowance = this.#rules.rate;
    this.#slowed = false;
    this.release();
  }

  /** Lets go on to the broker what may. */
  release(): void {
    if (this.#stage === 'open') {
      while (this.#wanted && this.#queue.length > 0 && !this.destroyed && this.#mayPass(this.#queue[0]!)) {
        const part = this.#queue.shift()!;
        this.#queuedBytes -= part.bytes.length;
        if (!this.#skipping) this.#wanted = this.push(part.bytes);
      }
      if (this.#sourceEnded && this.#queue.length === 0 && !this.destroyed) {
        this.ending ??= 'lost';
        this.push(null);
      }
    }
    this.#pace();
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#queue.length > 0) this.release();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(chunk, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#queue = [];
    // What has been said, such as why it was refused, still gets out; `tick` hangs up on a client that does not take it.
    const { destroySoon } = this.#socket as { destroySoon?: () => void };
    if (destroySoon) destroySoon.call(this.#socket);
    else this.#socket.end();
    this.#socket.resume();
    done(error);
  }

  #send(bytes: Buffer, done: () => void): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) {
      done();
      return;
    }
    this.#socket.write(bytes);
    if (!this.backlogged) done();
    else {
      const go = () => {
        this.#socket.off('drain', go);
        this.#socket.off('close', go);
        done();
      };
      this.#socket.on('drain', go);
      this.#socket.on('close', go);
    }
  }

  #received(chunk: Buffer): void {
    if (this.destroyed) return;
    const problem = this.#frames.read(chunk, (part) => this.#take(part));
    if (problem !== undefined) this.refuse(problem);
    else this.release();
  }

  /** False: nothing more of the chunk is wanted. */
  #take(part: FramePart): boolean {
    if (part.last) this.#lastPacket = this.#rules.now();
    if (this.#stage === 'connect') return this.#takeConnect(part);
    if (part.type === packetTypes.connect) {
      this.refuse('protocol');
      return false;
    }
    if (part.type === packetTypes.pingreq) return this.#pong();
    this.#queue.push(part);
    this.#queuedBytes += part.bytes.length;
    return true;
  }

  #takeConnect(part: FramePart): boolean {
    if (part.type !== packetTypes.connect) {
      this.refuse('protocol');
      return false;
    }
    this.#queue.push(part);
    if (!part.last) return true;
    const packet = Buffer.concat(this.#queue.splice(0).map(({ bytes }) => bytes));
    if (protocolLevel(packet) === 5) {
      this.#socket.write(connackVersion);
      this.refuse('protocolVersion');
      return false;
    }
    this.#stage = 'waiting';
    this.#frames.limit = this.#rules.maxPacket;
    this.#rules.onConnect(this);
    this.push(packet);
    return true;
  }

  #pong(): boolean {
    if (this.backlogged) {
      this.refuse('slowReader');
      return false;
    }
    this.#socket.write(pingresp);
    return true;
  }

  #mayPass({ type, qos, first }: FramePart): boolean {
    if (!first) return true;
    this.#skipping = false;
    if (type === packetTypes.disconnect) this.ending ??= 'disconnect';
    if (!limited.has(type)) return true;
    if (this.#allowance <= 0) {
      if (this.#rules.overRate === 'disconnect') this.refuse('rate');
      else if (!this.#slowed) this.#rules.onSlowed(this);
      this.#slowed = true;
      return false;
    }
    if (type === packetTypes.publish) {
      if (this.#rules.held && !(qos === 0 && this.#rules.pressed)) return false;
      if (this.#rules.held) {
        this.#skipping = true;
        this.#rules.onDropped();
      } else if (qos > 0) {
        if (this.#inflight >= this.#rules.inflight) return false;
        this.#inflight++;
      }
    }
    this.#allowance--;
    return true;
  }

  /** Reads on, or lets the client wait. */
  #pace(): void {
    const full = this.#queuedBytes >= readAhead;
    if (full === this.#paused || this.destroyed) return;
    this.#paused = full;
    if (full) this.#socket.pause();
    else this.#socket.resume();
  }

  #gone(): void {
    if (this.#sourceEnded) return;
    this.#sourceEnded = true;
    // Before the broker knows of it there is nobody to tell of an end.
    if (this.#stage !== 'open') this.hangUp('lost');
    else this.release();
  }
}

/** What costs the broker work and no client needs to send often. Acknowledgements are answers to what we have sent. */
const limited = new Set<number>([
  packetTypes.publish,
  packetTypes.pubrel,
  packetTypes.subscribe,
  packetTypes.unsubscribe,
]);

/** The version that a whole CONNECT asks for; `undefined` when it is too short to say. */
function protocolLevel(packet: Buffer): number | undefined {
  let at = 1;
  while (packet[at]! & 0x80) at++;
  if (at + 3 > packet.length) return undefined;
  return packet[at + 3 + packet.readUInt16BE(at + 1)];
}
