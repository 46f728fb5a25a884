import { expect, test } from 'vitest';
import { kafkaSource } from '../../operators/kafka/index.ts';
import { openSource, type SourceOptions } from '../../operators/kafka/source.ts';
import { matching } from '../../operators/kafka/subscription.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sourceContext, until } from './connector-contexts.ts';
import { FakeDriver, FakeEngine } from './kafka-fakes.ts';

const all = { 0: { offsets: [0, 1, 2], low: 0, high: 3 } };

test('a pattern is meant for whole names, and never for topics of Kafka itself', () => {
  const names = ['sensors.b', 'sensors.a', 'old-sensors.a', 'sensors', '__consumer_offsets'];
  expect(matching({ pattern: 'sensors\\..*' }, names)).toEqual(['sensors.a', 'sensors.b']);
  expect(matching({ pattern: '.*' }, names)).toEqual(['old-sensors.a', 'sensors', 'sensors.a', 'sensors.b']);
  // Takes time without end where patterns are not linear.
  expect(matching({ pattern: '(a+)+b' }, ['a'.repeat(200)])).toEqual([]);
});

test.each([
  [{ topics: { pattern: '(' } }, /`\(` is no pattern/],
  [{ topics: { pattern: '(?=a)' } }, /is no pattern/],
  [{ topic: 'a', topics: { pattern: 'a' } }, /Both `topic` and `topics`/],
  [{ topic: 'a', start: { timestamp: '2026-11-01' } }, /no time with a zone/],
  [{ topic: 'a', start: { timestamp: '2026-13-01T00:00Z' } }, /no time with a zone/],
])('what cannot be meant is refused when the topology is read: %o', (options, message) => {
  const said: string[] = [];
  const check = {
    input: undefined,
    expression: () => undefined,
    problem: (_: unknown, text: string) => said.push(text),
  };
  kafkaSource.check!({ brokers: 'b:1', ...options } as never, check as never);
  expect(said).toEqual([expect.stringMatching(message)]);
});

/** A source over a pattern, whose looks for new topics the test lets happen. */
async function opened(names: string[], more: Partial<SourceOptions> = {}) {
  const driver = new FakeDriver(all);
  driver.names = names;
  const engine = new FakeEngine();
  const reads: string[][] = [];
  let closes = 0;
  driver.read = async (options, events) => {
    reads.push([...(options as { topics: string[] }).topics]);
    driver.events = events;
    return driver;
  };
  driver.close = async () => void closes++;
  const looks: (() => void)[] = [];
  const clock = {
    now: () => 0,
    sleep: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve) => {
        // Every five minutes; other waits stay.
        if (ms === 300_000) looks.push(resolve);
        signal?.addEventListener('abort', () => resolve());
      }),
  };
  const context = { ...sourceContext({ ...systemPorts(), clock }), ...engine.hooks(), resumed: false };
  const options = { brokers: 'b:1', topics: { pattern: 't.*' }, start: 'latest' as const, ...more };
  const source = await openSource(options, context, async () => driver);
  const look = () => looks.shift()!();
  const assigned = (topics: string[]) => driver.events!.assigned(topics.map((topic) => ({ topic, partition: 0 })));
  return { driver, engine, reads, look, looks, assigned, context, source, closes: () => closes };
}

test('a new topic that matches is read from its first record on, those before it from where they stand', async () => {
  const { driver, engine, reads, look, looks, assigned, closes } = await opened(['t1', 'x']);
  assigned(['t1']);
  await until(() => engine.partitions.has('t1/0'));
  expect(await engine.pull('t1/0')).toEqual([]);
  look();
  await until(() => looks.length === 1);
  expect(reads).toEqual([['t1']]);
  driver.names = ['t1', 't2', 'x2'];
  look();
  await until(() => reads.length === 2);
  expect(reads[1]).toEqual(['t1', 't2']);
  // All work was done before the group was left.
  expect([closes(), engine.partitions.size]).toEqual([1, 0]);
  assigned(['t1', 't2']);
  await until(() => engine.partitions.size === 2);
  expect(await engine.pull('t2/0')).toEqual([]);
  expect([engine.positions.get('t1/0'), engine.positions.get('t2/0')]).toEqual([3, 0]);
  expect(engine.failures).toEqual([]);
});

test('where nothing matches yet, the group is joined with the first topic that does', async () => {
  const { driver, reads, look, context } = await opened([]);
  expect(reads).toEqual([]);
  expect(context.log.lines).toContainEqual(expect.objectContaining({ message: 'No topic matches `t.*` yet.' }));
  driver.names = ['t9'];
  look();
  await until(() => reads.length === 1);
  expect(reads[0]).toEqual(['t9']);
});

test('a bounded read of a pattern that matches nothing is over at once, and looks for nothing', async () => {
  const { engine, looks } = await opened(['x'], { until: 'end' });
  expect([engine.completed, looks.length]).toEqual([true, 0]);
});

test('a look that fails passes, and the next one finds what is there', async () => {
  const { driver, engine, reads, look, looks, context } = await opened(['t1']);
  const { Trouble } = await import('../../operators/kafka/driver.ts');
  driver.adminFailures.push(new Trouble('passing', 'Nothing listens.'));
  driver.names = ['t1', 't2'];
  look();
  await until(() => looks.length === 1);
  expect(context.log.lines.at(-1)).toMatchObject({
    level: 'warn',
    message: expect.stringContaining('Nothing listens.'),
  });
  look();
  await until(() => reads.length === 2);
  expect(engine.failures).toEqual([]);
});
