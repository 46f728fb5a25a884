import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { defineAggregate, from, planToJson, TopologyError, topology, toYaml } from '../../src/index.ts';
import { TopologyDriver } from '../../src/testing.ts';

const at = (seconds: number) => Date.UTC(2026, 0, 1) + seconds * 1_000;
const readings = () =>
  topology('fleet')
    .stream('readings')
    .from<{ id: string; ts: number; fuel: number }>(
      from.mqtt({ url: 'mqtt://nowhere.example.com', topics: 'readings', time: { field: 'ts', unit: 'ms' } }),
    )
    .keyBy('id');
const reading = (seconds: number, fuel: number) => ({ topic: 'readings', value: { id: 'g1', ts: at(seconds), fuel } });
const influx = {
  ...{ url: 'http://nowhere.example.com:8086', org: 'o', bucket: 'b', token: 't' },
  ...{ measurement: 'm', tags: ['id'] },
};

test('an aggregate of your own runs in a topology, and goes on after a restart', async () => {
  const drop = defineAggregate({
    create: (): number[] => [],
    add: (ends, { fuel }: { fuel: number }) => [ends[0] ?? fuel, fuel],
    merge: (a, b) => [a[0] ?? b[0] ?? 0, b[1] ?? a[1] ?? 0],
    result: ([first = 0, last = 0]) => first - last,
  });
  const plan = readings()
    .window({ tumbling: '1m', aggregate: { drop: { own: drop } } }, { id: 'used' })
    .plan();
  expect(JSON.stringify(planToJson(plan))).toContain('"own":{"create":{"function":"create"}');
  expect(() => toYaml(plan, catalogue)).toThrow('`used` holds a function, which YAML cannot.');
  const driver = await TopologyDriver.start(plan, catalogue);
  await driver.push('readings', reading(1, 500), reading(20, 470));
  await driver.checkpoint();
  await driver.stop();
  await driver.restore();
  await driver.push('readings', reading(40, 450), reading(60, 440));
  expect(driver.output('readings').map(({ value }) => value)).toEqual([{ drop: 50 }]);
});

test('updates come to a sink that overwrites, and expressions know which pane they are of', async () => {
  const plan = readings()
    .window(
      { tumbling: '1m', emit: { early: '30s' }, lateness: '1m', keep: ['id'], aggregate: { n: 'count' } },
      { id: 'level' },
    )
    .map({ sure: 'window.pane != "early"', update: 'window.seq' })
    .influx(influx)
    .plan();
  const driver = await TopologyDriver.start(plan, catalogue);
  await driver.push('readings', reading(10, 1), reading(30, 1), reading(60, 1), reading(59, 1));
  expect(driver.output('readings.influx').map(({ value }) => value)).toEqual([
    { id: 'g1', n: 2, sure: false, update: 0 },
    { id: 'g1', n: 2, sure: true, update: 1 },
    { id: 'g1', n: 3, sure: true, update: 2 },
  ]);
});

test('updates may go to influx, to print and to Kafka with a key of their own; not where they would stand beside each other', () => {
  const updates = () =>
    readings().window({ tumbling: '1m', emit: 'onUpdate', keep: ['id'], aggregate: { n: 'count' } }, { id: 'level' });
  const kafka = { brokers: 'nowhere.example.com:9092', topic: 'levels' };
  expect(
    updates()
      .influx(influx)
      .print()
      .kafka({ ...kafka, key: 'id' })
      .plan().streams,
  ).toHaveLength(1);
  for (const refused of [
    () => updates().kafka(kafka).plan(),
    () => updates().file('levels.jsonl').plan(),
    () => updates().mqtt({ url: 'mqtt://nowhere.example.com', topic: 'levels' }).plan(),
    () => updates().windowLast({ every: '1h' }, { id: 'hour' }).print().plan(),
  ]) {
    expect(refused).toThrow(TopologyError);
    expect(refused).toThrow('`level`');
  }
});
