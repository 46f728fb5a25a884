import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Outgoing, Trouble } from '../../operators/kafka/driver.ts';
import { Lane, sizeOf } from '../../operators/kafka/lane.ts';
import type { SinkOptions } from '../../operators/kafka/options.ts';
import { openSink } from '../../operators/kafka/sink.ts';
import { type Clock, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { settle, sinkContext } from './connector-contexts.ts';
import { FakeTopic } from './kafka-fakes.ts';

/** A clock on which waiting costs no time. */
function quickClock(): Clock & { time: number } {
  return {
    time: 1_000,
    now() {
      return this.time;
    },
    async sleep(ms) {
      await settle();
      this.time += ms;
    },
  };
}

async function open(topic: FakeTopic, options: Partial<SinkOptions> = {}) {
  const context = sinkContext({ ...systemPorts(), clock: quickClock() });
  const sink = await openSink({ brokers: 'b:1', topic: 't', ...options }, context, async () => topic.driver());
  return { sink, context };
}

const record = (value: unknown, key?: string | number | boolean, offset = 0) =>
  new StreamRecord(value, key, 5_000, offset, undefined, undefined, undefined, 's/0');
const texts = (topic: FakeTopic, name: string) => (topic.stored.get(name) ?? []).map(({ value }) => value?.toString());

describe('what is written', () => {
  test('key, value, timestamp and id', async () => {
    const topic = new FakeTopic();
    const { sink } = await open(topic);
    expect(await sink.write([record({ fuel: 1 }, 'a', 7)])).toBeUndefined();
    // `a` has partition 1 of 3 in Java: murmur2 & 0x7fffffff = 584102524.
    expect(topic.stored.get('t/1')).toEqual([
      {
        key: Buffer.from('a'),
        value: Buffer.from('{"fuel":1}'),
        headers: { 'penstock-id': 's/0/7' },
        timestamp: '5000',
      },
    ]);
  });

  test("the record's own headers only where that is asked for, with all their values, and below those that are given", async () => {
    const given = record({ fuel: 1 }, 'a').withMeta({
      headers: { trace: ['x', 'y'], region: 'EU', 'penstock-id': 'old' },
    });
    const topic = new FakeTopic();
    for (const forwardHeaders of [true, false]) {
      const { sink } = await open(topic, { forwardHeaders, headers: { region: 'US' } });
      await sink.write([given]);
    }
    expect(topic.stored.get('t/1')!.map(({ headers }) => headers)).toEqual([
      { trace: ['x', 'y'], region: 'US', 'penstock-id': 's/0/0' },
      { region: 'US', 'penstock-id': 's/0/0' },
    ]);
  });

  test('numbers and booleans as keys are JSON text; null is a tombstone; bytes stay as they are', async () => {
    const topic = new FakeTopic();
    topic.counts = () => 1;
    const { sink } = await open(topic);
    await sink.write([record(null, 1.5), record(Buffer.from([0xff]), true), record('text')]);
    expect(topic.stored.get('t/0')!.map(({ key, value }) => [key?.toString(), value])).toEqual([
      ['1.5', null],
      ['true', Buffer.from([0xff])],
      [undefined, Buffer.from('"text"')],
    ]);
  });

  test('the key may be a field, also a nested one; without it the record is refused and the others go', async () => {
    const topic = new FakeTopic();
    topic.counts = () => 1;
    const { sink } = await open(topic, { key: 'a.b' });
    const refused = await sink.write([
      record({ a: { b: 'x' } }),
      record({ a: 1 }),
      record({ a: { b: null } }),
      record({ a: { b: 2 } }),
    ]);
    expect(refused!.map(({ index }) => index)).toEqual([1, 2]);
    expect(refused![0]!.message).toBe('The record has no field `a.b`, which is its `key`.');
    expect(topic.stored.get('t/0')!.map(({ key }) => key?.toString())).toEqual(['x', '2']);
  });

  test('a chosen partition is kept; one that the topic does not have is refused', async () => {
    const topic = new FakeTopic();
    const { sink } = await open(topic);
    const refused = await sink.write([record(1, 'a').withPartition(2), record(2, 'a').withPartition(3)]);
    expect(texts(topic, 't/2')).toEqual(['1']);
    expect(refused).toEqual([{ index: 1, message: expect.stringContaining('Partition 3 was chosen') }]);
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('a record at %s has no timestamp of its own', async (time) => {
    const topic = new FakeTopic();
    const { sink } = await open(topic);
    await sink.write([new StreamRecord(1, 'a', time)]);
    expect(topic.stored.get('t/1')![0]).not.toHaveProperty('timestamp');
  });

  test('a value that JSON cannot hold is refused', async () => {
    const { sink } = await open(new FakeTopic());
    const refused = await sink.write([record(undefined, 'a'), record(1n, 'a')]);
    expect(refused!.map(({ index }) => index)).toEqual([0, 1]);
  });
});

describe('trouble', () => {
  type Fault = 'before' | 'after' | 'tooLarge' | 'rejected';
  const faults = fc.array(fc.constantFrom<Fault | undefined>('before', 'after', undefined), { maxLength: 30 });
  const batches = fc.array(
    fc.array(
      fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), bad: fc.boolean(), size: fc.constantFrom(1, 400) }),
      { maxLength: 12 },
    ),
    { maxLength: 4 },
  );

  test('every good record is stored once and in order per key, whatever fails; every bad one is refused', () =>
    fc.assert(
      fc.asyncProperty(batches, faults, async (writes, script) => {
        const topic = new FakeTopic();
        const next = () => script.shift();
        topic.before = (_, records) => {
          // Refused at once, for the records alone: a broker judges before it stores.
          const bytes = records.reduce((sum, one) => sum + sizeOf(one), 0);
          if (records.length > 1 && bytes > 1_500) throw new Trouble('tooLarge', 'too large');
          if (records.some(({ value }) => value!.includes('bad'))) throw new Trouble('rejected', 'not taken');
          if (script[0] === 'before') {
            next();
            throw new Trouble('passing', 'away');
          }
        };
        topic.after = () => {
          if (next() === 'after') throw new Trouble('passing', 'no answer');
        };
        const { sink } = await open(topic);
        const good = new Map<string, string[]>();
        let offset = 0;
        for (const write of writes) {
          const records = write.map(({ key, bad, size }) =>
            record({ n: offset, pad: 'x'.repeat(size), kind: bad ? 'bad' : 'ok' }, key, offset++),
          );
          const refused = (await sink.write(records)) ?? [];
          expect(refused.map(({ index }) => index)).toEqual(write.flatMap(({ bad }, i) => (bad ? [i] : [])));
          records.forEach(({ key, value }, i) => {
            if (!write[i]!.bad) good.set(String(key), [...(good.get(String(key)) ?? []), JSON.stringify(value)]);
          });
        }
        const stored = new Map<string, string[]>();
        for (const entries of topic.stored.values()) {
          for (const { key, value } of entries)
            stored.set(String(key), [...(stored.get(String(key)) ?? []), String(value)]);
        }
        expect(stored).toEqual(good);
      }),
      { numRuns: 300 },
    ));

  test('a single record that is too large is refused with its size, and the others go', async () => {
    const topic = new FakeTopic();
    topic.counts = () => 1;
    topic.before = (_, records) => {
      if (records.some(({ value }) => value!.length > 1_048_588)) throw new Trouble('tooLarge', 'too large');
    };
    const { sink } = await open(topic);
    const refused = await sink.write([record('a'), record('x'.repeat(2 << 20)), record('b')]);
    expect(refused).toEqual([{ index: 1, message: expect.stringMatching(/about 2097\d+ bytes.*max\.message\.bytes/) }]);
    expect(texts(topic, 't/0')).toEqual(['"a"', '"b"']);
  });

  test('a topic that takes less than usual is learnt: later writes are cut to its size at once', async () => {
    const topic = new FakeTopic();
    topic.counts = () => 1;
    topic.before = (_, records) => {
      if (records.reduce((sum, one) => sum + sizeOf(one), 0) > 10_000) throw new Trouble('tooLarge', 'too large');
    };
    const { sink } = await open(topic);
    const many = Array.from({ length: 100 }, (_, i) => record('x'.repeat(200), 'k', i));
    await sink.write(many);
    await sink.write(many);
    topic.sends = 0;
    await sink.write(many);
    // Halving anew each time would take seven.
    expect(topic.sends).toBeLessThanOrEqual(5);
    expect(topic.stored.get('t/0')).toHaveLength(300);
  });

  test('missing rights end the run', async () => {
    const topic = new FakeTopic();
    topic.before = () => {
      throw new Trouble('final', 'Kafka denies access to the topic.');
    };
    const { sink } = await open(topic);
    await expect(sink.write([record(1)])).rejects.toThrow('Kafka denies access to the topic.');
  });

  test('a topic written out in full that is not there ends the run as it opens', async () => {
    const topic = new FakeTopic();
    topic.counts = () => {
      throw new Trouble('unknownTopic', 'There is no topic `t`.');
    };
    await expect(open(topic)).rejects.toThrow('There is no topic `t`.');
  });

  test('a topic written out in full that goes away ends the run, after a while', async () => {
    const topic = new FakeTopic();
    const { sink } = await open(topic);
    topic.before = () => {
      throw new Trouble('unknownTopic', 'There is no topic `t`.');
    };
    await expect(sink.write([record(1)])).rejects.toThrow('There is no topic `t`.');
    expect(topic.sends).toBeGreaterThan(2);
  });

  test('aborted, it stops trying', async () => {
    const topic = new FakeTopic();
    topic.before = () => {
      throw new Trouble('passing', 'away');
    };
    const { sink, context } = await open(topic);
    const written = sink.write([record(1)]);
    context.stop.abort();
    await expect(written).rejects.toThrow(/Stopped while Kafka was away/);
  });
});

