import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import kafkajs, { type Kafka, type Producer } from 'kafkajs';
import { type Fed, startOf } from './check.ts';
import { type InputShape, input } from './input.ts';

const chunk = 500;

/** Produces the input, in order and each record once, and writes the history of what was fed. */
export class Feeder {
  fed = 0;
  readonly #shape: InputShape;
  readonly #topic: string;
  readonly #producer: Producer;
  readonly #history: WriteStream;
  readonly #records: Generator<Fed & { partition?: number }>;
  readonly #windows = new Set<string>();

  static async open(kafka: Kafka, topic: string, file: string, shape: InputShape): Promise<Feeder> {
    const producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
      retry: { retries: 100, initialRetryTime: 100, maxRetryTime: 2_000 },
    });
    await producer.connect();
    return new Feeder(producer, topic, file, shape);
  }

  private constructor(producer: Producer, topic: string, file: string, shape: InputShape) {
    this.#producer = producer;
    this.#topic = topic;
    this.#shape = shape;
    this.#history = createWriteStream(file);
    this.#records = input(shape);
  }

  /** How many windows are due when all has been fed. */
  get windowsDue(): number {
    return this.#windows.size;
  }

  /** Feeds until so many records are fed, but not those that close the windows. */
  async feedTo(count: number): Promise<void> {
    const goal = Math.min(count, this.#shape.records);
    while (this.fed < goal) await this.#send(Math.min(chunk, goal - this.fed));
  }

  /** Feeds the rest and what closes the windows; ends the history. */
  async finish(): Promise<void> {
    await this.feedTo(this.#shape.records);
    await this.#send(this.#shape.partitions);
    this.#history.end();
    await once(this.#history, 'finish');
  }

  async close(): Promise<void> {
    this.#history.destroy();
    await this.#producer.disconnect();
  }

  async #send(count: number): Promise<void> {
    const records: (Fed & { partition?: number })[] = [];
    for (let n = 0; n < count; n++) records.push(this.#records.next().value as Fed);
    const messages = records.map(({ partition, closing: _, ...record }) => ({
      key: record.key,
      value: JSON.stringify(record),
      ...(partition !== undefined && { partition }),
    }));
    await this.#producer.send({ topic: this.#topic, messages, acks: -1 });
    for (const { partition: _, ...record } of records) {
      this.#history.write(`${JSON.stringify(record)}\n`);
      if (!record.closing) this.#windows.add(`${record.key}/${startOf(record.ts)}`);
    }
    this.fed += count;
  }
}
