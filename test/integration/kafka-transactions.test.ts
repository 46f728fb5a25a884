import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type OpenSink, type PartitionState, StreamRecord, type TransactionError } from '../../src/operator.ts';
import { committedNumbers, Keeper, neighbour, numbered, sinkIn } from './kafka-keeper.ts';
import { brokers, Reading, uniqueName, withAdmin } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe } = needs('KAFKA_BROKERS');

const put = (name: string, text: string): [string, Buffer] => [name, Buffer.from(text)];
const contents = (state: PartitionState) =>
  Object.fromEntries([...state.entries('')].map(([name, bytes]) => [name, bytes.toString()]));
const error = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (reason: unknown) => reason as TransactionError,
  );
const fencedError = { name: 'TransactionError', fenced: true };

describe('state in a changelog topic', { timeout: 60_000 }, () => {
  test('what was committed is there after the next claim: puts, replacements, removals, names of any characters', async () => {
    const keeper = await Keeper.make();
    const first = await keeper.claim();
    expect(contents(first)).toEqual({});
    const puts = [put('a\0b', '1'), put('\ud800', '2'), put('\ufffd', '3'), put('', '0'), put('gone', 'x')];
    await first.commit({ puts, removes: [] }, 5);
    await first.commit({ puts: [put('a\0b', '4')], removes: ['gone', 'never there'] }, 6);
    await first.close();
    const second = await keeper.claim();
    expect(contents(second)).toEqual({ 'a\0b': '4', '\ud800': '2', '\ufffd': '3', '': '0' });
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

  test('an entry that is larger than the topic takes ends the run, and says what to do', async () => {
    const state = await (await Keeper.make()).claim();
    expect(await error(state.commit({ puts: [['big', Buffer.alloc(2_000_000)]], removes: [] }, 1))).toMatchObject({
      name: 'RunError',
      message: expect.stringMatching(/about 2000\d{3} bytes, more than changelog topic .* takes.*`max.message.bytes`/),
    });
  });

  test('the partitions of a topic are kept apart', async () => {
    const keeper = await Keeper.make(3);
    const instance = await keeper.instance();
    const claimAll = () => Promise.all([0, 1, 2].map((partition) => keeper.claim(instance, partition)));
    const states = await claimAll();
    await Promise.all(states.map((state, i) => state.commit({ puts: [put('n', String(i))], removes: [] }, i)));
    await Promise.all(states.map((state) => state.close()));
    expect((await claimAll()).map(contents)).toEqual([{ n: '0' }, { n: '1' }, { n: '2' }]);
  });

  test('100,000 keys are read back in less than 1.5 s, and a claim of nothing takes less than 0.7 s', async () => {
    const keeper = await Keeper.make();
    const instance = await keeper.instance();
    const timed = async () => {
      const began = performance.now();
      const state = await keeper.claim(instance);
      return { state, ms: Math.round(performance.now() - began) };
    };
    const first = await timed();
    const puts = Array.from({ length: 100_000 }, (_, i) => put(`key-${i}`, JSON.stringify({ count: i, sum: i * 1.5 })));
    const began = performance.now();
    await first.state.commit({ puts, removes: [] }, 1);
    const commitMs = Math.round(performance.now() - began);
    await first.state.close();
    const second = await timed();
    console.log(
      `Claim of nothing: ${first.ms} ms; commit of 100,000 keys: ${commitMs} ms; claim with them: ${second.ms} ms.`,
    );
    expect([...second.state.entries('')]).toHaveLength(100_000);
    expect(first.ms).toBeLessThan(2_000);
    expect(second.ms).toBeLessThan(4_000);
  });
});

describe('output in the transaction', { timeout: 60_000 }, () => {
  test('is invisible until the commit, and gone when it was not committed', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const first = await keeper.claim();
    const sink = await sinkIn(first, out);
    await sink.write([numbered(1, 'a'), numbered(2, 'b'), numbered(3, 'c')]);
    expect(await committedNumbers(out)).toEqual([]);
    await first.commit({ puts: [], removes: [] }, 3);
    expect((await committedNumbers(out, 3)).sort()).toEqual([1, 2, 3]);
    await sink.write([numbered(4)]);
    await first.close();
    const second = await keeper.claim();
    await (await sinkIn(second, out)).write([numbered(5)]);
    await second.commit({ puts: [put('x', '1')], removes: [] }, 4);
    expect((await committedNumbers(out, 4)).sort()).toEqual([1, 2, 3, 5]);
  });

  test('the offset is the one of the group after the commit, and not before', async () => {
    const keeper = await Keeper.make();
    const state = await keeper.claim();
    const offset = () =>
      withAdmin(async (admin) => {
        const [row] = await admin.fetchOffsets({ groupId: keeper.topology, topics: [keeper.topic] });
        return row!.partitions[0]!.offset;
      });
    expect(await offset()).toBe('-1');
    await state.commit({ puts: [put('a', '1')], removes: [] }, 42);
    expect(await offset()).toBe('42');
  });

  test('closing takes back what was not committed: readers of what others write behind it do not wait', async () => {
    const [out, other] = [uniqueName('out'), await neighbour()];
    const state = await (await Keeper.make()).claim();
    const sink = await sinkIn(state, out, { createTopic: { partitions: 1 } });
    await sink.write([numbered(1)]);
    await state.close();
    const transaction = await other.transaction();
    await transaction.send({ topic: out, messages: [{ value: JSON.stringify({ n: 2 }) }] });
    await transaction.commit();
    const began = Date.now();
    expect(await committedNumbers(out, 1)).toEqual([2]);
    expect(Date.now() - began).toBeLessThan(15_000);
  });

  test('a second claim fences the first, and sees only what was committed', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const first = await keeper.claim();
    const sink = await sinkIn(first, out);
    await sink.write([numbered(1)]);
    await first.commit({ puts: [put('a', '1')], removes: [] }, 1);
    await sink.write([numbered(2)]);
    const second = await keeper.claim();
    expect(contents(second)).toEqual({ a: '1' });
    expect(await error(first.commit({ puts: [put('a', '2')], removes: [] }, 2))).toMatchObject(fencedError);
    expect(await error(sink.write([numbered(3)]))).toMatchObject(fencedError);
    await second.commit({ puts: [put('b', '1')], removes: [] }, 2);
    expect(await committedNumbers(out, 1)).toEqual([1]);
  });

  test('a process that was killed in an open transaction is taken over within 10 s, and only what it had committed counts', async () => {
    const keeper = await Keeper.make();
    const out = uniqueName('out');
    const script = new URL('kafka-owner-process.ts', import.meta.url).pathname;
    const { topology, topic } = keeper;
    const args = ['--import', 'tsx', script, JSON.stringify({ brokers, topology, topic, out })];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve);
      child.once('exit', (code) => reject(new Error(`The process ended with ${code} before it was killed.`)));
    });
    child.kill('SIGKILL');
    await exited;
    const began = Date.now();
    const state = await keeper.claim();
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(contents(state)).toEqual({ a: '1' });
    await (await sinkIn(state, out)).write([numbered(3)]);
    await state.commit({ puts: [], removes: [] }, 2);
    expect(await committedNumbers(out, 2)).toEqual([1, 3]);
  });

  test.each(['none', 'gzip'] as const)('keys, times and headers arrive as they are, %s', async (compression) => {
    const out = uniqueName('out');
    const state = await (await Keeper.make()).claim();
    const sink = await sinkIn(state, out, { compression, createTopic: { partitions: 1 } });
    // Further apart than 32 bits hold, in both directions.
    const times = [1_700_000_000_000, 1_700_000_000_001, 1_600_000_000_000, 1_750_000_000_000];
    const pads = [0, 50, 20_000, 70];
    await sink.write(times.map((time, n) => new StreamRecord({ pad: 'ä'.repeat(pads[n]!) }, `g${n}`, time, n)));
    await state.commit({ puts: [], removes: [] }, 1);
    await committedNumbers(out, times.length);
    const reading = await (await Reading.open({ topic: out, group: out, start: 'earliest', until: 'end' })).toEnd();
    expect(reading.seen).toMatchObject(
      times.map((timestamp, n) => ({
        ...{ timestamp, key: `g${n}`, offset: n, value: { pad: 'ä'.repeat(pads[n]!) } },
        meta: { headers: { 'penstock-id': `/${n}` } },
      })),
    );
  });

  test('a time that the topic does not take is refused, and the rest is committed', async () => {
    const out = uniqueName('out');
    const state = await (await Keeper.make()).claim();
    const sink = await sinkIn(state, out);
    const ahead = new StreamRecord({ n: 9 }, 'a', Date.now() + 30 * 86_400_000);
    expect((await sink.write([numbered(1), ahead, numbered(2)]))!.map(({ index }) => index)).toEqual([1]);
    await state.commit({ puts: [], removes: [] }, 1);
    expect(await committedNumbers(out, 2)).toEqual([1, 2]);
  });

  test('a record that is too large is refused, and the rest of the transaction is committed', async () => {
    const out = uniqueName('out');
    const state = await (await Keeper.make()).claim();
    const sink = await sinkIn(state, out);
    const huge = new StreamRecord({ pad: 'x'.repeat(2_000_000) }, 'a', Date.now());
    expect((await sink.write([numbered(1), huge, numbered(2)]))!.map(({ index }) => index)).toEqual([1]);
    expect(await sink.write([numbered(3)])).toBeUndefined();
    await state.commit({ puts: [put('a', '1')], removes: [] }, 1);
    expect(await committedNumbers(out, 3)).toEqual([1, 2, 3]);
  });

  test('two owners, whatever they do in whatever order: what is there is what the last of them has committed', async () => {
    const owner = fc.nat(1);
    const steps = fc.array(
      fc.oneof(
        { weight: 2, arbitrary: fc.record({ do: fc.constant('claim' as const), owner }) },
        { weight: 3, arbitrary: fc.record({ do: fc.constant('write' as const), owner }) },
        {
          weight: 3,
          arbitrary: fc.record({ do: fc.constant('commit' as const), owner, name: fc.nat(3), remove: fc.boolean() }),
        },
        { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), owner }) },
      ),
      { maxLength: 16 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (script) => {
        const keeper = await Keeper.make();
        const out = uniqueName('out');
        const instances = [await keeper.instance(), await keeper.instance()];
        const owners: ({ state: PartitionState; sink: OpenSink; written: number[] } | undefined)[] = [];
        const model = { entries: new Map<string, string>(), numbers: [] as number[], last: -1 };
        for (const [n, step] of [...script, { do: 'claim' as const, owner: 0 }].entries()) {
          const mine = owners[step.owner];
          if (step.do === 'claim') {
            const state = await keeper.claim(instances[step.owner]!);
            expect(contents(state)).toEqual(Object.fromEntries(model.entries));
            owners[step.owner] = { state, sink: await sinkIn(state, out), written: [] };
            model.last = step.owner;
          } else if (mine === undefined) continue;
          else if (step.do === 'close') {
            await mine.state.close();
            expect(await error(mine.state.commit({ puts: [put('x', '')], removes: [] }, n))).toBeDefined();
            owners[step.owner] = undefined;
          } else if (step.do === 'write') {
            const failed = await error(mine.sink.write([numbered(n)]));
            if (model.last === step.owner) mine.written.push(n);
            expect(failed?.fenced).toBe(model.last === step.owner ? undefined : true);
          } else {
            const name = `name${step.name}`;
            const changes = step.remove ? { puts: [], removes: [name] } : { puts: [put(name, `${n}`)], removes: [] };
            const failed = await error(mine.state.commit(changes, n));
            expect(failed?.fenced).toBe(model.last === step.owner ? undefined : true);
            if (failed) continue;
            if (step.remove) model.entries.delete(name);
            else model.entries.set(name, `${n}`);
            model.numbers.push(...mine.written.splice(0));
          }
        }
        expect(await committedNumbers(out, model.numbers.length)).toEqual(model.numbers);
      }),
      { numRuns: 8 },
    );
  });
});

