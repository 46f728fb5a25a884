import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { Trouble } from './driver.ts';

/** How a batch of records may be packed: names as Kafka's `compression.type` has them, in the order of their numbers. */
export const codecNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
export type Compression = (typeof codecNames)[number];

/** Packs and unpacks what stands behind the head of a record batch. */
export interface Codec {
  pack(bytes: Buffer): Promise<Buffer>;
  /** Rejects with an error when the bytes are not of this codec, or would take more room than `mostUnpacked`. */
  unpack(bytes: Buffer): Promise<Buffer>;
}

/** A batch that says it is larger than this is not unpacked: a few kB could otherwise fill the memory. */
export const mostUnpacked = 256 * 1024 * 1024;
const [zip, unzip] = [promisify(gzip), promisify(gunzip)];

const loaders: Readonly<Record<Exclude<Compression, 'none'>, () => Promise<Codec>>> = {
  gzip: async () => ({
    pack: (bytes) => zip(bytes),
    unpack: (bytes) => unzip(bytes, { maxOutputLength: mostUnpacked }),
  }),
  snappy: loadSnappy,
  lz4: loadLz4,
  zstd: loadZstd,
};
const loaded = new Map<string, Promise<Codec>>();

/** Loads the library of a codec when it is needed first. */
export function codecOf(name: Exclude<Compression, 'none'>): Promise<Codec> {
  const codec = loaded.get(name) ?? loaders[name]();
  loaded.set(name, codec);
  return codec;
}

/** Unpacks a batch that was packed with the codec of this number. Rejects with a `Trouble` that says what is wrong with it. */
export async function unpack(number: number, bytes: Buffer): Promise<Buffer> {
  const name = codecNames[number];
  if (name === 'none') return bytes;
  if (name === undefined)
    throw new Trouble('final', `A record batch is compressed with codec ${number}, which Kafka does not have.`);
  const codec = await codecOf(name);
  try {
    return await codec.unpack(bytes);
  } catch (error) {
    throw new Trouble(
      'final',
      `A record batch cannot be unpacked with ${name}: ${(error as Error).message.replace(/\.?$/, '.')}`,
      error,
    );
  }
}

function refuseAbove(size: number): void {
  if (size > mostUnpacked) throw new RangeError(`it takes more than ${mostUnpacked} bytes unpacked`);
}

// ---------------------------------------------------------------------------------------------------------------------
// Snappy, in the frames of the Java library: a head, then blocks with their lengths.

const snappyHead = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
const snappyMark = snappyHead.subarray(0, 8);
const snappyBlock = 32 * 1024;

async function loadSnappy(): Promise<Codec> {
  const raw = (await import('kafkajs-snappy')).default();
  return {
    async pack(bytes) {
      const parts: Buffer[] = [snappyHead];
      for (let at = 0; at < bytes.length; at += snappyBlock) {
        const block = await raw.compress({ buffer: bytes.subarray(at, at + snappyBlock) });
        const length = Buffer.alloc(4);
        length.writeUInt32BE(block.length);
        parts.push(length, block);
      }
      return Buffer.concat(parts);
    },
    async unpack(bytes) {
      const parts: Buffer[] = [];
      let size = 0;
      for (const block of snappyBlocks(bytes)) {
        size += snappySize(block);
        refuseAbove(size);
        parts.push(await raw.decompress(block));
      }
      return Buffer.concat(parts);
    },
  };
}

// Clients other than Java's write one block without a frame.
function snappyBlocks(bytes: Buffer): Buffer[] {
  if (!bytes.subarray(0, snappyMark.length).equals(snappyMark)) return [bytes];
  const blocks: Buffer[] = [];
  for (let at = snappyHead.length; at < bytes.length; ) {
    const end = at + 4 + (at + 4 <= bytes.length ? bytes.readUInt32BE(at) : bytes.length);
    if (end > bytes.length) throw new RangeError('it is cut off');
    blocks.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return blocks;
}

/** The size that a block says it has unpacked: a number of seven bits a byte at its begin. */
function snappySize(block: Buffer): number {
  let size = 0;
  for (let i = 0; i < 5 && i < block.length; i++) {
    size += (block[i]! & 0x7f) * 2 ** (7 * i);
    if (block[i]! < 0x80) return size;
  }
  throw new RangeError('a block does not say how large it is');
}

// ---------------------------------------------------------------------------------------------------------------------
// LZ4 frames

async function loadLz4(): Promise<Codec> {
  const { compressFrame, decompressFrame } = await import('lz4-napi');
  return {
    pack: (bytes) => compressFrame(bytes),
    unpack: async (bytes) => {
      refuseAbove(lz4Bound(bytes));
      return decompressFrame(bytes);
    },
  };
}

/** The most that a frame can hold: the library itself knows no bound. */
function lz4Bound(bytes: Buffer): number {
  const flags = bytes[4] ?? 0;
  const blockSize = 2 ** (8 + 2 * (((bytes[5] ?? 0) >> 4) & 7));
  const checksum = flags & 0x10 ? 4 : 0;
  let bound = 0;
  for (let at = 7 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0); at + 4 <= bytes.length; bound += blockSize) {
    const length = bytes.readUInt32LE(at) & 0x7fffffff;
    if (length === 0) break;
    at += 4 + length + checksum;
  }
  return bound;
}

// ---------------------------------------------------------------------------------------------------------------------
// Zstandard

const zstdMagic = 0xfd2fb528;
const firstZstdRoom = 1024 * 1024;

async function loadZstd(): Promise<Codec> {
  const { init, compress, decompress } = await import('@bokuweb/zstd-wasm');
  await init();
  return {
    pack: async (bytes) => Buffer.from(compress(bytes)),
    async unpack(bytes) {
      const size = zstdSize(bytes);
      if (size !== undefined) {
        refuseAbove(size);
        return Buffer.from(decompress(bytes));
      }
      // Java's frames do not say how large they are: what does not fit is tried again with more room.
      for (let room = Math.max(firstZstdRoom, 8 * bytes.length); ; room *= 4) {
        try {
          return Buffer.from(decompress(bytes, { defaultHeapSize: Math.min(room, mostUnpacked) }));
        } catch (error) {
          if (room < mostUnpacked) continue;
          throw new RangeError(`it is damaged, or takes more than ${mostUnpacked} bytes unpacked`, { cause: error });
        }
      }
    },
  };
}

/** The size that a frame says it has unpacked; `undefined` when it does not. The library would trust it. */
function zstdSize(bytes: Buffer): number | undefined {
  if (bytes.length < 14 + 4) bytes = Buffer.concat([bytes, Buffer.alloc(18)]);
  if (bytes.readUInt32LE(0) !== zstdMagic) throw new RangeError('it does not begin as one');
  const head = bytes[4]!;
  const single = (head & 0x20) !== 0;
  const at = 5 + (single ? 0 : 1) + [0, 1, 2, 4][head & 3]!;
  const kind = head >> 6;
  if (kind === 0) return single ? bytes[at]! : undefined;
  if (kind === 1) return bytes.readUInt16LE(at) + 256;
  return kind === 2 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at));
}
