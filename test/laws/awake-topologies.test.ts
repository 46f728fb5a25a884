import fc from 'fast-check';
import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import type { Plan, PlanStep } from '../../src/index.ts';
import type { Definition, StepDefinition } from '../../src/operator.ts';
import { feedsOf } from '../../src/testing/feeds.ts';
import { checkTopologyLaws, LawError, type TopologyLawName, topologyLaws } from '../../src/testing/laws.ts';
import * as broken from './broken-steps.ts';

const time = { field: 'at.ts', unit: 's', outOfOrder: '2s', idle: '5s' };
const planOf = (name: string): Plan => {
  const step = (kind: PlanStep['kind'], operator: string, options: unknown): PlanStep => ({
    kind,
    id: `in.${operator}`,
    operator,
    options,
  });
  const source = step('source', 'kafka', { brokers: 'x:1', topic: 't', keyedBy: 'id', time });
  return {
    version: 1,
    name,
    streams: [
      { name: 'in', from: [], steps: [source, step('step', 'keyBy', { field: 'id' }), step('step', name, {})] },
    ],
  };
};
const withStep = (definition: unknown) => [...catalogue, definition as Definition];
const input = {
  in: fc
    .record({ id: fc.constantFrom('a', 'b', 'c'), n: fc.nat({ max: 2 }) })
    .map((value) => ({ key: value.id, value })),
};
const nameOf = (definition: unknown) => (definition as StepDefinition).name;

const faults: readonly [TopologyLawName, unknown, number?][] = [
  ['batching', broken.emitsPerBatch],
  ['restart', broken.countsInClosure],
  ['replay', broken.readsClock],
  ['replay', broken.numbersForEver],
  ['keys', broken.leaksKeys],
  ['conservation', broken.drops],
  ['conservation', broken.doubles],
  ['conservation', broken.repeats],
  // Two results are allowed here, and that they have one id is not.
  ['conservation', broken.doubles, 2],
];
test.each(faults.map(([law, one, mostResults = 1]) => [law, nameOf(one), one, mostResults] as const))(
  '`%s` finds a topology with `%s` in it',
  async (law, name, one, mostResults) => {
    const error = await topologyLaws[law](planOf(name), withStep(one), input, {
      mostResults,
      timeLimitMs: 20_000,
    }).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(LawError);
    expect((error as LawError).law).toBe(law);
  },
  60_000,
);

test('nothing is held against a topology that is right, in one partition or in two', async () => {
  for (const partitions of [{}, { in: 2 }]) {
    const setting = { input, partitions, runs: 30, timeLimitMs: 20_000 };
    const report = await checkTopologyLaws(planOf('counts'), withStep(broken.counts), setting);
    expect(report.seen.results).toBe(report.seen.records);
  }
}, 60_000);

test('a topology that never gives anything keeps no law, and a stream without a source cannot be fed', async () => {
  const mute = { ...broken.counts, name: 'mute', create: () => ({ onRecord() {} }) };
  const setting = { mayEnd: () => true, runs: 5 };
  await expect(topologyLaws.batching(planOf('mute'), withStep(mute), input, setting)).rejects.toThrow('give a result');
  const elsewhere = { out: fc.constant({ value: 1 }) };
  await expect(topologyLaws.batching(planOf('mute'), withStep(mute), elsewhere)).rejects.toThrow('`out`');
});

test('the clock moves in silence alone, for longer than any `idle`, and no record is ahead of it', () => {
  let silences = 0;
  const feeds = feedsOf(planOf('counts'), { input });
  fc.assert(
    fc.property(feeds, ({ start, events }) => {
      let clock = start;
      for (const event of events) {
        if ('silence' in event) {
          silences++;
          expect(event.silence).toBeGreaterThanOrEqual(clock + 5_200);
          clock = event.silence;
        } else {
          expect(event.arrival).toBe(clock);
          expect(event.time).toBeLessThanOrEqual(clock);
        }
      }
    }),
    { numRuns: 300 },
  );
  expect(silences).toBeGreaterThan(100);
});
