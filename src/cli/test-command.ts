import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import pc from 'picocolors';
import type { Definition, Problem } from '../operator.ts';
import { runTopologyTest } from '../testing/run-test.ts';
import { type LoadOptions, loadTopology } from '../topology/load.ts';
import { Exit, exitCodes } from './exit.ts';
import { renderProblems } from './lint.ts';
import { findTopology, parseParams } from './load.ts';
import { describeResults, type TestResult } from './test-report.ts';
import { updatedText } from './test-update.ts';

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
    for (const [index, { test, plan }] of loaded.entries()) {
      const outcome = await runTopologyTest(plan!, catalogue, test);
      const { name, place, expect } = test;
      results.push({ file, index, name, ...(place && { place }), expected: expect, ...outcome });
    }
  }
  return { results, problems, sources };
}

export interface TestFlags {
  readonly set?: readonly string[];
  readonly json?: boolean;
  readonly update?: boolean;
}

/**
 * `penstock test`: prints what passed and what did not; exit code 1 when a test failed, 78 when a topology cannot be tested. With
 * `--update` it writes what came out into the files first, and then runs what they say now.
 */
export async function testCommand(files: readonly string[], flags: TestFlags): Promise<void> {
  const { catalogue } = await import('../../operators/index.ts');
  const given = files.length > 0 ? files : [findTopology(undefined)];
  const params = parseParams(flags.set);
  if (flags.update && isOn(process.env['CI']))
    throw new Exit(
      exitCodes.usage,
      'With `--update` every test would pass, which says nothing here (`CI` is set). Update where you can look at what has changed.',
    );
  let run = await testFiles(given, catalogue, params);
  const updated = flags.update ? updateFiles(run) : [];
  if (updated.length > 0) run = await testFiles(given, catalogue, params);
  const { results, problems, sources } = run;
  if (flags.json) process.stdout.write(`${JSON.stringify(report(run, flags.update ? updated : undefined), null, 2)}\n`);
  else {
    if (problems.length > 0) process.stderr.write(`${renderProblems(problems, sources)}\n`);
    for (const { file, tests } of updated)
      process.stderr.write(`Updated ${tests.length} in ${file}: ${tests.join(', ')}\n`);
    const color = process.stdout.isTTY === true && pc.isColorSupported;
    if (results.length > 0) process.stdout.write(`${describeResults(results, color)}\n`);
    else if (!problems.some(isError)) process.stdout.write('There are no tests.\n');
  }
  if (problems.some(isError)) throw new Exit(exitCodes.config);
  if (results.some(({ passed }) => !passed)) throw new Exit(exitCodes.failed);
}

interface Updated {
  readonly file: string;
  readonly tests: readonly string[];
}

/** Writes what came out of failed tests into their files. A test that ended with an error keeps what it expects. */
export function updateFiles({ results }: TestRun): Updated[] {
  const wrong = results.filter(({ passed, error }) => !passed && error === undefined);
  return [...new Set(wrong.map(({ file }) => file))].map((file) => {
    const tests = wrong.filter((one) => one.file === file);
    const updates = tests.map(({ index, came, expected }) => ({
      index,
      outputs: [...came].map(([name, records]) => ({ name, expected: expected.get(name) ?? [], came: records })),
    }));
    try {
      const text = updatedText(readFileSync(file, 'utf8'), updates);
      // Beside it and renamed: a full disk must not leave half a topology.
      const beside = `${file}.${process.pid}.tmp`;
      writeFileSync(beside, text, { mode: statSync(file).mode });
      renameSync(beside, file);
    } catch (error) {
      throw new Exit(exitCodes.failed, `${file} is as it was: ${(error as Error).message}`);
    }
    return { file, tests: tests.map(({ name }) => name) };
  });
}

function report({ results, problems }: TestRun, updated: readonly Updated[] | undefined) {
  const passed = results.filter((result) => result.passed).length;
  const tests = results.map(({ index: _index, came: _came, expected: _expected, ...shown }) => shown);
  return { version: 1, passed, failed: results.length - passed, ...(updated && { updated }), tests, problems };
}

function isOn(variable: string | undefined): boolean {
  return variable !== undefined && !['', '0', 'false'].includes(variable.toLowerCase());
}

function withoutVariables(problems: readonly Problem[]): Problem[] {
  return problems.filter(({ code }) => code !== 'unset-variable');
}

function isError({ severity }: Problem): boolean {
  return severity !== 'warning';
}
