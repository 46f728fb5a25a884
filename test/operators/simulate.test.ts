import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { simulateSource } from '../../operators/simulate/index.ts';
import type { Position } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { keep, pullAll, settle, sourceContext, until } from './connector-contexts.ts';

type Options = Parameters<typeof simulateSource.open>[0];
type Reading = { generatorID: string; ts: number; fuel: number; load: number; power: number; [field: string]: unknown };

async function open(options: Options, at?: Position, ports = memoryPorts()) {
  const context = sourceContext(ports, at === undefined ? {} : { '0': JSON.parse(JSON.stringify(at)) });
  await simulateSource.open(options, context);
  return { partition: context.partitions[0]!, context, ports };
}
const make = async (options: Options) => pullAll((await open({ realTime: false, ...options })).partition);
const parsed = (records: { text: string }[]) => records.map(({ text }) => JSON.parse(text) as Reading);

const fleets = fc.record({
  generators: fc.integer({ min: 1, max: 5 }),
  count: fc.integer({ min: 1, max: 120 }),
  seed: fc.integer({ min: 0, max: 2 ** 52 }),
  disorder: fc.constantFrom(0, 0.3),
  maxDelay: fc.constantFrom('1s', '5s'),
  badPayloads: fc.constantFrom(0, 0.3),
  dropOuts: fc.constantFrom(0, 0.5),
});

test('the same seed gives the same bytes, however often and wherever the run is stopped', () =>
  fc.assert(
    fc.asyncProperty(
      fleets,
      fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.boolean()), { minLength: 1 }),
      async (fleet, pulls) => {
        const whole = await make(fleet);
        expect(whole.length).toBe(fleet.count);
        expect(whole.map(({ offset }) => offset)).toEqual(whole.map((_, i) => i));
        const pieces = [];
        let { partition } = await open({ realTime: false, ...fleet });
        for (let i = 0; ; i++) {
          const [records, restart] = pulls[i % pulls.length]!;
          const batch = await partition.pull({ records, bytes: 1e6 });
          if (!batch) break;
          expect(batch.length).toBeLessThanOrEqual(records);
          pieces.push(...keep(batch));
          if (restart) ({ partition } = await open({ realTime: false, ...fleet }, batch.next));
        }
        expect(pieces).toEqual(whole);
      },
    ),
  ));

test('another seed gives other readings', async () => {
  expect(await make({ count: 3, seed: 1 })).not.toEqual(await make({ count: 3, seed: 2 }));
});

test('these bytes never change: recorded runs and tests of users depend on them', async () => {
  const records = await make({ count: 1000, seed: 7, disorder: 0.1, badPayloads: 0.1, dropOuts: 0.1 });
  const bytes = Buffer.from(records.map(({ text }) => text).join('\n'), 'latin1');
  expect([records[0]!.text, createHash('sha256').update(bytes).digest('hex')]).toMatchInlineSnapshot(`
    [
      "{"generatorID":"generator1","ts":1704067200000,"lat":41.30384,"lon":-103.75014,"temperature":77.8,"pressure":196.2,"fuel":743.7,"load":52.7,"power":263.3}",
      "0ec9aebf9843f20bc162b2fe0e64d9e1d5a0fd2dd65ae02b73614aefea8dbafd",
    ]
  `);
});

test('within 20 s some of three generators are below 500, some above, and one crosses, for any seed', () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 52 }), async (seed) => {
      const readings = parsed(await make({ seed, count: 60 }));
      const low = (id: string, at: 0 | -1) =>
        readings.filter(({ generatorID }) => generatorID === id).at(at)!.fuel < 500;
      const ids = ['generator1', 'generator2', 'generator3'];
      expect(ids.map((id) => low(id, 0))).toEqual([false, false, true]);
      expect(ids.map((id) => low(id, -1))).toEqual([false, true, true]);
    }),
  ));

test('readings stay plausible for hours, and an empty tank is filled again', async () => {
  const readings = parsed(await make({ count: 3 * 7200 }));
  let refills = 0;
  for (const [i, reading] of readings.entries()) {
    expect(reading.load).toBeGreaterThanOrEqual(10);
    expect(reading.load).toBeLessThanOrEqual(100);
    expect(reading.fuel).toBeGreaterThanOrEqual(0);
    expect(reading.fuel).toBeLessThanOrEqual(1000);
    expect(reading.temperature).toSatisfy((t: number) => t > 50 && t < 110);
    expect(reading.pressure).toSatisfy((p: number) => p > 160 && p < 235);
    expect(reading.power).toBeCloseTo(reading.fuel > 0 ? reading.load * 5 : 0, 0);
    const before = readings[i - 3];
    if (before && reading.fuel > before.fuel) refills++;
  }
  expect(refills).toBeGreaterThan(20);
});

