import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { testFiles } from '../../src/cli/test-command.ts';
import { describeResults } from '../../src/cli/test-report.ts';

const root = new URL('../..', import.meta.url).pathname;
const shipped = readdirSync(`${root}/topologies`).filter((name) => name.endsWith('.yaml'));

test.each(shipped)('%s passes its own tests, of which it has some', async (name) => {
  const { results, problems } = await testFiles([`${root}/topologies/${name}`], catalogue);
  expect(problems).toEqual([]);
  expect(results.length).toBeGreaterThan(0);
  expect(results.filter(({ passed }) => !passed).length, describeResults(results, false)).toBe(0);
});

test('the topology of the README passes its test', async () => {
  const text = /^```yaml\n(version: 1\n[\s\S]*?)^```/m.exec(readFileSync(`${root}/README.md`, 'utf8'))![1]!;
  const { results, problems } = await testFiles([{ text, file: 'README.md' }], catalogue);
  expect([problems, results.map(({ passed }) => passed)]).toEqual([[], [true]]);
});
