import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeName, encodeName } from '../../operators/kafka/changelog.ts';
import { type Compression, codecNames } from '../../operators/kafka/codecs.ts';
import type { Outgoing } from '../../operators/kafka/driver.ts';
import { encodeBatch } from '../../operators/kafka/encode-batch.ts';
import { dropAborted } from '../../operators/kafka/kafkajs-fetches.ts';
import { type Aborted, behindEmptied, readBatches } from '../../operators/kafka/record-batches.ts';

const bytes = fc.option(
  fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from(array)),
    fc.constantFrom(57, 58, 63, 64, 8_180, 8_191, 8_192, 70_000).map((length) => Buffer.alloc(length, 7)),
    fc.constant(Buffer.alloc(4)),
  ),
);
const outgoing = fc.record({
  key: bytes,
  value: bytes,
  headers: fc.dictionary(
    fc.constantFrom('a', 'penstock-id', 'größe'),
    fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 })),
    {
      maxKeys: 2,
    },
  ),
  timestamp: fc.constantFrom('0', '1700000000000', '1600000000000', '9007199254740991'),
}) satisfies fc.Arbitrary<Outgoing>;

/** Sets base offset of a batch, and what marks it. */
function placed(batch: Buffer, offset: number, { control = false, records = true, plain = false } = {}): Buffer {
  const copy = Buffer.from(batch);
  copy.writeBigInt64BE(BigInt(offset), 0);
  if (control) copy.writeInt16BE(copy.readInt16BE(21) | 0x20, 21);
  if (plain) copy.writeInt16BE(copy.readInt16BE(21) & ~0x10, 21);
  if (records) return copy;
  // What compaction leaves of a batch: its head.
  copy.writeInt32BE(61 - 12, 8);
  copy.writeInt32BE(0, 57);
  return copy.subarray(0, 61);
}

const batchOf = (producer: number, records: readonly Outgoing[], compression: Compression = 'none') =>
  encodeBatch(records, { producer: BigInt(producer), epoch: 0, sequence: 0 }, { compression }, 5);
const text = (key: string | Buffer | null, value: string): Outgoing => ({
  key: typeof key === 'string' ? Buffer.from(key) : key,
  value: Buffer.from(value),
  headers: {},
});
const same = (a: Buffer | null, b: Buffer | null) => (a === null || b === null ? a === b : a.equals(b));
async function read(set: Buffer, aborted: readonly Aborted[] = []) {
  const seen: [number, Buffer | null, Buffer | null][] = [];
  const next = await readBatches(set, aborted, (key, value, offset) => seen.push([offset, key, value]));
  return { seen, next };
}
const values = async (set: Buffer, aborted: readonly Aborted[] = []) =>
  (await read(set, aborted)).seen.map(([, , value]) => `${value}`);

