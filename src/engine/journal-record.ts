import { crc32 } from 'node:zlib';
import type { JournalRecord } from '../operator.ts';

/**
 * What a journal file holds, little-endian:
 *
 *     file     magic 4, version u32, records …
 *     record   crc32 u32 over the rest, length u32 of the whole, offset u48, arrival f64, flags u32,
 *              batch u32, topic length u16, topic, payload
 *
 * `batch` counts back to the first record of the write that this one was part of. A write begins only after the one
 * before it is durable: a good record whose batch begins after a bad one proves that the bad one was once whole.
 */
export const fileHeaderBytes = 8;
export const recordHeaderBytes = 32;
const formatVersion = 1;
const magic = 0x4c4a5350; // "PSJL"

/** The first bytes of a journal file: what it is, and in which format. */
export function fileHeader(): Buffer {
  const header = Buffer.alloc(fileHeaderBytes);
  header.writeUInt32LE(magic, 0);
  header.writeUInt32LE(formatVersion, 4);
  return header;
}

/** Says what is wrong with the head of a journal file; `undefined` when nothing is. */
export function checkFileHeader(content: Buffer): string | undefined {
  if (content.length < fileHeaderBytes || content.readUInt32LE(0) !== magic)
    return 'does not begin as a journal file does';
  const version = content.readUInt32LE(4);
  return version === formatVersion
    ? undefined
    : `has format version ${version}, and this program reads version ${formatVersion}`;
}

/** Puts a record at `at` and gives the place after it. `topicBytes` is the topic's length in UTF-8. */
export function encodeRecord(
  into: Buffer,
  at: number,
  record: JournalRecord,
  topicBytes: number,
  offset: number,
  batchStart: number,
): number {
  const end = at + recordHeaderBytes + topicBytes + record.payload.length;
  into.writeUInt32LE(end - at, at + 4);
  into.writeUIntLE(offset, at + 8, 6);
  into.writeDoubleLE(record.arrival, at + 14);
  into.writeUInt32LE(record.flags ?? 0, at + 22);
  into.writeUInt32LE(offset - batchStart, at + 26);
  into.writeUInt16LE(topicBytes, at + 30);
  into.write(record.topic, at + recordHeaderBytes, topicBytes, 'utf8');
  into.set(record.payload, at + recordHeaderBytes + topicBytes);
  into.writeUInt32LE(crc32(into.subarray(at + 4, end)), at);
  return end;
}

export const lengthAt = (data: Buffer, at: number) => data.readUInt32LE(at + 4);
export const offsetAt = (data: Buffer, at: number) => data.readUIntLE(at + 8, 6);
export const arrivalAt = (data: Buffer, at: number) => data.readDoubleLE(at + 14);
export const flagsAt = (data: Buffer, at: number) => data.readUInt32LE(at + 22);
export const batchStartAt = (data: Buffer, at: number) => offsetAt(data, at) - data.readUInt32LE(at + 26);
export const topicBytesAt = (data: Buffer, at: number) => data.readUInt16LE(at + 30);

/** Whether a whole record with a good checksum stands at `at`, before `end`. */
export function isRecord(data: Buffer, at: number, end: number): boolean {
  if (end - at < recordHeaderBytes) return false;
  const length = lengthAt(data, at);
  if (length > end - at || length < recordHeaderBytes + topicBytesAt(data, at)) return false;
  return crc32(data.subarray(at + 4, at + length)) === data.readUInt32LE(at);
}

/**
 * Walks a file from its head: `end` is the place after the last good record, `next` the offset after it. `lost` is set when
 * a later good record proves that the first bad one had been durable: then it is damage, not a torn write.
 */
export function scanRecords(content: Buffer, base: number): { end: number; next: number; lost: boolean } {
  let end = fileHeaderBytes;
  let next = base;
  while (isRecord(content, end, content.length) && offsetAt(content, end) === next) {
    end += lengthAt(content, end);
    next++;
  }
  for (let at = end; at + recordHeaderBytes <= content.length; at++) {
    const offset = offsetAt(content, at);
    // The cheap checks come first: a checksum at every byte of a large file would take minutes.
    if (offset <= next || offset > next + content.length || batchStartAt(content, at) <= next) continue;
    if (isRecord(content, at, content.length)) return { end, next, lost: true };
  }
  return { end, next, lost: false };
}
