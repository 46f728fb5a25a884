import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { from, type Plan, topology } from '../../../src/index.ts';
import { TopologyDriver } from '../../../src/testing.ts';

const at = (seconds: number) => Date.UTC(2026, 0, 1) + seconds * 1_000;
const windowed = (idle?: string): Plan =>
  topology('fleet')
    .stream('readings')
    .from(
      from.mqtt({
        url: 'mqtt://nowhere.example.com',
        topics: 'generators/{id}',
        time: { field: 'ts', unit: 'ms', outOfOrder: '5s', ...(idle !== undefined && { idle }) },
      }),
    )
    .keyBy('id')
    .windowLast({ every: '1m' }, { id: 'latest' })
    .kafka({ brokers: 'nowhere.example.com:9092', topic: 'latest' })
    .plan();
const reading = (id: string, seconds: number, n = 0) => ({ topic: `generators/${id}`, value: { ts: at(seconds), n } });
const numbers = (driver: TopologyDriver, of = 'readings') =>
  driver.output(of).map(({ key, value }) => `${String(key)}:${(value as { n: number }).n}`);

describe('a topology on virtual time', () => {
  test('runs from its sources to its sinks, with fields captured from topics', async () => {
    const driver = await TopologyDriver.start(windowed(), catalogue);
    await driver.push('readings', reading('a', 10, 1), reading('b', 20, 2), reading('a', 30, 3));
    expect(driver.output('readings')).toEqual([]);
    // A record at the window's end plus `outOfOrder`, and not one ms earlier, closes it.
    await driver.push('readings', reading('c', 64.999));
    expect(driver.output('readings')).toEqual([]);
    await driver.push('readings', reading('c', 65));
    expect(numbers(driver)).toEqual(['a:3', 'b:2']);
    expect(numbers(driver, 'readings.kafka')).toEqual(['a:3', 'b:2']);
    await driver.end();
    expect(numbers(driver)).toEqual(['a:3', 'b:2', 'c:0']);
  });

  test('keeps what is rejected, with the payload and the reason, though the plan names no stream for it', async () => {
    const driver = await TopologyDriver.start(windowed(), catalogue);
    await driver.push('readings', 'not JSON', reading('a', 10), { topic: 'elsewhere', value: {} });
    await driver.push('readings', reading('a', 200), reading('a', 10));
    expect(driver.output('deadLetters').map(({ value }) => value)).toMatchObject([
      { code: 'payload-malformed', payload: 'not JSON', step: 'readings.mqtt' },
      { code: 'topic-unknown' },
      { code: 'late', step: 'latest' },
    ]);
  });

  test('silence closes windows once the clock says so, and not before', async () => {
    const driver = await TopologyDriver.start(windowed('30s'), catalogue, { start: at(70) });
    await driver.push('readings', reading('a', 10, 1));
    await driver.advanceTo(at(99));
    expect(driver.output('readings')).toEqual([]);
    await driver.advanceTo(at(101));
    expect(numbers(driver)).toEqual(['a:1']);
  });
  test('`idle` moves the clock just so far', async () => {
    const driver = await TopologyDriver.start(windowed('30s'), catalogue);
    const before = driver.now;
    await driver.push('readings', reading('a', 10, 1));
    await driver.idle();
    expect([numbers(driver), driver.now - before]).toEqual([['a:1'], 30_200]);
    await expect((await TopologyDriver.start(windowed(), catalogue)).idle()).rejects.toThrow('`idle`');
  });

  test('a record arrives when the test says so, and takes the clock along', async () => {
    const plan = topology('arrivals')
      .stream('a')
      .from(from.kafka({ brokers: 'x:1', topic: 't', time: 'arrival' }))
      .print()
      .plan();
    const driver = await TopologyDriver.start(plan, catalogue, { start: at(0) });
    await driver.push('a', { value: 1, key: 'k', arrival: at(60) }, { value: 2 });
    expect(driver.output('a.print').map(({ time, key }) => [time, key])).toEqual([
      [at(60), 'k'],
      [at(60), undefined],
    ]);
    await expect(driver.advanceTo(at(59))).rejects.toThrow(RangeError);
  });

  test('tells what is called at the wrong moment or by the wrong name', async () => {
    const driver = await TopologyDriver.start(windowed(), catalogue);
    await expect(driver.push('reading', 'x')).rejects.toThrow('`reading` has no source');
    expect(() => driver.output('reading')).toThrow('`reading`');
    await expect(driver.restore()).rejects.toThrow('at work');
    await driver.crash();
    await expect(driver.push('readings', 'x')).rejects.toThrow('`restore`');
    await driver.restore();
    await driver.end();
    await expect(driver.push('readings', 'x')).rejects.toThrow('ended');
  });

  test('a partition that moves takes its state and its event time along, and the others stay', async () => {
    const plan = topology('partitioned')
      .stream('readings')
      .from(from.kafka({ brokers: 'x:1', topic: 't', keyedBy: 'id', time: { field: 'ts', unit: 'ms' } }))
      .keyBy('id')
      .windowLast({ every: '1m' }, { id: 'latest' })
      .print()
      .plan();
    const driver = await TopologyDriver.start(plan, catalogue, { partitions: { readings: 2 } });
    const on = (partition: number, id: string, seconds: number, n: number) => ({
      partition,
      value: { id, n, ts: at(seconds) },
    });
    await driver.push('readings', on(0, 'a', 10, 1), on(1, 'b', 10, 2), on(0, 'a', 59, 3));
    await driver.rebalance('readings', 0);
    await driver.push('readings', on(0, 'a', 60, 4));
    expect(numbers(driver)).toEqual(['a:3']);
    // Its window has closed before the move, and stays closed after another one.
    await driver.rebalance('readings', 0);
    await driver.push('readings', on(0, 'a', 59, 5), on(1, 'b', 11, 6));
    expect(driver.output('deadLetters').map(({ value }) => (value as { code: string }).code)).toEqual(['late']);
    await driver.end();
    expect([...numbers(driver)].sort()).toEqual(['a:3', 'a:4', 'b:6']);
    const other = await TopologyDriver.start(plan, catalogue, { partitions: { readings: 2 } });
    await expect(other.rebalance('readings', 2)).rejects.toThrow('no partition 2');
    await expect(other.push('readings', on(2, 'a', 1, 1))).rejects.toThrow('no partition 2');
  });

  test('crashes, checkpoints, stops and batches anywhere change nothing of what comes out', async () => {
    const action = fc.oneof(
      { weight: 4, arbitrary: fc.record({ id: fc.constantFrom('a', 'b'), seconds: fc.nat({ max: 400 }) }) },
      fc.constantFrom('crash' as const, 'stop' as const, 'checkpoint' as const, 'rebalance' as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 25 }), async (actions) => {
        const broken = await TopologyDriver.start(windowed(), catalogue);
        const whole = await TopologyDriver.start(windowed(), catalogue);
        const all: ReturnType<typeof reading>[] = [];
        for (const one of actions) {
          if (typeof one === 'object') {
            all.push(reading(one.id, one.seconds, all.length));
            await broken.push('readings', all.at(-1)!);
          } else if (one === 'rebalance') await broken.rebalance('readings');
          else {
            await broken[one]();
            if (one !== 'checkpoint') await broken.restore();
          }
        }
        await whole.push('readings', ...all);
        await broken.end();
        await whole.end();
        for (const output of ['readings', 'deadLetters']) {
          expect(broken.output(output).map(({ value }) => value)).toEqual(
            whole.output(output).map(({ value }) => value),
          );
        }
      }),
      { numRuns: 40 },
    );
  });
});
