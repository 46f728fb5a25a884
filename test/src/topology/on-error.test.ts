import { describe, expect, test } from 'vitest';
import { createBuilder } from '../../../src/topology/builder.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import type { Plan } from '../../../src/topology/plan.ts';
import { planHash } from '../../../src/topology/plan-json.ts';
import { toYaml } from '../../../src/topology/to-yaml.ts';
import { catalogue, sinks, sources, steps } from './catalogue.ts';

const text = (top: string, keyBy = '{ keyBy: id }', out = '{ kafka: out }') => `version: 1
name: t
${top}
streams:
  a:
    - kafka: { topics: [x], time: kafka }
    - ${keyBy}
    - ${out}
  bad:
    - kafka: bad
`;
const load = (yaml: string) => loadTopology({ text: yaml, file: '/t.yaml' }, { catalogue, env: {} });
const planOf = (yaml: string): Plan => {
  const { plan, problems } = load(yaml);
  expect(problems).toEqual([]);
  return plan!;
};
const again = (plan: Plan) => planOf(toYaml(plan, catalogue));
const messages = (yaml: string) => load(yaml).problems.map(({ message }) => message);

describe('`onError`', () => {
  test('is the long form of `otherwise`: the same plan, beside a step or in its options', () => {
    const short = planOf(text('', '{ keyBy: id, otherwise: bad }'));
    expect(short.streams[0]!.steps[1]).toMatchObject({ otherwise: 'bad' });
    for (const long of [
      '{ keyBy: id, onError: bad }',
      '{ keyBy: id, onError: { to: bad } }',
      '{ keyBy: { field: id, onError: { to: bad } } }',
      '{ keyBy: { field: id, otherwise: bad } }',
    ])
      expect(planOf(text('', long))).toEqual(short);
    expect(planOf(text('onError: bad'))).toEqual(planOf(text('otherwise: bad')));
  });

  test('holds lengths of time in ms and its defaults, and is written as it was read', () => {
    const plan = planOf(
      text(
        'onError: { to: bad, stopAt: { share: 0.5 } }',
        '{ keyBy: id, onError: fail }',
        '{ kafka: out, onError: { retry: { attempts: 3, backoff: 2s }, stopAt: { share: 1, over: 10s, atLeast: 5 } } }',
      ),
    );
    expect(plan).toMatchObject({ otherwise: 'bad', onError: { stopAt: { share: 0.5, overMs: 60_000, atLeast: 100 } } });
    const [, key, out] = plan.streams[0]!.steps;
    expect(key).toMatchObject({ onError: { fail: true } });
    expect(key).not.toHaveProperty('otherwise');
    expect(out!.onError).toEqual({
      retry: { attempts: 3, backoffMs: 2_000 },
      stopAt: { share: 1, overMs: 10_000, atLeast: 5 },
    });
    expect(again(plan)).toEqual(plan);
  });

  test('may fail or drop for the whole file, and counts in the hash of the plan', () => {
    expect(planOf(text('onError: fail').replace(/ {2}bad:[\s\S]*/, ''))).toMatchObject({ onError: { fail: true } });
    expect(planOf(text('onError: drop').replace(/ {2}bad:[\s\S]*/, ''))).toMatchObject({ otherwise: 'drop' });
    const hashes = ['otherwise: bad', 'onError: { to: bad, stopAt: { share: 0.5 } }'].map((top) =>
      planHash(planOf(text(top))),
    );
    expect(new Set(hashes).size).toBe(2);
  });

  test('leaves a stream called `fail` where it was', () => {
    const named = text('', '{ keyBy: id, otherwise: fail }').replace('bad:', 'fail:');
    const step = planOf(named).streams[0]!.steps[1]!;
    expect([step.otherwise, step.onError]).toEqual(['fail', undefined]);
    const long = text('', '{ keyBy: id, onError: { to: fail } }').replace('bad:', 'fail:');
    expect(planOf(long).streams[0]!.steps[1]!.otherwise).toBe('fail');
  });

  test('is refused where it means nothing, and says so in the words of the file', () => {
    expect(messages(text('', '{ keyBy: id, onError: { to: bad, retry: { attempts: 3 } } }'))).toEqual([
      '`retry` means nothing for `keyBy`, which gives the same answer each time.',
    ]);
    expect(messages(text('', '{ keyBy: id, onError: bad, otherwise: bad }'))).toEqual([
      '`onError` and `otherwise` of `keyBy` both say what becomes of errors.',
    ]);
    expect(messages(text('', '{ keyBy: id, onError: worse }', '{ kafka: out, onError: bad }'))).toEqual([
      expect.stringContaining('There is no stream `worse`.'),
    ]);
    expect(messages(text('otherwise: bad', '{ keyBy: id, onError: { too: bad } }'))).toEqual([
      expect.stringContaining('`too`'),
    ]);
    expect(messages(text('onError: { to: bad, stopAt: { share: 0.5, over: 0s } }'))).toEqual([
      '`onError.stopAt.over` must be between 1ms and 1d, but is the text "0s".',
    ]);
    expect(messages(text('otherwise: drop').replace(/ {2}bad:[\s\S]*/, ''))).toEqual([
      'The `otherwise` of a whole topology must be a stream, not `drop`.',
    ]);
  });

  test('is the same in TypeScript', () => {
    const { topology, kafka } = createBuilder({ sources, steps, sinks });
    const plan = topology('t', { onError: { to: 'bad', stopAt: { share: 0.5 } } })
      .stream('a')
      .from(kafka({ topics: ['x'], time: 'kafka' }))
      .keyBy('id', { onError: 'fail' })
      .kafka('out', { onError: { retry: { attempts: 2 } } })
      .stream('bad')
      .kafka('bad')
      .plan();
    const yaml = text(
      'onError: { to: bad, stopAt: { share: 0.5 } }',
      '{ keyBy: id, onError: fail }',
      '{ kafka: out, onError: { retry: { attempts: 2 } } }',
    );
    expect(plan).toEqual(planOf(yaml));
  });
});
