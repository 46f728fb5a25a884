import { describe, expect, test } from 'vitest';
import { idleName } from '../../../src/engine/checkpoint.ts';
import { encode } from '../../../src/engine/codec.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import type { IdleStep } from '../../../src/engine/task.ts';
import {
  at,
  options,
  planOf,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
  until,
} from './harness.ts';

const planWith = (time: object = {}, more: object = {}) =>
  planOf(
    [
      stream('readings', [
        source('in', 'log', { field: 'ts', unit: 'ms', ...time }),
        step('key', 'testKeyBy'),
        step('latest', 'windowLast', { every: '10s' }, more),
        sink('out', 'target'),
      ]),
      stream('bad', [sink('letters', 'dead')]),
    ],
    'bad',
  );

function world() {
  const log = new TestLog();
  log.bounded = false;
  const target = new TestTarget();
  const dead = new TestTarget();
  const store = new MemoryStore();
  const definitions = [testSource('log', log), testSink('target', target), testSink('dead', dead)];
  /** Starts, waits until so many records are read, and stops. */
  const runUntil = async (plan: ReturnType<typeof planWith>, read: number) => {
    const run = await Run.start(options(plan, definitions, { store }));
    await until(() => run.status().partitions[0]?.read === read);
    const watermark = run.status().time?.[0]?.watermark;
    await run.stop();
    return { late: run.status().steps['latest']?.late, watermark };
  };
  const letters = () =>
    dead.written.map(({ record }) => {
      const { code, offset } = record.value as { code: string; offset: number };
      return [code, offset];
    });
  return { log, target, dead, store, runUntil, letters };
}

const reading = (ms: number, arrival?: number) => ({
  payload: JSON.stringify({ key: 'a', n: 1, ts: ms }),
  ...(arrival !== undefined && { arrival }),
});

describe('a partition that wakes up with old records', () => {
  const asleep: IdleStep = { idle: ['in/0'], offsets: { 'in/0': -1 }, watermark: at(30) };
  const sleeping = async () => {
    const all = world();
    const name = idleName('in/0', 0);
    await all.store.commit({ puts: [[name, encode(name, asleep)]], removes: [] });
    return all;
  };

  test('has them late as `was-idle` up to where silence had moved event time, and as `late` from there on', async () => {
    const { log, letters, runUntil } = await sleeping();
    log.add('0', reading(at(60)), reading(at(30) - 1), reading(at(30)));
    await runUntil(planWith({ idle: '5s' }), 3);
    expect(letters()).toEqual([
      ['was-idle', 1],
      ['late', 2],
    ]);
  });

  test('never takes event time back, and what is not late yet is taken', async () => {
    for (const [times, late] of [
      [[at(30) - 1, at(20)], 2],
      [[at(30) - 1, at(30)], 1],
    ] as const) {
      const { log, letters, runUntil } = await sleeping();
      log.add('0', ...times.map((time) => reading(time)));
      expect(await runUntil(planWith({ idle: '5s' }), 2)).toEqual({ late, watermark: at(30) });
      expect(letters().map(([code]) => code)).toEqual(Array(late).fill('was-idle'));
    }
  });
});

describe('late records', () => {
  test('go to the dead letters unless `late: drop` is written; they are counted either way', async () => {
    for (const [more, expected] of [
      [{}, [['late', 1]]],
      [{ late: 'drop' }, []],
    ] as const) {
      const { log, letters, runUntil } = world();
      log.add('0', reading(at(10)), reading(at(10) - 1));
      expect((await runUntil(planWith({}, more), 2)).late).toBe(1);
      expect(letters()).toEqual(expected);
    }
  });

  test('are late after a restart as before it: the newest time seen is kept, `outOfOrder` counts from it', async () => {
    const { log, target, letters, runUntil } = world();
    const plan = planWith({ outOfOrder: '5s' });
    log.add('0', reading(at(1)), reading(at(24)));
    await runUntil(plan, 2);
    expect(target.written.length).toBe(1);
    // Event time stands at 19 s: the window of 10 s to 20 s is open, the one before it is closed.
    log.add('0', reading(at(10) - 1), reading(at(10)));
    expect(await runUntil(plan, 2)).toEqual({ late: 1, watermark: at(19) });
    expect(letters()).toEqual([['late', 2]]);
  });
});

test('of partitions that share event time each goes on after a restart from its own newest record', async () => {
  const time = { field: 'ts', unit: 'ms' };
  const shared = planOf([
    stream('left', [source('in', 'left', time)]),
    stream('right', [source('in2', 'right', time)]),
    stream(
      'both',
      [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
      ['left', 'right'],
    ),
  ]);
  const { target, store } = world();
  const [left, right] = [new TestLog(), new TestLog()];
  const definitions = [testSource('left', left), testSource('right', right), testSink('target', target)];
  left.bounded = right.bounded = false;
  left.add('0', reading(at(24)));
  right.add('0', reading(at(12)));
  const readAndStop = async (counts: readonly number[]) => {
    const run = await Run.start(options(shared, definitions, { store }));
    await until(
      () =>
        run
          .status()
          .partitions.map(({ read }) => read)
          .join() === counts.join(),
    );
    const watermark = run.status().time?.[0]?.watermark;
    await run.stop();
    return watermark;
  };
  expect([await readAndStop([1, 1]), target.written.length]).toEqual([at(12), 0]);
  right.add('0', reading(at(30)));
  expect([await readAndStop([0, 1]), target.written.length]).toEqual([at(24), 1]);
});

test('a record exactly `maxFuture` ahead of its arrival moves event time; one a millisecond further does not', async () => {
  for (const [ahead, codes] of [
    [20_000, []],
    [20_001, [['time-future', 1]]],
  ] as const) {
    const { log, target, letters, runUntil } = world();
    log.add('0', reading(at(1), at(1)), reading(at(5) + ahead, at(5)));
    await runUntil(planWith({ maxFuture: '20s' }), 2);
    expect([letters(), target.written.length]).toEqual([codes, codes.length === 0 ? 1 : 0]);
  }
});
