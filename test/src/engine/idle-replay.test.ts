import { describe, expect, test } from 'vitest';
import { idleName } from '../../../src/engine/checkpoint.ts';
import { encode } from '../../../src/engine/codec.ts';
import { IdleLog, readIdleLog } from '../../../src/engine/idle-log.ts';
import { openJournal } from '../../../src/engine/journal.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import type { IdleStep } from '../../../src/engine/task.ts';
import { RunError } from '../../../src/errors.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import {
  at,
  type Entry,
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
  testSource,
  until,
} from './harness.ts';

const idle = { field: 'ts', unit: 'ms', idle: '5s' };
const plan = planOf(
  [
    stream('readings', [
      source('in', 'log', idle),
      step('key', 'testKeyBy'),
      step('latest', 'windowLast', { every: '10s' }),
      sink('out', 'target'),
    ]),
    stream('bad', [sink('letters', 'dead')]),
  ],
  'bad',
);
const never = 1e12;
const entry = (n: number, ts: number): Entry => ({
  payload: JSON.stringify({ key: 'a', n, ts: at(ts) }),
  arrival: at(100),
});
const numbers = (target: TestTarget) => target.written.map(({ record }) => (record.value as { n: number }).n);
const letters = (target: TestTarget) =>
  target.written.map(({ record }) => {
    const { code, offset } = record.value as { code: string; offset: number };
    return [code, offset];
  });

function world() {
  const log = new TestLog();
  log.bounded = false;
  const target = new TestTarget();
  const dead = new TestTarget();
  const ports = memoryPorts();
  ports.clock.advance(at(20));
  return {
    log,
    target,
    dead,
    ports,
    store: new MemoryStore(),
    definitions: [testSource('log', log), testSink('target', target), testSink('dead', dead)],
  };
}

function silentLog(): TestLog {
  const log = new TestLog();
  log.bounded = false;
  return log;
}

async function crash(run: Run): Promise<void> {
  run.kill(new RunError('crash'));
  await run.done.catch(() => undefined);
}

/** Reads two records, lets silence close the window of the first, reads what comes after, and crashes before any checkpoint. */
async function crashedAfterSilence({
  log,
  target,
  ports,
  store,
  definitions,
}: ReturnType<typeof world>): Promise<void> {
  log.add('0', entry(1, 1), entry(2, 2));
  const run = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
  await until(() => run.status().partitions[0]?.read === 2);
  await until(() => {
    ports.clock.advance(100);
    return target.written.length === 1;
  });
  log.add('0', entry(3, 3), entry(4, 41), entry(5, 35));
  await until(() => run.status().partitions[0]?.read === 5);
  await crash(run);
}

