import { gzipSync } from 'node:zlib';
import { compress as zstd } from '@bokuweb/zstd-wasm';
import fc from 'fast-check';
import { compressFrameSync } from 'lz4-napi';
import { describe, expect, test } from 'vitest';
import { type Compression, codecNames, codecOf, mostUnpacked, unpack } from '../../operators/kafka/codecs.ts';

const packed = codecNames.filter((name): name is Exclude<Compression, 'none'> => name !== 'none');
const numberOf = (name: Compression) => codecNames.indexOf(name);
const contents = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
  // About the edges of snappy's blocks, and beyond them.
  fc.constantFrom(1, 32_767, 32_768, 32_769, 65_536, 300_000).map((length) => Buffer.alloc(length, 'abc')),
);

describe('codecs', () => {
  test.each(packed)('%s: what is packed is unpacked again', (name) =>
    fc.assert(
      fc.asyncProperty(contents, async (bytes) => {
        const codec = await codecOf(name);
        expect((await unpack(numberOf(name), await codec.pack(bytes))).equals(bytes)).toBe(true);
      }),
      { numRuns: 60 },
    ),
  );

  test.each(packed)('%s: whatever else is to be unpacked gives bytes or a plain error, and no more', (name) =>
    fc.assert(
      fc.asyncProperty(contents, fc.array(fc.tuple(fc.nat(), fc.nat(255))), fc.nat(), async (bytes, changes, cut) => {
        const hostile = Buffer.from(await (await codecOf(name)).pack(bytes));
        for (const [at, value] of changes.slice(0, 4)) hostile[at % hostile.length] = value;
        const shorter = hostile.subarray(0, cut % 2 === 0 ? hostile.length : cut % hostile.length);
        const result = await unpack(numberOf(name), shorter).catch((error: unknown) => error);
        if (!Buffer.isBuffer(result)) expect(result).toMatchObject({ name: 'Trouble', kind: 'final' });
      }),
      { numRuns: 100 },
    ),
  );

  test('a few bytes that claim to be very much are refused before room is made for them', async () => {
    const claim = (head: number[], size: bigint, bytes: number) => {
      const batch = Buffer.alloc(head.length + bytes + 20);
      Buffer.from(head).copy(batch);
      batch.writeBigUInt64LE(size, head.length);
      return batch;
    };
    const zstdHead = claim([0x28, 0xb5, 0x2f, 0xfd, 0xe0], 2n ** 33n, 8);
    const snappyHead = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    const one = compressFrameSync(Buffer.from('one block'));
    // Blocks of 4 MiB that hold nothing, more than fit.
    const lz4Head = Buffer.from(one.subarray(0, 7));
    lz4Head[5] = 0x70;
    const lz4 = Buffer.concat([lz4Head, ...Array.from({ length: 65 }, () => Buffer.from([1, 0, 0, 0x80, 7]))]);
    // Members that follow each other are one text.
    const zeros = gzipSync(Buffer.alloc(2 ** 20));
    for (const [name, bytes] of [
      ['zstd', zstdHead],
      ['snappy', snappyHead],
      ['lz4', lz4],
      ['gzip', Buffer.concat(Array.from({ length: mostUnpacked / 2 ** 20 + 1 }, () => zeros))],
    ] as const) {
      await expect(unpack(numberOf(name), bytes), name).rejects.toThrow(
        /more than 268435456 bytes|larger than 268435456/,
      );
    }
  });

  test('frames of other makes are read: snappy without a frame, zstd that does not say its size, lz4 with checksums', async () => {
    const text = Buffer.from('a text that stands for many '.repeat(50_000));
    const { default: snappy } = await import('kafkajs-snappy');
    const raw = await snappy().compress({ buffer: text });
    expect((await unpack(numberOf('snappy'), raw)).equals(text)).toBe(true);
    await codecOf('zstd');
    const sized = Buffer.from(zstd(text));
    // The same frame with a window in place of its size: descriptor, window, blocks.
    expect(sized[4]).toBe(0xa0);
    const unsized = Buffer.concat([sized.subarray(0, 4), Buffer.from([0, 0x70]), sized.subarray(9)]);
    expect((await unpack(numberOf('zstd'), unsized)).equals(text)).toBe(true);
    const checked = compressFrameSync(text, { blockChecksums: true, contentChecksum: true });
    expect((await unpack(numberOf('lz4'), checked)).equals(text)).toBe(true);
  });
});
