import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Intake } from '../../operators/kafka/intake.ts';
import { StreamRecord } from '../../src/operator.ts';
import { Secret } from '../../src/secret.ts';
import {
  brokers,
  classPath,
  eventually,
  java,
  OwnBroker,
  openSink,
  Reading,
  record,
  sleep,
  uniqueName,
  withAdmin,
} from './kafka-tools.ts';

const missing = brokers === '' || classPath === '';
if (missing && process.env['CI'])
  throw new Error('Set KAFKA_BROKERS and KAFKA_CLASSPATH: in CI these tests may not be skipped.');
if (missing) console.log('Skipped: the Kafka tests need KAFKA_BROKERS and KAFKA_CLASSPATH.');

/** A topic of our own, with what is to stand in it. */
async function topicWith(partitions: number, records: readonly StreamRecord[] = []): Promise<string> {
  const topic = uniqueName('topic');
  const sink = await openSink({ topic, createTopic: { partitions } });
  for (let i = 0; i < records.length; i += 5_000) {
    expect(await sink.write(records.slice(i, i + 5_000))).toBeUndefined();
  }
  return topic;
}
const numbered = (count: number, keys = 100, from = 0) =>
  Array.from({ length: count }, (_, i) => record({ n: from + i }, `g${(from + i) % keys}`, from + i));
const numbers = (reading: { values(): unknown[] }) => reading.values().map((value) => (value as { n: number }).n);
const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.skipIf(missing)('the sink', { timeout: 120_000 }, () => {
  test('Java reads 10,000 records as they were written, each where a Java producer puts its key', async () => {
    const keys = ['größe', '🚀 stream', 'a', ...range(997).map((i) => `G-${i}`)];
    const records = range(10_000).map((i) => record({ n: i }, keys[i % keys.length], i));
    const topic = await topicWith(6, records);
    const twin = await topicWith(6);
    const server = ['--bootstrap-server', brokers];
    await java(
      'ConsoleProducer',
      [...server, '--topic', twin, '--reader-property', 'parse.key=true', '--reader-property', 'key.separator=|'],
      keys.map((key) => `${key}|x\n`).join(''),
    );
    const consume = (name: string, count: number, properties: string[]) =>
      java('consumer.ConsoleConsumer', [
        ...[...server, '--topic', name, '--from-beginning', '--max-messages', String(count)],
        ...['print.key=true', 'print.partition=true', ...properties].flatMap((one) => ['--formatter-property', one]),
      ]);
    const rows = (text: string) =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split('\t'));
    const javas = new Map(rows(await consume(twin, keys.length, [])).map(([partition, key]) => [key, partition]));
    const ours = rows(await consume(topic, records.length, ['print.headers=true']));
    expect(javas.size).toBe(keys.length);
    expect(ours).toHaveLength(records.length);
    const wrong = ours.filter(([partition, , key]) => javas.get(key!) !== partition);
    expect(wrong).toEqual([]);
    const order = new Map<string, number[]>();
    for (const [, headers, key, value] of ours) {
      const { n } = JSON.parse(value!) as { n: number };
      expect(headers).toBe(`penstock-id:in/0/${n}`);
      order.set(key!, [...(order.get(key!) ?? []), n]);
    }
    for (const list of order.values()) expect(list).toEqual(sorted(list));
  });

  test('a write of 4 MB to one partition is cut; a record of 2 MB is refused and the others arrive', async () => {
    const topic = await topicWith(1);
    const sink = await openSink({ topic });
    const records = range(40).map((n) => record({ n, pad: 'x'.repeat(100_000) }, 'k', n));
    const huge = record({ n: -1, pad: 'x'.repeat(2_000_000) }, 'k');
    const refused = await sink.write([...records.slice(0, 20), huge, ...records.slice(20)]);
    expect(refused).toEqual([{ index: 20, message: expect.stringMatching(/about 2000\d{3} bytes, more than topic/) }]);
    const reading = await (await Reading.open({ topic, group: topic, start: 'earliest', until: 'end' })).toEnd();
    expect(numbers(reading)).toEqual(range(40));
  });

  test('gzip lets a large record through, and a small limit of the topic is met', async () => {
    const topic = uniqueName('topic');
    await withAdmin((admin) =>
      admin.createTopics({
        topics: [{ topic, numPartitions: 1, configEntries: [{ name: 'max.message.bytes', value: '20000' }] }],
      }),
    );
    const zipped = await openSink({ topic, compression: 'gzip' });
    expect(await zipped.write([record({ n: 0, pad: 'x'.repeat(2_000_000) })])).toBeUndefined();
    const plain = await openSink({ topic });
    const records = range(100).map((n) => record({ n: n + 1, pad: 'x'.repeat(n === 50 ? 30_000 : 1_000) }, 'k', n));
    expect((await plain.write(records))!.map(({ index }) => index)).toEqual([50]);
    const reading = await (await Reading.open({ topic, group: topic, start: 'earliest', until: 'end' })).toEnd();
    expect(numbers(reading)).toEqual(range(101).filter((n) => n !== 51));
  });

  test('a time that the topic does not take is refused, the others arrive', async () => {
    const topic = await topicWith(1);
    const sink = await openSink({ topic });
    const ahead = new StreamRecord({ n: 9 }, 'k', Date.now() + 30 * 86_400_000);
    expect(
      (await sink.write([record({ n: 0 }, 'k'), ahead, record({ n: 1 }, 'k')]))!.map(({ index }) => index),
    ).toEqual([1]);
    const reading = await (await Reading.open({ topic, group: topic, start: 'earliest', until: 'end' })).toEnd();
    expect(numbers(reading)).toEqual([0, 1]);
  });

  test('topics named by the data are made by a broker that makes topics', async () => {
    const base = uniqueName('sensors');
    const sink = await openSink({ topic: "{meta.topic.replace('/', '.')}" });
    const at = (topic: string) => new StreamRecord({ n: 0 }, 'k', Date.now(), 0, { topic });
    const refused = await sink.write([at(`${base}/temperature`), at(`${base} bad`)]);
    expect(refused!.map(({ index }) => index)).toEqual([1]);
    const reading = await Reading.open({ topic: `${base}.temperature`, group: base, start: 'earliest', until: 'end' });
    expect(numbers(await reading.toEnd())).toEqual([0]);
  });
});

