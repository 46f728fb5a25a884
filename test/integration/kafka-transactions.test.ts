import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import {
  type PartitionState,
  type StateSettings,
  StreamRecord,
  type TransactionError,
  type Transactions,
} from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { keepingLog, sinkContext } from '../operators/connector-contexts.ts';
import { brokers, Reading, uniqueName, withAdmin } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe: describeKafka } = needs('KAFKA_BROKERS');

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

/** What is needed to keep the state of one topic. */
class Keeper {
  readonly topology = uniqueName('app');
  readonly topic: string;
  readonly log = keepingLog();

  static async make(partitions = 1): Promise<Keeper> {
    const topic = uniqueName('in');
    await withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: partitions }] }));
    return new Keeper(topic);
  }

  constructor(topic: string) {
    this.topic = topic;
  }

  async instance(settings: StateSettings = {}): Promise<Transactions> {
    const transactions = await kafkaSource.transactions!({ brokers, topic: this.topic } as never, settings, {
      ports: systemPorts(),
      log: this.log,
      topology: this.topology,
      id: 'in',
      signal: new AbortController().signal,
    });
    opened.push(transactions);
    return transactions;
  }

  async claim(instance?: Transactions, partition = 0): Promise<PartitionState> {
    const state = await (instance ?? (await this.instance())).claim(`${this.topic}/${partition}`);
    opened.push(state);
    return state;
  }
}

async function sinkIn(state: PartitionState, topic: string) {
  const options = { brokers, topic, createTopic: { partitions: 2 } } as never;
  const sink = await kafkaSink.open(options, { ...sinkContext(systemPorts()), transaction: state.transaction });
  opened.push(sink);
  return sink;
}

const record = (value: unknown, key?: string) => new StreamRecord(value, key, Date.now(), 0);
const put = (name: string, text: string): [string, Buffer] => [name, Buffer.from(text)];
const contents = (state: PartitionState) =>
  Object.fromEntries([...state.entries('')].map(([name, bytes]) => [name, bytes.toString()]));
const error = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (reason: unknown) => reason as TransactionError,
  );
const committedValues = async (topic: string) =>
  (await (await Reading.open({ topic, group: uniqueName('g'), start: 'earliest', until: 'end' })).toEnd()).values();

describeKafka('state in a changelog topic', { timeout: 60_000 }, () => {
  test('what was committed is there after the next claim: puts, replacements, removals, names of any characters', async () => {
    const keeper = await Keeper.make();
    const first = await keeper.claim();
    expect(contents(first)).toEqual({});
    await first.commit(
      { puts: [put('a\0b', '1'), put('\ud800', '2'), put('\ufffd', '3'), put('gone', 'x')], removes: [] },
      5,
    );
    await first.commit({ puts: [put('a\0b', '4')], removes: ['gone', 'never there'] }, 6);
    await first.close();
    const second = await keeper.claim();
    expect(contents(second)).toEqual({ 'a\0b': '4', '\ud800': '2', '\ufffd': '3' });
    expect([...second.entries('a\0')].map(([name]) => name)).toEqual(['a\0b']);
    expect(second.get('\ufffd')?.toString()).toBe('3');
    expect(second.get('gone')).toBeUndefined();
  });

  test('more than 1 MiB of changes in one commit', async () => {
    const keeper = await Keeper.make();
    const first = await keeper.claim();
    const puts = Array.from({ length: 300 }, (_, i): [string, Buffer] => [`k${i}`, randomBytes(20_000)]);
    await first.commit({ puts, removes: [] }, 1);
    await first.close();
    const second = await keeper.claim();
    expect([...second.entries('')].map(([name]) => name)).toEqual(puts.map(([name]) => name));
    expect(puts.filter(([name, bytes]) => !second.get(name)?.equals(bytes))).toEqual([]);
  });

  test('the partitions of a topic are kept apart', async () => {
    const keeper = await Keeper.make(3);
    const instance = await keeper.instance();
    const states = await Promise.all([0, 1, 2].map((partition) => keeper.claim(instance, partition)));
    await Promise.all(states.map((state, i) => state.commit({ puts: [put('n', String(i))], removes: [] }, i)));
    await Promise.all(states.map((state) => state.close()));
    const again = await Promise.all([0, 1, 2].map((partition) => keeper.claim(instance, partition)));
    expect(again.map(contents)).toEqual([{ n: '0' }, { n: '1' }, { n: '2' }]);
  });

  test('100,000 keys are read back in less than 1.5 s, and an empty claim takes less than 0.7 s', async () => {
    const keeper = await Keeper.make();
    const began = Date.now();
    const first = await keeper.claim();
    const claimMs = Date.now() - began;
    const puts = Array.from({ length: 100_000 }, (_, i) => put(`key-${i}`, JSON.stringify({ count: i, sum: i * 1.5 })));
    await first.commit({ puts, removes: [] }, 1);
    await first.close();
    const instance = await keeper.instance();
    const from = Date.now();
    const second = await keeper.claim(instance);
    const restoreMs = Date.now() - from;
    console.log(`Claim of nothing: ${claimMs} ms; claim with 100,000 keys: ${restoreMs} ms.`);
    expect([...second.entries('')]).toHaveLength(100_000);
    expect(claimMs).toBeLessThan(2_000);
    expect(restoreMs).toBeLessThan(1_500);
  });
});

