import { expect, test } from 'vitest';
import { lintFiles, renderProblems } from '../../../src/cli/lint.ts';
import type { Problem } from '../../../src/errors.ts';
import { catalogue } from '../topology/catalogue.ts';

const problem = (more: Partial<Problem> = {}): Problem => ({
  code: 'bad-value',
  message: 'It is wrong.',
  hint: 'Mend it.',
  place: { file: 'a.yaml', line: 2, column: 3, length: 4 },
  ...more,
});
const sources = new Map([['a.yaml', 'one\n  two three\n']]);

test('shows place, message, the line with carets, hint and code', () => {
  expect(renderProblems([problem()], sources, { color: false })).toBe(
    'a.yaml:2:3  It is wrong.\n    two three\n    ^^^^  Mend it.  [bad-value]',
  );
  expect(renderProblems([problem({ place: undefined as never })], sources, { color: false })).toBe(
    'It is wrong.\n    Mend it.  [bad-value]',
  );
});
test('lets no control character of a file act on the terminal', () => {
  const evil = new Map([['a.yaml', 'one\n  \u001b[31mtwo\u202e\u0007\n']]);
  const shown = renderProblems([problem({ message: 'Bad \u001b]0;x\u0007.' })], evil, { color: false });
  expect(shown).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
});
test('cuts long lines so that the carets stay in view', () => {
  const long = new Map([['a.yaml', `one\n${'x'.repeat(500)}!${'y'.repeat(500)}`]]);
  const [, line, carets] = renderProblems(
    [problem({ place: { file: 'a.yaml', line: 2, column: 501, length: 1 } })],
    long,
    { color: false },
  ).split('\n');
  expect([line!.length < 120, line![carets!.indexOf('^')]]).toEqual([true, '!']);
});
test('writes GitHub annotations with their own escapes, and JSON with a version', () => {
  const one = problem({ message: '100%: a,b\nc', severity: 'warning' });
  expect(renderProblems([one], sources, { format: 'github' })).toBe(
    '::warning file=a.yaml,line=2,col=3,title=bad-value::100%25: a,b%0Ac Mend it.',
  );
  expect(JSON.parse(renderProblems([one], sources, { format: 'json' }))).toEqual({ version: 1, problems: [one] });
});
test('lints the topologies in a page, with the lines of the page', () => {
  const page = '# Title\n\n```yaml\nkey: value\n```\n\n```yaml\nversion: 1\nname: a\nstreams:\n  a:\n    - shew\n```\n';
  const { problems, failed } = lintFiles(['README.md'], { catalogue, readFile: () => page });
  expect([failed, problems[0]?.place]).toMatchObject([true, { file: 'README.md', line: 12, column: 7 }]);
});
