import type { AssignerProtocol, Consumer, EachBatchPayload, PartitionAssigner } from 'kafkajs';
import { type Claim, type Owned, shareBySubscription } from './assigner.ts';
import { type Reader, type ReaderEvents, type ReaderOptions, type TopicPartition, Trouble } from './driver.ts';
import type { Client } from './kafkajs.ts';
import { mendFetches } from './kafkajs-fetches.ts';
import { noTopic, rootOf } from './trouble.ts';

const maxWaitMs = 150;
/** How long a handler keeps its broker's fetch loop waiting for a partition that is full, before that partition is paused. */
const patienceMs = 50;
/** Without an answer for so long, silence says nothing about what there is to read. */
const liveMs = 2_000;

/** Reads as a member of a consumer group through kafkajs. */
export class KafkajsReader implements Reader {
  readonly #client: Client;
  readonly #consumer: Consumer;
  readonly #topics: readonly string[];
  readonly #events: ReaderEvents;
  /** What is assigned, and who waits for room in it. */
  #assigned = new Map<string, { waiting?: (() => void) | undefined }>();
  #answeredAt = Number.NEGATIVE_INFINITY;
  /** An outage has been reported, and its end not yet. */
  #away = false;
  #closed = false;

  static async open(client: Client, { group, topics }: ReaderOptions, events: ReaderEvents): Promise<KafkajsReader> {
    const { AssignerProtocol: protocol } = (await import('kafkajs')).default;
    const owned: { partitions: Owned } = { partitions: {} };
    const consumer = client.kafka.consumer({
      groupId: group,
      partitionAssigners: [stickyAssigner(owned, protocol, () => events.rejoining())],
      allowAutoTopicCreation: false,
      maxWaitTimeInMs: maxWaitMs,
      // A rebalance is noticed with the next heartbeat.
      heartbeatInterval: 1_000,
      // After an outage kafkajs joins as a new member, and the group waits for so long for the one it was before.
      sessionTimeout: 10_000,
      retry: { initialRetryTime: 100, maxRetryTime: 3_000, retries: 8, restartOnFailure: async () => true },
    });
    const reader = new KafkajsReader(client, consumer, topics, events);
    try {
      await reader.#start(owned);
      return reader;
    } catch (error) {
      await reader.close();
      if (rootOf(error).type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw client.trouble(error);
      throw new Trouble('unknownTopic', noTopic(topics[0]!, client.address), error);
    }
  }

  private constructor(client: Client, consumer: Consumer, topics: readonly string[], events: ReaderEvents) {
    this.#topics = topics;
    this.#client = client;
    this.#consumer = consumer;
    this.#events = events;
  }

  get live(): boolean {
    return this.#client.outside.ports.clock.now() - this.#answeredAt < liveMs;
  }

  seek({ topic, partition }: TopicPartition, offset: number): void {
    this.#tell(() => this.#consumer.seek({ topic, partition, offset: String(offset) }));
  }

  resume(partition: TopicPartition): void {
    this.#assigned.get(nameOf(partition))?.waiting?.();
    this.#tell(() => this.#consumer.resume([{ topic: partition.topic, partitions: [partition.partition] }]));
  }

  async commit(offsets: readonly (TopicPartition & { readonly offset: number })[]): Promise<void> {
    const ours = offsets.filter((entry) => this.#assigned.has(nameOf(entry)));
    if (ours.length === 0) return;
    try {
      await this.#consumer.commitOffsets(ours.map((entry) => ({ ...entry, offset: String(entry.offset) })));
    } catch (error) {
      throw this.#client.trouble(error);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#assigned.values()) entry.waiting?.();
    await this.#consumer.disconnect().catch(() => undefined);
  }

  async #start(owned: { partitions: Owned }): Promise<void> {
    const consumer = this.#consumer;
    const { events } = consumer;
    consumer.on(events.GROUP_JOIN, ({ payload }) => {
      owned.partitions = payload.memberAssignment;
      this.#join(payload.memberAssignment);
    });
    consumer.on(events.FETCH, () => {
      if (this.#away) this.#client.outside.log.info(`Kafka at ${this.#client.address} is back: reading goes on.`);
      this.#away = false;
      this.#answeredAt = this.#client.outside.ports.clock.now();
    });
    // A fetch that brought markers of transactions only never reaches the handler, but it moves the position on.
    consumer.on(events.START_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize > 0) return;
      const { topic, partition, lastOffset, highWatermark } = payload;
      const next = Number(lastOffset) + 1;
      this.#events.fetched({ topic, partition, from: undefined, records: [], next, end: Number(highWatermark) });
    });
    consumer.on(events.CRASH, ({ payload: { error, restart } }) => this.#crashed(error, restart));
    this.#client.jump.listener = (topic, partition) => this.#jumped(topic, partition);
    await consumer.connect();
    await consumer.subscribe({ topics: [...this.#topics], fromBeginning: false });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: 64,
      eachBatch: (payload) => this.#handle(payload),
    });
  }

  // kafkajs calls this before it fetches anything for the new assignment. What it kept before is void by then.
  #join(assignment: Owned): void {
    if (this.#closed) return;
    for (const entry of this.#assigned.values()) entry.waiting?.();
    const partitions = Object.entries(assignment).flatMap(([topic, list]) =>
      list.map((partition): TopicPartition => ({ topic, partition })),
    );
    this.#assigned = new Map(partitions.map((partition) => [nameOf(partition), {}]));
    const topics = Object.entries(assignment).map(([topic, list]) => ({ topic, partitions: [...list] }));
    this.#tell(() => this.#consumer.pause(topics));
    this.#events.assigned(partitions);
  }

  async #handle({ batch, resolveOffset, isStale, isRunning }: EachBatchPayload): Promise<void> {
    const { topic, partition } = batch;
    const entry = this.#assigned.get(nameOf(batch));
    if (this.#closed || entry === undefined || isStale() || !isRunning()) return;
    // Before anything is awaited: later on a seek may have been asked for, which this would undo.
    resolveOffset(batch.lastOffset());
    const room = this.#events.fetched({
      topic,
      partition,
      from: Number((batch as unknown as { fetchedOffset: string }).fetchedOffset),
      records: batch.messages,
      next: Number(batch.lastOffset()) + 1,
      end: Number(batch.highWatermark),
    });
    if (!room) await this.#waitForRoom(batch, entry);
  }

  // The next fetch of this broker waits for all handlers, so one full partition must not hold them up for long.
  async #waitForRoom(place: TopicPartition, entry: { waiting?: (() => void) | undefined }): Promise<void> {
    const ended = new AbortController();
    let resumed = false;
    entry.waiting = () => {
      resumed = true;
      ended.abort();
    };
    await this.#client.outside.ports.clock.sleep(patienceMs, ended.signal);
    entry.waiting = undefined;
    if (resumed || this.#closed || this.#assigned.get(nameOf(place)) !== entry) return;
    this.#tell(() => this.#consumer.pause([{ topic: place.topic, partitions: [place.partition] }]));
  }

  #crashed(error: Error, restart: boolean): void {
    if (this.#closed) return;
    this.#answeredAt = Number.NEGATIVE_INFINITY;
    const trouble = this.#client.trouble(error);
    if (restart && trouble.kind === 'passing') {
      if (!this.#away) this.#client.outside.log.warn(`${trouble.message} Reading goes on when it is back.`);
      this.#away = true;
      return;
    }
    const gone = trouble.kind === 'unknownTopic';
    const names = this.#topics.map((topic) => `\`${topic}\``).join(', ');
    this.#events.failed(
      gone ? new Trouble('final', `A topic that was being read was deleted, of ${names}.`, error) : trouble,
    );
  }

  #jumped(topic: string, partition: number): void {
    if (this.#closed) return;
    this.#events.failed(
      new Trouble(
        'final',
        `The offset to read next of topic \`${topic}\`, partition ${partition}, is no longer there: its records were removed ` +
          'before they were read, or the topic was deleted and made anew. To accept the gap, start with --fresh and say where with `start`.',
      ),
    );
  }

  // Between a crash and its restart kafkajs has no group and throws; the next assignment sets everything again.
  #tell(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!this.#closed) this.#client.outside.log.debug(`kafkajs: ${(error as Error).message}`);
    }
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

// kafkajs itself deals partitions out anew, like cards, at each rebalance.
function stickyAssigner(
  owned: { partitions: Owned },
  protocol: typeof AssignerProtocol,
  beforeJoin: () => Promise<void>,
): PartitionAssigner {
  return ({ cluster }) => {
    // The only place where kafkajs lends out what it fetches with, and before it fetches.
    mendFetches(cluster, beforeJoin);
    return {
      name: 'penstock-sticky',
      version: 1,
      protocol: ({ topics }) => ({
        name: 'penstock-sticky',
        metadata: protocol.MemberMetadata.encode({
          version: 1,
          topics,
          userData: Buffer.from(JSON.stringify(owned.partitions)),
        }),
      }),
      async assign({ members, topics }) {
        const claims = members.map(({ memberId, memberMetadata }): [string, Claim] => {
          const { userData, topics: read = topics } = protocol.MemberMetadata.decode(memberMetadata) ?? {};
          const owned = userData?.length ? (JSON.parse(userData.toString()) as Owned) : {};
          return [memberId, { owned, topics: read }];
        });
        const known = topics.map((topic) => ({
          topic,
          partitions: cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId),
        }));
        return [...shareBySubscription(new Map(claims), known)].map(([memberId, assignment]) => ({
          memberId,
          memberAssignment: protocol.MemberAssignment.encode({ version: 1, assignment, userData: Buffer.alloc(0) }),
        }));
      },
    };
  };
}
