import { expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { loadTopology } from '../../../src/topology/load.ts';

/** What is wrong with a window per `id` over this source, behind these steps. */
function problemsOf(source: string, steps: string) {
  const rest = '    - id: latest\n      windowLast: { every: 1m }\n    - print\n';
  const text = `version: 1\nname: t\nstreams:\n  a:\n    - ${source}\n${steps}${rest}`;
  return loadTopology({ text, file: 't.yaml' }, { catalogue, env: {} }).problems;
}

test.each([
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '    - keyBy: id\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka }', '    - keyBy: key\n', ['unproven-key']],
  ['kafka: { brokers: h, topic: t, time: kafka }', '    - keyBy: { field: id, unsafe: true }\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka }', '    - keyBy: { field: id, unsafe: false }\n', ['unproven-key']],
  ['mqtt: { url: "mqtt://h", topics: [a/+], time: arrival }', '    - keyBy: id\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: site }', '    - keyBy: id\n', ['unproven-key']],
  [
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }',
    '    - keyBy: id\n    - keyBy: site\n',
    ['unproven-key'],
  ],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '', ['missing-key-by']],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '    - map: { site: "1" }\n    - keyBy: id\n', []],
  ['kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }', '    - keyBy: id\n    - map: { id: "1" }\n', []],
  [
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }',
    '    - map: { id: "1" }\n    - keyBy: id\n',
    ['unproven-key'],
  ],
  [
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: a.id }',
    '    - set: { a: { id: 1 } }\n    - keyBy: a.id\n',
    ['unproven-key'],
  ],
  [
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }',
    '    - set: { id: 1 }\n  b:\n    - from: a\n    - keyBy: id\n',
    ['unproven-key'],
  ],
])('a window over `%s` behind %j sees each key whole, or is refused: %j', (source, steps, codes) => {
  expect(problemsOf(source, steps).map(({ code }) => code)).toEqual(codes);
});

test('names the step that changes the key on the way, and says what to do', () => {
  const [problem] = problemsOf(
    'kafka: { brokers: h, topic: t, time: kafka, keyedBy: id }',
    '    - map: { id: "1" }\n    - keyBy: id\n',
  );
  expect(problem).toMatchObject({
    message:
      '`keyBy` groups by `id`, but `map` before it gives that field another value than the key of `kafka`: `windowLast` would see only some of its records.',
    hint: 'Give the new value a field of its own. To group by it, write the records to a topic keyed by it first, and read that.',
    place: { line: 7 },
  });
});
