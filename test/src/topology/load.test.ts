import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Secret } from '../../../src/operator.ts';
import { type LoadOptions, loadTopology } from '../../../src/topology/load.ts';
import { planHash, planToJson } from '../../../src/topology/plan-json.ts';
import { catalogue } from './catalogue.ts';

const load = (text: string, options: Partial<LoadOptions> = {}) =>
  loadTopology({ text, file: '/topologies/t.yaml' }, { catalogue, ...options });
const withSteps = (steps: string, head = '') =>
  `version: 1\nname: t\n${head}streams:\n  readings:\n    - broker: { url: a, topics: [x], time: arrival }\n${steps}    - show\n`;
const readFile = (path: string): string => {
  if (path === '/topologies/x.json') return '{"type":"object","properties":{"fuel":{"type":"number"}}}';
  if (path === '/topologies/keys/broker' || path === '/run/key') return 's3cret\n';
  throw Object.assign(new Error('none'), { code: 'ENOENT' });
};
/** The options of one step, with no problem but warnings. */
function optionsOf(step: string, options: Partial<LoadOptions> = {}, head = ''): unknown {
  const { plan, problems } = load(withSteps(`    - ${step}\n`, head), { readFile, ...options });
  expect(problems.filter(({ severity }) => severity !== 'warning')).toEqual([]);
  return plan!.streams[0]!.steps[1]!.options;
}
const brokerOptions = (options: string, extra: Partial<LoadOptions> = {}, head = '') => {
  const text = `version: 1\nname: t\n${head}streams:\n  readings:\n    - broker: ${options}\n    - show\n`;
  const { plan, problems } = load(text, { readFile, ...extra });
  expect(problems).toEqual([]);
  return plan!.streams[0]!.steps[0]!.options;
};

describe('scalars', () => {
  test.each(['012', 'NO', 'no', '1.10', '2024-01-01', 'true', '1e3', '0x1F', '~x', '1:30', '.inf'])(
    '%s stays what it says where the schema wants text',
    (written) => {
      expect(brokerOptions(`{ url: ${written}, topics: [${written}] }`)).toEqual({ url: written, topics: [written] });
    },
  );
  test('numbers and booleans are theirs where the schema wants them', () => {
    expect(brokerOptions('{ url: a, topics: [x], qos: 2, clean: true }')).toMatchObject({ qos: 2, clean: true });
  });
  test('`NO` is text and `1.10` a number with a warning where the schema says nothing', () => {
    expect(optionsOf('set: { region: NO, version: 1.10, empty: , none: null }')).toEqual({
      region: 'NO',
      version: 1.1,
      empty: null,
      none: null,
    });
  });
  test('a key is text as well: `1` and `yes` are names of fields', () => {
    expect(optionsOf('set: { 012: a, yes: b, __proto__: c }')).toEqual(
      Object.fromEntries([
        ['012', 'a'],
        ['yes', 'b'],
        ['__proto__', 'c'],
      ]),
    );
  });
});

describe('variables', () => {
  test('become numbers or booleans only where the schema wants those', () => {
    const env = { N: '2', B: 'true', U: '012' };
    expect(brokerOptions('{ url: "${U}", topics: ["${N}"], qos: "${N}", clean: "${B}" }', { env })).toEqual({
      url: '012',
      topics: ['2'],
      qos: 2,
      clean: true,
    });
    expect(optionsOf('set: { n: "${N}" }', { env })).toEqual({ n: '2' });
  });
  test('take defaults when they are unset or empty, and `$$` is a dollar', () => {
    const url = '"${A:-x}/${E:-y}/${E}/$${A}/$$/$share/${HOST:-mqtt://h:1}"';
    expect(brokerOptions(`{ url: ${url}, topics: [x] }`, { env: { E: '' } })).toMatchObject({
      url: 'x/y//${A}/$/$share/mqtt://h:1',
    });
  });
  test('are found only as own properties of the environment', () => {
    expect(load(withSteps('    - set: { a: "${constructor}" }\n')).problems).toMatchObject([
      { code: 'unset-variable' },
    ]);
  });
  test('are data, whatever they hold: nothing in a value changes the file', () =>
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...`#'":{}[],&*!|>%@\`\n\t \\$-ab`.split('')) }), (value) => {
        expect(optionsOf('set: { a: "${X}", b: 1 }', { env: { X: value } })).toEqual({ a: value, b: 1 });
        expect(optionsOf('map: { a: "key == ${X}" }', { env: { X: value } })).toEqual({
          a: `key == ${JSON.stringify(value)}`,
        });
      }),
    ));
  test('cannot smuggle an expression into a template', () => {
    const { plan } = load(
      'version: 1\nname: t\nstreams:\n  a:\n    - broker: { url: a, topics: [x] }\n    - log: "x/${T}"\n',
      { env: { T: '{secret}' } },
    );
    expect(plan!.streams[0]!.steps[1]!.options).toEqual({ topic: 'x/{{secret}}' });
  });
  test('are never shown by a message', () => {
    const { problems } = load(withSteps('    - keyBy: a\n    - id: w\n      windowLast: { every: "${PASSWORD}" }\n'), {
      env: { PASSWORD: 'hunter2' },
    });
    expect(problems).toMatchObject([{ code: 'bad-value' }]);
    expect(JSON.stringify(problems)).not.toContain('hunter2');
    const list = 'version: 1\nname: t\nstreams:\n  a:\n    - broker: { url: a, topics: "${PASSWORD}" }\n    - show\n';
    expect(load(list, { env: { PASSWORD: 'hunter2' } }).problems).toMatchObject([
      { message: expect.stringContaining('what `${PASSWORD}` stands for'), hint: 'Write a list: `topics: […]`.' },
    ]);
  });
});

