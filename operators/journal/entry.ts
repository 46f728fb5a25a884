import type { Batch, JournalBatch, Key, Meta, RawRecord } from '../../src/operator.ts';

/** Set beside records that a journal sink wrote: the payload begins with a head. Others are payloads alone, such as those of an MQTT source. */
export const entryFlag = 0x100;

/** What stands before the value: the length of the rest in four bytes, little-endian, then this as JSON. */
export interface Head {
  readonly id: string;
  readonly key?: Key;
  /** Event time in ms. */
  readonly time?: number;
  readonly headers?: Meta['headers'];
}

const lengthBytes = 4;

/** The payload of a record in a journal: its head, then its value. */
export function encodeEntry(head: Head, value: Uint8Array): Buffer {
  const text = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text, value]);
}

/** The head of the payload under the finger, which then begins with the value; `undefined` when it holds none. */
export function takeHead(raw: RawRecord): Head | undefined {
  if (raw.end - raw.start < lengthBytes) return undefined;
  const from = raw.start + lengthBytes;
  const to = from + raw.data.readUInt32LE(raw.start);
  if (to > raw.end) return undefined;
  try {
    const head = JSON.parse(raw.data.toString('utf8', from, to)) as Head;
    raw.start = to;
    return head;
  } catch {
    return undefined;
  }
}

/** Header under which readers find what tells a record apart from all others. */
export const idHeader = 'penstock-id';

/** Records of a journal, with what their heads say. */
export class EntryBatch implements Batch {
  readonly length: number;
  readonly next: number;
  readonly #records: JournalBatch;
  readonly #timed: boolean;
  readonly #maxPayload: number;

  /** `timed`: the event times of the heads are wanted. */
  constructor(records: JournalBatch, timed: boolean, maxPayload: number) {
    this.length = records.length;
    this.next = records.next;
    this.#records = records;
    this.#timed = timed;
    this.#maxPayload = maxPayload;
  }

  read(index: number, into: RawRecord): void {
    const { topic, flags } = this.#records.read(index, into);
    into.captures = undefined;
    into.refused = undefined;
    into.meta = { topic };
    if (flags & entryFlag) {
      const head = takeHead(into);
      if (head === undefined) {
        into.refused = {
          code: 'payload-malformed',
          message: 'The record is marked as one of a journal sink, but its head cannot be read.',
        };
        return;
      }
      into.key = head.key;
      if (this.#timed) into.timestamp = head.time ?? Number.NaN;
      into.meta = { topic, headers: { ...head.headers, [idHeader]: head.id } };
    }
    const size = into.end - into.start;
    if (size <= this.#maxPayload) return;
    into.refused = {
      code: 'payload-too-large',
      message: `The payload has ${size} bytes; \`maxPayload\` is ${this.#maxPayload}.`,
    };
  }
}
