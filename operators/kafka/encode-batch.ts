import { codecNames, codecOf } from './codecs.ts';
import type { Outgoing, WriterOptions } from './driver.ts';
import { sizeOf } from './lane.ts';

/** Who writes a batch, and which one of its batches for this partition it is. */
export interface Numbering {
  readonly producer: bigint;
  readonly epoch: number;
  /** Of the first record. */
  readonly sequence: number;
}

const headBytes = 61;
const crcAt = 17;
const attributesAt = 21;
const magic = 2;
const transactional = 0x10;
const crcTable = makeCrcTable();

/** Encodes records as one record batch of a transaction. Those without a timestamp get `now`, in ms. */
export async function encodeBatch(
  records: readonly Outgoing[],
  { producer, epoch, sequence }: Numbering,
  { compression }: WriterOptions,
  now: number,
): Promise<Buffer> {
  const timeOf = ({ timestamp }: Outgoing) => (timestamp === undefined ? now : Number(timestamp));
  const firstTime = timeOf(records[0]!);
  let latest = firstTime;
  let most = headBytes;
  for (const record of records) {
    most += sizeOf(record);
    latest = Math.max(latest, timeOf(record));
  }
  const target = new Target(Buffer.allocUnsafe(most), headBytes);
  for (let i = 0; i < records.length; i++) putRecord(target, records[i]!, i, timeOf(records[i]!) - firstTime);
  const plain = target.bytes.subarray(0, target.at);
  const batch =
    compression === 'none'
      ? plain
      : Buffer.concat([
          plain.subarray(0, headBytes),
          await (await codecOf(compression)).pack(plain.subarray(headBytes)),
        ]);
  let at = batch.writeBigInt64BE(0n, 0);
  at = batch.writeInt32BE(batch.length - 12, at);
  at = batch.writeInt32BE(-1, at);
  batch.writeInt8(magic, at);
  at = batch.writeInt16BE(transactional | codecNames.indexOf(compression), attributesAt);
  at = batch.writeInt32BE(records.length - 1, at);
  at = batch.writeBigInt64BE(BigInt(firstTime), at);
  at = batch.writeBigInt64BE(BigInt(latest), at);
  at = batch.writeBigInt64BE(producer, at);
  at = batch.writeInt16BE(epoch, at);
  at = batch.writeInt32BE(sequence, at);
  batch.writeInt32BE(records.length, at);
  batch.writeUInt32BE(crc32c(batch, attributesAt), crcAt);
  return batch;
}

function putRecord(target: Target, { key, value, headers }: Outgoing, offsetDelta: number, timeDelta: number): void {
  const lengthAt = target.at;
  // One byte for its length, which most records do with; the others move.
  target.at++;
  target.bytes[target.at++] = 0;
  target.long(timeDelta);
  target.integer(offsetDelta);
  target.buffer(key);
  target.buffer(value);
  const names = Object.keys(headers);
  target.integer(names.reduce((count, name) => count + valuesOf(headers[name]!).length, 0));
  for (const name of names) {
    for (const value of valuesOf(headers[name]!)) {
      target.text(name);
      target.text(value);
    }
  }
  const length = target.at - lengthAt - 1;
  const more = lengthBytes(length) - 1;
  if (more > 0) target.bytes.copyWithin(lengthAt + 1 + more, lengthAt + 1, target.at);
  target.at = lengthAt;
  target.integer(length);
  target.at += length;
}

const valuesOf = (value: string | readonly string[]) => (typeof value === 'string' ? [value] : value);

function lengthBytes(length: number): number {
  let bytes = 1;
  for (let rest = length >>> 6; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}

/** Bytes that are being written, and how far. */
class Target {
  readonly bytes: Buffer;
  at: number;
  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  integer(value: number): void {
    let rest = ((value << 1) ^ (value >> 31)) >>> 0;
    for (; rest > 0x7f; rest >>>= 7) this.bytes[this.at++] = (rest & 0x7f) | 0x80;
    this.bytes[this.at++] = rest;
  }

  long(value: number): void {
    if (Math.abs(value) < 2 ** 30) {
      this.integer(value);
      return;
    }
    let rest = value < 0 ? BigInt(value) * -2n - 1n : BigInt(value) * 2n;
    for (; rest > 0x7fn; rest >>= 7n) this.bytes[this.at++] = Number(rest & 0x7fn) | 0x80;
    this.bytes[this.at++] = Number(rest);
  }

  buffer(value: Buffer | null): void {
    this.integer(value === null ? -1 : value.length);
    if (value !== null) this.at += value.copy(this.bytes, this.at);
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.integer(length);
    this.at += this.bytes.write(value, this.at);
  }
}

function crc32c(bytes: Buffer, from: number): number {
  let crc = -1;
  for (let i = from; i < bytes.length; i++) crc = crcTable[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

function makeCrcTable(): Int32Array {
  return Int32Array.from({ length: 256 }, (_, start) => {
    let value = start;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
    return value;
  });
}
