import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { type DeadLetter, markDeadLetter } from '../dead-letter.ts';
import type { RawRecord } from '../operator.ts';
import { type Key, StreamRecord } from '../record.ts';
import type { Rejection } from './node.ts';

/** More than this of a payload does not fit where dead letters go (a Kafka record takes 1 MiB, base64 adds a third). */
export const keptPayloadBytes = 512 * 1024;

/** Where and when a record was refused. */
export type RefusedAt = Pick<DeadLetter, 'topology' | 'topologyHash' | 'step' | 'operator' | 'stage' | 'source' | 'at'>;

/** What a record was when it came in: a copy of its bytes, and its key. */
export interface Original {
  readonly payload: Buffer;
  readonly key: Key | undefined;
}

/** Makes the dead letter of a rejection. `original` is there when the record still is what came in. */
export function deadLetter(
  { record, code, message, reasons, attempts = 1 }: Rejection,
  at: RefusedAt,
  original: Original | undefined,
): StreamRecord<DeadLetter> {
  const meta = record.meta;
  const value: DeadLetter = {
    version: 1,
    code,
    message,
    ...(reasons && { reasons }),
    topology: at.topology,
    topologyHash: at.topologyHash,
    step: at.step,
    operator: at.operator,
    stage: at.stage,
    attempt: attempts,
    at: at.at,
    source: record.origin || at.source,
    offset: record.offset,
    ...(record.part !== undefined && { part: record.part }),
    ...(record.key !== undefined && { key: record.key }),
    ...(original && original.key !== record.key && { originalKey: original.key ?? null }),
    ...(Number.isFinite(record.time) && { time: record.time }),
    ...(meta?.topic !== undefined && { topic: meta.topic }),
    ...(meta?.headers !== undefined && { headers: meta.headers }),
    ...(record.window && { window: { start: record.window.start, end: record.window.end } }),
    original: original !== undefined,
    ...payloadFields(original?.payload ?? encodeValue(record.value)),
  };
  return new StreamRecord(
    markDeadLetter(value),
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

/** What lies under the reader's finger, copied: the batch it lies in is used again. */
export function originalOf(raw: RawRecord): Original {
  const payload = raw.decoded ? encodeValue(raw.value) : Buffer.from(raw.data.subarray(raw.start, raw.end));
  return { payload, key: raw.key };
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
