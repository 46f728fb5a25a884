import {
  type Changes,
  type PartitionState,
  type Position,
  RunError,
  type StateSettings,
  type Transaction,
  type Transactions,
  type TransactionsContext,
} from '../../src/operator.ts';
import { decodeName, encodeName, prepareChangelog } from './changelog.ts';
import {
  type Driver,
  type Outgoing,
  type TopicPartition,
  type Transactor,
  Trouble,
  type Writer,
  type WriterOptions,
} from './driver.ts';
import { openKafkajs } from './kafkajs.ts';
import { Lane, mostBytes, sizeOf } from './lane.ts';
import { topicProblem } from './options.ts';
import type { SourceOptions } from './source.ts';
import { namedTopics, patternOf } from './subscription.ts';

/** A dead instance keeps readers of its output waiting for so long, at most. */
const leastTimeoutMs = 30_000;
const defaultEveryMs = 5_000;
const firstWaitMs = 200;
const longestWaitMs = 5_000;
/** A topic that has just been made is not known everywhere at once. */
const unknownTopicMs = 15_000;
const plain: WriterOptions = { compression: 'none' };

/** Keeps the state of a Kafka source in changelog topics beside it. Makes them where they are not there. */
export async function openTransactions(
  options: SourceOptions,
  settings: StateSettings,
  context: TransactionsContext,
  openDriver: typeof openKafkajs = openKafkajs,
): Promise<Transactions> {
  const driver = await openDriver(options, context);
  const transactions = new KafkaTransactions(driver, options, settings, context);
  try {
    // With a pattern, topics come as they are claimed.
    for (const topic of namedTopics(options)) await transactions.changelog(topic);
  } catch (error) {
    throw error instanceof Trouble ? new RunError(error.message, { where: context.id, cause: error.cause }) : error;
  }
  return transactions;
}

function changelogOf(
  source: string,
  several: boolean,
  settings: StateSettings,
  { topology, id }: TransactionsContext,
): string {
  const base = settings.topic ?? `${topology}-${id}-changelog`;
  const topic = several ? `${base}-${source}` : base;
  const problem = topicProblem(topic);
  if (problem === undefined) return topic;
  throw new RunError(
    `The changelog topic would be called \`${topic}\`, which Kafka does not take: ${problem}. Say another name with \`state.topic\`.`,
    { where: id },
  );
}

/** The transaction of one partition, for the sinks that write in it. */
export class KafkaTransaction implements Transaction {
  readonly system = 'kafka';
  readonly #transactor: Transactor;
  constructor(transactor: Transactor) {
    this.#transactor = transactor;
  }

  /** A writer whose records become visible with the next commit. Closing it does nothing. */
  writer(options: WriterOptions): Writer {
    const transactor = this.#transactor;
    return {
      partitions: (topic) => transactor.partitions(topic),
      send: (target, records) => transactor.send(target, records, options),
      close: () => Promise.resolve(),
    };
  }
}

class KafkaTransactions implements Transactions {
  readonly #driver: Driver;
  readonly #changelogs = new Map<string, Promise<string>>();
  readonly #several: boolean;
  readonly #settings: StateSettings;
  readonly #group: string;
  readonly #timeoutMs: number;
  readonly #context: TransactionsContext;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;

  constructor(driver: Driver, options: SourceOptions, settings: StateSettings, context: TransactionsContext) {
    this.#driver = driver;
    this.#several = patternOf(options) !== undefined || namedTopics(options).length > 1;
    this.#settings = settings;
    this.#group = options.group ?? context.topology;
    this.#timeoutMs = Math.max(leastTimeoutMs, 2 * (settings.every ?? defaultEveryMs));
    this.#context = context;
    this.#signal = AbortSignal.any([context.signal, this.#closing.signal]);
  }

