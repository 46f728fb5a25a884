import { describe, expect, test } from 'vitest';
import { dueIdleStep } from '../../../src/engine/idle.ts';
import { KeyedState } from '../../../src/engine/keyed-state.ts';
import { KeyedNode } from '../../../src/engine/node.ts';
import { InputPartition } from '../../../src/engine/partition.ts';
import { Task } from '../../../src/engine/task.ts';
import { createTimeRule } from '../../../src/engine/time.ts';

const rule = createTimeRule({ field: 'ts', unit: 'ms', idle: '5s', outOfOrder: '1s' });

function setUp(due: number | undefined, maxTimes: number[]) {
  const task = new Task('t', ['in']);
  task.awaited.clear();
  const keyed = new KeyedState<number>('s');
  if (due !== undefined) keyed.addTimer(keyed.touch('a'), due);
  task.keyed = [new KeyedNode('s', { onRecord() {} }, task, keyed as KeyedState<unknown>)];
  for (const [i, maxTime] of maxTimes.entries()) {
    const input = new InputPartition(`in/${i}`, 'in', () => undefined, rule);
    input.maxTime = maxTime;
    input.lastOffset = i * 10;
    task.partitions.push(input);
  }
  return {
    task,
    silent: (...since: (number | undefined)[]) => task.partitions.map((input, i) => ({ input, since: since[i] })),
  };
}

describe('the idle step', () => {
  test('comes due exactly `idle` after the partition was last waited for', () => {
    const { task, silent } = setUp(100_000, [90_000]);
    expect(dueIdleStep(task, silent(200_000), 204_999)).toBeUndefined();
    expect(dueIdleStep(task, silent(200_000), 205_000)).toEqual({
      idle: ['in/0'],
      offsets: { 'in/0': 0 },
      watermark: 199_000,
    });
  });

  test('never comes while the partition is not at its end, or our own pull is not open', () => {
    const { task, silent } = setUp(100_000, [90_000]);
    expect(dueIdleStep(task, silent(undefined), 1e12)).toBeUndefined();
  });

  test('is not taken when nothing would fire by it', () => {
    expect(dueIdleStep(setUp(undefined, [1]).task, setUp(undefined, [1]).silent(0), 1e9)).toBeUndefined();
    const { task, silent } = setUp(100_000, [90_000]);
    expect(dueIdleStep(task, silent(0), 105_999)).toBeUndefined();
    expect(dueIdleStep(task, silent(0), 106_000)?.watermark).toBe(100_000);
  });

  test('lets event time go to the slowest partition that is not silent, whatever the clock says', () => {
    const { task, silent } = setUp(100_000, [90_000, 150_000, 120_000]);
    expect(dueIdleStep(task, silent(0, undefined, undefined), 1e9)).toEqual({
      idle: ['in/0'],
      offsets: { 'in/0': 0, 'in/1': 10, 'in/2': 20 },
      watermark: 119_000,
    });
    expect(dueIdleStep(task, silent(undefined, 0, 0), 1e9)).toBeUndefined();
  });

  test('leaves ended partitions out, and waits for sources that have not come', () => {
    const { task, silent } = setUp(100_000, [90_000, 110_000]);
    task.partitions[0]!.ended = true;
    expect(dueIdleStep(task, silent(undefined, 0), 200_000)?.idle).toEqual(['in/1']);
    task.awaited.add('other');
    expect(dueIdleStep(task, silent(undefined, 0), 200_000)).toBeUndefined();
  });
});

describe('a step that is taken again', () => {
  test('leaves a partition awake that has read on by the time the others reach their places', () => {
    const { task } = setUp(undefined, [1, 2]);
    const [one, two] = task.partitions.splice(0) as [InputPartition, InputPartition];
    one.lastOffset = 5;
    two.lastOffset = 10;
    task.expectIdleSteps([{ idle: ['in/0', 'in/1'], offsets: { 'in/0': 3, 'in/1': 10 }, watermark: 50 }]);
    expect(task.join(one)).toBe(false);
    expect(task.join(two)).toBe(true);
    expect([one.idle, two.idle, task.watermark]).toEqual([false, true, 50]);
  });
});

describe('keyed state', () => {
  test('holds one timer for a time that was asked for twice', () => {
    const keyed = new KeyedState<number>('s');
    const entry = keyed.touch('a');
    keyed.addTimer(entry, 5);
    keyed.addTimer(entry, 5);
    keyed.addTimer(keyed.touch('b'), 5);
    expect(keyed.takeTimers().entries.map(({ key }) => key)).toEqual(['a', 'b']);
    expect(keyed.timers.size).toBe(0);
  });
});
