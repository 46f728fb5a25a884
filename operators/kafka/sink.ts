import {
  compileTemplate,
  connectHeaders,
  deadLetterOf,
  type Key,
  kafkaPartition,
  type OpenSink,
  originalHeaders,
  payloadBytes,
  type Refused,
  RejectError,
  type Render,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import { type Driver, type Outgoing, Trouble, type Writer } from './driver.ts';
import { openKafkajs } from './kafkajs.ts';
import { Lane } from './lane.ts';
import { type SinkOptions, topicProblem } from './options.ts';
import { Registry } from './registry.ts';
import { RegistryEncoder } from './registry-encoder.ts';
import { Topics } from './topics.ts';
import { KafkaTransaction } from './transactions.ts';

/** The header that names a result: the same after any restart or replay. */
export const idHeader = 'penstock-id';

/** Connects; looks for the topic, or makes it, when it is the same for all records. */
export async function openSink(
  options: SinkOptions,
  context: SinkContext,
  openDriver: typeof openKafkajs = openKafkajs,
): Promise<OpenSink> {
  const fixed = !options.topic.includes('{');
  try {
    const driver = await openDriver(options, context);
    const writer = await openWriter(driver, options, context);
    const topics = new Topics(driver, writer, options, context, !fixed);
    // Within a transaction Kafka has answered before: what is away now is waited for.
    if (fixed) await (context.transaction ? topics.partitions(options.topic) : topics.require(options.topic));
    const encoders = await openEncoders(options, context);
    // Said before anything is read: the registry does not take the schema.
    if (fixed) for (const encoder of [encoders.key, encoders.value]) await encoder?.head(options.topic);
    return new KafkaSink(options, topics, encoders, context);
  } catch (error) {
    throw error instanceof Trouble ? new RunError(error.message, { where: context.id, cause: error.cause }) : error;
  }
}

function openWriter(
  driver: Driver,
  { compression = 'none' }: SinkOptions,
  { transaction }: SinkContext,
): Promise<Writer> {
  if (transaction instanceof KafkaTransaction) return Promise.resolve(transaction.writer({ compression }));
  return driver.write({ compression });
}

interface Encoders {
  readonly key?: RegistryEncoder;
  readonly value?: RegistryEncoder;
}

async function openEncoders({ registry, value, keyAs }: SinkOptions, context: SinkContext): Promise<Encoders> {
  if (registry === undefined) return {};
  const at = { at: new Registry(registry, context), options: registry };
  return {
    ...(keyAs && { key: await RegistryEncoder.open('key', keyAs, at, context.ports) }),
    ...(value && { value: await RegistryEncoder.open('value', value, at, context.ports) }),
  };
}

/** What stands before the key and the value of a topic's records. */
interface Heads {
  readonly key: Buffer | undefined;
  readonly value: Buffer | undefined;
}

class KafkaSink implements OpenSink {
  readonly #topics: Topics;
  readonly #context: SinkContext;
  readonly #topic: Render;
  readonly #key: (record: StreamRecord) => Key | undefined;
  readonly #forwardsHeaders: boolean;
  readonly #original: boolean;
  readonly #headers: readonly (readonly [string, Render])[];
  readonly #encoders: Encoders;

  constructor(options: SinkOptions, topics: Topics, encoders: Encoders, context: SinkContext) {
    this.#encoders = encoders;
    this.#topics = topics;
    this.#context = context;
    this.#topic = options.topic.includes('{') ? compileTemplate(options.topic) : () => options.topic;
    this.#key = options.key === undefined ? originalKey : fieldKey(options.key);
    this.#forwardsHeaders = options.forwardHeaders ?? false;
    this.#original = options.payload === 'original';
    this.#headers = Object.entries(options.headers ?? {}).map(([name, text]) => [name, compileTemplate(text)]);
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    const lanes = await this.#sort(records, refused);
    await this.#topics.writeAll(lanes, refused);
    return refused.length > 0 ? refused.sort((a, b) => a.index - b.index) : undefined;
  }

  close(): Promise<void> {
    return this.#topics.close();
  }

  /** Sorts the records by topic and partition; those that cannot be sent at all are refused. */
  async #sort(records: readonly StreamRecord[], refused: Refused[]): Promise<Lane[]> {
    const lanes = new Map<string, Lane>();
    const counts = new Map<string, number | string>();
    const heads = new Map<string, Heads>();
    // Records without a key go together to one partition, another one for each write.
    const chance = this.#context.ports.random();
    for (let index = 0; index < records.length; index++) {
      const record = records[index]!;
      try {
        const topic = this.#topicOf(record);
        const count = counts.get(topic) ?? (await this.#topics.partitions(topic));
        counts.set(topic, count);
        if (typeof count === 'string') throw new RejectError('sink-refused', count);
        const head = heads.get(topic) ?? (await this.#headsOf(topic));
        heads.set(topic, head);
        const outgoing = this.#encode(record, head);
        const partition = choosePartition(record, outgoing.key, count, chance, topic);
        const name = `${topic}/${partition}`;
        const lane = lanes.get(name) ?? new Lane(topic, partition);
        lanes.set(name, lane);
        lane.add(index, outgoing);
      } catch (error) {
        if (!(error instanceof RejectError)) throw error;
        refused.push({ index, message: error.message });
      }
    }
    return [...lanes.values()];
  }

  #topicOf(record: StreamRecord): string {
    const topic = this.#topic(record);
    const problem = topicProblem(topic);
    if (problem === undefined) return topic;
    throw new RejectError('sink-refused', `\`topic\` gave a name that Kafka does not take: ${problem}.`);
  }

  async #headsOf(topic: string): Promise<Heads> {
    const { key, value } = this.#encoders;
    try {
      return { key: await key?.head(topic), value: await value?.head(topic) };
    } catch (error) {
      throw error instanceof Trouble ? new RunError(error.message, { where: this.#context.id, cause: error }) : error;
    }
  }

  #encodeValue(value: unknown, heads: Heads): Buffer | null {
    return heads.value && value !== null ? this.#encoders.value!.encode(heads.value, value) : encodeValue(value);
  }

  #encode(record: StreamRecord, heads: Heads): Outgoing {
    const key = this.#key(record);
    const letter = deadLetterOf(record);
    const original = this.#original ? letter : undefined;
    const headers: Record<string, string | readonly string[]> = {
      ...(this.#forwardsHeaders && record.meta?.headers),
      ...(letter && (original ? originalHeaders(letter) : connectHeaders(letter))),
      [idHeader]: this.#context.recordId(record),
    };
    for (const [name, render] of this.#headers) headers[name] = render(record);
    return {
      key: key === undefined ? null : heads.key ? this.#encoders.key!.encode(heads.key, key) : encodeKey(key),
      value: original ? payloadBytes(original) : this.#encodeValue(record.value, heads),
      headers,
      ...(record.time >= 0 && Number.isFinite(record.time) && { timestamp: String(Math.trunc(record.time)) }),
    };
  }
}

function encodeKey(key: Key): Buffer {
  return Buffer.from(typeof key === 'string' ? key : JSON.stringify(key));
}

// A step may have given the record another key before it was refused.
function originalKey(record: StreamRecord): Key | undefined {
  const letter = deadLetterOf(record);
  return letter?.originalKey === undefined ? record.key : (letter.originalKey ?? undefined);
}

function choosePartition(
  record: StreamRecord,
  key: Buffer | null,
  count: number,
  chance: number,
  topic: string,
): number {
  const { partition } = record;
  if (partition === undefined) return key === null ? Math.floor(chance * count) : kafkaPartition(key, count);
  if (partition < count) return partition;
  throw new RejectError(
    'sink-refused',
    `Partition ${partition} was chosen for the record, but topic \`${topic}\` has ${count}, counted from 0. ` +
      'Give the topic as many partitions as the `partition` step says, or the step as many as the topic has.',
  );
}

function encodeValue(value: unknown): Buffer | null {
  if (value === null) return null;
  if (Buffer.isBuffer(value)) return value;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new RejectError('sink-refused', `The value cannot be written as JSON: ${(error as Error).message}`);
  }
  if (text === undefined)
    throw new RejectError('sink-refused', `The value is ${typeof value}, which JSON cannot hold.`);
  return Buffer.from(text);
}

function fieldKey(path: string): (record: StreamRecord) => Key {
  const names = path.split('.');
  return ({ value }) => {
    let found: unknown = value;
    for (const name of names) {
      const inside = typeof found === 'object' && found !== null && Object.hasOwn(found, name);
      found = inside ? (found as Record<string, unknown>)[name] : undefined;
    }
    if (typeof found === 'string' || typeof found === 'boolean' || Number.isFinite(found)) return found as Key;
    const kind = found === null ? 'null' : Array.isArray(found) ? 'an array' : typeof found;
    throw new RejectError(
      'sink-refused',
      found === undefined
        ? `The record has no field \`${path}\`, which is its \`key\`.`
        : `Field \`${path}\`, the record's \`key\`, is ${kind}; expected text, a number, true or false.`,
    );
  };
}