describe('a recorded step of silence', () => {
  test('is taken at its place in the middle of a batch, and the records after it wake the partition', async () => {
    const all = world();
    await crashedAfterSilence(all);
    const { log, dead, ports, store, definitions } = all;
    expect(letters(dead)).toEqual([
      ['was-idle', 2],
      ['late', 4],
    ]);
    dead.written.length = 0;
    log.batchSize = () => 100;
    const run = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
    await until(() => run.status().partitions[0]?.read === 5);
    await run.stop();
    expect(letters(dead)).toEqual([
      ['was-idle', 2],
      ['late', 4],
    ]);
  });

  test('stays recorded while a checkpoint before its place is taken', async () => {
    const all = world();
    await crashedAfterSilence(all);
    const { log, target, dead, ports, store, definitions } = all;
    log.batchSize = () => 1;
    const second = await Run.start(options(plan, definitions, { ports, store, checkpointRecords: 1 }));
    let pulls = 0;
    log.beforePull = () => {
      if (pulls++ === 1) throw new RunError('crash');
    };
    await expect(second.done).rejects.toThrow('crash');
    log.beforePull = () => undefined;
    dead.written.length = 0;
    target.written.length = 0;
    const third = await Run.start(options(plan, definitions, { ports, store }));
    expect(third.status().checkpoint?.id).toBeGreaterThan(0);
    expect(third.status().partitions[0]?.offset).toBe(0);
    await until(() => third.status().partitions[0]?.offset === 4);
    await third.stop();
    expect(numbers(target)).toEqual([2]);
    expect(letters(dead)).toEqual([
      ['was-idle', 2],
      ['late', 4],
    ]);
    expect([...store.entries('idle')]).toEqual([]);
  });

  test('brings its results out at once when the partition stays silent after the restart', async () => {
    const { log, target, ports, store, definitions } = world();
    log.add('0', entry(1, 1));
    const first = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
    await until(() => first.status().partitions[0]?.read === 1);
    await first.stop();
    // The process dies between the commit of the step and the sink.
    const due: IdleStep = { idle: ['in/0'], offsets: { 'in/0': 0 }, watermark: at(30) };
    const name = idleName('in/0', 1_000_000);
    await store.commit({ puts: [[name, encode(name, due)]], removes: [] });
    const second = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
    await until(() => target.written.length === 1);
    await second.stop();
    expect(numbers(target)).toEqual([1]);
    const third = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
    await third.stop();
    expect(numbers(target)).toEqual([1]);
  });

  test('keeps the order in which steps were taken over several restarts', async () => {
    const { log, ports, store, definitions, target } = world();
    log.add('0', entry(1, 1));
    const record = async (sequence: number, offset: number, watermark: number) => {
      const due: IdleStep = { idle: ['in/0'], offsets: { 'in/0': offset }, watermark };
      const name = idleName('in/0', sequence);
      await store.commit({ puts: [[name, encode(name, due)]], removes: [] });
    };
    // The run before had taken and checkpointed other steps: its count stood at 7.
    await record(7, 0, at(12));
    const run = await Run.start(options(plan, definitions, { ports, store, checkpointMs: never }));
    await until(() => target.written.length === 1);
    log.add('0', entry(2, 15));
    await until(() => run.status().partitions[0]?.read === 2);
    await until(() => {
      ports.clock.advance(100);
      return target.written.length === 2;
    });
    await crash(run);
    const names = [...store.entries('idle')].map(([name]) => name);
    expect(names.toSorted()).toEqual(names);
    expect(names.length).toBe(2);
  });

  test('waits for all the partitions it was taken with', async () => {
    const { target, dead, ports, store } = world();
    const manual = new ManualSource();
    const other = new ManualSource();
    const shared = planOf(
      [
        stream('left', [source('in', 'left', idle)]),
        stream('right', [source('in2', 'right', idle)]),
        stream(
          'both',
          [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
          ['left', 'right'],
        ),
        stream('bad', [sink('letters', 'dead')]),
      ],
      'bad',
    );
    const due: IdleStep = {
      idle: ['in/0'],
      offsets: { 'in/0': -1, 'in2/0': 0, 'in2/1': 1 },
      watermark: at(30),
    };
    const name = idleName('shared/in+in2', 0);
    await store.commit({ puts: [[name, encode(name, due)]], removes: [] });
    const definitions = [
      manualSource('left', manual),
      manualSource('right', other),
      testSink('target', target),
      testSink('dead', dead),
    ];
    const run = await Run.start(options(shared, definitions, { ports, store, checkpointMs: never }));
    manual.assign('0', silentLog());
    const right = new TestLog();
    right.bounded = false;
    right.add('0', entry(1, 1));
    right.add('1', entry(2, 2), entry(3, 3), entry(4, 4));
    other.assign('0', right);
    await until(() => run.status().partitions.find(({ name: n }) => n === 'in2/0')?.read === 1);
    other.assign('1', right);
    await until(() => run.status().partitions.find(({ name: n }) => n === 'in2/1')?.read === 3);
    await run.stop();
    // Only what came after the step the first time, too.
    expect(letters(dead)).toEqual([['late', 2]]);
  });

  test('does not put a partition to sleep again when another one joins its task', async () => {
    const { ports, store, target, dead } = world();
    const manual = new ManualSource();
    const log = new TestLog();
    log.bounded = false;
    log.add('0', entry(1, 1));
    const other = new ManualSource();
    const shared = planOf([
      stream('left', [source('in', 'left', idle)]),
      stream('right', [source('in2', 'right', idle)]),
      stream(
        'both',
        [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
        ['left', 'right'],
      ),
    ]);
    const definitions = [
      manualSource('left', manual),
      manualSource('right', other),
      testSink('target', target),
      testSink('dead', dead),
    ];
    const run = await Run.start(options(shared, definitions, { ports, store, checkpointMs: never }));
    manual.assign('0', log);
    other.assign('0', silentLog());
    await until(() => run.status().partitions[0]?.read === 1);
    await until(() => {
      ports.clock.advance(100);
      return target.written.length === 1;
    });
    log.add('0', entry(2, 21));
    await until(() => run.status().partitions[0]?.read === 2);
    expect(run.status().partitions[0]?.idle).toBe(false);
    manual.assign('1', silentLog());
    expect(run.status().partitions[0]?.idle).toBe(false);
    await run.stop();
  });
});

describe('a replay with the steps that a run has kept', () => {
  const kept = '/state/idle';

  test('finds the same windows and the same late records, beside what it finds without them', async () => {
    const all = world();
    const { log, target, dead, ports, store, definitions } = all;
    const idleLog = () =>
      new IdleLog(
        () => openJournal(ports.disk, kept, { clock: ports.clock, keepMs: Number.POSITIVE_INFINITY }),
        ports.clock,
      );
    const begin = () =>
      Run.start(options(plan, definitions, { ports, store, checkpointMs: never, idleLog: idleLog() }));
    // Some records, silence that closes their window, one that is then too old.
    log.add('0', entry(1, 1), entry(2, 2));
    const run = await begin();
    await until(() => run.status().partitions[0]?.read === 2);
    await until(() => {
      ports.clock.advance(100);
      return target.written.length === 1;
    });
    log.add('0', entry(3, 3), entry(4, 41));
    await until(() => run.status().partitions[0]?.read === 4);
    await run.stop();
    const late = letters(dead);
    expect(late).toEqual([['was-idle', 2]]);
    const replayed = async (idleSteps?: Awaited<ReturnType<typeof readIdleLog>>) => {
      const again = { ...world(), log };
      log.bounded = true;
      const sinks = [testSource('log', log), testSink('target', again.target), testSink('dead', again.dead)];
      const more = { mergeByTime: true, onEnd: 'hold', ...(idleSteps && { idleSteps }) } as const;
      await (await Run.start(options(plan, sinks, more))).done;
      return [numbers(again.target), letters(again.dead)];
    };
    const steps = await readIdleLog(ports.disk, kept, ports.clock);
    expect([...steps.keys()]).toEqual(['in/0']);
    expect(await replayed(steps)).toEqual([numbers(target), late]);
    expect((await replayed())[1]).not.toEqual(late);
  });
});