describeKafka('output in the transaction', { timeout: 60_000 }, () => {
  test('is invisible until the commit, and gone when it was not committed', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const first = await keeper.claim();
    const sink = await sinkIn(first, out);
    await sink.write([record({ n: 1 }, 'a'), record({ n: 2 }, 'b'), record({ n: 3 }, 'c')]);
    expect(await committedValues(out)).toEqual([]);
    await first.commit({ puts: [], removes: [] }, 3);
    expect(await committedValues(out)).toHaveLength(3);
    await sink.write([record({ n: 4 }, 'a')]);
    await first.close();
    const second = await keeper.claim();
    const next = await sinkIn(second, out);
    await next.write([record({ n: 5 }, 'a')]);
    await second.commit({ puts: [put('x', '1')], removes: [] }, 4);
    expect(new Set((await committedValues(out)).map((value) => (value as { n: number }).n))).toEqual(
      new Set([1, 2, 3, 5]),
    );
  });

  test('the offset is the one of the group after the commit, and not before', async () => {
    const keeper = await Keeper.make();
    const state = await keeper.claim();
    const offsets = () =>
      withAdmin(async (admin) => {
        const [row] = await admin.fetchOffsets({ groupId: keeper.topology, topics: [keeper.topic] });
        return row!.partitions[0]!.offset;
      });
    expect(await offsets()).toBe('-1');
    await state.commit({ puts: [put('a', '1')], removes: [] }, 42);
    expect(await offsets()).toBe('42');
  });

  test('a second claim fences the first, and sees only what was committed', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const first = await keeper.claim();
    const sink = await sinkIn(first, out);
    await sink.write([record({ n: 1 }, 'a')]);
    await first.commit({ puts: [put('a', '1')], removes: [] }, 1);
    await sink.write([record({ n: 2 }, 'a')]);
    const second = await keeper.claim();
    expect(contents(second)).toEqual({ a: '1' });
    const failed = await error(first.commit({ puts: [put('a', '2')], removes: [] }, 2));
    expect(failed).toMatchObject({ name: 'TransactionError', fenced: true });
    expect(await error(sink.write([record({ n: 3 }, 'a')]))).toMatchObject({ name: 'TransactionError', fenced: true });
    await second.commit({ puts: [put('b', '1')], removes: [] }, 2);
    expect(await committedValues(out)).toEqual([{ n: 1 }]);
  });

  test('a record that is too large is refused, and the rest of the transaction is committed', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const state = await keeper.claim();
    const sink = await sinkIn(state, out);
    const refused = await sink.write([
      record({ n: 1 }, 'a'),
      record({ pad: 'x'.repeat(2_000_000) }, 'a'),
      record({ n: 2 }, 'a'),
    ]);
    expect(refused!.map(({ index }) => index)).toEqual([1]);
    await state.commit({ puts: [put('a', '1')], removes: [] }, 1);
    expect(await committedValues(out)).toEqual([{ n: 1 }, { n: 2 }]);
  });
});

describeKafka('the changelog topic', { timeout: 60_000 }, () => {
  test('is made compacted, with the partitions of the source', async () => {
    const keeper = await Keeper.make(3);
    await keeper.instance();
    const topic = `${keeper.topology}-in-changelog`;
    const found = await withAdmin(async (admin) => ({
      topics: (await admin.fetchTopicMetadata({ topics: [topic] })).topics,
      configs: await admin.describeConfigs({
        resources: [{ type: 2, name: topic, configNames: ['cleanup.policy'] }],
        includeSynonyms: false,
      }),
    }));
    expect(found.topics[0]!.partitions).toHaveLength(3);
    expect(found.configs.resources[0]!.configEntries[0]!.configValue).toBe('compact');
  });

  test('with another number of partitions ends the run and says what to do; not compacted is a warning', async () => {
    const keeper = await Keeper.make(2);
    const [wrong, right] = [uniqueName('log'), uniqueName('log')];
    await withAdmin((admin) =>
      admin.createTopics({
        topics: [
          { topic: wrong, numPartitions: 3 },
          { topic: right, numPartitions: 2 },
        ],
      }),
    );
    expect(await error(keeper.instance({ topic: wrong }))).toMatchObject({
      name: 'RunError',
      message: expect.stringMatching(/has 3 partitions, but topic .* has 2.*`state.topic`/s),
    });
    await keeper.instance({ topic: right });
    expect(keeper.log.lines.map(({ message }) => message)).toEqual([
      expect.stringMatching(/`cleanup.policy: delete`, expected `compact`/),
    ]);
  });
});
