import { isUtf8 } from 'node:buffer';
import { RejectError } from '../errors.ts';
import { type RawRecord, sizeBytes } from '../operator.ts';

export interface DecodeOptions {
  readonly format?: 'json' | 'text' | 'bytes';
  readonly maxPayload?: string;
}

/** Makes the value of a raw record, or throws a RejectError that says why the payload cannot be used. */
export type Decode = (raw: RawRecord, clean: boolean) => unknown;

// What `toString('utf8')` ends in, without its argument checks: those are a twentieth of reading a line.
const {
  utf8Slice = function slice(this: Buffer, start: number, end: number) {
    return this.toString('utf8', start, end);
  },
} = Buffer.prototype as Buffer & { utf8Slice?: (this: Buffer, start: number, end: number) => string };

/** Nesting deeper than this is refused: JSON.parse would take it, but much that comes after would not. */
export const maxDepth = 200;

/** Makes the decoder of a source from its options. Sizes are checked here for every source alike. */
export function createDecoder({ format = 'json', maxPayload = '1MiB' }: DecodeOptions): Decode {
  const maxBytes = sizeBytes(maxPayload);
  const decodeBytes = format === 'json' ? decodeJson : format === 'text' ? decodeText : decodeRaw;
  return (raw, clean) => {
    if (raw.refused) throw new RejectError(raw.refused.code, raw.refused.message);
    if (raw.decoded) return raw.captures ? withCaptures(raw.value, raw.captures) : raw.value;
    const bytes = raw.end - raw.start;
    if (bytes > maxBytes) {
      throw new RejectError(
        'payload-too-large',
        `The payload has ${bytes} bytes; \`maxPayload\` of this source allows ${maxBytes}.`,
      );
    }
    const value = decodeBytes(raw, clean);
    return raw.captures ? withCaptures(value, raw.captures) : value;
  };
}

function decodeJson(raw: RawRecord, clean: boolean): unknown {
  const { data, start, end } = raw;
  if (!clean) checkText(data.subarray(start, end));
  if (end - start > 2 * maxDepth) checkDepth(data, start, end);
  const text = utf8Slice.call(data, start, end);
  try {
    const value: unknown = JSON.parse(text);
    if (!clean && needsLook(text)) look(value);
    return value;
  } catch (error) {
    if (error instanceof RejectError) throw error;
    throw new RejectError('payload-malformed', jsonMessage(text, error as SyntaxError));
  }
}

function decodeText(raw: RawRecord, clean: boolean): string {
  if (!clean) checkText(raw.data.subarray(raw.start, raw.end));
  return raw.data.toString('utf8', raw.start, raw.end);
}

function decodeRaw(raw: RawRecord): Buffer {
  return Buffer.from(raw.data.subarray(raw.start, raw.end));
}

// `Buffer.toString` replaces what is not UTF-8 without a word: the text would differ from what was sent.
function checkText(bytes: Buffer): void {
  if (isUtf8(bytes)) return;
  throw new RejectError(
    'payload-encoding',
    'The payload is not UTF-8 text. Send UTF-8, or set `format: bytes` on the source.',
  );
}

function checkDepth(data: Buffer, start: number, end: number): void {
  let depth = 0;
  for (let i = start, inString = false; i < end; i++) {
    const byte = data[i];
    if (inString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxDepth) {
        throw new RejectError('payload-too-deep', `The payload nests deeper than ${maxDepth} levels.`);
      }
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
}

// Cheap for nearly every payload: only these two can bring in what `look` refuses.
function needsLook(text: string): boolean {
  return text.includes('__proto__') || text.includes('\\u');
}

/** Refuses a key that means something else to JavaScript, and halves of surrogate pairs, which no UTF-8 sink or state can hold. */
function look(value: unknown): void {
  if (typeof value === 'string') {
    if (!/\p{Surrogate}/u.test(value)) return;
    throw new RejectError(
      'payload-encoding',
      'The payload holds half of a surrogate pair (`\\ud800` to `\\udfff`), which is no character.',
    );
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    if (key === '__proto__') {
      throw new RejectError(
        'payload-forbidden-key',
        'The payload holds a key `__proto__`, which is not taken as data. Rename the key at the sender.',
      );
    }
    look(key);
    look(inner);
  }
}

// Node's own message quotes the payload, which must not reach logs: keep the place only.
function jsonMessage(text: string, error: SyntaxError): string {
  if (text.trim() === '') return 'The payload is empty; expected a JSON value.';
  const position = /at position (\d+)/.exec(error.message)?.[1];
  if (position !== undefined)
    return `The payload is not JSON: wrong character at position ${position} of ${text.length}.`;
  return `The payload is not JSON: it has ${text.length} characters and ends too early or goes wrong on the way.`;
}

function withCaptures(value: unknown, captures: Readonly<Record<string, string>>): unknown {
  // Anything but an object has no fields: the captures stay readable as `meta.topic`.
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)) return value;
  return { ...value, ...captures };
}
