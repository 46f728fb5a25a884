import { type Refused, RunError, type SinkContext } from '../../src/operator.ts';
import { type Driver, Trouble, type Writer } from './driver.ts';
import { halves, type Lane, mostBytes, type Parcel } from './lane.ts';
import type { SinkOptions } from './options.ts';

/** A broker closes the connection on requests above 100 MiB, so that such a record could never be told from an outage. */
const hopelessBytes = 95 * 1024 * 1024;
/** Java producers look for new partitions as often. */
const refreshMs = 5 * 60_000;
/** A topic that has just been made is not known everywhere at once. */
const unknownTopicMs = 15_000;
/** So long a topic that was not there counts as missing, without asking and waiting for it again. */
const missingMs = 60_000;
/** Names that come from the data are forgotten beyond so many. */
const mostNames = 10_000;
const firstWaitMs = 100;
const longestWaitMs = 5_000;

interface Known {
  /** Number of partitions, or why the topic cannot be written to. */
  readonly answer: number | string;
  readonly at: number;
}

/** Writes lanes to their topics, one parcel at a time per partition, until each is durable or refused. */
export class Topics {
  readonly #writer: Writer;
  readonly #driver: Driver;
  readonly #options: SinkOptions;
  readonly #context: SinkContext;
  /** Topic names come from the data: a bad one concerns its records only. */
  readonly #fromData: boolean;
  readonly #known = new Map<string, Known>();
  /** Sizes at which a topic has refused parcels: it is set to less than Kafka's default. */
  readonly #limits = new Map<string, number>();

  constructor(driver: Driver, writer: Writer, options: SinkOptions, context: SinkContext, fromData: boolean) {
    this.#driver = driver;
    this.#writer = writer;
    this.#options = options;
    this.#context = context;
    this.#fromData = fromData;
  }

  /** Looks for the topic as the sink is opened, when waiting for a broker would only hide a wrong address. */
  async require(topic: string): Promise<void> {
    try {
      await this.#create(topic);
      await this.#count(topic);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Number of partitions; or, for a topic that the data named, why it cannot be written to. */
  async partitions(topic: string): Promise<number | string> {
    const known = this.#known.get(topic);
    if (known && this.#now - known.at < (typeof known.answer === 'string' ? missingMs : refreshMs)) return known.answer;
    const answer = await this.#persist(topic, async () => {
      if (!known) await this.#create(topic);
      return this.#count(topic);
    });
    return answer instanceof Trouble ? this.#learn(topic, answer.message) : answer;
  }

  async writeAll(lanes: readonly Lane[], refused: Refused[]): Promise<void> {
    await Promise.all(lanes.map((lane) => this.#writeLane(lane, refused)));
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  get #now(): number {
    return this.#context.ports.clock.now();
  }

  async #create(topic: string): Promise<void> {
    const { createTopic } = this.#options;
    if (!createTopic) return;
    const { partitions, replication = 1, config = {} } = createTopic;
    const settings = Object.fromEntries(Object.entries(config).map(([name, value]) => [name, String(value)]));
    await this.#driver.admin((admin) => admin.create(topic, partitions, replication, settings));
  }

  async #count(topic: string): Promise<number> {
    return this.#learn(topic, await this.#writer.partitions(topic));
  }

  #learn<T extends number | string>(topic: string, answer: T): T {
    if (this.#known.size >= mostNames) this.#known.clear();
    this.#known.set(topic, { answer, at: this.#now });
    return answer;
  }

  // In order: a parcel that waits holds back those behind it, or two values of a key could change places.
  async #writeLane(lane: Lane, refused: Refused[]): Promise<void> {
    for (const parcel of lane.parcels(this.#limits.get(lane.topic) ?? mostBytes)) {
      await this.#writeParcel(lane, parcel, refused);
    }
  }

  async #writeParcel(lane: Lane, parcel: Parcel, refused: Refused[]): Promise<void> {
    const refuse = (message: string) => refused.push(...parcel.indexes.map((index) => ({ index, message })));
    if (parcel.bytes > hopelessBytes && parcel.records.length === 1) {
      refuse(`The record has about ${parcel.bytes} bytes, more than Kafka takes in one request (100 MiB).`);
      return;
    }
    const answer = await this.#persist(lane.topic, () => this.#writer.send(lane, parcel.records));
    if (!(answer instanceof Trouble)) return;
    if (answer.kind === 'unknownTopic' || answer.kind === 'badTopic') {
      refuse(this.#learn(lane.topic, answer.message));
    } else if (parcel.records.length === 1) {
      refuse(refusal(answer, lane.topic, parcel.bytes));
    } else {
      if (answer.kind === 'tooLarge') this.#limits.set(lane.topic, Math.max(1_000, parcel.bytes >> 1));
      for (const half of halves(parcel)) await this.#writeParcel(lane, half, refused);
    }
  }

  /** Does it until it is done, with back-off through whatever passes. Returns trouble that concerns records; throws what ends the run. */
  async #persist<T>(topic: string, action: () => Promise<T>): Promise<T | Trouble> {
    const { ports, signal, log, id } = this.#context;
    const began = this.#now;
    for (let waitMs = firstWaitMs, tries = 1; ; waitMs = Math.min(2 * waitMs, longestWaitMs), tries++) {
      try {
        const result = await action();
        if (tries > 1) log.info(`Topic \`${topic}\` can be written again.`, { tries });
        return result;
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        const unknown = error.kind === 'unknownTopic';
        const over = unknown && this.#now - began >= unknownTopicMs;
        if (error.kind !== 'passing' && !(unknown && !over)) {
          const concernsTopic = unknown || error.kind === 'badTopic';
          if (error.kind === 'final' || (concernsTopic && !this.#fromData)) {
            throw new RunError(error.message, { where: id, cause: error.cause });
          }
          return error;
        }
        if (tries === 1) log.warn(`${error.message} Trying again until it works.`, { topic });
        await ports.clock.sleep(waitMs * (0.5 + ports.random() / 2), signal);
        if (signal.aborted) throw new RunError(`Stopped while Kafka was away: ${error.message}`, { where: id });
      }
    }
  }
}

function refusal({ kind, message }: Trouble, topic: string, bytes: number): string {
  if (kind !== 'tooLarge') return message;
  return (
    `The record has about ${bytes} bytes, more than topic \`${topic}\` takes: its \`max.message.bytes\` is 1,048,588 unless ` +
    'it was set. Raise it there, set `compression: zstd`, or make the record smaller.'
  );
}
