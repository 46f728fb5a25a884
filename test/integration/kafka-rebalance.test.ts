import { expect, test } from 'vitest';
import { eventually, openSink, Reading, record, sleep, uniqueName, withAdmin } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe } = needs('KAFKA_BROKERS');

const partitions = 4;

/** An instance that checkpoints when it is asked to, and never by itself: what is not told as the group is balanced is read twice. */
async function instance(topic: string): Promise<Reading> {
  const prepare = (reading: Reading) => {
    Object.assign(reading.context, { stateful: false, checkpoint: () => reading.commit() });
  };
  return Reading.open({ topic, group: topic, start: 'group' }, {}, undefined, prepare);
}

/** Ends as a run does: no more is taken in, all that was is checkpointed, then the group is left. */
async function leave(reading: Reading): Promise<void> {
  reading.context.stop.abort();
  await reading.commit();
  await reading.close();
}

describe('instances that share a topic without state', { timeout: 90_000 }, () => {
  test('read each record once while others come and go under load', async () => {
    const topic = uniqueName('rolling');
    await withAdmin(async (admin) => {
      await admin.createTopics({ topics: [{ topic, numPartitions: partitions }] });
      const zero = Array.from({ length: partitions }, (_, partition) => ({ partition, offset: '0' }));
      await admin.setOffsets({ groupId: topic, topic, partitions: zero });
    });
    const sink = await openSink({ topic });
    const all: Reading[] = [];
    const seen = () => all.flatMap((reading) => reading.values().map((value) => (value as { n: number }).n));
    const start = async () => {
      const reading = await instance(topic);
      all.push(reading);
      return reading;
    };
    const first = await start();
    let total = 0;
    let enough = false;
    const sending = (async () => {
      for (; !enough; total += 40) {
        const n = total;
        const batch = Array.from({ length: 40 }, (_, i) => record({ n: n + i }, `k${(n + i) % 50}`));
        expect(await sink.write(batch)).toBeUndefined();
        await sleep(20);
      }
    })();
    const shared = (...group: Reading[]) =>
      eventually(() => {
        const sizes = group.map((reading) => reading.partitions.size);
        return sizes.every((size) => size > 0) && sizes.reduce((sum, size) => sum + size, 0) === partitions;
      }, 'the partitions to be shared out');
    await eventually(() => seen().length > 200, 'the load');
    const second = await start();
    await shared(first, second);
    await eventually(() => second.seen.length > 200, 'the second one to read');
    // What it has comes back to the first one, which has an older checkpoint of it.
    await leave(second);
    await shared(first);
    const third = await start();
    await shared(first, third);
    await leave(first);
    enough = true;
    await sending;
    await eventually(() => new Set(seen()).size === total, 'all records');
    expect(seen().sort((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, n) => n));
    expect(all.flatMap(({ failures }) => failures)).toEqual([]);
  });
});
