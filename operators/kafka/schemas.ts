import { createRequire } from 'node:module';
import { RejectError } from '../../src/operator.ts';
import { Trouble } from './driver.ts';
import { decodeMessage, encodeMessage, type Message, messageName } from './protobuf.ts';
import type { Registry, StoredSchema } from './registry.ts';

/** Turns values into bytes and back, by one schema. Both throw a RejectError that names fields, never what is in them. */
export interface Coder {
  /** JSON has to be decoded as any other payload: its bytes are what follows the head. */
  readonly json: boolean;
  /** The record's full name; the title of a JSON Schema. */
  readonly name: string | undefined;
  decode(bytes: Buffer): unknown;
  encode(value: unknown): Buffer;
}

interface AvroType {
  readonly name?: string;
  fromBuffer(bytes: Buffer): unknown;
  toBuffer(value: unknown): Buffer;
  isValid(value: unknown, options?: { errorHook: (path: string[]) => void }): boolean;
}
interface JsonType {
  toBuffer(value: unknown): Buffer;
  isValid(value: unknown, options?: { errorHook: (path: string[], message: string) => void }): boolean;
}

/** Compiles a schema, with what it refers to. Rejects with a `Trouble` when it is none. */
export async function compileCoder(stored: StoredSchema, registry: Registry): Promise<Coder> {
  const { SchemaRegistry, long } = await loadLibrary();
  // Types are added to the table as they are compiled: each schema has its own.
  const library = new SchemaRegistry({ host: 'http://unused.invalid' }, { AVRO: { registry: { long } } });
  // The library finds and compiles what a schema refers to; what it asks for goes the way of all our requests.
  const answer = (found: StoredSchema | undefined) => {
    if (found === undefined) throw new Error('it refers to a schema that is not there');
    return { data: () => found };
  };
  Object.assign(library, {
    api: {
      Schema: { find: async () => answer(stored) },
      Subject: {
        version: async (one: { subject: string; version: number }) =>
          answer(await registry.version(one.subject, one.version)),
      },
    },
  });
  let compiled: unknown;
  try {
    compiled = await library.getSchema(1);
  } catch (error) {
    if (error instanceof Trouble) throw error;
    throw new Trouble('final', `The schema cannot be used: ${(error as Error).message.replace(/\.?$/, '.')}`, error);
  }
  const type = stored.schemaType ?? 'AVRO';
  if (type === 'AVRO') return avroCoder(compiled as AvroType);
  if (type === 'JSON') return jsonCoder(compiled as JsonType, JSON.parse(stored.schema));
  return protobufCoder((compiled as { message: Message }).message);
}

const packageName = '@kafkajs/confluent-schema-registry';

async function loadLibrary() {
  try {
    const { SchemaRegistry } = await import('@kafkajs/confluent-schema-registry');
    const near = createRequire(createRequire(import.meta.url).resolve(packageName));
    const { types } = near('avsc') as { types: { LongType: { __with(methods: object): AvroLong } } };
    return { SchemaRegistry, long: types.LongType.__with(exactLong) };
  } catch (error) {
    throw new Trouble(
      'final',
      `\`registry\` needs the package \`${packageName}\`, which is not installed. Run \`npm install ${packageName}\`.`,
      error,
    );
  }
}

type AvroLong = NonNullable<NonNullable<ForSchemaOptions['registry']>[string]>;
type ForSchemaOptions = NonNullable<
  Extract<NonNullable<ConstructorParameters<Library['SchemaRegistry']>[1]>, { AVRO?: unknown }>['AVRO']
>;
type Library = typeof import('@kafkajs/confluent-schema-registry');

// The library's own reckons with fractions: below -2^52 it writes and reads other numbers, without an error.
const exactLong = {
  fromBuffer(bytes: Buffer): number {
    const value = Number(bytes.readBigInt64LE());
    if (!Number.isSafeInteger(value)) throw new RangeError('not a safe number');
    return value;
  },
  toBuffer(value: number): Buffer {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    return bytes;
  },
  fromJSON: (value: unknown) => value,
  toJSON: (value: unknown) => value,
  isValid: (value: unknown) => Number.isSafeInteger(value),
  compare: (a: number, b: number) => Math.sign(a - b),
};

function avroCoder(type: AvroType): Coder {
  return {
    json: false,
    name: type.name,
    decode: (bytes) =>
      plain(
        guarded(() => type.fromBuffer(bytes)),
        0,
      ),
    encode: (value) => {
      const paths: string[] = [];
      if (!type.isValid(value, { errorHook: (path) => paths.push(path.join('.')) })) throw unfit(paths);
      return type.toBuffer(value);
    },
  };
}

function jsonCoder(type: JsonType, schema: { title?: string }): Coder {
  return {
    json: true,
    name: schema.title,
    decode: (bytes) => bytes,
    encode: (value) => {
      if (typeof value === 'bigint') throw unfit([]);
      const paths: string[] = [];
      if (!type.isValid(value, { errorHook: ([path = ''], why) => paths.push(`${path.slice(1)} ${why}`) }))
        throw unfit(paths);
      if (!finite(value, 0)) {
        throw new RejectError('sink-refused', 'The value holds NaN or an infinite number, which JSON does not have.');
      }
      return type.toBuffer(value);
    },
  };
}

function finite(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null || depth > maxDepth) return true;
  return Object.values(value).every((inner) => finite(inner, depth + 1));
}

function protobufCoder(message: Message): Coder {
  return {
    json: false,
    name: messageName(message),
    decode: (bytes) =>
      plain(
        guarded(() => decodeMessage(message, bytes)),
        0,
      ),
    encode: (value) => encodeMessage(message, value),
  };
}

function unfit(paths: readonly string[]): RejectError {
  const names = [...new Set(paths)].slice(0, 5).map((path) => `\`${path.trim()}\``);
  const where = names.length === 0 || names[0] === '``' ? 'the whole value' : names.join(', ');
  return new RejectError('sink-refused', `The value does not fit the schema: ${where}.`);
}

// The messages of the libraries quote what they read.
function guarded(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    if (error instanceof RejectError) throw error;
    const long = /precision|safe/i.test((error as Error).message);
    throw new RejectError(
      'payload-malformed',
      long
        ? 'The payload holds a whole number beyond 2^53, which would lose digits.'
        : 'The payload is not what its schema says.',
    );
  }
}

const maxDepth = 200;

/** The value as plain data. Whole numbers of 64 bits are numbers where they lose no digit. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  if (depth > maxDepth) throw new RejectError('payload-too-deep', `The payload nests deeper than ${maxDepth} levels.`);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (value instanceof Uint8Array) return Buffer.from(value);
  if ('low' in value && 'high' in value && 'unsigned' in value && 'toNumber' in value) {
    const number = (value as { toNumber(): number }).toNumber();
    if (Number.isSafeInteger(number)) return number;
    throw new RejectError(
      'payload-malformed',
      'The payload holds a whole number beyond 2^53, which would lose digits.',
    );
  }
  const copy: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) copy[name] = plain(inner, depth + 1);
  return copy;
}
