import { describe, expect, test } from 'vitest';
import { simulateCluster } from './cluster.ts';
import { simulateEdge } from './edge.ts';
import type { Verdict } from './verdict.ts';

const seeds = 200;

describe.each([
  { kind: 'one instance behind devices that send at least once', simulate: simulateEdge },
  { kind: 'several instances that commit exactly once', simulate: simulateCluster },
])('$kind, with faults of all kinds', ({ simulate }) => {
  test(`come out as undisturbed, for ${seeds} seeds`, { timeout: 120_000 }, async () => {
    let crashes = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      const { problems, crashes: some }: Verdict = await simulate(seed);
      crashes += some;
      expect(problems.slice(0, 5), `seed ${seed}`).toEqual([]);
    }
    // The faults do strike.
    expect(crashes).toBeGreaterThan(seeds / 2);
  });

  test('the same seed gives the same course of events', async () => {
    for (const seed of [3, 5, 8]) {
      const first = await simulate(seed);
      const second = await simulate(seed);
      expect(second.trace).toEqual(first.trace);
      expect(first.trace.length).toBeGreaterThan(50);
    }
  });
});
