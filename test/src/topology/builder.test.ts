import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { TopologyError } from '../../../src/errors.ts';
import { createBuilder } from '../../../src/topology/builder.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { planHash, planToJson } from '../../../src/topology/plan-json.ts';
import { toYaml } from '../../../src/topology/to-yaml.ts';
import { catalogue, sinks, sources, steps } from './catalogue.ts';

const { topology, broker } = createBuilder({ sources, steps, sinks });
const load = (text: string) => loadTopology({ text, file: '/topologies/t.yaml' }, { catalogue });
const schema = {
  type: 'object',
  properties: { generatorID: { type: 'string' }, fuel: { type: 'number' } },
  required: ['generatorID', 'fuel'],
} as const;
const start = () =>
  topology('generators', { folder: '/topologies', otherwise: 'dead' })
    .stream('readings')
    .from(broker({ url: 'a', topics: ['x'], time: 'arrival', password: 's3cret' }));

describe('a topology in TypeScript', () => {
  test('gives the same plan as its YAML', () => {
    const plan = start()
      .validate({ schema, otherwise: 'rejected' })
      .keyBy('generatorID')
      .windowLast({ every: '1m', by: 'fuel', late: 'drop' }, { id: 'latest' })
      .map({ alarm: 'fuel < 500 ? "refuel" : "no action"' }, { when: 'fuel < 500', description: 'Alarms' })
      .set({ price: '$5 ${x}' })
      .show({ file: './out' })
      .stream('rejected')
      .log('generators.dlq')
      .stream('dead')
      .show()
      .plan();
    const { plan: yaml, problems } = load(`
version: 1
name: generators
otherwise: dead
streams:
  readings:
    - broker: { url: a, topics: [x], time: arrival, password: s3cret }
    - validate: { schema: ${JSON.stringify(schema)}, otherwise: rejected }
    - keyBy: generatorID
    - id: latest
      window-last: { every: 1m, by: fuel, late: drop }
    - map: { alarm: 'fuel < 500 ? "refuel" : "no action"' }
      when: fuel < 500
      description: Alarms
    - set: { price: "$5 $\${x}" }
    - show: { file: out }
  rejected:
    - log: generators.dlq
  dead: [show]
`);
    expect(problems).toEqual([]);
    expect(plan).toEqual(yaml);
    expect(planHash(plan)).toBe(planHash(yaml!));
  });

  test('may hold functions where YAML has expressions; they print as their names', () => {
    const double = (reading: { fuel: number }) => reading.fuel * 2;
    const plan = start()
      .validate({ schema })
      .map({ twice: double })
      .filter(() => true)
      .show()
      .stream('dead')
      .show()
      .plan();
    expect(plan.streams[0]!.steps[2]!.options).toEqual({ twice: double });
    expect(planToJson(plan)).toMatchObject({
      streams: [
        { steps: [{ options: { password: '***' } }, {}, { options: { twice: { function: 'double' } } }, {}, {}] },
        {},
      ],
    });
    expect(() => toYaml(plan, catalogue)).toThrow(/holds a secret/);
  });

  test('throws every problem at once, each with its stream and step', () => {
    const wrong = topology('t')
      .stream('a')
      .from(broker({ url: 'a', topics: [] }))
      .keyBy('g')
      .windowLast({ every: '10x' })
      .stream('a')
      .show();
    try {
      wrong.plan();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(TopologyError);
      expect((error as TopologyError).problems.map(({ code, message }) => [code, message.split(':')[0]])).toEqual([
        ['duplicate-key', 'a'],
        ['bad-value', 'a › broker'],
        ['bad-value', 'a › windowLast'],
        ['missing-key', 'a › windowLast'],
      ]);
    }
  });

  test('is immutable: two ways on from one chain do not meet', () => {
    const base = start().stream('dead').show().stream('other').from('readings');
    expect([
      base.show().plan().streams[2]!.steps.length,
      base.set({ a: 1 }).show().plan().streams[2]!.steps.length,
    ]).toEqual([1, 2]);
  });

  test('takes the path of a schema, of which TypeScript knows nothing', () => {
    const readFile = (path: string) => (path === '/topologies/x.json' ? JSON.stringify(schema) : '');
    const begun = topology('t', { folder: '/topologies', readFile }).stream('a');
    const source = broker({ url: 'a', topics: ['x'] });
    const unknown = begun.from(source).validate('./x.json').validate({ schema: './x.json', otherwise: 'drop' });
    // A function may say itself what it takes a record for; nothing contradicts it.
    const named = unknown.filter((reading: { fuel: number }) => reading.fuel < 500);
    const { steps } = named.map({ low: 'fuel < 500' }).show().plan().streams[0]!;
    expect(steps.slice(1, 3).map(({ options }) => options)).toEqual([{ schema }, { schema }]);
    unknown.filter((reading) => {
      expectTypeOf(reading).toBeUnknown();
      return true;
    });
    const known = begun.from<{ fuel: number }>(source).validate('./x.json');
    known.filter((reading) => {
      expectTypeOf(reading).toEqualTypeOf<{ fuel: number }>();
      return true;
    });
    // @ts-expect-error what is known may not be contradicted
    known.filter((reading: { fuel: string }) => reading.fuel === '');
    // @ts-expect-error a schema is no number
    unknown.validate(5);
    // @ts-expect-error only a schema may be given by its path
    unknown.keyBy({ field: { type: 'object' } });
  });

  test('knows the type of the records step by step', () => {
    const checked = start().validate({ schema });
    checked.map({ x: (reading) => void expectTypeOf(reading).toMatchTypeOf<{ generatorID: string; fuel: number }>() });
    const mapped = checked.map({ low: (reading) => reading.fuel < 500 }).set({ region: 'US' });
    mapped.filter((reading) => {
      expectTypeOf(reading.low).toEqualTypeOf<boolean>();
      expectTypeOf(reading.region).toExtend<string>();
      return reading.low;
    });
    // @ts-expect-error the record has no field `fule`
    checked.filter((reading) => reading.fule < 500);
    // @ts-expect-error `every` is missing
    checked.windowLast({ by: 'fuel' });
    // @ts-expect-error there is no such operator
    expect(() => checked.teleport()).toThrow(TypeError);
  });
});

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/).filter((text) => text !== 'drop');
const text = fc.string({ unit: fc.constantFrom(...'ab $#{}":\'\n%-0'.split('')), maxLength: 12 });
const value = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null), fc.array(text, { maxLength: 3 }));
const fields = fc.dictionary(name, value, { minKeys: 1, maxKeys: 4, noNullPrototype: true });

test('a plan written as YAML is read back as the same plan', () =>
  fc.assert(
    fc.property(
      fc.uniqueArray(name, { minLength: 1, maxLength: 4 }),
      fc.array(fields, { maxLength: 4 }),
      text,
      (names, sets, url) => {
        let chain = topology('t', { folder: '/topologies' })
          .stream('first')
          .from(broker({ url, topics: ['x'] }));
        for (const set of sets) chain = chain.set(set as never) as typeof chain;
        let whole = chain.show();
        for (const [index, next] of names.entries()) {
          whole = whole
            .stream(`s-${next}`)
            .from(index === 0 ? 'first' : `s-${names[index - 1]}`)
            .validate({ schema: { description: url } })
            .show() as typeof whole;
        }
        const plan = whole.plan();
        expect(load(toYaml(plan, catalogue)).plan).toEqual(plan);
      },
    ),
  ));
