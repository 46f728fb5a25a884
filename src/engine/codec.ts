import { crc32 } from 'node:zlib';
import { addExtension, Packr } from 'msgpackr';
import { RunError } from '../errors.ts';
import { StreamRecord } from '../record.ts';

// Extension type of StreamRecord in every checkpoint. Never change it: old checkpoints hold it.
const recordType = 0x52;
addExtension({
  Class: StreamRecord,
  type: recordType,
  write: (r: StreamRecord) => [r.value, r.key, r.time, r.offset, r.meta, r.window, r.partition, r.origin, r.part],
  read: (f: ConstructorParameters<typeof StreamRecord>) => new StreamRecord(...f),
});

// Plain maps, no shared structures: each stored value can be read by itself, whatever was written before it.
const packr = new Packr({ useRecords: false });

/**
 * Bytes of one stored value: CRC-32 (4 bytes, big endian) of name and body, then the body in MessagePack.
 * The store itself has no checksum, and the name is part of the sum, so that a value under a wrong name is noticed too.
 */
export function encode(name: string, value: unknown): Buffer {
  const body = packr.pack(value);
  const bytes = Buffer.allocUnsafe(body.length + 4);
  bytes.writeUInt32BE(crc32(body, crc32(name)), 0);
  body.copy(bytes, 4);
  return bytes;
}

/** Reads what `encode` wrote. Throws a RunError that names the value when a single bit of it has changed. */
export function decode(name: string, bytes: Buffer): unknown {
  const body = bytes.subarray(4);
  if (bytes.length < 5 || bytes.readUInt32BE(0) !== crc32(body, crc32(name))) {
    throw new RunError(
      `The stored state \`${printable(name)}\` does not match its checksum: the file has been damaged. ` +
        'Restore the state folder from a backup, or start with --fresh to build the state anew from the sources.',
    );
  }
  return packr.unpack(body);
}

function printable(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '·').slice(0, 120);
}
