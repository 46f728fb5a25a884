import { expect, test } from 'vitest';
import { codecNames } from '../../operators/kafka/codecs.ts';
import { Keeper, sinkIn } from './kafka-keeper.ts';
import { brokers, java, openSink, Reading, record, uniqueName, withAdmin } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe } = needs('KAFKA_BROKERS', 'KAFKA_CLASSPATH');

const packed = codecNames.filter((name) => name !== 'none');
const server = ['--bootstrap-server', brokers];
const pad = 'to be packed, '.repeat(100);

/** A topic whose batches the broker packs itself, with Java's own libraries; `producer` leaves them as they come. */
async function topicPacked(compression: string, more: { name: string; value: string }[] = []): Promise<string> {
  const topic = uniqueName('packed');
  const configEntries = [{ name: 'compression.type', value: compression }, ...more];
  await withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] }));
  return topic;
}
const readAll = async (topic: string) =>
  (await (await Reading.open({ topic, group: topic, start: 'earliest', until: 'end' })).toEnd()).values();

describe('compression', { timeout: 60_000 }, () => {
  test('Java reads what is written with each codec, in a transaction and without', async () => {
    const topic = await topicPacked('producer');
    const state = await (await Keeper.make()).claim();
    const expected: string[] = [];
    for (const compression of packed) {
      // Several blocks of snappy, and one record alone.
      const values = [...Array.from({ length: 60 }, (_, n) => ({ n, pad, compression })), { compression }];
      const sink = await openSink({ topic, compression });
      expect(await sink.write(values.slice(0, -1).map((value) => record(value, 'k')))).toBeUndefined();
      expect(await sink.write(values.slice(-1).map((value) => record(value, 'k')))).toBeUndefined();
      const inside = await sinkIn(state, topic, { compression, createTopic: undefined });
      expect(await inside.write([...values, ...values].map((value) => record(value, 'k')))).toBeUndefined();
      await state.commit({ puts: [], removes: [] }, expected.length);
      expected.push(...[...values, ...values, ...values].map((value) => JSON.stringify(value)));
    }
    const count = ['--max-messages', String(expected.length), '--isolation-level', 'read_committed'];
    const text = await java('consumer.ConsoleConsumer', [...server, '--topic', topic, '--from-beginning', ...count]);
    expect(text.trimEnd().split('\n')).toEqual(expected);
    expect((await readAll(topic)).map((value) => JSON.stringify(value))).toEqual(expected);
  });

  test('what a Java producer packs with zstd, which does not say its size, is read', async () => {
    const topic = await topicPacked('producer');
    const lines = Array.from({ length: 300 }, (_, n) => JSON.stringify({ n, pad }));
    const args = [...server, '--topic', topic, '--compression-codec', 'zstd'];
    await java('ConsoleProducer', args, `${lines.join('\n')}\n`);
    expect((await readAll(topic)).map((value) => JSON.stringify(value)).sort()).toEqual(lines.sort());
  });

  test.each(packed)(
    'records, and state from a changelog topic, come back that the broker packs with %s',
    async (codec) => {
      const changelog = await topicPacked(codec, [{ name: 'cleanup.policy', value: 'compact' }]);
      const keeper = await Keeper.make();
      const claim = async () => keeper.claim(await keeper.instance({ topic: changelog }));
      const puts = Array.from({ length: 500 }, (_, i): [string, Buffer] => [`k${i}`, Buffer.from(`${pad}${i}`)]);
      const first = await claim();
      await first.commit({ puts, removes: [] }, 1);
      await first.close();
      const topic = await topicPacked(codec);
      const values = puts.map(([name]) => ({ name, pad }));
      expect(await (await openSink({ topic })).write(values.map((value) => record(value, 'k')))).toBeUndefined();
      expect(await readAll(topic)).toEqual(values);
      const second = await claim();
      expect([...second.entries('')].map(([name, bytes]) => [name, bytes.toString()])).toEqual(
        puts.map(([name, bytes]) => [name, bytes.toString()]),
      );
    },
  );
});