describe('parameters', () => {
  const head = 'params:\n  every: { type: duration, default: 1m }\n  limit: { type: number, default: 500 }\n';
  const window = 'keyBy: a\n    - id: w\n      windowLast: { every: "${param:every}" }';
  test('have their default, or the value that was set', () => {
    const every = (params: Record<string, unknown>) =>
      load(withSteps(`    - ${window}\n`, head), { params }).plan!.streams[0]!.steps[2]!.options;
    expect([every({}), every({ every: '10s' })]).toEqual([{ every: '1m' }, { every: '10s' }]);
  });
  test('keep their type: a number is one in an expression and where nothing is said', () => {
    expect(optionsOf('map: { low: "fuel < ${param:limit}" }', {}, head)).toEqual({ low: 'fuel < 500' });
    expect(optionsOf('set: { limit: "${param:limit}" }', { params: { limit: '7' } }, head)).toEqual({ limit: 7 });
  });
  test('refuse a value of another type, and one that no parameter has', () => {
    const { problems } = load(withSteps('', head), { params: { every: 'soon', other: '1' } });
    expect(problems.map(({ code }) => code).sort()).toEqual(['bad-value', 'unknown-param']);
  });
});

describe('secrets', () => {
  test.each(['${secret:file/keys/broker}', '${secret:file//run/key}', 's3cret', '${PW}'])(
    '`%s` is a secret in the plan, and *** wherever it is printed',
    (written) => {
      const options = brokerOptions(`{ url: a, topics: [x], password: "${written}" }`, { env: { PW: 's3cret' } }) as {
        password: Secret;
      };
      expect(options.password).toBeInstanceOf(Secret);
      expect(options.password.reveal()).toBe('s3cret');
      expect(JSON.stringify(options)).not.toContain('s3cret');
    },
  );
});

describe('files and paths', () => {
  test('are found beside the topology: schemas are inlined, paths absolute', () => {
    expect(optionsOf('validate: ./x.json')).toEqual({ schema: JSON.parse(readFile('/topologies/x.json')) });
    expect(optionsOf('show: { file: ./out.jsonl }')).toEqual({ file: '/topologies/out.jsonl' });
  });
  test('inside a schema nothing is filled in', () => {
    expect(optionsOf('validate: { schema: { description: "^${x}$$" } }')).toEqual({
      schema: { description: '^${x}$$' },
    });
  });
  test('a topology that is not there is a problem with its name', () => {
    const { problems, plan } = loadTopology('/nowhere/t.yaml', { catalogue });
    expect([plan, problems.map(({ code, place }) => [code, place?.file])]).toEqual([
      undefined,
      [['unreadable-file', '/nowhere/t.yaml']],
    ]);
  });
});

describe('the plan', () => {
  const text = `${withSteps(
    '    - key-by: a\n    - id: latest\n      window-last: { every: 1m, late: drop, otherwise: { to: rejected } }\n    - set: { x: 1 }\n    - set: { otherwise: 2 }\n',
  )}  rejected:\n    - log: { topic: dead }\n`;
  const { plan, problems } = load(text);
  test('names steps by stream and operator, counts those that would be called alike, and takes both spellings of a name', () => {
    expect(problems).toEqual([]);
    const ids = plan!.streams.flatMap(({ steps }) => steps.map(({ id, kind }) => `${kind} ${id}`));
    expect(ids).toEqual([
      'source readings.broker',
      'step readings.keyBy',
      'step latest',
      'step readings.set',
      'step readings.set-2',
      'sink readings.show',
      'sink rejected.log',
    ]);
  });
  test('holds side outputs beside the options, but a field called `otherwise` stays a field', () => {
    const [, , window, , set] = plan!.streams[0]!.steps;
    expect(window).toMatchObject({ options: { every: '1m' }, otherwise: 'rejected', late: 'drop' });
    expect(set).toMatchObject({ options: { otherwise: 2 } });
  });
  test('has a hash that only what matters changes', () => {
    const hash = (changed: string) => planHash(load(changed).plan!);
    expect(
      hash(
        text
          .replace('name: t\n', 'name: t\ndescription: other\n')
          .replace('{ every: 1m, late: drop,', '{ late: drop, every: 1m,'),
      ),
    ).toBe(hash(text));
    expect(hash(text.replace('1m', '2m'))).not.toBe(hash(text));
    expect(planToJson(plan!)).toEqual(JSON.parse(JSON.stringify(plan)));
  });
  test('lets streams split, meet and end in side outputs', () => {
    const graph = `version: 1\nname: t\notherwise: dead\nstreams:\n  all:\n    - from: [a, b]\n    - branch: { to: low, if: fuel < 5 }\n    - show\n  a:\n    - broker: { url: a, topics: [x] }\n  b:\n    - log: { topic: x }\n  low:\n    - log: { topic: low }\n  dead:\n    - show\n`;
    const loaded = load(graph);
    expect([loaded.problems, loaded.plan?.streams.map(({ from }) => from)]).toEqual([[], [['a', 'b'], [], [], [], []]]);
    expect(loaded.plan?.streams.map(({ steps }) => steps[0]?.kind)).toEqual([
      'step',
      'source',
      'source',
      'sink',
      'sink',
    ]);
  });
  test('never comes of a text that is cut off or torn, which never throws either', () =>
    fc.assert(
      fc.property(fc.nat(text.length), fc.nat(20), fc.string({ maxLength: 4 }), (at, gone, put) => {
        const { problems } = load(text.slice(0, at) + put + text.slice(at + gone));
        for (const { place } of problems) expect(place?.line ?? 1).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    ));
});
