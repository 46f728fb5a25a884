import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { explain } from '../../../src/cli/why.ts';
import { eventTimeOf, StallWatch } from '../../../src/engine/event-time.ts';
import { KeyedState } from '../../../src/engine/keyed-state.ts';
import { KeyedNode } from '../../../src/engine/node.ts';
import { InputPartition } from '../../../src/engine/partition.ts';
import { Run } from '../../../src/engine/run.ts';
import { Task } from '../../../src/engine/task.ts';
import { createTimeRule } from '../../../src/engine/time.ts';
import { ManualClock, memoryPorts } from '../../../src/ports/memory.ts';
import { silentLog } from '../../../src/runtime.ts';
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

interface Given {
  readonly newest?: number;
  readonly idle?: boolean;
  readonly ended?: boolean;
  readonly outOfOrder?: string;
  readonly idleAfter?: string;
}

/** A task with partitions at these times, in which keys wait for those. */
function taskOf(
  partitions: readonly Given[],
  waits: readonly number[] = [at(10)],
  watermark = Number.NEGATIVE_INFINITY,
) {
  const task = new Task('t', ['in']);
  task.awaited.clear();
  task.watermark = watermark;
  const keyed = new KeyedState<unknown>('s');
  for (const [index, due] of waits.entries()) keyed.addTimer(keyed.touch(`k${index}`), due);
  task.keyed = [new KeyedNode('latest', { onRecord() {} }, task, keyed)];
  for (const [index, { newest, idle, ended, outOfOrder = '0s', idleAfter }] of partitions.entries()) {
    const time = createTimeRule({
      field: 'ts',
      unit: 'ms',
      outOfOrder,
      ...(idleAfter !== undefined && { idle: idleAfter }),
    });
    const input = new InputPartition(`in/${index}`, 'in', () => undefined, time);
    input.maxTime = newest ?? input.maxTime;
    input.idle = idle ?? false;
    input.ended = ended ?? false;
    task.partitions.push(input);
  }
  return task;
}

describe('where event time stands', () => {
  test('names the slowest partition, its newest record, its bounds, and what waits', () => {
    const task = taskOf(
      [
        { newest: at(9), outOfOrder: '5s' },
        { newest: at(8), outOfOrder: '1s', idleAfter: '30s' },
      ],
      [at(20), at(10), at(10)],
      at(4),
    );
    expect(eventTimeOf(task, [{ input: task.partitions[1]!, since: 77 }])).toEqual({
      task: 't',
      watermark: at(4),
      heldBy: ['in/0'],
      awaited: [],
      partitions: [
        { name: 'in/0', newest: at(9), watermark: at(4), outOfOrderMs: 5_000, idle: false, ended: false },
        {
          name: 'in/1',
          newest: at(8),
          watermark: at(7),
          outOfOrderMs: 1_000,
          idleMs: 30_000,
          silentSince: 77,
          idle: false,
          ended: false,
        },
      ],
      due: [{ step: 'latest', at: at(10), keys: 2, times: 2 }],
    });
  });

  test('a partition without a timed record holds all others back; idle and ended ones hold nothing', () => {
    const { heldBy, watermark } = eventTimeOf(taskOf([{ newest: at(9) }, {}, { idle: true }, { ended: true }]), [])!;
    expect([heldBy, watermark]).toEqual([['in/1'], undefined]);
    const idle = eventTimeOf(
      taskOf([
        { newest: at(9), idle: true },
        { newest: at(3), ended: true },
      ]),
      [],
    )!;
    expect(idle.heldBy).toEqual([]);
  });

  test('is nothing to tell of sources without a time, and of steps in which nothing is due', () => {
    const task = new Task('t', ['in']);
    task.awaited.clear();
    task.partitions.push(new InputPartition('in/0', 'in', () => undefined, undefined));
    expect(eventTimeOf(task, [])).toBeUndefined();
    expect(eventTimeOf(taskOf([{}], []), [])?.due).toEqual([]);
    expect(eventTimeOf(taskOf([{}], [Number.POSITIVE_INFINITY]), [])?.due).toEqual([]);
  });

  test('tells of a source that has shown no partition', () => {
    const task = new Task('t', ['a', 'b']);
    expect(eventTimeOf(task, [])).toMatchObject({ awaited: ['a', 'b'], partitions: [], heldBy: [] });
  });
});

const given = fc.record({
  newest: fc.option(
    fc.integer({ min: 0, max: 4 }).map((n) => at(8 + n)),
    { nil: undefined },
  ),
  idle: fc.boolean(),
  ended: fc.boolean(),
  outOfOrder: fc.constantFrom('0s', '1s', '2s'),
  idleAfter: fc.constantFrom(undefined, '30s'),
}) as fc.Arbitrary<Given>;

