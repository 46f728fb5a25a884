import { describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { loadTopology } from '../../../src/topology/load.ts';

const record = 'validate: { schema: { type: object, properties: { fuel: { type: number }, name: { type: string } } } }';
const mqtt = 'mqtt: { url: "mqtt://h", topics: a, time: arrival }';

/** Code and first name in quotes of each problem of these streams. */
function problemsOf(streams: Record<string, readonly string[]> | string, head = ''): string[] {
  const listed =
    typeof streams === 'string'
      ? streams
      : Object.entries(streams)
          .map(([name, steps]) => `  ${name}:\n${steps.map((step) => `    - ${step}\n`).join('')}`)
          .join('');
  const text = `version: 1\nname: t\n${head}streams:\n${listed}`;
  const { problems } = loadTopology({ text, file: 't.yaml' }, { catalogue, env: {} });
  return problems.map(({ code, message }) => `${code} ${/`(.*?)`/.exec(message)?.[1]}`);
}

describe('a mistake hides nothing that can be judged without it', () => {
  test('the types before and behind a step with another mistake', () => {
    const steps = [mqtt, record, 'filter: { where: fule < 5, wat: 1 }', 'map: { low: nam }', 'print'];
    expect(problemsOf({ a: steps })).toEqual(['unknown-field fule', 'unknown-key filter', 'unknown-field nam']);
  });
  test('what stands beside an operator that is not known', () => {
    const step = 'validte: { otherwise: nowhere }\n      when: fule < 5\n      id: x';
    const steps = [mqtt, record, step, 'map: { a: fuel }\n      id: x', 'print'];
    expect(problemsOf({ a: steps })).toEqual([
      'unknown-operator validte',
      'unknown-stream nowhere',
      'unknown-field fule',
      'duplicate-key x',
    ]);
  });
  test('the order of steps, time and keys around what is not known', () => {
    const source = 'mqtt: { url: "mqtt://h", topics: a }';
    const window = 'id: w\n      windowLast: { every: 1m }';
    expect(
      problemsOf({ a: [source, window, 'teleport: x', 'simulate: { time: { field: ts, unit: ms } }', 'print'] }),
    ).toEqual([
      'missing-time windowLast',
      'missing-key-by windowLast',
      'unknown-operator teleport',
      'misplaced-step a',
    ]);
  });
  test('the types in streams that go round in a circle', () => {
    expect(problemsOf({ a: ['from: [b, c]', record, 'map: { x: fule }'], b: ['from: a', 'print'], c: [mqtt] })).toEqual(
      ['cycle a', 'unknown-field fule'],
    );
  });
  test('both streams of one name', () => {
    const one = `  a:\n    - ${mqtt}\n    - ${record}\n    - map: { x: fule }\n`;
    const two = `  a:\n    - ${record}\n    - map: { x: nam }\n  b:\n    - from: a\n    - map: { y: load }\n    - print\n`;
    expect(problemsOf(one + two)).toEqual(['unknown-field fule', 'duplicate-key a', 'unknown-field nam']);
  });
  test('the time of a source, though the name of its stream stands twice', () => {
    const source = '  a:\n    - mqtt: { url: "mqtt://h", topics: a }\n';
    const rest = '  b:\n    - from: a\n    - keyBy: g\n    - id: w\n      windowLast: { every: 1m }\n    - print\n';
    expect(problemsOf(`${source}  a:\n    - print\n${rest}`)).toEqual(['missing-time windowLast', 'duplicate-key a']);
  });
});

describe('a mistake is told once, without what only follows from it', () => {
  test.each<[string, string, Record<string, readonly string[]>]>([
    [
      'a field that a selection was to keep',
      'unknown-field fule',
      { a: [mqtt, record, 'select: [fule]', 'filter: fuel < 5', 'print'] },
    ],
    ['a field inside a condition', 'unknown-field nme', { a: [mqtt, record, 'filter: size(nme) + 1', 'print'] }],
    [
      'a stream that was to be continued',
      'unknown-stream raedings',
      { readings: [mqtt], b: ['from: raedings', 'print'] },
    ],
    [
      'a stream that was to take what is rejected',
      'unknown-key otherwize',
      { a: [mqtt, `${record}\n      otherwize: dead`, 'print'], dead: ['print'] },
    ],
    ['a stream that begins in an unclear way', 'bad-value from', { a: ['from: []', 'print'] }],
    ['a stream that is no list', 'wrong-type a', { b: [mqtt, 'print'], a: [] }],
    [
      'an operator that may have been the key',
      'unknown-operator keyby',
      { a: [mqtt, 'keyby: g', 'id: w\n      windowLast: { every: 1m }', 'print'] },
    ],
    [
      'an operator that may have changed the key',
      'unknown-operator rekey',
      {
        a: [
          'kafka: { brokers: h, topic: x, time: kafka, keyedBy: g }',
          'keyBy: h',
          'rekey: g',
          'id: w\n      windowLast: { every: 1m }',
          'print',
        ],
      },
    ],
    ['an operator that may have been the sink', 'unknown-operator prnt', { a: [mqtt, 'prnt:'] }],
    ['an operator that may have been the source', 'unknown-operator mqt', { a: ['mqt: { url: h }', 'print'] }],
    [
      'a step that adds a field',
      'unknown-operator mapp',
      { a: [mqtt, record, 'mapp: { low: fuel < 5 }', 'filter: low', 'print'] },
    ],
    [
      'a step of which not all is read',
      'unset-variable X',
      { a: [mqtt, record, 'set: { low: "${X}", high: 1 }', 'filter: high > 1', 'print'] },
    ],
    [
      'an id that is no text',
      'wrong-type id',
      { a: [mqtt, 'keyBy: g', 'id: [w]\n      windowLast: { every: 1m }', 'print'] },
    ],
    [
      'a schema whose path has no value',
      'unset-variable X',
      { a: [mqtt, 'validate: "${X}.json"', 'filter: fuel < 5', 'print'] },
    ],
  ])('%s', (_, told, streams) => {
    const text = Object.entries(streams).some(([, steps]) => steps.length === 0);
    expect(text ? problemsOf(`  b:\n    - ${mqtt}\n    - print\n  a: { from: b }\n`) : problemsOf(streams)).toEqual([
      told,
    ]);
  });
  test.each([
    ['{ type: duration, default: "${X}" }', 'unset-variable X'],
    ['{ type: duration, default: soon }', 'bad-value p'],
    ['{ type: duratoin, default: 10s }', 'bad-value text'],
    ['10s', 'wrong-type p'],
  ])('a parameter that is %s, wherever it is used', (param, told) => {
    const steps = [
      mqtt,
      'keyBy: g',
      'id: w\n      windowLast: { every: "${param:p}" }',
      'filter: "fuel < ${param:p}"',
      'print',
    ];
    const found = problemsOf({ a: steps }, `params:\n  p: ${param}\n`);
    expect(found.map((text) => text.split(' ')[0])).toEqual([told.split(' ')[0]]);
  });
});