describe('reading what others write in transactions', { timeout: 60_000 }, () => {
  test('nothing of aborted transactions is read, also where they overlap or a key is four zero bytes', async () => {
    const [out, first, second] = [uniqueName('out'), await neighbour(), await neighbour()];
    const send = (one: Awaited<ReturnType<typeof first.transaction>>, n: number, key: Buffer | null = null) =>
      one.send({ topic: out, messages: [{ key, value: JSON.stringify({ n }) }] });
    await withAdmin((admin) => admin.createTopics({ topics: [{ topic: out, numPartitions: 1 }] }));
    const [one, two] = [await first.transaction(), await second.transaction()];
    await send(one, -1);
    await send(two, -2);
    await send(one, -3);
    await two.abort();
    await one.abort();
    const three = await first.transaction();
    await send(three, -4, Buffer.alloc(4));
    await send(three, -5);
    await three.abort();
    const four = await second.transaction();
    await send(four, 1);
    await four.commit();
    expect(await committedNumbers(out, 1)).toEqual([1]);
  });
});

describe('the changelog topic', { timeout: 60_000 }, () => {
  test('is made compacted, with the partitions of the source', async () => {
    const keeper = await Keeper.make(3);
    await keeper.instance();
    const topic = `${keeper.topology}-in-changelog`;
    const resources = [{ type: 2, name: topic, configNames: ['cleanup.policy'] }];
    await withAdmin(async (admin) => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      expect(topics[0]!.partitions).toHaveLength(3);
      const configs = await admin.describeConfigs({ resources, includeSynonyms: false });
      expect(configs.resources[0]!.configEntries[0]!.configValue).toBe('compact');
    });
  });

  test('with another number of partitions ends the run and says what to do; not compacted is a warning', async () => {
    const keeper = await Keeper.make(2);
    const [wrong, right] = [uniqueName('log'), uniqueName('log')];
    const topics = [
      { topic: wrong, numPartitions: 3 },
      { topic: right, numPartitions: 2 },
    ];
    await withAdmin((admin) => admin.createTopics({ topics }));
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
