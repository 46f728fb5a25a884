import { describe, expect, test } from 'vitest';
import { bufferedDelivery } from '../../../src/topology/buffer-options.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { planHash } from '../../../src/topology/plan-json.ts';
import { toYaml } from '../../../src/topology/to-yaml.ts';
import { catalogue } from './catalogue.ts';

const text = (out: string, top = '', keyBy = '{ keyBy: id }') =>
  `version: 1\nname: t\n${top}\nstreams:\n  a:\n    - kafka: { topics: [x], time: kafka }\n    - ${keyBy}\n    - ${out}\n`;
const load = (yaml: string) => loadTopology({ text: yaml, file: '/plans/t.yaml' }, { catalogue, env: {} });
const planOf = (yaml: string) => {
  const { plan, problems } = load(yaml);
  expect(problems).toEqual([]);
  return plan!;
};
const messages = (yaml: string) => load(yaml).problems.map(({ message }) => message);

describe('`buffer` of a sink', () => {
  test('stands beside the sink or in its options, has defaults, and is written as it was read', () => {
    const plan = planOf(text('{ kafka: out, buffer: { disk: true } }'));
    expect(plan.streams[0]!.steps[2]!.buffer).toEqual({ maxBytes: 2 ** 30, whenFull: 'block' });
    expect(planOf(text('{ kafka: { topic: out, buffer: { disk: true } } }'))).toEqual(plan);
    const full = planOf(
      text(
        '{ kafka: out, buffer: { disk: ./spool, maxSize: 10MiB, maxAge: 1d, drain: { rate: 500 }, whenFull: dropOldest } }',
      ),
    );
    expect(full.streams[0]!.steps[2]!.buffer).toEqual({
      folder: '/plans/spool',
      maxBytes: 10 << 20,
      maxAgeMs: 86_400_000,
      rate: 500,
      whenFull: 'dropOldest',
    });
    expect(planOf(toYaml(full, catalogue))).toEqual(full);
  });

  test('changes no result, and so no hash', () => {
    expect(planHash(planOf(text('{ kafka: out, buffer: { disk: true } }')))).toBe(planHash(planOf(text('kafka: out'))));
  });

  test('is refused beside a step, in transactions, without a disk, and when it is too small', () => {
    expect(messages(text('kafka: out', '', '{ keyBy: id, buffer: { disk: true } }'))).toEqual([
      '`buffer` stands beside `keyBy`, but only sinks have one.',
    ]);
    expect(messages(text('{ kafka: out, buffer: { disk: true } }', 'state: { store: kafka }'))).toEqual([
      'The sink `kafka` has a `buffer`, but this topology commits in transactions of its source.',
    ]);
    expect(messages(text('{ kafka: out, buffer: { disk: false, maxSize: 10kB } }'))).toEqual([
      '`disk` of `buffer` is false: without a disk there is no buffer.',
      '`maxSize` of `buffer` must be at least 1MiB, but is 10kB.',
    ]);
    expect(messages(text('{ kafka: out, buffer: {} }'))).toEqual([expect.stringContaining('`disk`')]);
    expect(messages(text('{ kafka: out, buffer: { disk: true, whenFull: drop } }'))).toEqual([
      expect.stringContaining('`whenFull`'),
    ]);
  });

  test('promises no more than it keeps', () => {
    const settings = { maxBytes: 1, whenFull: 'block' as const };
    const levels = ['exactly once', 'effectively once', 'at least once', 'at most once'] as const;
    const kept = levels.map((level) => bufferedDelivery({ level, reason: 'So.' }, settings).level);
    expect(kept).toEqual(['at least once', 'effectively once', 'at least once', 'at most once']);
    for (const lossy of [{ whenFull: 'dropOldest' as const }, { maxAgeMs: 1 }])
      expect(bufferedDelivery({ level: 'effectively once', reason: 'So.' }, { ...settings, ...lossy }).level).toBe(
        'at most once',
      );
  });
});
