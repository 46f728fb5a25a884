import { type Key, RejectError, type SourceContext, sizeBytes } from '../../src/operator.ts';
import { type FetchedRecord, Trouble } from './driver.ts';
import { Registry } from './registry.ts';
import type { RegistryOptions } from './registry-options.ts';
import { type Coder, compileCoder } from './schemas.ts';

/** Before the bytes of a value: a zero, and the id of its schema. */
export const headBytes = 5;
/** Ids come from whoever may write to the topic. */
const mostIds = 10_000;
/** So long an id that the registry does not have is not asked for again. */
const missingMs = 60_000;

interface Missing {
  readonly why: string;
  readonly until: number;
}

/** Decodes what was written with a schema registry. Schemas are asked for before, so that decoding itself never waits. */
export class RegistryDecoder {
  readonly #registry: Registry;
  readonly #maxBytes: number;
  readonly #now: () => number;
  /** Keys are decoded too. */
  readonly #keys: boolean;
  readonly #known = new Map<number, Coder | Missing>();

  constructor(registry: Registry, { maxBytes, keys }: { maxBytes: number; keys: boolean }, now: () => number) {
    this.#registry = registry;
    this.#maxBytes = maxBytes;
    this.#keys = keys;
    this.#now = now;
  }

  /** Asks for the schemas of these records that are not known yet. Rejects with a `Trouble` when the registry refuses us. */
  async prepare(records: readonly FetchedRecord[]): Promise<void> {
    for (const { key, value } of records) {
      for (const bytes of this.#keys ? [key, value] : [value]) {
        const id = bytes ? idOf(bytes) : undefined;
        const known = id === undefined ? undefined : this.#known.get(id);
        const stale = known !== undefined && 'until' in known && known.until <= this.#now();
        if (id !== undefined && (known === undefined || stale)) await this.#learn(id);
      }
    }
  }

  /** The value; of a JSON Schema its bytes. Throws a RejectError. */
  value(bytes: Buffer): { readonly json: Buffer } | { readonly value: unknown } {
    if (bytes.length > this.#maxBytes) {
      const message = `The payload has ${bytes.length} bytes; \`maxPayload\` of this source allows ${this.#maxBytes}.`;
      throw new RejectError('payload-too-large', message);
    }
    const coder = this.#coderOf(bytes);
    const body = bytes.subarray(headBytes);
    if (coder.json) return { json: body };
    // A map of Avro would lose such a key.
    if (body.includes('__proto__')) {
      throw new RejectError('payload-forbidden-key', 'The payload holds `__proto__`, which is not taken as data.');
    }
    return { value: coder.decode(body) };
  }

  /** The key: text, numbers, true and false as they are, anything else as JSON. Throws a RejectError. */
  key(bytes: Buffer): Key {
    try {
      const found = this.value(bytes);
      return keyOf('json' in found ? JSON.parse(found.json.toString('utf8')) : found.value);
    } catch (error) {
      const why = error instanceof RejectError ? error.message.replace('payload', 'message key') : 'It is not JSON.';
      throw new RejectError('key-invalid', `The message key cannot be read: ${why}`);
    }
  }

  #coderOf(bytes: Buffer): Coder {
    const id = idOf(bytes);
    if (id === undefined) {
      throw new RejectError(
        'payload-malformed',
        'The payload does not begin with a zero and the id of a schema: it was not written with a schema registry.',
      );
    }
    const known = this.#known.get(id);
    if (known !== undefined && !('until' in known)) return known;
    throw new RejectError('payload-malformed', known?.why ?? `The schema ${id} of the payload has not been asked for.`);
  }

  async #learn(id: number): Promise<void> {
    if (this.#known.size >= mostIds) this.#known.clear();
    const stored = await this.#registry.schema(id);
    this.#known.set(id, stored ? await this.#compile(id, stored) : this.#missing(`The registry has no schema ${id}.`));
  }

  // A schema that is none concerns the records that name it.
  async #compile(id: number, stored: Parameters<typeof compileCoder>[0]): Promise<Coder | Missing> {
    try {
      return await compileCoder(stored, this.#registry);
    } catch (error) {
      if (!(error instanceof Trouble) || /not installed|registry at/.test(error.message)) throw error;
      return this.#missing(`The schema ${id} of the payload cannot be used.`);
    }
  }

  #missing(why: string): Missing {
    return { why, until: this.#now() + missingMs };
  }
}

/** The decoder of a source; `undefined` when its options name no registry. */
export function decoderOf(
  options: { readonly registry?: RegistryOptions; readonly keyFormat?: string; readonly maxPayload?: string },
  context: SourceContext,
): RegistryDecoder | undefined {
  const { registry, keyFormat, maxPayload = '1MiB' } = options;
  if (registry === undefined) return undefined;
  const wanted = { maxBytes: sizeBytes(maxPayload), keys: keyFormat === 'registry' };
  return new RegistryDecoder(new Registry(registry, context), wanted, () => context.ports.clock.now());
}

function idOf(bytes: Buffer): number | undefined {
  return bytes.length >= headBytes && bytes[0] === 0 ? bytes.readUInt32BE(1) : undefined;
}

/** A value as a key: text, numbers, true and false as they are, anything else as JSON. */
export function keyOf(value: unknown): Key {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? value
    : JSON.stringify(value);
}
