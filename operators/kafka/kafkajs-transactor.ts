import { TransactionError } from '../../src/operator.ts';
import {
  type Outgoing,
  type TopicPartition,
  type Transactor,
  type TransactorOptions,
  Trouble,
  type WriterOptions,
} from './driver.ts';
import { encodeBatch } from './encode-batch.ts';
import type { Client } from './kafkajs.ts';
import { type Broker, leaderOf, openWire, produceRaw, type Wire } from './kafkajs-wire.ts';
import { noTopic, rootOf } from './trouble.ts';

/** Refused for now and certainly not done: asking again cannot do it twice. A lost leader is asked with the same sequence number. */
const passing = new Set([
  'CONCURRENT_TRANSACTIONS',
  'GROUP_LOAD_IN_PROGRESS',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'NOT_LEADER_FOR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_ENOUGH_REPLICAS',
]);
/** Someone else has ended our transaction: another owner, or the coordinator after its time-out. */
const fencing = new Set([
  'INVALID_PRODUCER_EPOCH',
  'INVALID_PRODUCER_ID_MAPPING',
  'INVALID_TXN_STATE',
  'TRANSACTION_COORDINATOR_FENCED',
]);
const sequences = 2 ** 31;
/** The markers of the last transaction are written in the background; the next one waits for them, in most cases a few ms. */
const firstWaitMs = 5;
const longestWaitMs = 500;

interface Enlisting {
  readonly target: TopicPartition;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Speaks the transaction protocol through kafkajs, request by request. What the broker refuses for certain is asked again or
 * told to the caller; after any other error nobody knows what was done, and this object is never used again: the next owner of
 * the id ends what it has left open, with a new epoch that shuts out requests that are still on their way.
 */
export class KafkajsTransactor implements Transactor {
  readonly #client: Client;
  readonly #wire: Wire;
  readonly #options: TransactorOptions;
  #producer = { transactionalId: '', producerId: '', producerEpoch: 0 };
  #coordinator: Broker | undefined;
  /** The next sequence number of each partition. It goes on from one transaction to the next. */
  readonly #sequences = new Map<string, number>();
  /** What takes part in the open transaction. */
  #enlisted = new Set<string>();
  #withOffsets = false;
  #waiting: Enlisting[] = [];
  #enlisting: Promise<void> = Promise.resolve();
  #inFlight = 0;
  /** Why nothing more can be done with it. */
  #over: TransactionError | undefined;

  static async open(client: Client, options: TransactorOptions): Promise<KafkajsTransactor> {
    const wire = await openWire(client.kafka, true).catch((error) => {
      throw client.trouble(error);
    });
    const transactor = new KafkajsTransactor(client, wire, options);
    try {
      await transactor.#init();
      return transactor;
    } catch (error) {
      await wire.disconnect().catch(() => undefined);
      throw client.trouble(error);
    }
  }

  private constructor(client: Client, wire: Wire, options: TransactorOptions) {
    this.#client = client;
    this.#wire = wire;
    this.#options = options;
  }

  async partitions(topic: string): Promise<number> {
    return this.#ask(async () => {
      await this.#wire.addTargetTopic(topic);
      await this.#wire.refreshMetadataIfNecessary();
      const count = this.#wire.findTopicPartitionMetadata(topic).length;
      if (count === 0) throw new Trouble('unknownTopic', noTopic(topic, this.#client.address));
      return count;
    });
  }

