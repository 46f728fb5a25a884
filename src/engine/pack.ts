import { addExtension, Packr } from 'msgpackr';
import { StreamRecord } from '../record.ts';

// Extension types in every checkpoint. Never change them: old checkpoints hold them.
const recordType = 0x52;
const textType = 0x54;
addExtension({
  Class: StreamRecord,
  type: recordType,
  write: fieldsOf,
  read: (f: ConstructorParameters<typeof StreamRecord>) => new StreamRecord(...f),
});
addExtension({ type: textType, unpack: (bytes: Buffer) => Buffer.from(bytes).toString('utf16le') });

// Plain maps, no shared structures: each stored value can be read by itself, whatever was written before it.
const packr = new Packr({ useRecords: false });

/** Reads what a `Packer` wrote. */
export const unpack = (bytes: Buffer): unknown => packr.unpack(bytes);

// Texts up to this length are written by hand, which is faster than a call into Node as long as they are ASCII.
const shortText = 48;

/**
 * Writes values as MessagePack, one behind the other, into one buffer that grows. What plain data is made of it writes itself, several times
 * as fast as the library, which writes everything else and reads it all.
 */
export class Packer {
  bytes: Buffer;
  /** Where the next value goes. */
  at = 0;
  #view: DataView;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Makes room for so many more bytes. */
  ensure(more: number): void {
    const needed = this.at + more;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, needed));
    this.bytes.copy(grown, 0, 0, this.at);
    this.bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** Leaves so many bytes for later. */
  skip(bytes: number): void {
    this.ensure(bytes);
    this.at += bytes;
  }

  copy(from: Uint8Array): void {
    this.ensure(from.length);
    this.bytes.set(from, this.at);
    this.at += from.length;
  }

  /** Text without a head. Half of a surrogate pair becomes another character. */
  utf8(text: string): void {
    this.ensure(3 * text.length);
    if (!this.#ascii(text, this.at)) this.at += this.bytes.write(text, this.at);
    else this.at += text.length;
  }

  value(value: unknown): void {
    if (typeof value === 'string') this.text(value);
    else if (typeof value === 'number') this.#number(value);
    else if (value === null) this.#byte(0xc0);
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2);
    else if (value === undefined) this.#head(0xd4, 0, 2);
    else if (Array.isArray(value)) this.list(value);
    else if (value instanceof StreamRecord) this.#record(value);
    else if (isPlain(value)) this.#map(value);
    else this.#other(value);
  }

  list(values: readonly unknown[]): void {
    this.listOf(values.length);
    for (let i = 0; i < values.length; i++) this.value(values[i]);
  }

  /** The head of a list: so many values have to follow. */
  listOf(length: number): void {
    if (length < 16) this.#byte(0x90 | length);
    else if (length < 0x1_0000) this.#head(0xdc, length, 2);
    else this.#head(0xdd, length, 4);
  }

  text(text: string): void {
    const { length } = text;
    this.ensure(length + 2);
    if (length < 32 && this.#ascii(text, this.at + 1)) {
      this.bytes[this.at] = 0xa0 | length;
      this.at += 1 + length;
    } else if (length < 256 && this.#ascii(text, this.at + 2)) {
      // By hand: `#head` writes over what may stand behind it.
      this.bytes[this.at] = 0xd9;
      this.bytes[this.at + 1] = length;
      this.at += 2 + length;
    } else this.#longText(text);
  }

  /** Writes a short text, whose room there is; `false` when it is another. */
  #ascii(text: string, start: number): boolean {
    const { length } = text;
    if (length > shortText) return false;
    const { bytes } = this;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) return false;
      bytes[start + i] = unit;
    }
    return true;
  }

  #longText(text: string): void {
    // A key must not come back as another one.
    if (!isWellFormed(text)) {
      this.#extension(textType, Buffer.from(text, 'utf16le'));
      return;
    }
    this.ensure(5 + 3 * text.length);
    const length = this.bytes.write(text, this.at + 5);
    this.#head(0xdb, length, 4);
    this.at += length;
  }

  #number(value: number): void {
    if (value >>> 0 === value && !Object.is(value, -0)) {
      if (value < 0x80) this.#byte(value);
      else if (value < 0x100) this.#head(0xcc, value, 1);
      else if (value < 0x1_0000) this.#head(0xcd, value, 2);
      else this.#head(0xce, value, 4);
    } else if (value >> 0 === value && value !== 0) this.#head(0xd2, value, 4);
    else {
      this.ensure(9);
      this.bytes[this.at] = 0xcb;
      this.#view.setFloat64(this.at + 1, value);
      this.at += 9;
    }
  }

  #map(value: Readonly<Record<string, unknown>>): void {
    const names = Object.keys(value);
    const { length } = names;
    if (length < 16) this.#byte(0x80 | length);
    else this.#head(0xdf, length, 4);
    for (let i = 0; i < length; i++) {
      const name = names[i]!;
      this.text(name);
      this.value(value[name]);
    }
  }

  // As the library writes a class that gives its fields as a value: a type, a byte of nothing, and the value behind it.
  #record(record: StreamRecord): void {
    this.#head(0xd4, recordType << 8, 2);
    this.list(fieldsOf(record));
  }

  #extension(type: number, body: Uint8Array): void {
    this.#head(0xc9, body.length, 4);
    this.#byte(type);
    this.copy(body);
  }

  #other(value: unknown): void {
    this.copy(packr.pack(value));
  }

  #byte(byte: number): void {
    if (this.at === this.bytes.length) this.ensure(1);
    this.bytes[this.at++] = byte;
  }

  /** A type and a number of so many bytes, big endian. */
  #head(type: number, number: number, size: number): void {
    this.ensure(5);
    this.bytes[this.at] = type;
    this.#view.setUint32(this.at + 1, number << (32 - 8 * size));
    this.at += 1 + size;
  }
}

/** Whether a text has no half of a surrogate pair by itself: UTF-8 has one stand-in for all of those. */
export function isWellFormed(text: string): boolean {
  // Node has it; the library of types does not yet.
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

function fieldsOf(r: StreamRecord): unknown[] {
  return [r.value, r.key, r.time, r.offset, r.meta, r.window, r.partition, r.origin, r.part];
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object') return false;
  const object = value as { toJSON?: unknown };
  return object.constructor === Object && typeof object.toJSON !== 'function';
}
