import type { Kafka } from 'kafkajs';
import { type TopicPartition, Trouble } from './driver.ts';
import type { Aborted } from './record-batches.ts';

/**
 * The part of kafkajs below its producers and consumers: one method per request of the protocol, each sent once. Its transactional
 * producer repeats requests whose outcome is not known and tears transactions with it; its consumer needs a group and cannot say where a
 * compacted topic ends. None of this is in its published types: the version is pinned.
 */
export interface Wire {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addTargetTopic(topic: string): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  findTopicPartitionMetadata(topic: string): readonly { readonly partitionId: number; readonly leader: number }[];
  findBroker(node: { nodeId: number }): Promise<Broker>;
  /** Type 0 looks for the coordinator of a group, type 1 for that of a transactional id. */
  findGroupCoordinator(whose: { groupId: string; coordinatorType: 0 | 1 }): Promise<Broker>;
  fetchTopicsOffset(
    topics: readonly { topic: string; partitions: readonly { partition: number }[]; fromBeginning: boolean }[],
  ): Promise<readonly { readonly partitions: readonly { readonly offset: string }[] }[]>;
}

interface Producing {
  readonly transactionalId: string;
  readonly producerId: string;
  readonly producerEpoch: number;
}

export interface Broker {
  initProducerId(request: { transactionalId: string; transactionTimeout: number }): Promise<{
    readonly producerId: string;
    readonly producerEpoch: number;
  }>;
  addPartitionsToTxn(
    request: Producing & { topics: readonly { topic: string; partitions: readonly number[] }[] },
  ): Promise<unknown>;
  addOffsetsToTxn(request: Producing & { groupId: string }): Promise<unknown>;
  txnOffsetCommit(
    request: Producing & {
      groupId: string;
      topics: readonly { topic: string; partitions: readonly { partition: number; offset: string }[] }[];
    },
  ): Promise<unknown>;
  endTxn(request: Producing & { transactionResult: boolean }): Promise<unknown>;
  readonly connectionPool: { send<T>(request: ProtocolRequest<T>): Promise<T> };
}

interface ProtocolRequest<T> {
  readonly request: {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly apiName: string;
    encode(): Promise<{ readonly buf: Buffer; readonly buffer: Buffer }>;
  };
  readonly response: { decode(bytes: Buffer): Promise<T>; parse(response: T): Promise<T> };
}

const produceMs = 30_000;
const metadataMaxAge = 4 * 60_000;

/**
 * Connects below the producers and consumers of kafkajs, with connections of its own. `makesTopics`: a broker that is set to do so
 * makes a topic that is asked for and not there.
 */
export async function openWire(kafka: Kafka, makesTopics: boolean): Promise<Wire> {
  const makers = Object.getOwnPropertySymbols(kafka).filter(
    ({ description }) => description === 'private:Kafka:createCluster',
  );
  const make = makers[0] && (kafka as unknown as Record<symbol, (options: object) => Wire>)[makers[0]];
  if (!make)
    throw new Trouble('final', 'Transactions need kafkajs 2.2.4, and another version is installed. Install that one.');
  const wire = make({ metadataMaxAge, isolationLevel: 0, allowAutoTopicCreation: makesTopics });
  try {
    await wire.connect();
    return wire;
  } catch (error) {
    await wire.disconnect().catch(() => undefined);
    throw error;
  }
}

/** Finds the leader of a partition. */
export async function leaderOf(wire: Wire, topic: string, partition: number): Promise<Broker> {
  await wire.addTargetTopic(topic);
  await wire.refreshMetadataIfNecessary();
  const found = wire.findTopicPartitionMetadata(topic).find(({ partitionId }) => partitionId === partition);
  if (found === undefined) {
    throw new Trouble(
      'final',
      `Topic \`${topic}\` has no partition ${partition}. If partitions were added to the topic that is read, restart.`,
    );
  }
  // -1 while there is none: the library knows no such broker.
  return wire.findBroker({ nodeId: found.leader });
}

/** What a fetch brings for one partition. */
export interface RawFetch {
  /** Number of the protocol error; 0 when there is none. */
  readonly error: number;
  /** Where the first transaction begins that has not ended: nothing from here on is given. */
  readonly lastStable: number;
  readonly aborted: readonly Aborted[];
  /** Record batches as they lie in the log. */
  readonly set: Buffer;
}

