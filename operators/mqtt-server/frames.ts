/** Packet types of MQTT 3.1.1 that a client may send. */
export const packetTypes = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
} as const;
const known = new Set<number>(Object.values(packetTypes));

/** A piece of one packet: all of it, or what one chunk from the network held of it. */
export interface FramePart {
  readonly type: number;
  readonly qos: number;
  readonly first: boolean;
  readonly last: boolean;
  readonly bytes: Buffer;
}

const headerMost = 5;

/** Finds the packets in what a client sends, by their fixed headers, as the bytes come: type, then the length in groups of seven bits. */
export class Frames {
  /** A packet may have so many bytes. What is larger is known before it comes. */
  limit: number;
  #header: number[] = [];
  #left = 0;
  #type = 0;
  #qos = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Gives each piece to `take`, which answers whether more is wanted. Gives what is wrong with the bytes, when something is. */
  read(chunk: Buffer, take: (part: FramePart) => boolean): 'protocol' | 'packetTooLarge' | undefined {
    let at = 0;
    /** Where the packet begins in this chunk. */
    let from = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left);
        this.#left -= end - at;
        const part = {
          type: this.#type,
          qos: this.#qos,
          first: false,
          last: this.#left === 0,
          bytes: chunk.subarray(at, end),
        };
        if (!take(part)) return undefined;
        at = end;
        continue;
      }
      if (this.#header.length === 0) from = at;
      const beganHere = this.#header.length === at - from;
      const byte = chunk[at++]!;
      const more = this.#grow(byte);
      if (typeof more === 'string') return more;
      if (more) continue;
      const head = beganHere ? undefined : Buffer.from(this.#header);
      const end = Math.min(chunk.length, at + this.#left);
      this.#header = [];
      this.#left -= end - at;
      const bytes = head ? Buffer.concat([head, chunk.subarray(at, end)]) : chunk.subarray(from, end);
      at = end;
      if (!take({ type: this.#type, qos: this.#qos, first: true, last: this.#left === 0, bytes })) return undefined;
    }
    return undefined;
  }

  /** One more byte of a header; true while it is not whole. */
  #grow(byte: number): boolean | 'protocol' | 'packetTooLarge' {
    this.#header.push(byte);
    if (this.#header.length === 1) {
      this.#type = byte >> 4;
      this.#qos = this.#type === packetTypes.publish ? (byte >> 1) & 3 : 0;
      return known.has(this.#type) && this.#qos < 3 ? true : 'protocol';
    }
    if (byte & 0x80) return this.#header.length < headerMost ? true : 'protocol';
    const length = this.#header.slice(1).reduceRight((sum, group) => sum * 128 + (group & 0x7f), 0);
    if (this.#header.length + length > this.limit) return 'packetTooLarge';
    if (this.#type === packetTypes.pingreq && length > 0) return 'protocol';
    this.#left = length;
    return false;
  }
}
