import { expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { loadTopology } from '../../../src/topology/load.ts';

/** The codes of what is wrong with a window per `id` over this source, behind these steps. */
function codesOf(source: string, steps: string): string[] {
  const rest = '    - id: latest\n      windowLast: { every: 1m }\n    - print\n';
  const text = `version: 1\nname: t\nstreams:\n  a:\n    - ${source}\n${steps}${rest}`;
  return loadTopology({ text, file: 't.yaml' }, { catalogue, env: {} }).problems.map(({ code }) => code);
}

test.each([
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '    - keyBy: id\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka }', '    - keyBy: key\n', ['unproven-key']],
  ['mqtt: { url: "mqtt://h", topics: [a/+], time: arrival }', '    - keyBy: id\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: site }', '    - keyBy: id\n', ['unproven-key']],
  [
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }',
    '    - keyBy: id\n    - keyBy: site\n',
    ['unproven-key'],
  ],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '', ['missing-key-by']],
])('a window over `%s` behind %j sees each key whole, or is refused: %j', (source, steps, codes) => {
  expect(codesOf(source, steps)).toEqual(codes);
});
