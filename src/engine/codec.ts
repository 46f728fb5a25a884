import { crc32 } from 'node:zlib';
import { RunError } from '../errors.ts';
import { Packer, unpack } from './pack.ts';

const packer = new Packer(4_096);

/**
 * Bytes of one stored value: CRC-32 (4 bytes, big endian) of name and body, then the body in MessagePack.
 * The store itself has no checksum, and the name is part of the sum, so that a value under a wrong name is noticed too.
 */
export function encode(name: string, value: unknown): Buffer {
  packer.at = 4;
  packer.value(value);
  const bytes = Buffer.from(packer.bytes.subarray(0, packer.at));
  bytes.writeUInt32BE(crc32(bytes.subarray(4), crc32(name)), 0);
  return bytes;
}

/** Whether the bytes are what `encode` wrote under this name, to the last bit. */
export function isSound(name: string, bytes: Buffer): boolean {
  return bytes.length >= 5 && bytes.readUInt32BE(0) === crc32(bytes.subarray(4), crc32(name));
}

/** Reads what `encode` wrote. Throws a RunError that names the value when a single bit of it has changed. */
export function decode(name: string, bytes: Buffer): unknown {
  if (!isSound(name, bytes)) {
    throw new RunError(
      `The stored state \`${printable(name)}\` does not match its checksum: the file has been damaged. ${damageWayOut}`,
    );
  }
  return unpack(bytes.subarray(4));
}

/** What to do about a state folder that is damaged beyond what it can repair. */
export const damageWayOut =
  'Restore the state folder from a backup, or start with --fresh to build the state anew from the sources.';

/** The name of a stored value as one line for messages. */
export function printable(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '·').slice(0, 120);
}
