import { expect, test } from 'vitest';
import { loadTopology } from '../../../src/topology/load.ts';
import { catalogue } from './catalogue.ts';

/** The codes of what is wrong with a window per `id` over this source, behind these steps. */
function codesOf(source: string, steps = '    - keyBy: id\n'): string[] {
  const rest = '    - id: latest\n      windowLast: { every: 1m }\n    - show\n';
  const text = `version: 1\nname: t\nstreams:\n  a:\n    - ${source}\n${steps}${rest}`;
  return loadTopology({ text, file: 't.yaml' }, { catalogue, env: {} }).problems.map(({ code }) => code);
}

test.each([
  ['log: { topic: t, time: kafka, keyedBy: id }', '    - keyBy: id\n', []],
  ['log: { topic: t, time: kafka }', '    - keyBy: key\n', ['unproven-key']],
  ['broker: { url: "mqtt://h", topics: [a/+], time: arrival }', '    - keyBy: id\n', []],
  ['log: { topic: t, time: kafka, keyedBy: site }', '    - keyBy: id\n', ['unproven-key']],
  ['log: { topic: t, time: kafka, keyedBy: id }', '    - keyBy: id\n    - keyBy: site\n', ['unproven-key']],
  ['log: { topic: t, time: kafka, keyedBy: id }', '', ['missing-key-by']],
])('a window over `%s` behind %j sees each key whole, or is refused: %j', (source, steps, codes) => {
  expect(codesOf(source, steps)).toEqual(codes);
});
