const m = 0x5bd1e995;
const seed = 0x9747b28c;
const scratch = Buffer.alloc(1_024);

/** Kafka's murmur2 over the UTF-8 bytes of a text, as a signed 32-bit number: equal to the Java client's. */
export function murmur2(text: string): number {
  const { length } = text;
  let h = seed ^ length;
  let i = 0;
  let seen = 0;
  for (; i + 4 <= length; i += 4) {
    const a = text.charCodeAt(i);
    const b = text.charCodeAt(i + 1);
    const c = text.charCodeAt(i + 2);
    const d = text.charCodeAt(i + 3);
    seen |= a | b | c | d;
    h = mix(h, a | (b << 8) | (c << 16) | (d << 24));
  }
  const rest = length - i;
  if (rest >= 3) {
    seen |= text.charCodeAt(i + 2);
    h ^= text.charCodeAt(i + 2) << 16;
  }
  if (rest >= 2) {
    seen |= text.charCodeAt(i + 1);
    h ^= text.charCodeAt(i + 1) << 8;
  }
  if (rest >= 1) {
    seen |= text.charCodeAt(i);
    h = Math.imul(h ^ text.charCodeAt(i), m);
  }
  // One character is one byte only in ASCII: else the hash above is of the wrong bytes.
  return seen < 0x80 ? finish(h) : murmur2Bytes(bytesOf(text));
}

/** Kafka's murmur2 over bytes. */
export function murmur2Bytes(bytes: Uint8Array): number {
  const { length } = bytes;
  let h = seed ^ length;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    h = mix(h, bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
  }
  const rest = length - i;
  if (rest >= 3) h ^= bytes[i + 2]! << 16;
  if (rest >= 2) h ^= bytes[i + 1]! << 8;
  if (rest >= 1) h = Math.imul(h ^ bytes[i]!, m);
  return finish(h);
}

/** The partition that Kafka's default partitioner gives a key: bytes and text as they are, a number or boolean as its JSON text. */
export function kafkaPartition(key: string | number | boolean | Uint8Array, count: number): number {
  return (hashOf(key) & 0x7fffffff) % count;
}

function hashOf(key: string | number | boolean | Uint8Array): number {
  if (typeof key === 'string') return murmur2(key);
  return typeof key === 'object' ? murmur2Bytes(key) : murmur2(JSON.stringify(key));
}

function mix(h: number, word: number): number {
  const k = Math.imul(word, m);
  return Math.imul(h, m) ^ Math.imul(k ^ (k >>> 24), m);
}

function finish(hash: number): number {
  const h = Math.imul(hash ^ (hash >>> 13), m);
  return h ^ (h >>> 15);
}

function bytesOf(text: string): Uint8Array {
  if (text.length * 3 > scratch.length) return Buffer.from(text, 'utf8');
  return scratch.subarray(0, scratch.write(text, 'utf8'));
}
