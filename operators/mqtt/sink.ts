import type { IClientPublishOptions } from 'mqtt';
import {
  compileTemplate,
  deadLetterOf,
  type OpenSink,
  payloadBytes,
  publishProblem,
  type Refused,
  RejectError,
  type Render,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import { Connection } from './connection.ts';
import type { ConnectionOptions } from './options.ts';
import { type Properties, type PropertyOptions, propertiesOf } from './properties.ts';

export interface SinkOptions extends ConnectionOptions, PropertyOptions {
  topic: string;
  qos?: 0 | 1 | 2;
  payload?: 'value' | 'original';
  retain?: boolean;
}

const inFlightMax = 1_000;
const quotaExceeded = 0x97;
const retryMs = 1_000;

/** Opens the sink: begins to connect. A broker that cannot be reached is waited for; one that refuses us is a RunError. */
export async function openSink(options: SinkOptions, context: SinkContext): Promise<OpenSink> {
  const render = topicOf(options.topic);
  const properties = options.protocolVersion === 5 ? propertiesOf(options, topicOf) : undefined;
  let fatal: RunError | undefined;
  const ended = new AbortController();
  const random = Math.floor(context.ports.random() * 2 ** 32).toString(16);
  const connection = await Connection.open({
    options,
    clientId: options.clientId ?? `penstock-${context.topology}-${context.id}-${random}`,
    ports: context.ports,
    log: context.log,
    // Without a queue, a QoS 0 message is tried again by us while there is no connection.
    client: { clean: true, queueQoSZero: false },
    onFatal: (error) => {
      fatal = error;
      ended.abort();
    },
  });
  await connection.tried;
  if (fatal) {
    await connection.close();
    throw fatal;
  }
  return new MqttSink(
    options,
    context,
    connection,
    render,
    properties,
    () => fatal,
    AbortSignal.any([context.signal, ended.signal]),
  );
}

/** Refuses what data may not bring into a topic: more levels, wildcards, or nothing at all. */
export function cleanLevel(value: string): string {
  const problem = value.includes('/') ? 'holds a slash' : publishProblem(value);
  if (problem === undefined) return value;
  throw new RejectError(
    'sink-refused',
    `A value for the topic ${problem}: ${JSON.stringify(value.slice(0, 100))}. It would make another topic.`,
  );
}

/** Makes topics of records. Throws a RejectError for a record whose topic nobody may publish to. */
function topicOf(template: string): Render {
  const render = compileTemplate(template, cleanLevel);
  return (record) => {
    const topic = render(record);
    const problem = publishProblem(topic);
    if (problem !== undefined)
      throw new RejectError('sink-refused', `The topic ${problem}: ${JSON.stringify(topic.slice(0, 100))}.`);
    if (!topic.startsWith('$') || template.startsWith('$')) return topic;
    throw new RejectError(
      'sink-refused',
      'A value would make the topic begin with `$`, which is for the broker itself.',
    );
  };
}

class MqttSink implements OpenSink {
  readonly maxRecords = inFlightMax;
  readonly #options: SinkOptions;
  readonly #context: SinkContext;
  readonly #connection: Connection;
  readonly #topic: Render;
  readonly #properties: ReturnType<typeof propertiesOf> | undefined;
  readonly #fatal: () => RunError | undefined;
  readonly #signal: AbortSignal;
  /** QoS 0 messages that are on their way out. */
  readonly #unconfirmed = new Set<() => void>();

  constructor(
    options: SinkOptions,
    context: SinkContext,
    connection: Connection,
    topic: Render,
    properties: ReturnType<typeof propertiesOf> | undefined,
    fatal: () => RunError | undefined,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#context = context;
    this.#connection = connection;
    this.#topic = topic;
    this.#properties = properties;
    this.#fatal = fatal;
    this.#signal = signal;
    connection.client.on('close', () => {
      for (const done of [...this.#unconfirmed]) done();
    });
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    let next = 0;
    const publishNext = async () => {
      while (next < records.length) {
        const index = next++;
        const message = await this.#publish(records[index]!);
        if (message !== undefined) refused.push({ index, message });
      }
    };
    // Each takes the next record and publishes it in one turn, so they go out in order.
    const limit = Math.min(inFlightMax, this.#connection.client.serverProperties?.receiveMaximum ?? inFlightMax);
    await this.#unlessEnded(Promise.all(Array.from({ length: Math.min(limit, records.length) }, publishNext)));
    return refused.length > 0 ? refused.sort((a, b) => a.index - b.index) : undefined;
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  /** Resolves once the broker has confirmed the record, or with the reason why it never will. */
  async #publish(record: StreamRecord): Promise<string | undefined> {
    let topic: string;
    let payload: string | Buffer;
    let properties: Properties | undefined;
    try {
      topic = this.#topic(record);
      const letter = this.#options.payload === 'original' ? deadLetterOf(record) : undefined;
      payload = letter ? payloadBytes(letter) : encode(record.value);
      properties = this.#properties?.(record, this.#context.recordId(record));
    } catch (error) {
      if (error instanceof RejectError) return error.message;
      throw error;
    }
    const largest = this.#connection.client.serverProperties?.maximumPacketSize;
    // The broker would hang up, again and again.
    const about = Buffer.byteLength(payload) + Buffer.byteLength(topic) + sizeOf(properties) + 512;
    if (largest !== undefined && about > largest)
      return `The message has about ${about} bytes; the broker takes ${largest}.`;
    for (;;) {
      const error = await this.#send(topic, payload, properties);
      if (!error) return undefined;
      const refused = error.code !== undefined && error.code >= 0x80 && error.code !== quotaExceeded;
      if (refused) return `The broker refused the message to \`${topic}\`: ${error.message}.`;
      // The connection was lost on the way, or the broker has had enough for now.
      await this.#context.ports.clock.sleep(retryMs, this.#signal);
      if (this.#signal.aborted) return undefined;
    }
  }

  #send(
    topic: string,
    payload: string | Buffer,
    properties: Properties | undefined,
  ): Promise<(Error & { code?: number }) | undefined> {
    const { qos = 1, retain = false } = this.#options;
    const { client } = this.#connection;
    const options: IClientPublishOptions = { qos, retain, ...(properties && { properties }) };
    return new Promise((resolve) => {
      const done = (error?: Error) => {
        this.#unconfirmed.delete(done);
        resolve(error as (Error & { code?: number }) | undefined);
      };
      // Nothing tells whether a QoS 0 message got out before the connection was lost, and nobody will send it again.
      if (qos === 0 && client.connected) this.#unconfirmed.add(done);
      client.publish(topic, payload, options, done);
    });
  }

  async #unlessEnded(work: Promise<unknown>): Promise<void> {
    let stop = () => {};
    const ended = new Promise<never>((_, reject) => {
      stop = () =>
        reject(this.#fatal() ?? new RunError(`Stopped before ${this.#connection.address} had confirmed all messages.`));
      if (this.#signal.aborted) stop();
      else this.#signal.addEventListener('abort', stop, { once: true });
    });
    try {
      await Promise.race([work, ended]);
    } finally {
      this.#signal.removeEventListener('abort', stop);
    }
  }
}

function encode(value: unknown): string | Buffer {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new RejectError('sink-refused', `The value cannot be written as JSON: ${(error as Error).message}.`);
  }
  if (text === undefined) throw new RejectError('sink-refused', 'There is no value to publish.');
  return text;
}

function sizeOf(properties: Properties | undefined): number {
  return properties === undefined ? 0 : Buffer.byteLength(JSON.stringify(properties));
}
