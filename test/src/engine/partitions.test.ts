import { describe, expect, test } from 'vitest';
import { Graph } from '../../../src/engine/graph.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { RunError } from '../../../src/errors.ts';
import { type Definition, defineStep, Type } from '../../../src/operator.ts';
import {
  at,
  catalogue,
  ManualSource,
  manualSource,
  options,
  planOf,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  until,
} from './harness.ts';

const never = 1e12;
const windowed = [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')];
const onePlan = planOf([
  stream('readings', [
    source('in', 'manual'),
    ...windowed.map((part) => (part.id === 'latest' ? { ...part, late: 'drop' } : part)),
  ]),
]);
const twoPlan = planOf([
  stream('left', [source('in', 'manual')]),
  stream('right', [source('in2', 'other')]),
  stream('both', windowed, ['left', 'right']),
]);

const bounded = (...entries: object[]) => new TestLog().add('0', ...entries);
const open = (...entries: object[]) => Object.assign(bounded(...entries), { bounded: false });
const reading = (n: number, ts: number) => ({ key: 'a', n, ts: at(ts) });

function world() {
  const manual = new ManualSource();
  const other = new ManualSource();
  const target = new TestTarget();
  const definitions = [manualSource('manual', manual), manualSource('other', other), testSink('target', target)];
  const numbers = () => target.written.map(({ record }) => (record.value as { n: number }).n);
  return { manual, other, target, numbers, definitions, store: new MemoryStore() };
}

describe('a partition that leaves', () => {
  test('is forgotten even when it has ended, and goes on once when it comes back', async () => {
    const { manual, definitions } = world();
    const run = await Run.start(options(onePlan, definitions, { checkpointMs: never }));
    const log = bounded(reading(1, 1));
    manual.assign('0', log);
    await until(() => manual.context.position('0') === undefined && run.status().partitions[0]?.read === 1);
    await new Promise((resolve) => setImmediate(resolve));
    await manual.context.revoke('0');
    expect(run.status().partitions).toEqual([]);
    expect(manual.context.position('0')).toBe(1);
    manual.assign('0', log);
    expect(run.status().partitions.length).toBe(1);
    await run.stop();
  });

  test('is written with its state, and comes back with both', async () => {
    const { manual, numbers, definitions, target } = world();
    const run = await Run.start(options(onePlan, definitions, { checkpointMs: never }));
    const log = open(reading(1, 1));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    await manual.context.revoke('0');
    log.add('0', reading(2, 11));
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(target.written).toEqual([]);
    manual.assign('0', log);
    await until(() => target.written.length === 1);
    expect(numbers()).toEqual([1]);
    await run.stop();
  });

  test('gives nothing more to a sink: what its open pull still brings belongs to whoever has it now', async () => {
    const { manual, numbers, definitions, target } = world();
    const plain = planOf([stream('readings', [source('in', 'manual'), sink('out', 'target')])]);
    const run = await Run.start(options(plain, definitions, { checkpointMs: never }));
    const log = open(reading(1, 1));
    manual.assign('0', log);
    await until(() => target.written.length === 1);
    const turns = async () => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await turns();
    await manual.context.revoke('0');
    log.add('0', reading(2, 2));
    await turns();
    expect(numbers()).toEqual([1]);
    await run.stop();
  });

  test('comes back with the event time it had, though checkpoints were taken without it', async () => {
    const { manual, definitions } = world();
    const run = await Run.start(options(onePlan, definitions, { checkpointMs: never }));
    const log = open(reading(1, 1), reading(2, 30));
    log.add('1', reading(3, 1));
    manual.assign('0', log);
    manual.assign('1', log);
    await until(
      () =>
        run
          .status()
          .partitions.map(({ read }) => read)
          .join() === '2,1',
    );
    await manual.context.revoke('0');
    await manual.context.revoke('1');
    log.add('0', reading(4, 5));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    expect(run.status().steps['latest']?.late).toBe(1);
    await run.stop();
  });

  test('does not keep a run alive whose other partitions have ended', async () => {
    const { manual, numbers, definitions } = world();
    const run = await Run.start(options(onePlan, definitions, { checkpointMs: never }));
    const unended = open(reading(2, 1));
    unended.add('1');
    manual.assign('0', bounded(reading(1, 1)));
    manual.assign('1', unended);
    manual.context.complete();
    await until(() => run.status().partitions[0]?.read === 1);
    await new Promise((resolve) => setImmediate(resolve));
    await manual.context.revoke('1');
    await run.done;
    expect(numbers()).toEqual([1]);
  });
});

describe('sources of one task', () => {
  test('do not wait for one that has turned out to have no partitions', async () => {
    const { manual, other, numbers, target, definitions } = world();
    const run = await Run.start(options(twoPlan, definitions, { checkpointMs: never }));
    manual.assign('0', open(reading(1, 1), reading(2, 20)));
    await until(() => run.status().partitions[0]?.read === 2);
    expect(numbers()).toEqual([]);
    other.context.complete();
    await until(() => target.written.length === 1);
    await run.stop();
    expect(numbers()).toEqual([1]);
  });

  test('do not wait for it either when it was complete before the task was there', async () => {
    const { manual, other, numbers, target, definitions } = world();
    const run = await Run.start(options(twoPlan, definitions, { checkpointMs: never }));
    other.context.complete();
    manual.assign('0', open(reading(1, 1), reading(2, 20)));
    await until(() => target.written.length === 1);
    await run.stop();
    expect(numbers()).toEqual([1]);
  });

  test('close nothing while one of them goes on, and go on after a restart', async () => {
    const { manual, other, numbers, target, definitions, store } = world();
    const left = open(reading(1, 1));
    const right = bounded(reading(2, 2));
    const first = await Run.start(options(twoPlan, definitions, { store, checkpointMs: never }));
    manual.assign('0', left);
    other.assign('0', right);
    other.context.complete();
    await until(() => first.status().partitions.every(({ read }) => read === 1));
    await new Promise((resolve) => setImmediate(resolve));
    await first.stop();
    expect(numbers()).toEqual([]);
    const second = await Run.start(options(twoPlan, definitions, { store, checkpointMs: never }));
    manual.assign('0', left);
    other.assign('0', right);
    other.context.complete();
    left.add('0', reading(3, 11));
    await until(() => target.written.length === 1);
    await second.stop();
    expect(numbers()).toEqual([2]);
  });

  test('are all sources that any chain of keyed steps ties together', () => {
    const plan = planOf([
      stream('a', [source('a.in', 'manual')]),
      stream('b', [source('b.in', 'manual')]),
      stream('c', [source('c.in', 'manual')]),
      stream('d', [source('d.in', 'manual'), step('alone', 'windowLast', { every: '10s' })]),
      stream('ab', [step('one', 'windowLast', { every: '10s' })], ['a', 'b']),
      stream('bc', [step('two', 'windowLast', { every: '10s' })], ['b', 'c']),
    ]);
    const sources = new Graph(plan, catalogue(manualSource('manual', new ManualSource()))).sources();
    expect(sources.map(({ shared }) => shared)).toEqual([
      ['a.in', 'b.in', 'c.in'],
      ['a.in', 'b.in', 'c.in'],
      ['a.in', 'b.in', 'c.in'],
      undefined,
    ]);
  });
});

describe('a restart', () => {
  const started = async (all: ReturnType<typeof world>, plan = onePlan) => {
    const run = await Run.start(options(plan, all.definitions, { store: all.store, checkpointMs: never }));
    all.manual.assign('0', open(reading(1, 1)));
    await until(() => run.status().partitions[0]?.read === 1);
    await run.stop();
  };

  test('is refused when another source now meets in a keyed step, so that its open windows are not lost', async () => {
    const all = world();
    await started(all);
    const changed = Run.start(options(twoPlan, all.definitions, { store: all.store }));
    await expect(changed).rejects.toThrow(
      /The state of the step `latest` was made from the source `in`; .* now .* `in`, `in2`\. Change it back, or start with --fresh/,
    );
  });

  test('is refused when a source whose position is stored is gone or has another id', async () => {
    const all = world();
    const stateless = (id: string) => planOf([stream('readings', [source(id, 'manual'), sink('out', 'target')])]);
    await started(all, stateless('in'));
    const renamed = Run.start(options(stateless('inlet'), all.definitions, { store: all.store }));
    await expect(renamed).rejects.toThrow(
      /position of the source `in`, which the topology no longer has\. Give the source its id `in` back/,
    );
  });
});

describe('a fatal error in the middle of a batch', () => {
  test('leaves no checkpoint of half the batch, though another partition asks for one in that moment', async () => {
    const { manual, target, store } = world();
    const counting = defineStep<ReturnType<typeof Type.Object>, number>({
      name: 'counting',
      summary: 'Counts, and ends the run at the second record of key a.',
      options: Type.Object({}),
      examples: [],
      keyed: true,
      create: () => ({
        onRecord(record, context) {
          context.state = (context.state ?? 0) + 1;
          if (record.key === 'a' && context.state === 2) throw new RunError('No way on.');
        },
      }),
    }) as unknown as Definition;
    const plan = planOf([
      stream('readings', [
        source('in', 'manual'),
        step('key', 'testKeyBy'),
        step('count', 'counting'),
        sink('out', 'target'),
      ]),
    ]);
    const definitions = [manualSource('manual', manual), testSink('target', target), counting];
    const log = new TestLog();
    log.bounded = false;
    log.add('0', reading(1, 1), reading(2, 2));
    log.add('1', { key: 'b', n: 1, ts: at(1) });
    const run = await Run.start(options(plan, definitions, { store, checkpointMs: never, checkpointRecords: 1 }));
    manual.assign('0', log);
    manual.assign('1', log);
    await expect(run.done).rejects.toThrow('No way on.');
    expect([...store.entries('')]).toEqual([]);
  });
});
