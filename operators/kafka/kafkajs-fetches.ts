import type { Cluster } from 'kafkajs';
import { type Broker, fetchRaw } from './kafkajs-wire.ts';
import { behindEmptied } from './record-batches.ts';

/** One record as kafkajs fetches it. */
interface Fetched {
  readonly offset: string;
  readonly isControlRecord: boolean;
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean };
}

interface FetchedPartition {
  readonly partition: number;
  /** Nothing from here on is given: a transaction is open there, or the log ends. */
  readonly lastStableOffset: string;
  abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[];
  messages: readonly Fetched[];
}

interface Fetching extends Broker {
  joinGroup(request: unknown): Promise<unknown>;
  fetch(request: {
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly fetchOffset: string }[];
    }[];
  }): Promise<{
    readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[];
  }>;
}

/**
 * Makes a kafkajs consumer read what Kafka means it to read. Its own filter lets aborted records through: when transactions of several
 * producers overlap and end in another order than they began, and after any record whose key is four zero bytes. And it asks for the
 * same offset for ever where a fetch brings nothing but batches that compaction has emptied. `beforeJoin` is waited for each time it joins its group.
 */
export function mendFetches(cluster: Cluster, beforeJoin: () => Promise<void>): void {
  const inner = cluster as unknown as { findBroker(node: unknown): Promise<Fetching> };
  const find = inner.findBroker.bind(inner);
  const ready = new WeakSet<Fetching>();
  inner.findBroker = async (node) => {
    const broker = await find(node);
    if (ready.has(broker)) return broker;
    ready.add(broker);
    const join = broker.joinGroup.bind(broker);
    broker.joinGroup = async (request) => {
      await beforeJoin();
      return join(request);
    };
    const fetch = broker.fetch.bind(broker);
    broker.fetch = async (request) => {
      const answer = await fetch(request);
      for (const { topicName, partitions } of answer.responses) {
        const asked = request.topics.find(({ topic }) => topic === topicName)?.partitions ?? [];
        for (const partition of partitions) {
          const from = asked.find((one) => one.partition === partition.partition)?.fetchOffset;
          if (from !== undefined && partition.messages.length === 0) {
            await passEmptied(partition, topicName, Number(from), broker);
          }
          dropAborted(partition);
        }
      }
      return answer;
    };
    return broker;
  };
}

/**
 * Puts a marker where batches without records end, so that kafkajs goes on behind it: it keeps nothing of such a batch, which stays
 * alone in its fetch when it ends a segment. Looks only where there is something to read and nothing came.
 */
async function passEmptied(place: FetchedPartition, topic: string, from: number, broker: Broker): Promise<void> {
  if (Number(place.lastStableOffset) <= from) return;
  const { error, set } = await fetchRaw(broker, topic, place.partition, from, 0);
  const next = error === 0 ? behindEmptied(set) : undefined;
  if (next === undefined || next <= from) return;
  const batchContext = { producerId: '-1', inTransaction: false };
  place.messages = [{ offset: String(next - 1), isControlRecord: true, batchContext }];
}

/** Removes the records of aborted transactions. The last one stays as if it were a marker: kafkajs goes on behind it. */
export function dropAborted(partition: Pick<FetchedPartition, 'abortedTransactions' | 'messages'>): void {
  const { abortedTransactions, messages } = partition;
  if (!abortedTransactions?.length) return;
  partition.abortedTransactions = [];
  const waiting = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, from: Number(firstOffset) }))
    .sort((a, b) => a.from - b.from);
  const open = new Set<string>();
  const kept = messages.filter(({ offset, isControlRecord, batchContext: { producerId, inTransaction } }) => {
    while (waiting.length > 0 && waiting[0]!.from <= Number(offset)) open.add(waiting.shift()!.producerId);
    if (isControlRecord) open.delete(producerId);
    return isControlRecord || !inTransaction || !open.has(producerId);
  });
  const last = messages.at(-1);
  if (last !== undefined && kept.at(-1) !== last) kept.push({ ...last, isControlRecord: true });
  partition.messages = kept;
}
