import { describe, expect, test } from 'vitest';
import { MemoryStore } from '../../../src/engine/store.ts';
import type { Log, StateSettings } from '../../../src/operator.ts';
import { type Definition, defineStep, Type } from '../../../src/operator.ts';
import {
  at,
  options,
  planOf,
  runToEnd,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
} from './harness.ts';

const counting = defineStep<ReturnType<typeof Type.Object>, number>({
  name: 'counting',
  summary: 'Counts the records of a key.',
  options: Type.Object({}),
  keyed: true,
  examples: [],
  create: () => ({
    onRecord(record, context) {
      context.state = (context.state ?? 0) + 1;
      context.emit(record.withValue(`${String(record.key)}:${context.state}`));
    },
  }),
}) as unknown as Definition;

/** Runs records of these keys, a second apart, and then the end of the input or a stop before it. */
async function run(keys: readonly string[], state: StateSettings, store = new MemoryStore()) {
  const log = new TestLog().add('0', ...keys.map((key, n) => ({ key, ts: at(n) })));
  const [target, dead] = [new TestTarget(), new TestTarget()];
  const plan = {
    ...planOf(
      [
        stream('readings', [
          source('in', 'log'),
          step('key', 'testKeyBy'),
          step('count', 'counting'),
          sink('out', 'target'),
        ]),
        stream('bad', [sink('letters', 'dead')]),
      ],
      'bad',
    ),
    state,
  };
  const said: [string, unknown][] = [];
  const note: Log['warn'] = (message, fields) => void said.push([message, fields]);
  const definitions = [testSource('log', log), testSink('target', target), testSink('dead', dead), counting];
  const done = await runToEnd(
    options(plan, definitions, { store, log: { debug() {}, info() {}, error() {}, warn: note } }),
  );
  const letters = dead.written.map(({ record }) => record.value as { code: string; step: string; message: string });
  return { out: target.written.map(({ record }) => record.value), letters, said, status: done.status().steps['count'] };
}
const many = Array.from({ length: 120 }, (_, n) => `k${n}`);

describe('the state of a topology', () => {
  test('is unbounded unless it is said otherwise', async () => {
    const { out, status } = await run(['a', 'b', 'a'], {});
    expect(out).toEqual(['a:1', 'b:1', 'a:2']);
    expect(status).toEqual({ in: 3, out: 3, rejected: 0, late: 0, keys: 2 });
  });

  test('forgets a key that no record has touched for `ttl`, and counts it', async () => {
    const { out, status } = await run(['a', 'b', 'b', 'a', 'b'], { ttl: 3_000 });
    expect(out).toEqual(['a:1', 'b:1', 'b:2', 'a:2', 'b:3']);
    const short = await run(['a', 'b', 'b', 'a', 'b'], { ttl: 2_000 });
    expect(short.out).toEqual(['a:1', 'b:1', 'b:2', 'a:1', 'b:3']);
    expect([status?.dropped?.ttl, short.status?.dropped?.ttl, short.status?.keys]).toEqual([0, 1, 2]);
  });

  test('sends the records of one key too many to the dead letters', async () => {
    const { out, letters, status, said } = await run(['a', 'b', 'c', 'a'], { maxKeys: 2 });
    expect(out).toEqual(['a:1', 'b:1', 'a:2']);
    expect(letters).toMatchObject([{ code: 'too-many-keys', step: 'count' }]);
    expect(letters[0]!.message).toContain('holds 2');
    expect([status?.rejected, status?.keys, status?.dropped, said]).toEqual([1, 2, { ttl: 0, maxKeys: 0 }, []]);
  });

  test('drops the keys used least recently when it is told to, counts them, and says so once in a while', async () => {
    const { out, letters, status, said } = await run([...many, 'k119', 'k0'], { maxKeys: 5, overflow: 'dropOldest' });
    expect(out.slice(-2)).toEqual(['k119:2', 'k0:1']);
    expect(letters).toEqual([]);
    expect([status?.keys, status?.dropped]).toEqual([5, { ttl: 0, maxKeys: 116 }]);
    expect(said.map(([, fields]) => fields)).toEqual(
      [1, 10, 100].map((dropped) => ({ step: 'count', dropped, maxKeys: 5 })),
    );
  });

  test('leaves nothing in the store of what it has dropped', async () => {
    const store = new MemoryStore();
    await run(many, { maxKeys: 5, overflow: 'dropOldest', ttl: 4_000 }, store);
    expect([...store.entries('state')].length).toBe(4);
  });
});
