import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openSource } from '../../operators/kafka/source.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sourceContext, until } from './connector-contexts.ts';
import { FakeDriver, FakeEngine } from './kafka-fakes.ts';

/** What a replay of one partition reads; records are of the time 1,000 and their offset. */
async function replayed(offsets: readonly number[], low: number, high: number, from: number, end: number) {
  const driver = new FakeDriver({ 0: { offsets, low, high } });
  const engine = new FakeEngine();
  const groups: string[] = [];
  const read = driver.read.bind(driver);
  driver.read = (options, events) => {
    groups.push((options as { group: string }).group);
    return read(options, events);
  };
  const context = {
    ...sourceContext(systemPorts()),
    ...engine.hooks(),
    resumed: false,
    replay: { from, until: end, reader: 'a-reader' },
  };
  const source = await openSource({ brokers: 'b:1', topic: 't', group: 'live' }, context, async () => driver);
  driver.balance([0]);
  await until(() => engine.completed && engine.partitions.size === 1);
  for (;;) {
    while (driver.fetch(0, 3) && (driver.places.get(0) ?? 0) < high);
    if ((await engine.pull('t/0')) === null) break;
  }
  await source.committed?.(new Map(engine.positions));
  expect([groups, driver.commits]).toEqual([['a-reader'], []]);
  await source.close();
  expect([driver.closed, driver.forgotten]).toEqual([true, ['a-reader']]);
  return engine.read.get('t/0') ?? [];
}

test('a replay reads what was stored in its range, as its own reader, and commits nothing', () =>
  fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.integer({ min: 2, max: 12 }), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1_000, max: 1_014 }),
      fc.integer({ min: 0, max: 14 }),
      async (some, from, length) => {
        const offsets = some.toSorted((a, b) => a - b);
        const read = await replayed(offsets, 2, 13, from, from + length);
        expect(read).toEqual(offsets.filter((offset) => 1_000 + offset >= from && 1_000 + offset < from + length));
      },
    ),
    { numRuns: 60 },
  ));

test('a replay without bounds reads all that is there when it begins', async () => {
  const all = [2, 5, 6, 12];
  expect(await replayed(all, 2, 13, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)).toEqual(all);
});
