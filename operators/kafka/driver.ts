/**
 * What this connector needs of a Kafka client library, and no more, so that another library can take the place of the first.
 * Nothing here depends on static membership, cooperative rebalancing or the newer group protocol.
 */
import type { Compression } from './codecs.ts';

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** One record as it was fetched. Offset and timestamp are decimal text: they have 64 bits. */
export interface FetchedRecord {
  readonly offset: string;
  readonly key?: Buffer | null;
  /** `null` is a tombstone. */
  readonly value: Buffer | null;
  /** ms since the epoch; `-1` when the record has none. */
  readonly timestamp: string;
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>;
}

/** What one fetch brought for one partition. Offsets may have gaps: compaction, markers of transactions, aborted records. */
export interface Fetched extends TopicPartition {
  /** The offset that was asked for; `undefined` when the library does not tell. */
  readonly from: number | undefined;
  readonly records: readonly FetchedRecord[];
  /** The offset to ask for next. */
  readonly next: number;
  /** The offset after the newest record of the partition. */
  readonly end: number;
}

/** What a reader reports. All of it is called synchronously, so that nothing of an old assignment can slip in between. */
export interface ReaderEvents {
  /** The group has been balanced: these partitions are ours, all others are not. Each is paused until `resume`. */
  assigned(partitions: readonly TopicPartition[]): void;
  /**
   * The group is about to be balanced, and we to say that we take part: others may get what is ours as soon as this has resolved. It is
   * waited for a few seconds at most.
   */
  rejoining(): Promise<void>;
  /** Hands records over. Answers whether there is room for more; if not, `resume` says when there is. */
  fetched(batch: Fetched): boolean;
  /** Reading cannot go on. */
  failed(error: Error): void;
}

export interface ReaderOptions {
  readonly group: string;
  readonly topics: readonly string[];
}

/** A member of a consumer group. Its place in each partition is told to it; it never commits by itself. */
export interface Reader {
  /** The broker has answered a fetch just now: silence means that there is nothing to read. */
  readonly live: boolean;
  seek(partition: TopicPartition, offset: number): void;
  resume(partition: TopicPartition): void;
  /** Tells the group where we stand, for those who watch its lag. */
  commit(offsets: readonly (TopicPartition & { readonly offset: number })[]): Promise<void>;
  close(): Promise<void>;
}

/** One record to be written. */
export interface Outgoing {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** A header with several values is written as often. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** ms since the epoch as decimal text; the time of sending when there is none. */
  readonly timestamp?: string;
}

export interface WriterOptions {
  readonly compression: Compression;
}

/**
 * Writes with `acks=all` and an idempotent producer. A rejected `send` may still have been applied: sending exactly the
 * same records to the partition again then adds nothing.
 */
export interface Writer {
  /** The number of partitions of a topic. The broker may make the topic now, if it is set to do so. */
  partitions(topic: string): Promise<number>;
  /** Resolves when all records are durable. One send at a time per partition. Rejects with a `Trouble`. */
  send(target: TopicPartition, records: readonly Outgoing[]): Promise<void>;
  close(): Promise<void>;
}

export interface Admin {
  /** The names of all topics that may be seen. */
  topics(): Promise<readonly string[]>;
  /** The first offset of each partition that can be read, and the one after the last. */
  offsets(topic: string): Promise<ReadonlyMap<number, { low: number; high: number }>>;
  /** The first offset of each partition whose record is of this time, in ms, or later; where the partition ends when there is none. */
  offsetsAt(topic: string, time: number): Promise<ReadonlyMap<number, number>>;
  /** What a group has committed of a topic, without the partitions it has not. */
  committed(group: string, topic: string): Promise<ReadonlyMap<number, number>>;
  /** Removes a group that has no members, with what it has committed. */
  forget(group: string): Promise<void>;
  /** Makes a topic; one that is there already is left as it is. Without `replication` the broker decides. */
  create(
    topic: string,
    partitions: number,
    replication: number | undefined,
    settings?: Readonly<Record<string, string>>,
  ): Promise<void>;
  /** Value of one setting of a topic; `undefined` when it may not be looked at. */
  setting(topic: string, name: string): Promise<string | undefined>;
}

export interface TransactorOptions {
  /** The transactional id: whoever opens it last has it alone. */
  readonly id: string;
  /** Kafka takes back a transaction that has been open for so long. */
  readonly timeoutMs: number;
}

/**
 * Writes in transactions, one after the other: all that is sent between two commits is seen together, by readers that read
 * committed, or never. A transaction begins with the first thing sent in it. Anything but `close` rejects with a `Trouble` when
 * it was refused for certain (other records may follow), else with a `TransactionError`: then only `close` may follow.
 */
export interface Transactor {
  /** The number of partitions of a topic. */
  partitions(topic: string): Promise<number>;
  /** One send at a time per partition. */
  send(target: TopicPartition, records: readonly Outgoing[], options: WriterOptions): Promise<void>;
  /** Tells a group where it stands, as part of the transaction. */
  offset(group: string, place: TopicPartition, offset: number): Promise<void>;
  commit(): Promise<void>;
  /** Takes back what is not committed. Never rejects. */
  close(): Promise<void>;
}

export interface Driver {
  /** Where it connects to, for messages. */
  readonly address: string;
  /** Lends an administrator for as long as `use` runs. */
  admin<T>(use: (admin: Admin) => Promise<T>): Promise<T>;
  read(options: ReaderOptions, events: ReaderEvents): Promise<Reader>;
  write(options: WriterOptions): Promise<Writer>;
  /**
   * Takes a transactional id over: resolves when what its last owner has begun is committed or taken back, and nothing more of it
   * can come. Rejects with a `Trouble`.
   */
  transact(options: TransactorOptions): Promise<Transactor>;
  /**
   * Gives each committed record of a partition, from its first one up to where it ends at the time of the call. Waits for transactions that
   * are open below that. Rejects with a `Trouble`.
   */
  scan(
    place: TopicPartition,
    each: (key: Buffer | null, value: Buffer | null) => void,
    signal: AbortSignal,
  ): Promise<void>;
}

/**
 * What kind of trouble it is, which decides what follows:
 * `passing` is tried again, `rejected` and `tooLarge` concern records, `unknownTopic` and `badTopic` a topic, `final` ends the run.
 */
export type TroubleKind = 'passing' | 'rejected' | 'tooLarge' | 'unknownTopic' | 'badTopic' | 'final';

/** An error of the client library or the broker, put into words. The message says what was found and what to do. */
export class Trouble extends Error {
  override readonly name = 'Trouble';
  readonly kind: TroubleKind;
  constructor(kind: TroubleKind, message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}
