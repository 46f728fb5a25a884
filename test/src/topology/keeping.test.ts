import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { editorSchema } from '../../../src/cli/editor-schema.ts';
import { createBuilder } from '../../../src/topology/builder.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { committingSource } from '../../../src/topology/plan.ts';
import { planHash, planToJson } from '../../../src/topology/plan-json.ts';
import { toYaml } from '../../../src/topology/to-yaml.ts';
import { catalogue, sinks, sources, steps } from './catalogue.ts';

const { topology, kafka } = createBuilder({ sources, steps, sinks });
const load = (head: string, env: Record<string, string> = {}) =>
  loadTopology(
    {
      text: `version: 1\nname: t\n${head}\nstreams:\n  a:\n    - kafka: { topics: [x], time: kafka }\n    - kafka: out\n`,
      file: '/t.yaml',
    },
    { catalogue, env },
  );
const planOf = (head: string) => {
  const { plan, problems } = load(head);
  expect(problems).toEqual([]);
  return plan!;
};

describe('`state` of a topology', () => {
  test('is in the plan with lengths of time in ms, and nothing that was not written', () => {
    const { state, delivery } = planOf(
      'state: { store: kafka, every: 1s, ttl: 7d, maxKeys: 100000, overflow: dropOldest, topic: c.log, replication: 3 }',
    );
    expect({ state, delivery }).toEqual({
      state: {
        store: 'kafka',
        every: 1_000,
        ttl: 604_800_000,
        maxKeys: 100_000,
        overflow: 'dropOldest',
        topic: 'c.log',
        replication: 3,
      },
      delivery: undefined,
    });
    expect(Object.keys(planOf(''))).not.toContain('state');
    expect(planOf('state: { maxKeys: 5 }').state).toEqual({ maxKeys: 5 });
  });

  test('takes variables and params, converted to what the schema wants', () => {
    const { plan, problems } = load(
      'params: { ttl: { type: duration, default: 1h } }\nstate: { every: "${EVERY}", ttl: "${param:ttl}", maxKeys: "${KEYS:-7}" }',
      { EVERY: '250ms' },
    );
    expect(problems).toEqual([]);
    expect(plan?.state).toEqual({ every: 250, ttl: 3_600_000, maxKeys: 7 });
  });

  test('says of a variable that is not set only that', () => {
    const { plan, problems } = load('state: { store: "${STORE}" }\ndelivery: exactlyOnce');
    expect([plan, problems.map(({ code }) => code)]).toEqual([undefined, ['unset-variable']]);
  });

  test.each(['1ms', '1d'])('takes a checkpoint each %s at the limits', (every) => {
    expect(planOf(`state: { every: ${every} }`).state?.every).toBe(every === '1ms' ? 1 : 86_400_000);
  });
  test.each(['0.4ms', '86400001ms'])('refuses a checkpoint each %s, beyond the limits', (every) => {
    expect(load(`state: { every: ${every} }`).problems.map(({ code }) => code)).toEqual(['bad-value']);
  });
});

describe('`delivery` of a topology', () => {
  test('exactly once keeps state in the transactions of the source, unless `store` says otherwise', () => {
    const plan = planOf('delivery: exactlyOnce\nstate: { every: 1s }');
    expect([plan.delivery, plan.state]).toEqual(['exactlyOnce', { store: 'kafka', every: 1_000 }]);
    expect(planOf('delivery: exactlyOnce').state).toEqual({ store: 'kafka' });
    expect(committingSource(plan)).toMatchObject({ id: 'a.kafka', operator: 'kafka', options: { topics: ['x'] } });
    expect(load('delivery: exactlyOnce\nstate: { store: disk }').plan).toBeUndefined();
  });

  test('at least once promises what every sink keeps', () => {
    const plan = planOf('delivery: atLeastOnce');
    expect([plan.delivery, plan.state, committingSource(plan)]).toEqual(['atLeastOnce', undefined, undefined]);
  });

  test.each(['disk', 'memory'])('state kept in `%s` commits in no transaction', (store) => {
    expect(committingSource(planOf(`state: { store: ${store} }`))).toBeUndefined();
  });
});

test('the hash of a plan counts what bounds the state, and not where it is kept', () => {
  const hash = (head: string) => planHash(planOf(head));
  const plain = hash('');
  for (const same of ['state: { store: kafka, every: 2s, topic: c }', 'delivery: exactlyOnce', 'delivery: atLeastOnce'])
    expect(hash(same)).toBe(plain);
  const others = ['{ ttl: 1h }', '{ ttl: 2h }', '{ maxKeys: 5 }', '{ maxKeys: 5, overflow: dropOldest }'];
  expect(new Set([plain, ...others.map((state) => hash(`state: ${state}`))]).size).toBe(5);
});

const settings = fc.record(
  {
    store: fc.constantFrom('disk' as const, 'memory' as const, 'kafka' as const),
    every: fc.integer({ min: 1, max: 86_400_000 }).map((ms) => `${ms}ms`),
    ttl: fc.constantFrom('1ms', '90m', '36500d'),
    maxKeys: fc.integer({ min: 1 }),
  },
  { requiredKeys: [] },
);

test('state and delivery are the same in TypeScript and YAML, and written as YAML are read back as they were', () =>
  fc.assert(
    fc.property(
      settings,
      fc.constantFrom('atLeastOnce' as const, 'exactlyOnce' as const, undefined),
      (state, delivery) => {
        fc.pre(delivery !== 'exactlyOnce' || state.store === undefined || state.store === 'kafka');
        const plan = topology('t', { state, ...(delivery && { delivery }) })
          .stream('a')
          .from(kafka({ topics: ['x'], time: 'kafka' }))
          .kafka('out')
          .plan();
        const yaml = planOf(`state: ${JSON.stringify(state)}\n${delivery ? `delivery: ${delivery}` : ''}`);
        expect(plan).toEqual(yaml);
        expect(planToJson(plan)).toEqual(JSON.parse(JSON.stringify(plan)));
        expect(loadTopology({ text: toYaml(plan, catalogue), file: '/t.yaml' }, { catalogue }).plan).toEqual(plan);
      },
    ),
  ));

test('the editor knows the options of `state` and the values of `delivery`', () => {
  const { properties } = editorSchema(catalogue) as {
    properties: Record<string, { properties?: object; anyOf?: unknown }>;
  };
  expect(Object.keys(properties['state']!.properties!)).toEqual([
    'store',
    'every',
    'ttl',
    'maxKeys',
    'overflow',
    'topic',
    'replication',
  ]);
  expect(properties['delivery']!.anyOf).toContainEqual({ enum: ['exactlyOnce', 'atLeastOnce'] });
});