test('what is said to be needed for the next window is enough for it, and all of it is needed', () =>
  fc.assert(
    fc.property(fc.array(given, { minLength: 1, maxLength: 4 }), (partitions) => {
      const task = taskOf(partitions);
      const lines = explain(eventTimeOf(task, [])!, at(100));
      const asked = task.partitions.filter(({ name }) => lines.some((line) => line.startsWith(`- ${name} `)));
      for (const one of asked) {
        const line = lines.find((text) => text.startsWith(`- ${one.name} `))!;
        const needed = Date.parse(/record of (\S+) or later/.exec(line)![1]!);
        const least = () => Math.min(...task.partitions.map(({ watermark }) => watermark));
        for (const other of asked) other.maxTime = Number.POSITIVE_INFINITY;
        one.maxTime = needed - 1;
        expect(least()).toBeLessThan(at(10));
        one.maxTime = needed;
        expect(least()).toBeGreaterThanOrEqual(at(10));
      }
      if (asked.length === 0)
        expect(Math.min(...task.partitions.map((p) => p.watermark))).toBeGreaterThanOrEqual(at(10));
    }),
  ));

describe('a stall', () => {
  /** Looks at a task at these moments, of which `moves` may change something before each. */
  function stallsOf(task: Task, moments: readonly number[], moves: (moment: number) => void = () => undefined) {
    const watch = new StallWatch();
    return moments.flatMap((moment) => {
      moves(moment);
      const stall = watch.notice(task, moment);
      return stall ? [[moment, stall.partition] as const] : [];
    });
  }
  const twoPartitions = (more: Given = {}) => taskOf([{ newest: at(1), ...more }, { newest: at(50) }], [at(10)], at(1));
  const others = (task: Task) => () => void task.partitions[1]!.counts.in++;

  test('is told once, when event time has stood for 30 s and not before, while another partition has records', () => {
    const task = twoPartitions();
    expect(stallsOf(task, [0, 29_999, 30_000, 30_200, 90_000], others(task))).toEqual([[30_000, 'in/0']]);
  });
  test('is told again when event time has moved and stands once more', () => {
    const task = twoPartitions();
    const moves = (moment: number) => {
      others(task)();
      if (moment === 40_000) task.watermark = at(2);
    };
    expect(stallsOf(task, [0, 30_000, 40_000, 69_999, 70_000], moves).map(([moment]) => moment)).toEqual([
      30_000, 70_000,
    ]);
  });
  test('is none while nothing else comes, or nothing waits, or a source is still awaited', () => {
    expect(stallsOf(twoPartitions(), [0, 60_000])).toEqual([]);
    const free = taskOf([{ newest: at(1) }, { newest: at(50) }], [], at(1));
    expect(stallsOf(free, [0, 60_000], others(free))).toEqual([]);
    const awaiting = twoPartitions();
    awaiting.awaited.add('late');
    expect(stallsOf(awaiting, [0, 60_000], others(awaiting))).toEqual([]);
    const alone = twoPartitions();
    expect(stallsOf(alone, [0, 60_000], () => void alone.partitions[0]!.counts.in++)).toEqual([]);
  });
  test('is none as long as silence may be over by itself: `idle` is waited for as well', () => {
    const task = twoPartitions({ idleAfter: '1m' });
    expect(stallsOf(task, [0, 89_999, 90_000], others(task))).toEqual([[90_000, 'in/0']]);
  });
});

test('a run says in its status and once in its log which partition holds it back', async () => {
  // Two sources that meet in one window share a task.
  const plan = planOf([
    stream('slow', [source('slow', 'slow')]),
    stream('fast', [source('fast', 'fast')]),
    stream(
      'all',
      [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
      ['slow', 'fast'],
    ),
  ]);
  const [slow, fast] = [new TestLog(), new TestLog()];
  for (const one of [slow, fast]) one.bounded = false;
  slow.add('0', { key: 'a', n: 1, ts: at(1) });
  fast.add('0', { key: 'b', n: 1, ts: at(30) });
  const clock = new ManualClock(at(60));
  const warned: [string, Record<string, unknown> | undefined][] = [];
  const run = await Run.start(
    options(plan, [testSource('slow', slow), testSource('fast', fast), testSink('target', new TestTarget())], {
      ports: { ...memoryPorts(), clock },
      log: { ...silentLog, warn: (message, fields) => void warned.push([message, fields]) },
      checkpointMs: 1e9,
    }),
  );
  const read = () => run.status().partitions.reduce((sum, { read }) => sum + read, 0);
  await until(() => read() === 2);
  expect(run.status().time).toMatchObject([
    { heldBy: ['slow/0'], watermark: at(1), due: [{ step: 'latest', at: at(10), keys: 1, times: 2 }] },
  ]);
  const tick = async (ms: number) => {
    clock.advance(ms);
    await until(() => clock.sleeping >= 2);
  };
  await tick(200);
  fast.add('0', { key: 'b', n: 2, ts: at(31) });
  await until(() => read() === 3);
  await tick(29_999);
  expect(warned).toEqual([]);
  await tick(200);
  await tick(200);
  expect(warned).toEqual([
    [
      expect.stringMatching(/No window closes: .*`idle: 30s`/),
      { partition: 'slow/0', stoodMs: 30_199, newest: '2026-01-01T00:00:01.000Z' },
    ],
  ]);
  await run.stop();
});