  /** The changelog topic of a topic that is read; looked for, or made, when it is asked for first. */
  changelog(source: string): Promise<string> {
    const known = this.#changelogs.get(source);
    if (known !== undefined) return known;
    const { replication } = this.#settings;
    const { log, id } = this.#context;
    const topic = changelogOf(source, this.#several, this.#settings, this.#context);
    const made = prepareChangelog(this.#driver, { topic, source, replication }, log, id).then(() => topic);
    this.#changelogs.set(source, made);
    made.catch(() => this.#changelogs.delete(source));
    return made;
  }

  async claim(id: string): Promise<PartitionState> {
    const { ports, log } = this.#context;
    const place = placeOf(id);
    const began = ports.clock.now();
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      if (this.#signal.aborted) throw this.#error(`Stopped before the state of ${id} was read.`);
      try {
        return await this.#take(place);
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        const settles = error.kind === 'unknownTopic' && ports.clock.now() - began < unknownTopicMs;
        if (error.kind !== 'passing' && !settles) throw this.#error(error.message, error.cause);
        log.warn(`${error.message} Trying again.`, { partition: id });
        await ports.clock.sleep(waitMs, this.#signal);
      }
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  async #take(place: TopicPartition): Promise<PartitionState> {
    const { topology, id } = this.#context;
    const { topic, partition } = place;
    const changelog = { topic: await this.changelog(topic), partition };
    const transactor = await this.#driver.transact({
      id: `penstock-${topology}-${id}-${topic}-${partition}`,
      timeoutMs: this.#timeoutMs,
    });
    try {
      const restored = new Map<string, Buffer>();
      const each = (key: Buffer | null, value: Buffer | null) => {
        if (key === null) return;
        if (value === null) restored.delete(decodeName(key));
        else restored.set(decodeName(key), value);
      };
      // Only now: before the take-over the last owner might still have committed.
      await this.#driver.scan(changelog, each, this.#signal);
      if (this.#signal.aborted) throw this.#error(`Stopped before the state of ${idOf(place)} was read.`);
      return new KafkaPartitionState({ place, changelog, group: this.#group, where: id }, transactor, restored);
    } catch (error) {
      await transactor.close();
      throw error;
    }
  }

  #error(message: string, cause?: unknown): RunError {
    return new RunError(message, { where: this.#context.id, cause });
  }
}

interface Places {
  readonly place: TopicPartition;
  readonly changelog: TopicPartition;
  readonly group: string;
  readonly where: string;
}

class KafkaPartitionState implements PartitionState {
  readonly transaction: Transaction;
  readonly #places: Places;
  readonly #transactor: Transactor;
  #restored: ReadonlyMap<string, Buffer> | undefined;
  #position: number | undefined;

  constructor(places: Places, transactor: Transactor, restored: ReadonlyMap<string, Buffer>) {
    this.#places = places;
    this.#transactor = transactor;
    this.#restored = restored;
    this.transaction = new KafkaTransaction(transactor);
  }

  get(name: string): Buffer | undefined {
    return this.#restored?.get(name);
  }

  *entries(prefix: string): Iterable<[name: string, bytes: Buffer]> {
    for (const entry of this.#restored ?? []) if (entry[0].startsWith(prefix)) yield entry;
  }

  async commit(changes: Changes, position: Position | undefined): Promise<void> {
    const { place, group, where } = this.#places;
    const next = position === undefined ? undefined : Number(position);
    try {
      await this.#write(changes);
      if (next !== undefined && next !== this.#position) await this.#transactor.offset(group, place, next);
      await this.#transactor.commit();
    } catch (error) {
      throw error instanceof Trouble ? new RunError(error.message, { where, cause: error.cause }) : error;
    }
    this.#position = next;
    this.#restored = undefined;
  }

  close(): Promise<void> {
    this.#restored = undefined;
    return this.#transactor.close();
  }

  async #write({ puts, removes }: Changes): Promise<void> {
    const { changelog, where } = this.#places;
    const lane = new Lane(changelog.topic, changelog.partition);
    for (const [name, bytes] of puts) lane.add(0, change(name, bytes));
    for (const name of removes) lane.add(0, change(name, null));
    for (const { records } of lane.parcels(mostBytes)) {
      try {
        await this.#transactor.send(changelog, records, plain);
      } catch (error) {
        if (!(error instanceof Trouble) || error.kind !== 'tooLarge') throw error;
        const bytes = Math.max(...records.map(sizeOf));
        throw new RunError(
          `One entry of the state has about ${bytes} bytes, more than changelog topic \`${changelog.topic}\` takes. Raise its ` +
            '`max.message.bytes`, or keep less per key: shorter windows, fewer fields.',
          { where, cause: error },
        );
      }
    }
  }
}

function change(name: string, value: Buffer | null): Outgoing {
  return { key: encodeName(name), value, headers: {} };
}

function idOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

function placeOf(id: string): TopicPartition {
  const slash = id.lastIndexOf('/');
  return { topic: id.slice(0, slash), partition: Number(id.slice(slash + 1)) };
}
