import { describe, expect, test } from 'vitest';
import { steps } from '../../operators/index.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { checkLaws, lawNames } from '../../src/testing/laws.ts';
import { settings } from './settings.ts';

const runs = 1_000;
const all: [string, StepDefinition][] = Object.entries(steps as Record<string, unknown>).map(([name, definition]) => [
  name,
  definition as StepDefinition,
]);

test.each(all)('`%s` keeps the laws of a step', { timeout: 300_000 }, async (name, definition) => {
  const known = settings[name] ?? [];
  expect(
    known.length,
    `The step \`${name}\` has no entry in test/laws/settings.ts, so nothing is known of its laws. Add \`${name}: [{ options: { … }, input: input() }]\`.`,
  ).toBeGreaterThan(0);
  for (const setting of known) {
    const report = await checkLaws(definition, { runs, ...setting });
    const expected = lawNames.filter((law) => setting.except?.[law] === undefined);
    expect(report.runs).toEqual(Object.fromEntries(expected.map((law) => [law, runs])));
  }
});

describe('the settings', () => {
  test('name only steps that there are', () => {
    expect(Object.keys(settings).filter((name) => !(name in steps))).toEqual([]);
  });
});