describe('topics from the data', () => {
  const topicOf = (name: string) => new StreamRecord(1, 'a', 5_000, 0, { topic: name });

  test('names that Kafka does not allow are refused; the others go', async () => {
    const topic = new FakeTopic();
    const { sink } = await open(topic, { topic: "{meta.topic.replace('/', '.')}" });
    const bad = ['a b', 'ä', '..', '.', '', 'x'.repeat(250), 'a\u0000', 'a/../b\n'];
    const refused = await sink.write([topicOf('sensors/temperature'), ...bad.map(topicOf), topicOf('x'.repeat(249))]);
    expect(refused!.map(({ index }) => index)).toEqual(bad.map((_, i) => i + 1));
    expect([...topic.stored.keys()].sort()).toEqual(['sensors.temperature/1', `${'x'.repeat(249)}/1`]);
  });

  test('a name that is not there is refused after a while, and at once from then on', async () => {
    const topic = new FakeTopic();
    let asked = 0;
    topic.counts = (name) => {
      if (name === 'there') return 3;
      asked++;
      throw new Trouble('unknownTopic', `There is no topic \`${name}\`.`);
    };
    const { sink } = await open(topic, { topic: '{meta.topic}' });
    const batch = [topicOf('missing'), topicOf('there'), topicOf('missing')];
    expect((await sink.write(batch))!.map(({ index }) => index)).toEqual([0, 2]);
    const before = asked;
    expect(before).toBeGreaterThan(2);
    expect(await sink.write(batch)).toEqual([
      { index: 0, message: 'There is no topic `missing`.' },
      { index: 2, message: 'There is no topic `missing`.' },
    ]);
    expect(asked).toBe(before);
  });
});

test('parcels keep the order, stay within the bytes, and only a larger record goes alone', () => {
  const entry = (size: number): Outgoing => ({ key: null, value: Buffer.alloc(size), headers: {} });
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0, 10, 63, 64, 65, 200)), fc.constantFrom(100, 200, 500), (sizes, most) => {
      const lane = new Lane('t', 0);
      sizes.forEach((size, index) => void lane.add(index, entry(size)));
      const parcels = lane.parcels(most);
      expect(parcels.flatMap(({ indexes }) => indexes)).toEqual(sizes.map((_, i) => i));
      for (const { records, bytes } of parcels) {
        expect(bytes).toBe(records.reduce((sum, one) => sum + sizeOf(one), 0));
        if (records.length > 1) expect(bytes).toBeLessThanOrEqual(most);
      }
      // None could have been joined to the one before.
      for (let i = 1; i < parcels.length; i++) {
        expect(parcels[i - 1]!.bytes + sizeOf(parcels[i]!.records[0]!)).toBeGreaterThan(most);
      }
    }),
  );
});
