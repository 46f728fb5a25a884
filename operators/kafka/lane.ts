import type { Outgoing, TopicPartition } from './driver.ts';

/** Records on their way to one partition, with their places in the batch that the engine handed over. */
export interface Parcel {
  readonly records: readonly Outgoing[];
  readonly indexes: readonly number[];
  readonly bytes: number;
}

/** Below the 1,048,588 bytes that a topic takes unless it is set otherwise, with room for the head of the batch. */
export const mostBytes = 1_000_000;
/** kafkajs groups messages in time that grows with the square of their number: so many still cost little. */
const mostRecords = 2_000;
/** Upper bounds of what Kafka adds to a record (lengths, offset, time) and to each header. */
const recordBytes = 36;
const headerBytes = 10;

/** All that one write sends to one partition, in order. */
export class Lane implements TopicPartition {
  readonly topic: string;
  readonly partition: number;
  readonly #records: Outgoing[] = [];
  readonly #indexes: number[] = [];

  constructor(topic: string, partition: number) {
    this.topic = topic;
    this.partition = partition;
  }

  add(index: number, record: Outgoing): void {
    this.#records.push(record);
    this.#indexes.push(index);
  }

  get indexes(): readonly number[] {
    return this.#indexes;
  }

  /** Cuts the lane into parcels of at most `mostBytes`, in order. A record that is larger than that goes alone. */
  parcels(mostBytes: number): Parcel[] {
    const parcels: Parcel[] = [];
    const records = this.#records;
    for (let from = 0, to = 0; from < records.length; from = to) {
      let bytes = sizeOf(records[from]!);
      for (to = from + 1; to < records.length && to - from < mostRecords; to++) {
        const size = sizeOf(records[to]!);
        if (bytes + size > mostBytes) break;
        bytes += size;
      }
      parcels.push({ records: records.slice(from, to), indexes: this.#indexes.slice(from, to), bytes });
    }
    return parcels;
  }
}

/** Two parcels of one, for when it was too large or holds a record that is not taken. */
export function halves({ records, indexes }: Parcel): [Parcel, Parcel] {
  const middle = records.length >> 1;
  return [
    parcelOf(records.slice(0, middle), indexes.slice(0, middle)),
    parcelOf(records.slice(middle), indexes.slice(middle)),
  ];
}

function parcelOf(records: readonly Outgoing[], indexes: readonly number[]): Parcel {
  return { records, indexes, bytes: records.reduce((sum, record) => sum + sizeOf(record), 0) };
}

/** What a record takes at most in a batch, uncompressed. */
export function sizeOf({ key, value, headers }: Outgoing): number {
  let bytes = recordBytes + (key?.length ?? 0) + (value?.length ?? 0);
  for (const name in headers) {
    const nameBytes = headerBytes + Buffer.byteLength(name);
    for (const text of [headers[name]!].flat()) bytes += nameBytes + Buffer.byteLength(text);
  }
  return bytes;
}