test('times start where they are told to and are `every` apart', async () => {
  const readings = parsed(await make({ generators: 2, count: 6, every: '500ms', start: '2024-05-01T00:00:00Z' }));
  const start = Date.UTC(2024, 4, 1);
  expect(readings.map(({ ts }) => ts - start)).toEqual([0, 0, 500, 500, 1000, 1000]);
});

test('late readings keep their time, come within `maxDelay`, and none is lost or doubled', async () => {
  const options = { generators: 1, count: 2000 };
  const late = parsed(await make({ ...options, disorder: 0.2, maxDelay: '3s' }));
  expect(new Set(late.map(({ ts }) => ts)).size).toBe(2000);
  let newest = 0;
  let lateOnes = 0;
  for (const { ts } of late) {
    newest = Math.max(newest, ts);
    if (ts < newest) lateOnes++;
    expect(newest - ts).toBeLessThanOrEqual(3000);
  }
  expect(lateOnes).toSatisfy((n: number) => n > 200 && n < 500);
});

test('about the asked share is broken, in every way there is', async () => {
  const records = await make({ count: 5000, badPayloads: 0.2 });
  const kinds = { cut: 0, encoding: 0, missing: 0, type: 0, shape: 0 };
  for (const { text } of records) {
    if (text.includes('\xff')) kinds.encoding++;
    else if (text.startsWith('[')) kinds.shape++;
    else if (!text.endsWith('}')) kinds.cut++;
    else if (!('fuel' in JSON.parse(text))) kinds.missing++;
    else if (typeof JSON.parse(text).fuel !== 'number') kinds.type++;
  }
  for (const count of Object.values(kinds)) expect(count).toSatisfy((n: number) => n > 130 && n < 270);
  expect(simulateSource.type?.({ badPayloads: 0.1 })).toBeUndefined();
  expect(simulateSource.type?.({})).toMatchObject({ properties: { fuel: { type: 'number' } } });
});

test('about the asked share is missing, several readings at a time', async () => {
  const readings = parsed(await make({ generators: 1, count: 5000, dropOuts: 0.5 }));
  const gaps = readings.slice(1).map(({ ts }, i) => (ts - readings[i]!.ts) / 1000 - 1);
  const missing = gaps.reduce((sum, gap) => sum + gap, 0);
  expect(missing / (missing + 5000)).toSatisfy((s: number) => s > 0.4 && s < 0.6);
  expect(Math.min(...gaps.filter((gap) => gap > 0))).toBeGreaterThanOrEqual(5);
});

test('in real time a round comes each `every`; rounds that were missed are not made up for; an end stops the waiting', async () => {
  const { partition, ports, context } = await open({ generators: 2 });
  const limits = { records: 100, bytes: 1e6 };
  const times = async () => parsed(keep((await partition.pull(limits))!)).map(({ ts }) => ts);
  expect(await times()).toEqual([0, 0]);
  let second: number[] | undefined;
  const pulling = times().then((got) => {
    second = got;
  });
  await until(() => ports.clock.sleeping === 1);
  expect(partition.caughtUp).toBe(true);
  ports.clock.advance(999);
  await settle();
  expect(second).toBeUndefined();
  ports.clock.advance(1);
  await pulling;
  expect(second).toEqual([1000, 1000]);
  ports.clock.advance(10_300);
  expect(await times()).toEqual([11_300, 11_300]);
  const last = partition.pull(limits);
  await until(() => ports.clock.sleeping === 1);
  context.stop.abort();
  expect(await last).toBeNull();
});

test('a position of some other source ends the run', async () => {
  await expect(open({}, { offset: 3 })).rejects.toThrow('is not one of a simulation');
});

test('a fleet that has grown or shrunk since the checkpoint goes on', async () => {
  const { partition } = await open({ realTime: false, generators: 3 });
  const { next } = (await partition.pull({ records: 8, bytes: 1e6 }))!;
  for (const generators of [1, 5]) {
    const went = await pullAll((await open({ realTime: false, generators, count: 40 }, next)).partition);
    expect(new Set(parsed(went).map(({ generatorID }) => generatorID)).size).toBe(generators);
  }
});
