import fc from 'fast-check';
import { expect, test } from 'vitest';
import { actions, Simulation } from './journal-model.ts';

test('whatever is acknowledged survives crashes, full disks and failing syncs, unchanged and in order', async () => {
  let acknowledged = 0;
  let made = 0;
  const numRuns = Number(process.env['PENSTOCK_RUNS'] ?? 1_000);
  await fc.assert(
    fc.asyncProperty(actions, async (sequence) => {
      const simulation = new Simulation();
      await simulation.start();
      for (const action of [...sequence, { do: 'restart' } as const]) await simulation.run(action);
      acknowledged += simulation.acknowledged.length;
      made += simulation.made;
    }),
    { numRuns },
  );
  // A journal that refuses everything has the property too; it must not pass.
  expect(acknowledged / made).toBeGreaterThan(0.5);
}, 600_000);