/** Errors of a write by their numbers, named as kafkajs names those of other requests. */
const produceErrors: Readonly<Record<number, string>> = {
  3: 'UNKNOWN_TOPIC_OR_PARTITION',
  5: 'LEADER_NOT_AVAILABLE',
  6: 'NOT_LEADER_FOR_PARTITION',
  7: 'REQUEST_TIMED_OUT',
  10: 'MESSAGE_TOO_LARGE',
  17: 'INVALID_TOPIC_EXCEPTION',
  18: 'RECORD_LIST_TOO_LARGE',
  19: 'NOT_ENOUGH_REPLICAS',
  29: 'TOPIC_AUTHORIZATION_FAILED',
  31: 'CLUSTER_AUTHORIZATION_FAILED',
  32: 'INVALID_TIMESTAMP',
  45: 'OUT_OF_ORDER_SEQUENCE_NUMBER',
  47: 'INVALID_PRODUCER_EPOCH',
  48: 'INVALID_TXN_STATE',
  49: 'INVALID_PRODUCER_ID_MAPPING',
  51: 'CONCURRENT_TRANSACTIONS',
  53: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  76: 'UNSUPPORTED_COMPRESSION_TYPE',
  87: 'INVALID_RECORD',
};
const wording: Readonly<Record<string, string>> = {
  INVALID_TIMESTAMP: 'The timestamp of the message is out of acceptable range',
  INVALID_RECORD: 'The topic does not take this record, for example because it is compacted and the record has no key',
};

/** Writes one record batch to one partition, durable at all replicas. Rejects with the error of the broker, as kafkajs does. */
export async function produceRaw(
  broker: Broker,
  { transactionalId }: Producing,
  { topic, partition }: TopicPartition,
  batch: Buffer,
): Promise<void> {
  const [id, name] = [Buffer.from(transactionalId), Buffer.from(topic)];
  const head = Buffer.alloc(26 + id.length + name.length);
  let at = head.writeInt16BE(id.length, 0);
  at += id.copy(head, at);
  at = head.writeInt16BE(-1, at);
  at = head.writeInt32BE(produceMs, at);
  at = head.writeInt32BE(1, at);
  at = head.writeInt16BE(name.length, at);
  at += name.copy(head, at);
  for (const value of [1, partition, batch.length]) at = head.writeInt32BE(value, at);
  const bytes = Buffer.concat([head, batch]);
  const error = await broker.connectionPool.send({
    request: { apiKey: 0, apiVersion: 7, apiName: 'Produce', encode: async () => ({ buf: bytes, buffer: bytes }) },
    // One topic with its name, one partition with its number: its error.
    response: {
      decode: async (answer) => answer.readInt16BE(4 + 2 + name.length + 4 + 4),
      parse: async (code) => code,
    },
  });
  if (error === 0) return;
  const type = produceErrors[error] ?? 'UNKNOWN';
  throw Object.assign(new Error(wording[type] ?? `${type}, error code ${error}`), { type });
}

const fetchBytes = 8 * 1024 * 1024;

/** Fetches from one partition with `read_committed`; waits up to `waitMs` for something to come. */
export function fetchRaw(
  broker: Broker,
  topic: string,
  partition: number,
  from: number,
  waitMs: number,
): Promise<RawFetch> {
  const name = Buffer.from(topic);
  const bytes = Buffer.alloc(43 + name.length);
  let at = 0;
  const int32 = (value: number) => {
    at = bytes.writeInt32BE(value, at);
  };
  for (const value of [-1, waitMs, 1, fetchBytes]) int32(value);
  at = bytes.writeInt8(1, at);
  int32(1);
  at = bytes.writeInt16BE(name.length, at);
  at += name.copy(bytes, at);
  int32(1);
  int32(partition);
  at = bytes.writeBigInt64BE(BigInt(from), at);
  int32(fetchBytes);
  return broker.connectionPool.send({
    request: { apiKey: 1, apiVersion: 4, apiName: 'Fetch', encode: async () => ({ buf: bytes, buffer: bytes }) },
    response: { decode: async (answer) => decodeFetch(answer), parse: async (answer) => answer },
  });
}

function decodeFetch(bytes: Buffer): RawFetch {
  // Throttle time, one topic with its name, one partition with its number.
  let at = 8;
  at += 2 + bytes.readInt16BE(at) + 8;
  const error = bytes.readInt16BE(at);
  const lastStable = Number(bytes.readBigInt64BE(at + 10));
  const count = bytes.readInt32BE(at + 18);
  at += 22;
  const aborted: Aborted[] = [];
  for (let i = 0; i < count; i++, at += 16) {
    aborted.push({ producer: bytes.readBigInt64BE(at), firstOffset: bytes.readBigInt64BE(at + 8) });
  }
  const length = bytes.readInt32BE(at);
  return { error, lastStable, aborted, set: bytes.subarray(at + 4, at + 4 + Math.max(0, length)) };
}