describe.skipIf(missing)('the source', { timeout: 120_000 }, () => {
  test('tombstones, headers, keys and timestamps come through', async () => {
    const topic = uniqueName('topic');
    const sink = await openSink({ topic, createTopic: { partitions: 1 }, headers: { region: '{region}' } });
    await sink.write([
      new StreamRecord({ region: 'größer' }, 'k', Date.now(), 3, undefined, undefined, undefined, 'in/0'),
    ]);
    const bare = await openSink({ topic });
    await bare.write([new StreamRecord(null, 'k', 1_000, 4)]);
    const reading = await (await Reading.open({ topic, group: topic, start: 'earliest', until: 'end' })).toEnd();
    expect(reading.seen[0]).toMatchObject({ key: 'k', value: { region: 'größer' } });
    expect(reading.seen[0]!.meta).toEqual({ topic, headers: { 'penstock-id': 'in/0/3', region: 'größer' } });
    expect(reading.seen[1]).toMatchObject({ key: 'k', value: null, timestamp: 1_000 });
  });

  test('a restart goes on at the checkpoint, whatever the group committed or was sent later', async () => {
    const topic = await topicWith(3, numbered(3_000));
    const first = await Reading.open({ topic, group: topic, start: 'earliest' });
    await eventually(() => first.seen.length === 3_000, 'all records');
    // C and D are read, but only C is in the checkpoint; the group is told of D.
    await first.commit();
    await first.close();
    const cut = new Map([...first.positions].map(([id, position]) => [id, (position as number) - 10]));
    const again = await Reading.open({ topic, group: topic, start: 'latest' }, Object.fromEntries(cut));
    const sink = await openSink({ topic });
    await sink.write(numbered(100, 100, 3_000));
    await eventually(() => again.seen.length >= 130, 'what came after the checkpoint');
    const expected = first.seen
      .filter(({ partition, offset }) => offset >= cut.get(partition)!)
      .map(({ value }) => (value as { n: number }).n);
    expect(sorted(numbers(again))).toEqual(sorted([...expected, ...range(100).map((i) => 3_000 + i)]));
  });

  test('a group of two shares the partitions; nothing is lost when one comes and goes; the group stands where we do', async () => {
    const topic = await topicWith(6);
    const sink = await openSink({ topic });
    let sent = 0;
    const send = async () => {
      await sink.write(numbered(200, 100, sent));
      sent += 200;
    };
    const one = await Reading.open({ topic, group: topic, start: 'earliest' });
    await eventually(() => one.partitions.size === 6, 'all partitions');
    const before = [...one.partitions.values()];
    await send();
    await eventually(() => one.seen.length === sent, 'the first records');
    await one.commit();
    const two = await Reading.open({ topic, group: topic, start: 'group' });
    for (let i = 0; i < 10; i++) await send();
    await eventually(() => one.partitions.size === 3 && two.partitions.size === 3, 'shares of three');
    // Half of them stayed where they were, without being given back in between.
    expect(before.filter((partition) => one.partitions.get(partition.id) === partition)).toHaveLength(3);
    await send();
    const all = () => new Set([...numbers(one), ...numbers(two)]);
    await eventually(() => all().size === sent, 'all records');
    await two.commit();
    await two.close();
    await eventually(() => one.partitions.size === 6, 'all partitions again');
    await send();
    await eventually(() => all().size === sent, 'the last records');
    await one.commit();
    const [committed] = await withAdmin((admin) => admin.fetchOffsets({ groupId: topic, topics: [topic] }));
    const ends = await withAdmin((admin) => admin.fetchTopicOffsets(topic));
    for (const { partition, high } of ends) {
      expect(committed!.partitions.find((entry) => entry.partition === partition)?.offset).toBe(high);
    }
    expect([...one.failures, ...two.failures]).toEqual([]);
  });

  test('one partition that is not pulled does not hold up the others, and memory stays bounded', async () => {
    const topic = await topicWith(
      2,
      range(2).flatMap((p) => range(30_000).map((n) => record({ n, pad: 'x'.repeat(200) }).withPartition(p))),
    );
    const reading = await Reading.open({ topic, group: topic, start: 'earliest' });
    const slow = new Promise<void>(() => {});
    await eventually(() => reading.partitions.size === 2, 'both partitions');
    const held = reading.partitions.get(`${topic}/0`)!;
    const pull = held.pull.bind(held);
    held.pull = (limits) => slow.then(() => pull(limits));
    const others = () => reading.seen.filter(({ partition }) => partition === `${topic}/1`).length;
    await eventually(() => others() === 30_000, 'all of the other partition');
    expect(reading.seen.length).toBeLessThan(60_000);
  });

  test('a topic that is made while a pattern is read is read too, from its first record on', async () => {
    const base = uniqueName('pattern');
    const make = async (name: string, from: number) => {
      const sink = await openSink({ topic: `${base}.${name}`, createTopic: { partitions: 2 } });
      expect(await sink.write(numbered(10, 10, from))).toBeUndefined();
    };
    await make('one', 0);
    const options = { topics: { pattern: `${base}\\..*`, every: '500ms' }, group: base, start: 'earliest' };
    const reading = await Reading.open(options);
    await eventually(() => reading.seen.length === 10, 'the first topic');
    await make('two', 10);
    await eventually(() => reading.seen.length >= 20, 'the second topic');
    expect(sorted(numbers(reading))).toEqual(range(20));
    expect(reading.failures).toEqual([]);
  });

  test('records that retention took while we were away end the run with topic, partition and offset', async () => {
    const topic = await topicWith(1, numbered(100));
    await withAdmin(async (admin) => {
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '50' }] });
    });
    const reading = await Reading.open({ topic, group: topic }, { [`${topic}/0`]: 20 });
    await eventually(() => reading.failures.length > 0, 'the failure');
    expect(reading.failures[0]!.message).toContain(
      `Topic \`${topic}\`, partition 0, is to be read from offset 20, but begins at 50`,
    );
    expect(reading.seen).toEqual([]);
  });

  test('records that retention takes under our feet end the run too, and nothing behind them is read', async () => {
    const big = range(40).map((n) => record({ n, pad: 'x'.repeat(500_000) }, 'k', n));
    const topic = await topicWith(1, big);
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reading = await Reading.open({ topic, group: topic, start: 'earliest' }, {}, released);
    const place = `${topic}/0`;
    await eventually(() => reading.partitions.has(place), 'the partition');
    // Nobody pulls: two fetches are taken, then the partition is paused.
    await eventually(() => (reading.partitions.get(place) as Intake).full, 'back-pressure');
    await withAdmin(async (admin) => {
      await admin.fetchTopicOffsets(topic);
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '39' }] });
    });
    release();
    await eventually(() => reading.failures.length > 0, 'the failure');
    expect(reading.failures[0]!.message).toContain(`topic \`${topic}\`, partition 0, is no longer there`);
    expect(numbers(reading)).toEqual(range(reading.seen.length));
    expect(reading.seen.length).toBeLessThan(39);
  });

  test('a topic that is deleted while it is read ends the run and is named', async () => {
    const topic = await topicWith(1, numbered(10));
    const reading = await Reading.open({ topic, group: topic, start: 'earliest' });
    await eventually(() => reading.seen.length === 10, 'the records');
    await withAdmin((admin) => admin.deleteTopics({ topics: [topic] }));
    await eventually(() => reading.failures.length > 0, 'the failure');
    expect(reading.failures[0]!.message).toContain(topic);
  });

  test('a topic that is not there and a broker that is not there end the run with what to do', async () => {
    const topic = uniqueName('nowhere');
    await expect(Reading.open({ topic, start: 'earliest' })).rejects.toThrow(
      /There is no topic `nowhere.*kafka-topics\.sh/,
    );
    await expect(Reading.open({ brokers: '127.0.0.1:1', topic, start: 'earliest' })).rejects.toThrow(
      'Nothing listens at 127.0.0.1:1, where Kafka was expected. Check `brokers`, and that Kafka is up.',
    );
    await expect(openSink({ brokers: '127.0.0.1:1', topic })).rejects.toThrow(/Nothing listens at 127\.0\.0\.1:1/);
  });
});

describe.skipIf(missing)('a broker of our own', { timeout: 180_000 }, () => {
  let broker: OwnBroker;
  beforeAll(async () => {
    broker = await OwnBroker.start(30_000 + (process.pid % 10_000));
  }, 120_000);
  afterAll(() => broker?.remove());

  test('a crash under load loses nothing, and the order per key is kept', async () => {
    const topic = uniqueName('load');
    const at = { brokers: broker.address, topic };
    const sink = await openSink({ ...at, createTopic: { partitions: 3 } });
    const reading = await Reading.open({ ...at, group: topic, start: 'earliest' });
    const total = 20_000;
    const sending = (async () => {
      for (let n = 0; n < total; n += 100) {
        expect(await sink.write(numbered(100, 50, n))).toBeUndefined();
        await sleep(5);
      }
    })();
    await eventually(() => reading.seen.length > 3_000, 'the load');
    await broker.crash();
    await sleep(3_000);
    await broker.resume();
    await sending;
    await eventually(() => reading.seen.length >= total, 'all records');
    expect(reading.failures).toEqual([]);
    expect(sorted(numbers(reading))).toEqual(range(total));
    const last = new Map<unknown, number>();
    for (const { key, value } of reading.seen) {
      const { n } = value as { n: number };
      expect(n).toBeGreaterThan(last.get(key) ?? -1);
      last.set(key, n);
    }
  });

  test('what compaction has left of a topic is read to its end, past batches without any record', async () => {
    const topic = uniqueName('compacted');
    const configEntries = Object.entries({ 'cleanup.policy': 'compact', 'segment.bytes': '1048576' });
    const entries = configEntries.map(([name, value]) => ({ name, value }));
    await withAdmin((admin) => admin.createTopics({ topics: [{ topic, configEntries: entries }] }), broker.address);
    const at = { brokers: broker.address, topic };
    // Each record fills a segment, and each producer leaves its last batch behind: alone in its segment, where nothing else is fetched.
    for (const n of range(4)) {
      const sink = await openSink(at);
      expect(await sink.write([record({ n, pad: 'x'.repeat(600_000) }, 'k')])).toBeUndefined();
    }
    let seen = range(4);
    await eventually(async () => {
      seen = numbers(
        await (await Reading.open({ ...at, group: uniqueName('g'), start: 'earliest', until: 'end' })).toEnd(),
      );
      return seen.length === 2;
    }, 'compaction');
    expect(seen).toEqual([2, 3]);
  });

  test('PLAIN and SCRAM let us in; a wrong password says so plainly and does not show it', async () => {
    const topic = uniqueName('secret');
    const login = (mechanism: string, password: string) => ({
      brokers: broker.saslAddress,
      topic,
      sasl: { mechanism, username: 'test', password: new Secret(password) },
    });
    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
      const sink = await openSink({ ...login(mechanism, 'test-secret'), createTopic: { partitions: 1 } });
      expect(await sink.write([record({ n: 0 }, 'k')])).toBeUndefined();
      const wrong = openSink(login(mechanism, 'not-it'));
      await expect(wrong).rejects.toThrow(
        /Kafka at 127.0.0.1:\d+ does not let user `test` in \([A-Z0-9-]+\).*`sasl\.password`/,
      );
      await wrong.catch((error) => expect(`${error.message} ${error.stack}`).not.toContain('not-it'));
    }
    const options = { ...login('plain', 'test-secret'), group: topic, start: 'earliest', until: 'end' };
    expect(numbers(await (await Reading.open(options)).toEnd())).toEqual([0, 0, 0]);
    await expect(Reading.open({ ...options, ...login('plain', 'not-it') })).rejects.toThrow(
      /does not let user `test` in/,
    );
  });

  test('OAUTHBEARER lets us in with a token of an endpoint or a file; what is refused says by whom', async () => {
    const topic = uniqueName('token');
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const now = Math.floor(Date.now() / 1_000);
    const token = `${part({ alg: 'none' })}.${part({ sub: 'penstock', iat: now, exp: now + 3_600 })}.`;
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(String(request.headers.authorization));
      const known = request.headers.authorization === `Basic ${Buffer.from('me:endpoint-secret').toString('base64')}`;
      response
        .writeHead(known ? 200 : 401)
        .end(known ? JSON.stringify({ access_token: token, expires_in: 3_600 }) : '{}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const folder = await mkdtemp(join(tmpdir(), 'penstock-token-'));
    await writeFile(join(folder, 'token'), `${token}\n`);
    const at = (sasl: object) => ({ brokers: broker.saslAddress, topic, sasl: { mechanism: 'oauthbearer', ...sasl } });
    const tokenUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
    const client = (secret: string) => at({ tokenUrl, clientId: 'me', clientSecret: new Secret(secret) });
    try {
      const sink = await openSink({ ...client('endpoint-secret'), createTopic: { partitions: 1 } });
      expect(await sink.write([record({ n: 0 }, 'k')])).toBeUndefined();
      // One token serves all connections.
      expect(asked).toHaveLength(1);
      const file = at({ tokenFile: join(folder, 'token') });
      const reading = await Reading.open({ ...file, group: topic, start: 'earliest', until: 'end' });
      expect(numbers(await reading.toEnd())).toEqual([0]);
      await expect(openSink(client('not-it'))).rejects.toThrow(/gives client `me` no token \(401\)/);
      await expect(openSink(at({ tokenFile: join(folder, 'none') }))).rejects.toThrow(/cannot be read \(ENOENT\)/);
      const stale = `${part({ alg: 'none' })}.${part({ sub: 'penstock', iat: now - 9, exp: now - 8 })}.`;
      const wrong = await openSink(at({ token: new Secret(stale) })).catch((error: Error) => error);
      expect(wrong).toMatchObject({ message: expect.stringMatching(/does not take the token \(OAUTHBEARER\)/) });
      expect((wrong as Error).message).not.toContain(stale);
    } finally {
      server.close();
      await rm(folder, { recursive: true });
    }
  });

  test('a topic that is not made by anybody: written out it ends the run, from the data it is refused', async () => {
    const topic = uniqueName('nobody');
    await expect(openSink({ brokers: broker.address, topic })).rejects.toThrow(/There is no topic `nobody/);
    const sink = await openSink({ brokers: broker.address, topic: '{meta.topic}' });
    const refused = await sink.write([new StreamRecord(1, 'k', Date.now(), 0, { topic })]);
    expect(refused).toEqual([{ index: 0, message: expect.stringContaining('There is no topic `nobody') }]);
  });
});
