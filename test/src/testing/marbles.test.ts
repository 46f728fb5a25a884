import { expect, test } from 'vitest';
import { filter, windowLast } from '../../../operators/index.ts';
import { expectMarbles, marbles, type StepDefinition } from '../../../src/testing.ts';

const step = (definition: unknown) => definition as StepDefinition;
const read = (line: string) => {
  const { records, endMs } = marbles(line, { marbles: { k: { key: 1, value: { n: 1 } } } });
  return [records.map(({ key, value, time }) => [key, value, time]), endMs];
};

test.each([
  [
    'a-b--|',
    [
      [undefined, 'a', 0],
      [undefined, 'b', 2_000],
    ],
    5_000,
  ],
  [
    'a 10s b',
    [
      [undefined, 'a', 0],
      [undefined, 'b', 11_000],
    ],
    undefined,
  ],
  [
    '-(ak)b|',
    [
      [undefined, 'a', 1_000],
      [1, { n: 1 }, 1_000],
      [undefined, 'b', 2_000],
    ],
    3_000,
  ],
  ['9 499ms |', [[undefined, '9', 0]], 1_499],
  ['1ms 1m30s |', [], 90_001],
  ['', [], undefined],
])('reads `%s`', (line, records, endMs) => {
  expect(read(line)).toEqual([records, endMs]);
});

test.each([
  ['a|b', 'Nothing can come behind `|`, the end of the input:\n  a|b\n    ^'],
  ['a)', 'No `(` stands before this:\n  a)\n   ^'],
  ['(a', 'This parenthesis is not closed:\n  (a\n  ^'],
  ['((a))', 'Parentheses do not nest'],
  ['( 5s a)', 'Inside parentheses no time passes'],
  ['a!', '`!` stands for nothing'],
])('says where `%s` is wrong', (line, message) => {
  expect(() => marbles(line)).toThrow(message);
});

const known = { a: { key: 'k', value: 1 }, b: { key: 'k', value: 2 }, c: { key: 'l', value: 3 } };
test('compares what comes out of a step, and when', () => {
  const run = { options: { every: '5s' }, marbles: known, input: 'ab---c|' };
  expectMarbles(step(windowLast), { ...run, output: '-----b(c|)' });
  // The watermark stays two seconds behind: no record moves it to the end of the window.
  expectMarbles(step(windowLast), { ...run, outOfOrderMs: 2_000, output: '------(bc|)' });
  expect(() =>
    expectMarbles(step(windowLast), { ...run, output: '----b-(c|)' }),
  ).toThrow(`\`windowLast\` over \`ab---c|\`:
  What comes out, - expected and + found:
    - key "k", at 4s: 2
    + key "k", at 5s: 2
      key "l", at 6s: 3`);
});

test('without an end nothing closes, and rejected records are looked at too', () => {
  expectMarbles(step(windowLast), { options: { every: '5s' }, marbles: known, input: 'ab', output: '' });
  const where = (value: unknown) => (typeof value === 'number' ? value > 1 : 'no');
  expectMarbles(step(filter), { options: { where }, marbles: known, input: 'a-bx', output: '--b', rejected: '---x' });
  expect(() => expectMarbles(step(filter), { options: { where }, input: 'x', output: '' })).toThrow('What is rejected');
});
