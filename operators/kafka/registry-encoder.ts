import type { Ports } from '../../src/operator.ts';
import { Trouble } from './driver.ts';
import type { Registry, StoredSchema } from './registry.ts';
import { headBytes } from './registry-decoder.ts';
import type { RegistryWriting, SchemaFile } from './registry-options.ts';
import { type Coder, compileCoder } from './schemas.ts';

/** Subjects come from the data where topics do. */
const mostSubjects = 10_000;
const kinds = { avro: 'AVRO', json: 'JSON', protobuf: 'PROTOBUF' } as const;

/** Writes values by a schema of ours, with the id that the registry gives it in front. */
export class RegistryEncoder {
  readonly #registry: Registry;
  readonly #options: RegistryWriting;
  readonly #role: 'key' | 'value';
  readonly #schema: StoredSchema;
  readonly #coder: Coder;
  readonly #ids = new Map<string, Promise<number>>();

  /** Reads and compiles the schema. Rejects with a `Trouble` that names the file. */
  static async open(
    role: 'key' | 'value',
    file: SchemaFile,
    registry: { at: Registry; options: RegistryWriting },
    { disk }: Ports,
  ): Promise<RegistryEncoder> {
    const [kind, path] = Object.entries(file)[0] as [keyof typeof kinds, string];
    const bytes = await disk.readFile(path).catch((error: Error & { code?: string }) => {
      throw new Trouble('final', `The schema file ${path} cannot be read (${error.code ?? error.message}).`, error);
    });
    const schema: StoredSchema = { schema: bytes.toString('utf8'), schemaType: kinds[kind] };
    try {
      return new RegistryEncoder(role, schema, await compileCoder(schema, registry.at), registry);
    } catch (error) {
      throw error instanceof Trouble ? new Trouble('final', `${path}: ${error.message}`, error.cause) : error;
    }
  }

  private constructor(
    role: 'key' | 'value',
    schema: StoredSchema,
    coder: Coder,
    { at, options }: { at: Registry; options: RegistryWriting },
  ) {
    this.#role = role;
    this.#schema = schema;
    this.#coder = coder;
    this.#registry = at;
    this.#options = options;
  }

  /** The head of what is written to this topic. Rejects with a `Trouble` when the registry does not take the schema. */
  async head(topic: string): Promise<Buffer> {
    const subject = this.#subjectOf(topic);
    if (this.#ids.size >= mostSubjects) this.#ids.clear();
    const id = this.#ids.get(subject) ?? this.#idIn(subject);
    this.#ids.set(subject, id);
    id.catch(() => this.#ids.delete(subject));
    const head = Buffer.alloc(headBytes);
    head.writeUInt32BE(await id, 1);
    return head;
  }

  /** The value behind its head. Throws a RejectError when it does not fit the schema. */
  encode(head: Buffer, value: unknown): Buffer {
    return Buffer.concat([head, this.#coder.encode(value)]);
  }

  #subjectOf(topic: string): string {
    const { subject = 'topic' } = this.#options;
    if (subject === 'topic') return `${topic}-${this.#role}`;
    const { name } = this.#coder;
    if (name === undefined) {
      throw new Trouble(
        'final',
        `\`subject: ${subject}\` needs a schema with a name: a record, or a JSON Schema with a \`title\`.`,
      );
    }
    return subject === 'record' ? name : `${topic}-${name}`;
  }

  async #idIn(subject: string): Promise<number> {
    const { autoRegister = true } = this.#options;
    const refused = await this.#registry.incompatible(subject, this.#schema);
    if (refused !== undefined) {
      throw new Trouble(
        'final',
        `The registry does not take the schema as the next one of subject \`${subject}\`: ${refused.replace(/\.?$/, '.')}`,
      );
    }
    if (autoRegister) return this.#registry.register(subject, this.#schema);
    const found = await this.#registry.find(subject, this.#schema);
    if (found !== undefined) return found;
    throw new Trouble(
      'final',
      `The schema is not registered under subject \`${subject}\`. Register it, or set \`autoRegister: true\`.`,
    );
  }
}
