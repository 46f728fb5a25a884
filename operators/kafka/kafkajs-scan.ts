import { type TopicPartition, Trouble } from './driver.ts';
import type { Client } from './kafkajs.ts';
import { fetchRaw, leaderOf, openWire, type Wire } from './kafkajs-wire.ts';
import { readBatches } from './record-batches.ts';

const waitMs = 200;
/** Where a wait begins to be worth a line in the log. */
const longMs = 5_000;
/** Answers that another leader, or the same one a little later, will not give. */
const movedLeader = new Set([3, 5, 6, 9, 74, 75, 78]);
const outOfRange = 1;

/** Gives each committed record of a partition, up to where it ends now: see `Driver.scan`. */
export async function scan(
  client: Client,
  place: TopicPartition,
  each: (key: Buffer | null, value: Buffer | null) => void,
  signal: AbortSignal,
): Promise<void> {
  const wire = await openWire(client.kafka, false).catch((error) => {
    throw client.trouble(error);
  });
  try {
    await scanAll(client, wire, place, each, signal);
  } catch (error) {
    throw client.trouble(error);
  } finally {
    void wire.disconnect().catch(() => undefined);
  }
}

async function scanAll(
  client: Client,
  wire: Wire,
  { topic, partition }: TopicPartition,
  each: (key: Buffer | null, value: Buffer | null) => void,
  signal: AbortSignal,
): Promise<void> {
  const { log, ports } = client.outside;
  const began = ports.clock.now();
  let warned = false;
  let leader = await leaderOf(wire, topic, partition);
  // The end of the log, not of what is committed: below an open transaction something committed may still come to light.
  const end = await edgeOf(wire, topic, partition, false);
  let at = await edgeOf(wire, topic, partition, true);
  while (at < end && !signal.aborted) {
    const { error, lastStable, aborted, set } = await fetchRaw(leader, topic, partition, at, waitMs);
    if (movedLeader.has(error)) {
      await ports.clock.sleep(waitMs, signal);
      await wire.refreshMetadata();
      leader = await leaderOf(wire, topic, partition);
      continue;
    }
    if (error === outOfRange) {
      at = await edgeOf(wire, topic, partition, true);
      continue;
    }
    if (error !== 0)
      throw new Trouble('passing', `Kafka at ${client.address} answered error ${error} for topic \`${topic}\`.`);
    const next = await readBatches(set, aborted, (key, value, offset) => {
      if (offset >= at && offset < end) each(key, value);
    });
    if (next !== undefined) at = Math.max(at, next);
    // Nothing lies between here and the end: compaction has removed it.
    else if (lastStable >= end) return;
    else if (!warned && ports.clock.now() - began > longMs) {
      warned = true;
      log.warn(`A transaction is open in topic \`${topic}\`, partition ${partition}: waiting for its end.`);
    }
  }
}

async function edgeOf(wire: Wire, topic: string, partition: number, fromBeginning: boolean): Promise<number> {
  const [found] = await wire.fetchTopicsOffset([{ topic, partitions: [{ partition }], fromBeginning }]);
  return Number(found?.partitions[0]?.offset);
}