  async send(target: TopicPartition, records: readonly Outgoing[], options: WriterOptions): Promise<void> {
    const { topic, partition } = target;
    const name = nameOf(target);
    await this.#enlist(target);
    const sequence = this.#sequences.get(name) ?? 0;
    const { producerId, producerEpoch: epoch } = this.#producer;
    const numbering = { producer: BigInt(producerId), epoch, sequence };
    const batch = await encodeBatch(records, numbering, options, this.#client.outside.ports.clock.now());
    await this.#ask(async () => {
      const leader = await leaderOf(this.#wire, topic, partition);
      await produceRaw(leader, this.#producer, target, batch);
    });
    this.#sequences.set(name, (sequence + records.length) % sequences);
  }

  async offset(group: string, { topic, partition }: TopicPartition, offset: number): Promise<void> {
    if (!this.#withOffsets) {
      await this.#ask(async () => (await this.#find()).addOffsetsToTxn({ ...this.#producer, groupId: group }));
      this.#withOffsets = true;
    }
    const topics = [{ topic, partitions: [{ partition, offset: String(offset) }] }];
    await this.#ask(async () => {
      const broker = await this.#wire.findGroupCoordinator({ groupId: group, coordinatorType: 0 });
      return broker.txnOffsetCommit({ ...this.#producer, groupId: group, topics });
    });
  }

  async commit(): Promise<void> {
    if (this.#over) throw this.#over;
    if (!this.#begun) return;
    await this.#ask(async () => (await this.#find()).endTxn({ ...this.#producer, transactionResult: true }));
    this.#enlisted = new Set();
    this.#withOffsets = false;
  }

  async close(): Promise<void> {
    // An abort must not overtake a record that is still on its way, nor follow what nobody knows: the next owner ends those.
    const abort = this.#begun && !this.#over && this.#inFlight === 0;
    const busy = this.#inFlight > 0;
    this.#over ??= new TransactionError(`The transaction \`${this.#options.id}\` is closed.`, false);
    if (abort) {
      await this.#find()
        .then((coordinator) => coordinator.endTxn({ ...this.#producer, transactionResult: false }))
        .catch((error) =>
          this.#client.outside.log.debug(`The transaction was not taken back: ${(error as Error).message}`),
        );
    }
    const closed = this.#wire.disconnect().catch(() => undefined);
    // Disconnecting waits for open requests.
    if (!busy) await closed;
  }

  get #begun(): boolean {
    return this.#withOffsets || this.#enlisted.size > 0;
  }

  async #init(): Promise<void> {
    const { id, timeoutMs } = this.#options;
    const request = { transactionalId: id, transactionTimeout: timeoutMs };
    // Refused as long as a transaction of the owner before is being ended.
    const { producerId, producerEpoch } = await this.#patiently(async () =>
      (await this.#find()).initProducerId(request),
    );
    this.#producer = { transactionalId: id, producerId, producerEpoch };
  }

  /** Makes a partition part of the transaction, together with others that are asked for at the same time. */
  #enlist(target: TopicPartition): Promise<void> {
    if (this.#over) return Promise.reject(this.#over);
    if (this.#enlisted.has(nameOf(target))) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ target, resolve, reject });
      this.#enlisting = this.#enlisting.then(() => this.#enlistWaiting());
    });
  }

  async #enlistWaiting(): Promise<void> {
    const waiting = this.#waiting.splice(0);
    if (waiting.length === 0) return;
    try {
      await this.#add(waiting.map(({ target }) => target));
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      if (waiting.length === 1 || this.#over) {
        for (const { reject } of waiting) reject(error);
        return;
      }
      // One topic that is not there has kept all of them out.
      for (const { target, resolve, reject } of waiting) await this.#add([target]).then(resolve, reject);
    }
  }

  async #add(targets: readonly TopicPartition[]): Promise<void> {
    const byTopic = new Map<string, number[]>();
    for (const { topic, partition } of targets) byTopic.set(topic, [...(byTopic.get(topic) ?? []), partition]);
    const topics = [...byTopic].map(([topic, partitions]) => ({ topic, partitions }));
    await this.#ask(async () => (await this.#find()).addPartitionsToTxn({ ...this.#producer, topics }));
    for (const target of targets) this.#enlisted.add(nameOf(target));
  }

  async #find(): Promise<Broker> {
    this.#coordinator ??= await this.#wire.findGroupCoordinator({ groupId: this.#options.id, coordinatorType: 1 });
    return this.#coordinator;
  }

  /** One step of the transaction. Rejects with trouble when it has certainly not been done, else the transaction is over. */
  async #ask<T>(request: () => Promise<T>): Promise<T> {
    if (this.#over) throw this.#over;
    this.#inFlight++;
    try {
      return await this.#patiently(request);
    } catch (error) {
      if (this.#over) throw this.#over;
      const trouble = this.#client.trouble(error);
      if (trouble.kind !== 'passing') throw trouble;
      const { type = '', message = '' } = rootOf(error);
      // 90 is PRODUCER_FENCED, which is younger than kafkajs.
      const fenced = fencing.has(type) || message.endsWith('error code 90');
      const what = fenced
        ? 'has been ended by another process, or by Kafka because it took too long'
        : 'may not have been committed';
      this.#over = new TransactionError(`The transaction \`${this.#options.id}\` ${what}: ${trouble.message}`, fenced, {
        cause: error,
      });
      throw this.#over;
    } finally {
      this.#inFlight--;
    }
  }

  /** Asks again for as long as a transaction may be open, when the answer was that it cannot be done just now. */
  async #patiently<T>(request: () => Promise<T>): Promise<T> {
    const { clock } = this.#client.outside.ports;
    const end = clock.now() + this.#options.timeoutMs;
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      try {
        return await request();
      } catch (error) {
        const { type, name } = rootOf(error);
        // A broker that has just come, or a partition without a leader: nothing was sent.
        const known = name === 'KafkaJSBrokerNotFound' || (type !== undefined && passing.has(type));
        if (!known || this.#over || clock.now() >= end) throw error;
        if (type !== 'CONCURRENT_TRANSACTIONS') await this.#lookAgain();
      }
      await clock.sleep(waitMs);
    }
  }

  // Leaders and coordinators move.
  async #lookAgain(): Promise<void> {
    this.#coordinator = undefined;
    await this.#wire.refreshMetadata().catch(() => undefined);
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
