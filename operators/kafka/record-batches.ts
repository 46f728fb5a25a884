import { unpack } from './codecs.ts';
import { Trouble } from './driver.ts';

/** A transaction that was taken back, as a fetch tells of it. */
export interface Aborted {
  readonly producer: bigint;
  readonly firstOffset: bigint;
}

/** Bytes before the length of a batch ends: base offset and the length itself. */
const headBytes = 12;
const magicAt = 16;
const attributesAt = 21;
const lastDeltaAt = 23;
const producerAt = 43;
const countAt = 57;
const recordsAt = 61;
const codecMask = 0x07;
const transactional = 0x10;
const control = 0x20;

/**
 * Reads a set of record batches as a fetch with `read_committed` brings it: what belongs to aborted transactions and markers
 * are left out. Gives the offset after the last whole batch, `undefined` when there is none: it counts batches that
 * compaction has emptied, which hold no record to tell it by. A last batch that was cut off is left for the next fetch.
 *
 * kafkajs itself takes a record with four zero bytes as its key for an abort marker, and offsets of emptied batches are lost in it.
 */
export async function readBatches(
  set: Buffer,
  aborted: readonly Aborted[],
  each: (key: Buffer | null, value: Buffer | null, offset: number) => void,
): Promise<number | undefined> {
  const waiting = [...aborted].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const open = new Set<bigint>();
  let next: bigint | undefined;
  for (let at = 0; at + recordsAt <= set.length; ) {
    const end = at + headBytes + set.readInt32BE(at + 8);
    if (end > set.length) break;
    const base = set.readBigInt64BE(at);
    const last = base + BigInt(set.readInt32BE(at + lastDeltaAt));
    while (waiting.length > 0 && waiting[0]!.firstOffset <= last) open.add(waiting.shift()!.producer);
    const attributes = set.readInt16BE(at + attributesAt);
    const producer = set.readBigInt64BE(at + producerAt);
    if (attributes & control) open.delete(producer);
    else if (!(attributes & transactional && open.has(producer))) await readBatch(set, at, end, Number(base), each);
    next = last + 1n;
    at = end;
  }
  return next === undefined ? undefined : Number(next);
}

/** The offset behind the batches at the begin of the set that hold no records; `undefined` when the first one holds some. */
export function behindEmptied(set: Buffer): number | undefined {
  let next: number | undefined;
  for (let at = 0; at + recordsAt <= set.length && set.readInt32BE(at + countAt) === 0; ) {
    next = Number(set.readBigInt64BE(at)) + set.readInt32BE(at + lastDeltaAt) + 1;
    at += headBytes + set.readInt32BE(at + 8);
  }
  return next;
}

async function readBatch(
  set: Buffer,
  start: number,
  end: number,
  base: number,
  each: (key: Buffer | null, value: Buffer | null, offset: number) => void,
): Promise<void> {
  const magic = set.readInt8(start + magicAt);
  if (magic !== 2)
    throw new Trouble('final', `A record batch has format ${magic}; expected 2, that of Kafka 0.11 and later.`);
  const packed = set.subarray(start + recordsAt, end);
  const codec = set.readInt16BE(start + attributesAt) & codecMask;
  const records = new Cursor(codec === 0 ? packed : await unpack(codec, packed));
  for (let count = set.readInt32BE(start + countAt); count > 0; count--) {
    const length = records.integer();
    const after = records.at + length;
    records.at++;
    records.skipLong();
    const offset = base + records.integer();
    const key = records.bytes();
    each(key, records.bytes(), offset);
    records.at = after;
  }
}

/** Reads the variable-length numbers and bytes of records. */
class Cursor {
  at = 0;
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  integer(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes[this.at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
    }
  }

  skipLong(): void {
    while (this.#bytes[this.at++]! >= 0x80);
  }

  bytes(): Buffer | null {
    const length = this.integer();
    if (length < 0) return null;
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
}
