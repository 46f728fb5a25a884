import type { Cluster } from 'kafkajs';

/** One record as kafkajs fetches it. */
interface Fetched {
  readonly offset: string;
  readonly isControlRecord: boolean;
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean };
}

interface FetchedPartition {
  abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[];
  messages: readonly Fetched[];
}

interface Fetching {
  fetch(
    request: unknown,
  ): Promise<{ readonly responses: readonly { readonly partitions: readonly FetchedPartition[] }[] }>;
}

/**
 * Makes a kafkajs consumer read committed. Its own filter lets aborted records through: when transactions of several producers overlap and
 * end in another order than they began, and after any record whose key is four zero bytes.
 */
export function readCommitted(cluster: Cluster): void {
  const inner = cluster as unknown as { findBroker(node: unknown): Promise<Fetching> };
  const find = inner.findBroker.bind(inner);
  const ready = new WeakSet<Fetching>();
  inner.findBroker = async (node) => {
    const broker = await find(node);
    if (ready.has(broker)) return broker;
    ready.add(broker);
    const fetch = broker.fetch.bind(broker);
    broker.fetch = async (request) => {
      const answer = await fetch(request);
      for (const { partitions } of answer.responses) for (const partition of partitions) dropAborted(partition);
      return answer;
    };
    return broker;
  };
}

/** Removes the records of aborted transactions. The last one stays as if it were a marker: kafkajs goes on behind it. */
export function dropAborted(partition: FetchedPartition): void {
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
