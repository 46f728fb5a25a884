/** `npm run laws -- --runs 100000 [--only window] [--seconds 600]`: the laws of all built-in steps, as often as wanted, with counts. */
import { parseArgs } from 'node:util';
import { steps } from '../../operators/index.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { checkLaws, describeReport, type LawReport } from '../../src/testing/laws.ts';
import { settings } from './settings.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '100000' },
    only: { type: 'string', multiple: true },
    seconds: { type: 'string', default: 'Infinity' },
  },
});
const runs = Number(values.runs);
const until = Date.now() + Number(values.seconds) * 1_000;
const names = values.only ?? Object.keys(steps);
const work = names.flatMap((name) => (settings[name] ?? []).map((setting) => ({ name, setting })));
const total = { cases: 0, checks: 0, failed: 0 };

for (const [n, { name, setting }] of work.entries()) {
  // What is left of the time is shared by what is left of the work.
  const timeLimitMs = Math.max(1_000, (until - Date.now()) / (work.length - n));
  const limit = Number.isFinite(timeLimitMs) ? { timeLimitMs } : {};
  const definition = (steps as Record<string, unknown>)[name] as StepDefinition;
  try {
    count(await checkLaws(definition, { ...setting, runs, ...limit }));
  } catch (error) {
    total.failed++;
    process.stdout.write(`${(error as Error).message}\n`);
  }
}
process.stdout.write(
  `${names.length} operators in ${work.length} settings: ${total.cases.toLocaleString('en')} cases, ` +
    `${total.checks.toLocaleString('en')} laws held, ${total.failed} did not.\n`,
);
process.exitCode = total.failed > 0 ? 1 : 0;

function count(report: LawReport): void {
  const counts = Object.values(report.runs);
  total.cases += Math.max(...counts);
  total.checks += counts.reduce((sum, one) => sum + one, 0);
  process.stdout.write(`${describeReport(report)}\n`);
}
