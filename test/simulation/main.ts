/**
 * Simulates the whole engine on a virtual clock, disk and network, one seed after another:
 * `npm run simulation -- --seeds 10000 [--from 1]`, or one seed with all that happened: `npm run simulation -- --seed 42`.
 */
import { parseArgs } from 'node:util';
import { simulateCluster } from './cluster.ts';
import { simulateEdge } from './edge.ts';

const kinds = { edge: simulateEdge, cluster: simulateCluster };
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
  },
});

if (values.seed !== undefined) {
  for (const [kind, simulate] of Object.entries(kinds)) {
    const { trace, problems, digest } = await simulate(Number(values.seed));
    process.stdout.write(
      `${kind}\n${trace.join('\n')}\n${kind} ${digest}: ${problems.join('\n') || 'as it should be'}\n`,
    );
  }
} else {
  const from = Number(values.from);
  const to = from + Number(values.seeds) - 1;
  const began = performance.now();
  const sums = { seeds: 0, records: 0, crashes: 0, failed: 0 };
  for (let seed = from; seed <= to; seed++) {
    for (const [kind, simulate] of Object.entries(kinds)) {
      const verdict = await simulate(seed);
      sums.seeds++;
      sums.records += verdict.records;
      sums.crashes += verdict.crashes;
      if (verdict.problems.length === 0) continue;
      sums.failed++;
      process.exitCode = 1;
      process.stdout.write(`seed ${seed}, ${kind}: ${verdict.problems.slice(0, 5).join('\n  ')}\n`);
    }
    if (seed % 500 === 0) process.stderr.write(`${seed} of ${to}\n`);
  }
  const { seeds, records, crashes, failed } = sums;
  const took = ((performance.now() - began) / 1_000).toFixed(0);
  process.stdout.write(
    `${seeds} simulations (${from} to ${to}, two kinds), ${records} records, ${crashes} crashes: ${failed} failed; ${took} s\n`,
  );
}
