import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { RawRecord } from '../operator.ts';
import { type Meta, StreamRecord } from '../record.ts';
import type { Rejection } from './node.ts';

/** The value of a dead letter: the same shape whatever step, source or sink refused the record. */
export interface DeadLetter {
  /** Why, as one of the reject codes. */
  readonly code: string;
  readonly message: string;
  /** More than one thing may be wrong: each with its path, from steps that know. */
  readonly reasons?: readonly unknown[];
  readonly topology: string;
  readonly topologyHash: string;
  /** Id of the step that refused it. */
  readonly step: string;
  /** Source step and partition, such as `readings.mqtt/0`, and the record's offset in it. */
  readonly source: string;
  readonly offset: number;
  /** Which of several records made from that one was refused. */
  readonly part?: string;
  readonly key?: string | number | boolean;
  /** Event time in ms, when it is known. */
  readonly time?: number;
  readonly topic?: string;
  readonly headers?: Meta['headers'];
  readonly window?: { readonly start: number; readonly end: number };
  /** The payload as it came in; for a record made by a window, or one of several made from it, its value as JSON. */
  readonly payload: string;
  readonly payloadEncoding: 'utf8' | 'base64';
  /** Size of the payload in bytes. */
  readonly bytes: number;
  /** Set when `payload` holds only the first `keptBytes` of it; `sha256` is that of the whole. */
  readonly truncated?: { readonly keptBytes: number; readonly sha256: string };
}

/** More than this of a payload does not fit where dead letters go (a Kafka record takes 1 MiB, base64 adds a third). */
export const keptPayloadBytes = 512 * 1024;

/** Makes the dead letter of a rejection. `payload` is the original bytes when the record still is what came in. */
export function deadLetter(
  { record, code, message, reasons }: Rejection,
  at: { topology: string; topologyHash: string; step: string; source: string },
  payload: Buffer | undefined,
): StreamRecord<DeadLetter> {
  const meta = record.meta;
  const value: DeadLetter = {
    code,
    message,
    ...(reasons && { reasons }),
    topology: at.topology,
    topologyHash: at.topologyHash,
    step: at.step,
    source: record.origin || at.source,
    offset: record.offset,
    ...(record.part !== undefined && { part: record.part }),
    ...(record.key !== undefined && { key: record.key }),
    ...(Number.isFinite(record.time) && { time: record.time }),
    ...(meta?.topic !== undefined && { topic: meta.topic }),
    ...(meta?.headers !== undefined && { headers: meta.headers }),
    ...(record.window && { window: { start: record.window.start, end: record.window.end } }),
    ...payloadFields(payload ?? encodeValue(record.value)),
  };
  return new StreamRecord(
    value,
    record.key,
    record.time,
    record.offset,
    meta,
    record.window,
    undefined,
    record.origin || at.source,
    record.part,
  );
}

/** The payload bytes under the reader's finger, copied: the batch they lie in is used again. */
export function rawPayload(raw: RawRecord): Buffer {
  return raw.decoded ? encodeValue(raw.value) : Buffer.from(raw.data.subarray(raw.start, raw.end));
}

function encodeValue(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') return Buffer.from(value);
  try {
    return Buffer.from(
      JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? 'null',
    );
  } catch (error) {
    // A dead letter that cannot be made would end the run, at every start again.
    return Buffer.from(`The value cannot be written as JSON: ${(error as Error).message.split('\n')[0]}`);
  }
}

function payloadFields(whole: Buffer) {
  const kept = whole.subarray(0, keptPayloadBytes);
  const text = isUtf8(kept);
  return {
    payload: kept.toString(text ? 'utf8' : 'base64'),
    payloadEncoding: text ? ('utf8' as const) : ('base64' as const),
    bytes: whole.length,
    ...(kept.length < whole.length && {
      truncated: { keptBytes: kept.length, sha256: createHash('sha256').update(whole).digest('hex') },
    }),
  };
}
