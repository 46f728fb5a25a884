import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

/**
 * LMDB trusts its file: a number that points to a wrong page kills the process, or hides values. So the pages are walked before
 * it opens the file. They are, little-endian (lmdb 3, format 2 with page headers of 24 bytes):
 *
 *     page    number u64, txn u64, 2 bytes, flags u16, then u16 lower, u16 upper, u16 places of nodes …
 *     node    size or page u32, flags u16, key length u16, key, then in a leaf the value, or the number u64 of its pages
 *     meta    (pages 0 and 1) magic at 24, page size u32 at 48, root of the free pages u64 at 88, root at 136, last page at 144, txn at 152
 */
const headerBytes = 24;
const nodeBytes = 8;
const magic = 0xbeefc0de;
const noPage = 0xffff_ffff_ffff_ffffn;
const branch = 1;
const leaf = 2;
const overflow = 4;
const manyPages = 1;

interface Meta {
  readonly at: number;
  readonly body: Buffer;
  readonly lastPage: bigint;
  readonly txn: bigint;
  readonly roots: readonly bigint[];
}

/**
 * Makes sure that LMDB can read its file. When the last transaction's pages are damaged and those of the one before are whole,
 * the file is set back to that one, and the damage is given. Throws when neither is whole; a file that is not there is none.
 */
export function secure(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const file = openSync(path, 'r+');
  try {
    const { size } = fstatSync(file);
    if (size === 0) return undefined;
    const pages = new Pages(file, size);
    const [newest, other] = pages.metas();
    const damage = pages.damageOf(newest);
    if (damage === undefined) {
      // A file may be short because its last pages are free: the process would die if it looked there.
      pages.lengthen(newest);
      return undefined;
    }
    if (pages.damageOf(other) !== undefined || other.txn === newest.txn) throw new Error(damage);
    pages.setBack(newest, other);
    return damage;
  } finally {
    closeSync(file);
  }
}

class Pages {
  readonly #file: number;
  readonly #size: number;
  readonly #pageBytes: number;
  #seen = new Set<bigint>();
  /** Number of the transaction whose pages are walked: none of them is of a later one. */
  #txn = 0n;

  constructor(file: number, size: number) {
    this.#file = file;
    this.#size = size;
    this.#pageBytes = [0, 4_096, 8_192, 16_384, 65_536]
      .map((at) => this.#read(at, 168))
      .filter((head) => head?.readUInt32LE(headerBytes) === magic)
      .map((head) => head!.readUInt32LE(48))
      .find((bytes) => bytes >= 512 && bytes <= 65_536 && (bytes & (bytes - 1)) === 0)!;
    if (this.#pageBytes === undefined) throw new Error('its first page is not one of LMDB');
  }

  /** The last two transactions, the newer one first. */
  metas(): [Meta, Meta] {
    const [first, second] = [0, this.#pageBytes].map((at) => this.#meta(at));
    return second!.txn > first!.txn ? [second!, first!] : [first!, second!];
  }

  #meta(at: number): Meta {
    const page = this.#read(at, 168);
    if (page?.readUInt32LE(headerBytes) !== magic || page.readUInt32LE(48) !== this.#pageBytes) {
      throw new Error(`page ${at / this.#pageBytes} is not the head of a file of LMDB`);
    }
    return {
      at,
      body: Buffer.from(page.subarray(headerBytes)),
      lastPage: page.readBigUInt64LE(144),
      txn: page.readBigUInt64LE(152),
      roots: [page.readBigUInt64LE(88), page.readBigUInt64LE(136)],
    };
  }

  /** What is wrong with the pages of a transaction; `undefined` when nothing is. */
  damageOf({ roots, lastPage, txn }: Meta): string | undefined {
    this.#txn = txn;
    this.#seen = new Set([0n, 1n]);
    for (const root of roots) {
      const bad = root === noPage ? undefined : this.#walk(root, lastPage);
      if (bad !== undefined) return `page ${bad} is not what the pages before it say`;
    }
    return undefined;
  }

  lengthen({ lastPage }: Meta): void {
    const needed = (Number(lastPage) + 1) * this.#pageBytes;
    if (needed > this.#size) ftruncateSync(this.#file, needed);
  }

  setBack(newest: Meta, other: Meta): void {
    // lmdb-js keeps a third head, of the last transaction known to be on disk, in the middle of the first page.
    const flushed = this.#pageBytes / 2 + headerBytes;
    for (const at of [newest.at + headerBytes, flushed]) writeSync(this.#file, other.body, 0, other.body.length, at);
    this.lengthen(other);
    fsyncSync(this.#file);
  }

  /** Gives the first page that is wrong. */
  #walk(number: bigint, lastPage: bigint): bigint | undefined {
    const page = this.#page(number, lastPage);
    if (page === undefined) return number;
    const flags = page.readUInt16LE(18);
    const lower = page.readUInt16LE(20);
    const end = this.#pageBytes - headerBytes;
    if ((flags !== branch && flags !== leaf) || lower % 2 !== 0 || lower > page.readUInt16LE(22)) return number;
    if (page.readUInt16LE(22) > end || lower === 0) return number;
    for (let index = 0; index < lower; index += 2) {
      const node = page.readUInt16LE(headerBytes + index);
      if (node < lower || node + nodeBytes > end) return number;
      const bad = this.#node(page, headerBytes + node, flags === leaf, lastPage);
      if (bad !== undefined) return bad === true ? number : bad;
    }
    return undefined;
  }

  #node(page: Buffer, at: number, inLeaf: boolean, lastPage: bigint): bigint | true | undefined {
    const size = page.readUInt32LE(at);
    const flags = page.readUInt16LE(at + 4);
    const value = at + nodeBytes + page.readUInt16LE(at + 6);
    if (!inLeaf) return value > page.length ? true : this.#walk(BigInt(size) | (BigInt(flags) << 32n), lastPage);
    if (flags === 0) return value + size > page.length ? true : undefined;
    if (flags !== manyPages || value + 8 > page.length) return true;
    const first = page.readBigUInt64LE(value);
    const count = Math.floor((headerBytes - 1 + size) / this.#pageBytes) + 1;
    const head = this.#page(first, lastPage);
    if (head?.readUInt16LE(18) !== overflow || head.readUInt32LE(20) < count) return first;
    for (let n = 1; n < count; n++) {
      if (!this.#take(first + BigInt(n), lastPage)) return first;
    }
    return undefined;
  }

  #page(number: bigint, lastPage: bigint): Buffer | undefined {
    if (!this.#take(number, lastPage)) return undefined;
    const page = this.#read(Number(number) * this.#pageBytes, this.#pageBytes);
    return page?.readBigUInt64LE(0) === number && page.readBigUInt64LE(8) <= this.#txn ? page : undefined;
  }

  // A page that is met twice leads in a circle, or takes the place of another.
  #take(number: bigint, lastPage: bigint): boolean {
    if (number > lastPage || (Number(number) + 1) * this.#pageBytes > this.#size || this.#seen.has(number))
      return false;
    this.#seen.add(number);
    return true;
  }

  #read(at: number, length: number): Buffer | undefined {
    const bytes = Buffer.alloc(length);
    return readSync(this.#file, bytes, 0, length, at) === length ? bytes : undefined;
  }
}
