import type { CompressionTypes, IHeaders, Message, Producer } from 'kafkajs';
import { codecNames } from './codecs.ts';
import { type Outgoing, type TopicPartition, Trouble, type Writer, type WriterOptions } from './driver.ts';
import type { Client } from './kafkajs.ts';
import { noTopic, rootOf } from './trouble.ts';

// The broker has forgotten this producer, or the numbering has gone apart: only a new producer id helps.
const lostProducer = new Set([
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'UNKNOWN_PRODUCER_ID',
  'INVALID_PRODUCER_EPOCH',
  'INVALID_PRODUCER_ID_MAPPING',
]);

/**
 * Writes through an idempotent kafkajs producer.
 *
 * Each send carries records of one partition only. In a request over several, kafkajs 2.2.4 turns the sequence numbers of all
 * of them back when one is refused, and skips partitions whose leader moves to a broker that has answered already: both can lose
 * acknowledged records without an error.
 */
export class KafkajsWriter implements Writer {
  readonly #client: Client;
  readonly #compression: CompressionTypes;
  #producer: Producer;
  #retired: Producer[] = [];
  #renewing: Promise<void> | undefined;

  static async open(client: Client, { compression }: WriterOptions): Promise<KafkajsWriter> {
    return new KafkajsWriter(client, await connect(client), codecNames.indexOf(compression));
  }

  private constructor(client: Client, producer: Producer, compression: CompressionTypes) {
    this.#client = client;
    this.#producer = producer;
    this.#compression = compression;
  }

  async partitions(topic: string): Promise<number> {
    const known = await this.#count(topic);
    if (known !== undefined) return known;
    try {
      // Asking for the topic as a producer does lets a broker that makes topics by itself make this one.
      await this.#producer.send({ topic, messages: [] });
    } catch (error) {
      if (rootOf(error).type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw this.#client.trouble(error);
    }
    const made = await this.#count(topic);
    if (made === undefined) throw new Trouble('unknownTopic', noTopic(topic, this.#client.address));
    return made;
  }

  async send({ topic, partition }: TopicPartition, records: readonly Outgoing[]): Promise<void> {
    const producer = this.#producer;
    // The client only reads them.
    const messages = records.map((record): Message => ({ ...record, headers: record.headers as IHeaders, partition }));
    try {
      await producer.send({ topic, messages, acks: -1, compression: this.#compression });
    } catch (error) {
      const { type } = rootOf(error);
      // It stands in the log already: the answer to an earlier try was lost.
      if (type === 'DUPLICATE_SEQUENCE_NUMBER') return;
      if (type !== undefined && lostProducer.has(type)) await this.#renew(producer, type);
      throw this.#client.trouble(error);
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      [this.#producer, ...this.#retired].map((producer) => producer.disconnect().catch(() => undefined)),
    );
  }

  async #count(topic: string): Promise<number | undefined> {
    const admin = this.#client.kafka.admin();
    try {
      await admin.connect();
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const count = topics[0]?.partitions.length ?? 0;
      return count > 0 ? count : undefined;
    } catch (error) {
      if (rootOf(error).type === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined;
      throw this.#client.trouble(error);
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }

  // Other partitions may be in flight with the old producer: it is kept until the end, and only new sends use the new one.
  #renew(old: Producer, reason: string): Promise<void> {
    if (this.#producer !== old) return Promise.resolve();
    this.#renewing ??= connect(this.#client)
      .then((producer) => {
        this.#retired.push(old);
        this.#producer = producer;
        this.#client.outside.log.warn(
          'Kafka no longer knows the producer: a new one goes on. The records in flight may be written twice.',
          { reason },
        );
      })
      .finally(() => {
        this.#renewing = undefined;
      });
    return this.#renewing;
  }
}

async function connect(client: Client): Promise<Producer> {
  const producer = client.kafka.producer({
    idempotent: true,
    // The partition is always set before; naming the partitioner only silences a warning.
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition!,
  });
  try {
    await producer.connect();
    return producer;
  } catch (error) {
    await producer.disconnect().catch(() => undefined);
    throw client.trouble(error);
  }
}
