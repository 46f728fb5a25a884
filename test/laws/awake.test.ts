import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { StepDefinition } from '../../src/operator.ts';
import {
  arrivals,
  checkLaws,
  describeReport,
  LawError,
  type LawName,
  type LawSetting,
  laws,
} from '../../src/testing/laws.ts';
import * as broken from './broken-steps.ts';

const step = (definition: unknown) => definition as StepDefinition;
const input = arrivals({ value: fc.nat({ max: 3 }) });
const windows: Partial<LawSetting> = {
  partOf: ({ key, time, offset }, { key: its, window, value }) =>
    key === its && time >= window!.start && time < window!.end && (value as number[]).includes(offset),
};
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as LawError,
  );

const faults: readonly [LawName, unknown, Partial<LawSetting>][] = [
  ['restart', broken.countsInClosure, {}],
  ['batching', broken.emitsPerBatch, {}],
  ['keys', broken.leaksKeys, {}],
  ['conservation', broken.drops, {}],
  ['conservation', broken.doubles, {}],
  ['conservation', broken.repeats, {}],
  ['conservation', broken.throws, {}],
  ['replay', broken.numbersForEver, {}],
  ['replay', broken.readsClock, {}],
  ['partitions', broken.tellsWatermark, {}],
  ['conservation', broken.wrongWindow('end'), windows],
  ['conservation', broken.wrongWindow('late'), windows],
];

test.each(faults.map(([law, one, more]) => [law, step(one).name, step(one), more] as const))(
  '`%s` finds what is wrong with `%s`',
  async (law, _name, definition, more) => {
    const error = await failure(laws[law](definition, {}, input, more));
    expect(error).toBeInstanceOf(LawError);
    expect(error!.law).toBe(law);
  },
);

test.each([step(broken.counts), step(broken.wrongWindow('none'))])(
  'nothing is held against `$name`, which is right',
  async (right) => {
    const report = await checkLaws(right, { options: {}, input, ...(right.late ? windows : {}) });
    expect(Object.values(report.runs)).toEqual([1_000, 1_000, 1_000, 1_000, 1_000, 1_000]);
    expect(describeReport(report)).toMatch(/^\S+: batching 1,000, restart 1,000, .* gave [\d,]+ results/);
  },
);

test('what breaks a law is shown in the terms of its author, and comes again by its seed', async () => {
  const run = (more: Partial<LawSetting>) => failure(laws.restart(step(broken.countsInClosure), {}, input, more));
  const error = await run({ seed: 7 });
  expect(
    error!.message.split('\n  The smallest')[0],
  ).toBe(`The law \`restart\` does not hold for \`countsInClosure\` with {}.
With restarts, the same records give something else.
    #0, key "a", at 0s: 0
    — checkpoint, restart —
    #1, key "a", at 0s: 0
  What comes out, - expected and + found:
      #0, key "a", at 0s: {"seen":1}
    - #1, key "a", at 0s: {"seen":2}
    + #1, key "a", at 0s: {"seen":1}`);
  const [, seed, path] = /seed: (-?\d+), path: "([\d:]+)"/.exec(error!.message)!;
  expect((await run({ seed: Number(seed), path: path! }))!.message.split('\n').slice(0, 9)).toEqual(
    error!.message.split('\n').slice(0, 9),
  );
});

test('a step that gives nothing at all keeps no law', async () => {
  const mute = { ...step(broken.counts), name: 'mute', create: () => ({ onRecord() {} }) };
  const error = await failure(checkLaws(mute, { options: {}, input, mayEnd: () => true }));
  expect(error!.message).toContain('Not one of 1000 inputs made `mute` give a result');
});

test('a law that a step does not keep is left out, with its reason', async () => {
  const setting = { options: {}, input, runs: 50, except: { partitions: 'It tells the watermark.' } };
  const report = await checkLaws(step(broken.tellsWatermark), setting);
  expect(report.runs).not.toHaveProperty('partitions');
});
