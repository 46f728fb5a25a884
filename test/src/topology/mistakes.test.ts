import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderProblems } from '../../../src/cli/lint.ts';
import { problemCodes } from '../../../src/errors.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { catalogue } from './catalogue.ts';

const folder = new URL('../../fixtures/mistakes/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
const load = (name: string) => {
  const path = new URL(name, folder).pathname;
  const text = readFileSync(path, 'utf8');
  // The file name is relative, so that the goldens are the same on every machine; what is read beside it is not.
  const readFile = (at: string) => readFileSync(at.replace(process.cwd(), new URL('.', folder).pathname), 'utf8');
  return loadTopology({ text, file: name }, { catalogue, env: {}, readFile });
};

test.each(files)('%s is refused, or warned of, with the message that mends it', async (name) => {
  const { plan, problems, sources } = load(name);
  expect(problems.length).toBeGreaterThan(0);
  expect(plan === undefined).toBe(problems.some(({ severity }) => severity !== 'warning'));
  for (const { message, hint, place } of problems) {
    expect(place).toBeDefined();
    expect(`${message} ${hint ?? ''}`).not.toMatch(/\binvalid\b|\bfailed to\b|\bundefined\b|\[object/i);
    expect(message).toMatch(/[.?]$/);
  }
  const golden = new URL(name.replace('.yaml', '.txt'), folder).pathname;
  await expect(`${renderProblems(problems, sources, { color: false })}\n`).toMatchFileSnapshot(golden);
});

test('every problem code is produced by one of the mistakes', () => {
  const produced = new Set(files.flatMap((name) => load(name).problems.map(({ code }) => code)));
  expect(problemCodes.filter((code) => !produced.has(code))).toEqual([]);
});
