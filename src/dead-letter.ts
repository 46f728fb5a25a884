import type { Key, Meta, StreamRecord } from './record.ts';

/** The value of a dead letter: the same shape whatever step, source or sink refused the record. */
export interface DeadLetter {
  /** Version of this shape. Fields may be added to it; one that changes its meaning gets another version. */
  readonly version: 1;
  /** Why, as one of the reject codes. */
  readonly code: string;
  readonly message: string;
  /** More than one thing may be wrong: each with its path, from steps that know. */
  readonly reasons?: readonly unknown[];
  readonly topology: string;
  readonly topologyHash: string;
  /** Id of the step that refused it, the operator it is of, and what kind of step that is. */
  readonly step: string;
  readonly operator: string;
  readonly stage: 'source' | 'step' | 'sink';
  /** How often it was tried: 1 unless `retry` says more. */
  readonly attempt: number;
  /** When it was refused, in ms since the epoch. A replay refuses it at another time. */
  readonly at: number;
  /** Source step and partition, such as `readings.mqtt/0`, and the record's offset in it. */
  readonly source: string;
  readonly offset: number;
  /** Which of several records made from that one was refused. */
  readonly part?: string;
  readonly key?: Key;
  /** The key that it came with, where a step has given it another; `null` when it came without. */
  readonly originalKey?: Key | null;
  /** Event time in ms, when it is known. */
  readonly time?: number;
  readonly topic?: string;
  readonly headers?: Meta['headers'];
  readonly window?: { readonly start: number; readonly end: number };
  /** The payload as it came in, when `original`; else the record's value as JSON: what steps have made of it by then. */
  readonly payload: string;
  readonly payloadEncoding: 'utf8' | 'base64';
  readonly original: boolean;
  /** Size of the payload in bytes. */
  readonly bytes: number;
  /** Set when `payload` holds only the first `keptBytes` of it; `sha256` is that of the whole. */
  readonly truncated?: { readonly keptBytes: number; readonly sha256: string };
}

// What came in may look like one; only what the engine has made of a refused record is.
const made = new WeakSet<object>();

/** Marks a value as a dead letter that the engine has made. */
export function markDeadLetter(value: DeadLetter): DeadLetter {
  made.add(value);
  return value;
}

/** The dead letter that a record is, as the engine made it; `undefined` for any other record, and once a step has made another value of it. */
export function deadLetterOf({ value }: StreamRecord): DeadLetter | undefined {
  return typeof value === 'object' && value !== null && made.has(value) ? (value as DeadLetter) : undefined;
}

/** What of a value two runs have in common: a dead letter without the moment it was made, anything else as it is. */
export function withoutMoment(value: unknown): unknown {
  const { topologyHash, code, at, ...rest } = (value ?? {}) as Partial<DeadLetter>;
  return typeof topologyHash === 'string' && typeof code === 'string' ? { ...rest, topologyHash, code } : value;
}

/** The bytes that a dead letter holds: all of the payload, or, when it is `truncated`, its beginning. */
export function payloadBytes({ payload, payloadEncoding }: DeadLetter): Buffer {
  return Buffer.from(payload, payloadEncoding);
}

const connectStages = { source: 'VALUE_CONVERTER', step: 'TRANSFORMATION', sink: 'TASK_PUT' };

/**
 * What Kafka Connect writes beside a dead letter, for tools that read its queues. There is no stack: what a step throws is a fact about a
 * record. Partition and task are 0 where the source has no numbered partitions.
 */
export function connectHeaders(letter: DeadLetter): Record<string, string> {
  const partition = /\/(\d+)$/.exec(letter.source)?.[1] ?? '0';
  const headers = {
    topic: letter.topic ?? letter.source,
    partition,
    offset: String(letter.offset),
    'connector.name': letter.topology,
    'task.id': partition,
    stage: letter.code === 'key-invalid' ? 'KEY_CONVERTER' : connectStages[letter.stage],
    'class.name': `penstock.${letter.operator}`,
    'exception.class.name': `penstock.${letter.code}`,
    'exception.message': letter.message,
    'exception.stacktrace': '',
  };
  return Object.fromEntries(Object.entries(headers).map(([name, text]) => [`__connect.errors.${name}`, text]));
}

/** The header that holds a dead letter whose payload is the value of the message. */
export const deadLetterHeader = 'penstock-dead-letter';

/** The header that counts how often a record was put back to where its source reads. */
export const redrivenHeader = 'penstock-redriven';

/** Headers for a message whose value is the dead letter's payload: those it came with, and all that is known of it but payload and `reasons`. */
export function originalHeaders(letter: DeadLetter): Record<string, string | readonly string[]> {
  const { payload, reasons, headers, ...known } = letter;
  return { ...headers, ...connectHeaders(letter), [deadLetterHeader]: JSON.stringify(known) };
}

/** The dead letter in a message that was read again: written as a record, or with its payload as the value; `undefined` when it is none. */
export function readDeadLetter(value: Uint8Array, headers: Meta['headers']): DeadLetter | undefined {
  const known = [headers?.[deadLetterHeader]].flat().at(-1);
  const found = parsed(known ?? Buffer.from(value).toString()) as Partial<DeadLetter> | undefined;
  if (typeof found?.code !== 'string' || typeof found.step !== 'string' || typeof found.source !== 'string') return;
  const letter = { attempt: 1, ...found } as DeadLetter;
  if (known === undefined) return typeof found.payload === 'string' ? letter : undefined;
  const own = Object.entries(headers ?? {}).filter(
    ([name]) => !name.startsWith('__connect.errors.') && name !== deadLetterHeader && name !== 'penstock-id',
  );
  const encoding = found.payloadEncoding === 'base64' ? 'base64' : 'utf8';
  return { ...letter, headers: Object.fromEntries(own), payload: Buffer.from(value).toString(encoding) };
}

function parsed(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
