import pc from 'picocolors';
import type { Definition, Problem } from '../operator.ts';
import { runTopologyTest } from '../testing/run-test.ts';
import { type LoadOptions, loadTopology } from '../topology/load.ts';
import { Exit, exitCodes } from './exit.ts';
import { renderProblems } from './lint.ts';
import { findTopology, parseParams } from './load.ts';
import { describeResults, type TestResult } from './test-report.ts';

export interface TestRun {
  readonly results: readonly TestResult[];
  /** What keeps a topology from being tested; then none of its tests has run. */
  readonly problems: readonly Problem[];
  readonly sources: ReadonlyMap<string, string>;
}

/**
 * Runs the `tests` of topologies on virtual time; connects to nothing. Variables come from each test's own `env` alone, so that a test
 * says the same on every machine.
 */
export async function testFiles(
  files: readonly (string | { readonly text: string; readonly file: string })[],
  catalogue: readonly Definition[],
  params: LoadOptions['params'] = {},
): Promise<TestRun> {
  const results: TestResult[] = [];
  const problems: Problem[] = [];
  const sources = new Map<string, string>();
  for (const from of files) {
    const file = typeof from === 'string' ? from : from.file;
    // Which variables have a value is known test by test.
    const bare = loadTopology(from, { catalogue, params });
    const loaded = (bare.tests ?? []).map((test) => ({
      test,
      ...loadTopology(from, { catalogue, env: test.env, params: { ...test.params, ...params } }),
    }));
    const found = loaded.length > 0 ? loaded.flatMap((one) => one.problems) : withoutVariables(bare.problems);
    for (const [name, text] of bare.sources) sources.set(name, text);
    const once = new Map(found.map((problem) => [JSON.stringify(problem), problem]));
    problems.push(...once.values());
    if (found.some(isError)) continue;
    for (const { test, plan } of loaded) {
      const outcome = await runTopologyTest(plan!, catalogue, test);
      results.push({ file, name: test.name, ...(test.place && { place: test.place }), ...outcome });
    }
  }
  return { results, problems, sources };
}

/** `penstock test`: prints what passed and what did not; exit code 1 when a test failed, 78 when a topology cannot be tested. */
export async function testCommand(
  files: readonly string[],
  flags: { readonly set?: readonly string[]; readonly json?: boolean },
): Promise<void> {
  const { catalogue } = await import('../../operators/index.ts');
  const given = files.length > 0 ? files : [findTopology(undefined)];
  const { results, problems, sources } = await testFiles(given, catalogue, parseParams(flags.set));
  if (flags.json) {
    const passed = results.filter((result) => result.passed).length;
    const report = { version: 1, passed, failed: results.length - passed, tests: results, problems };
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    if (problems.length > 0) process.stderr.write(`${renderProblems(problems, sources)}\n`);
    const color = process.stdout.isTTY === true && pc.isColorSupported;
    if (results.length > 0) process.stdout.write(`${describeResults(results, color)}\n`);
    else if (!problems.some(isError)) process.stdout.write('There are no tests.\n');
  }
  if (problems.some(isError)) throw new Exit(exitCodes.config);
  if (results.some(({ passed }) => !passed)) throw new Exit(exitCodes.failed);
}

function withoutVariables(problems: readonly Problem[]): Problem[] {
  return problems.filter(({ code }) => code !== 'unset-variable');
}

function isError({ severity }: Problem): boolean {
  return severity !== 'warning';
}