describe('record batches', () => {
  test('what is encoded is read back, whatever it is and however it is packed', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(outgoing, { minLength: 1, maxLength: 8 }),
        fc.constantFrom(...codecNames),
        fc.nat(2 ** 40),
        async (records, compression, base) => {
          const { seen, next } = await read(placed(await batchOf(1, records, compression), base));
          expect(next).toBe(base + records.length);
          expect(seen.map(([offset]) => offset)).toEqual(records.map((_, i) => base + i));
          const wrong = seen.filter(
            ([, key, value], i) => !same(key, records[i]!.key) || !same(value, records[i]!.value),
          );
          expect(wrong).toHaveLength(0);
        },
      ),
      { numRuns: 200 },
    ));

  test('the last batch may be cut off anywhere: it is left for the next fetch', async () => {
    const whole = placed(await batchOf(1, [text('a', '1'), text('b', '2')]), 4);
    const next = placed(await batchOf(1, [text('c', '3')]), 6);
    for (let cut = 0; cut < next.length; cut++) {
      expect(await read(Buffer.concat([whole, next.subarray(0, cut)]))).toMatchObject({ next: 6, seen: { length: 2 } });
    }
    expect((await read(Buffer.concat([whole, next]))).next).toBe(7);
    expect((await read(Buffer.alloc(0))).next).toBeUndefined();
  });

  test('batches that compaction has emptied, and markers, count for the offset alone', async () => {
    const set = Buffer.concat([
      placed(await batchOf(1, [text('a', '1'), text('b', '2')]), 0, { records: false }),
      placed(await batchOf(1, [text(null, 'marker')]), 9, { control: true }),
    ]);
    expect(await read(set)).toEqual({ seen: [], next: 10 });
    expect(await read(set.subarray(0, 61))).toEqual({ seen: [], next: 2 });
  });

  test('where emptied batches end is told up to the first that holds records', async () => {
    const empty = (base: number) =>
      batchOf(1, [text('a', '1'), text('b', '2')]).then((b) => placed(b, base, { records: false }));
    const full = placed(await batchOf(1, [text('c', '3')]), 8);
    expect(behindEmptied(Buffer.concat([await empty(3), await empty(6), full, await empty(9)]))).toBe(8);
    expect(behindEmptied(await empty(3))).toBe(5);
    expect(behindEmptied(full)).toBeUndefined();
    expect(behindEmptied((await empty(3)).subarray(0, 60))).toBeUndefined();
  });

  test('aborted transactions are left out: overlapping, ended in another order, begun before the fetch', async () => {
    const set = Buffer.concat([
      placed(await batchOf(1, [text('a', 'aborted')]), 10),
      placed(await batchOf(2, [text('b', 'aborted')]), 11),
      placed(await batchOf(3, [text('c', 'good')]), 12),
      placed(await batchOf(1, [text(Buffer.alloc(4), 'aborted')]), 13),
      placed(await batchOf(1, [text('d', 'aborted')]), 14),
      placed(await batchOf(2, [text(null, 'marker')]), 15, { control: true }),
      placed(await batchOf(1, [text('e', 'in no transaction')]), 16, { plain: true }),
      placed(await batchOf(1, [text(null, 'marker')]), 17, { control: true }),
      placed(await batchOf(2, [text('f', 'also good')]), 18),
      placed(await batchOf(1, [text('g', 'aborted')]), 19),
    ]);
    const aborted = [
      { producer: 1n, firstOffset: 19n },
      { producer: 2n, firstOffset: 3n },
      { producer: 1n, firstOffset: 10n },
    ];
    expect(await values(set, aborted)).toEqual(['good', 'in no transaction', 'also good']);
    expect(await values(set)).toHaveLength(8);
  });

  test.each([
    [5, /codec 5, which Kafka does not have/],
    [1, /cannot be unpacked with gzip/],
    [2, /cannot be unpacked with snappy/],
    [3, /cannot be unpacked with lz4/],
    [4, /cannot be unpacked with zstd/],
  ])('a batch that is not what its codec, %i, says ends the run', async (codec, message) => {
    const batch = await batchOf(1, [text('a', 'no codec begins like this')]);
    batch.writeInt16BE(codec, 21);
    await expect(read(batch)).rejects.toMatchObject({
      name: 'Trouble',
      kind: 'final',
      message: expect.stringMatching(message),
    });
  });
});

describe('names of state as message keys', () => {
  test('every name comes back, and no two share a key', () =>
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '\0', '\ud800', '\ufffd', 'ÿ')), {
          maxLength: 8,
        }),
        fc.array(fc.integer({ min: 0xd7ff, max: 0xe001 })),
        (names, units) => {
          const all = [...new Set([...names, String.fromCharCode(...units)])];
          const keys = all.map(encodeName);
          expect(keys.map(decodeName)).toEqual(all);
          expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(all.length);
        },
      ),
      { numRuns: 200 },
    ));
});

describe('what a kafkajs consumer fetches', () => {
  const message = (offset: number, producer: number, more: { control?: boolean; plain?: boolean } = {}) => ({
    offset: String(offset),
    isControlRecord: more.control ?? false,
    batchContext: { producerId: String(producer), inTransaction: !more.plain },
  });
  const dropped = (messages: ReturnType<typeof message>[], aborted: [producer: number, from: number][]) => {
    const abortedTransactions = aborted.map(([producer, from]) => ({
      producerId: `${producer}`,
      firstOffset: `${from}`,
    }));
    const partition = { abortedTransactions, messages };
    dropAborted(partition);
    return partition;
  };

  test('is rid of aborted records, also where transactions overlap', () => {
    const messages = [
      message(10, 1),
      message(11, 2),
      message(12, 1, { plain: true }),
      message(13, 1),
      message(14, 2, { control: true }),
      message(15, 2),
      message(16, 1, { control: true }),
    ];
    const { messages: left } = dropped(messages, [
      [2, 9],
      [1, 10],
    ]);
    expect(left.map(({ offset }) => Number(offset))).toEqual([12, 14, 15, 16]);
  });

  test('keeps the last offset, as a marker, so that reading goes on behind it', () => {
    const { messages, abortedTransactions } = dropped([message(10, 1), message(11, 1)], [[1, 10]]);
    expect(messages).toEqual([message(11, 1, { control: true })]);
    expect(abortedTransactions).toEqual([]);
  });

  test('without aborted transactions is left as it is', () => {
    const all = [message(10, 1)];
    expect(dropped(all, []).messages).toBe(all);
  });
});
