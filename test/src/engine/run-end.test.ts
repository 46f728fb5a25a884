import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readCheckpoint } from '../../../src/engine/checkpoint.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { RunError } from '../../../src/errors.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import {
  at,
  ManualSource,
  manualSource,
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
  until,
} from './harness.ts';

const never = 1e12;
const plan = planOf(
  [
    stream('readings', [
      source('in', 'log'),
      step('key', 'testKeyBy'),
      step('latest', 'windowLast', { every: '10s' }),
      sink('out', 'target'),
    ]),
    stream('bad', [sink('letters', 'dead')]),
  ],
  'bad',
);
const plain = planOf([stream('readings', [source('in', 'log'), sink('out', 'target')])]);
const reading = (n: number, ts: number) => ({ key: 'a', n, ts: at(ts) });
const stuck = () => new Promise<never>(() => undefined);

function world() {
  const log = new TestLog();
  const target = new TestTarget();
  const dead = new TestTarget();
  return {
    log,
    target,
    dead,
    store: new MemoryStore(),
    ports: memoryPorts(),
    definitions: [testSource('log', log), testSink('target', target), testSink('dead', dead)],
    numbers: () => target.written.map(({ record }) => (record.value as { n: number }).n),
  };
}

test('inputs that end and are held go on where they stood, and give what they had given in one run', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(60), { minLength: 1, maxLength: 25 }),
      fc.array(fc.nat(25), { maxLength: 3 }),
      async (times, cuts) => {
        const readings = times.map((time, n) => reading(n, time));
        const whole = world();
        whole.log.add('0', ...readings);
        await runToEnd(options(plan, whole.definitions, { store: whole.store }));
        const held = world();
        let read = 0;
        for (const cut of [...cuts, readings.length].sort((a, b) => a - b)) {
          held.log.add('0', ...readings.slice(read, cut));
          read = Math.max(read, Math.min(cut, readings.length));
          await runToEnd(options(plan, held.definitions, { store: held.store, onEnd: 'hold' }));
          expect(readCheckpoint(held.store)?.ended).toBeUndefined();
        }
        const open = held.numbers().length;
        await runToEnd(options(plan, held.definitions, { store: held.store }));
        expect(held.numbers()).toEqual(whole.numbers());
        // The newest record is in a window that nothing has closed.
        expect(held.numbers().length).toBeGreaterThan(open);
        expect(held.dead.written.map(({ id }) => id)).toEqual(whole.dead.written.map(({ id }) => id));
      },
    ),
    { numRuns: 60 },
  ));

test('an input that is held at its end goes on holding event time back, as others go on', async () => {
  const one = world();
  one.log.add('0', reading(1, 1)).add('1', { key: 'b', n: 2, ts: at(5) }, { key: 'b', n: 3, ts: at(95) });
  const sources = [source('in', 'log'), source('in2', 'other')];
  const other = new TestLog().add('0', reading(4, 2));
  const [readings, bad] = plan.streams;
  const shared = planOf(
    [
      stream('left', [sources[0]!]),
      stream('right', [sources[1]!]),
      stream('both', readings!.steps.slice(1), ['left', 'right']),
      bad!,
    ],
    'bad',
  );
  const definitions = [...one.definitions, testSource('other', other)];
  await runToEnd(options(shared, definitions, { store: one.store, onEnd: 'hold' }));
  expect(one.numbers()).toEqual([]);
  other.add('0', reading(5, 3));
  await runToEnd(options(shared, definitions, { store: one.store }));
  expect([one.numbers().sort(), one.dead.written]).toEqual([[2, 3, 5], []]);
});

class BrokenStore extends MemoryStore {
  full = false;
  commits = 0;
  hold: Promise<void> = Promise.resolve();
  override async commit(changes: Parameters<MemoryStore['commit']>[0]): Promise<void> {
    this.commits++;
    await this.hold;
    if (this.full) throw new RunError('The checkpoint could not be written: no space left.');
    await super.commit(changes);
  }
}

const unhandled: unknown[] = [];
const note = (reason: unknown) => unhandled.push(reason);
beforeAll(() => void process.on('unhandledRejection', note));
afterAll(() => void process.off('unhandledRejection', note));
const turns = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('a store that cannot commit', () => {
  test('ends the run with its message; the checkpoint before it stands, and the restart loses nothing', async () => {
    const { log, definitions, numbers } = world();
    const store = new BrokenStore();
    log.add('0', reading(1, 1), reading(2, 2), reading(3, 3), reading(4, 11));
    log.batchSize = () => 1;
    const first = await Run.start(options(plan, definitions, { store, checkpointRecords: 2 }));
    await until(() => first.status().checkpoint?.id === 1);
    store.full = true;
    await expect(first.done).rejects.toThrow('no space left');
    expect(first.status().checkpoint?.id).toBe(1);
    store.full = false;
    await runToEnd(options(plan, definitions, { store }));
    expect(new Set(numbers())).toEqual(new Set([3, 4]));
  });

  test('is not asked again by a fast input while a checkpoint of it is still asked for', async () => {
    const { log, definitions } = world();
    log.bounded = false;
    const store = new BrokenStore();
    let open: () => void = () => undefined;
    store.hold = new Promise((resolve) => {
      open = resolve;
    });
    const slow = async () => {
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    log.batchSize = () => 1;
    log.add('0', ...Array.from({ length: 100 }, (_, n) => reading(n, n)));
    const run = await Run.start(options(plain, definitions, { store, checkpointMs: never, checkpointRecords: 25 }));
    await until(() => run.status().partitions[0]?.read === 100);
    expect(run.status().partitions[0]?.lag).toBe(0);
    log.add('0', reading(100, 100));
    expect(run.status().partitions[0]?.lag).toBe(1);
    open();
    for (let n = 101; n < 200; n++) {
      store.hold = slow();
      log.add('0', reading(n, n));
      await until(() => run.status().partitions[0]?.read === n + 1);
    }
    expect(store.commits).toBeLessThanOrEqual(2 + 4);
    await run.stop();
  });

  test('does not hide what ended the run when it cannot be closed either', async () => {
    const { log, definitions } = world();
    log.add('0', reading(1, 1));
    log.beforePull = () => {
      throw new RunError('The first error.');
    };
    const store = new MemoryStore();
    store.close = () => Promise.reject(new Error('The second error.'));
    await expect(runToEnd(options(plan, definitions, { store }))).rejects.toThrow('The first error.');
    await turns();
    expect(unhandled).toEqual([]);
  });
});

describe('an end by force', () => {
  test('settles `done` and every `stop`, though a sink neither writes nor closes', async () => {
    const { log, target, definitions, ports } = world();
    log.bounded = false;
    log.add('0', ...Array.from({ length: 30 }, (_, n) => reading(n, n)));
    target.beforeWrite = stuck;
    target.closesWith = stuck;
    const run = await Run.start(options(plain, definitions, { ports, checkpointMs: never }));
    await until(() => (run.status().sinks['out']?.pending ?? 0) >= 8);
    const stops = [run.stop(), run.stop()];
    for (const stop of stops) stop.catch(() => undefined);
    await turns();
    run.kill(new RunError('The sinks did not confirm.'));
    await turns();
    ports.clock.advance(60_000);
    await expect(run.done).rejects.toThrow('The sinks did not confirm.');
    for (const stop of stops) await expect(stop).rejects.toThrow('The sinks did not confirm.');
    await expect(run.stop()).rejects.toThrow('The sinks did not confirm.');
  });

  test('writes nothing more to a sink that has been closed', async () => {
    const { log, target, definitions } = world();
    log.bounded = false;
    log.add('0', ...Array.from({ length: 9 }, (_, n) => reading(n, n)));
    let release: () => void = () => undefined;
    let after = 0;
    target.beforeWrite = () => {
      after += target.closed;
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    };
    const run = await Run.start(options(plain, definitions, { checkpointMs: never }));
    await until(() => (run.status().sinks['out']?.pending ?? 0) >= 8);
    run.kill(new RunError('Enough.'));
    await run.done.catch(() => undefined);
    release();
    await turns();
    expect(after).toBe(0);
    expect(target.closed).toBe(1);
  });

  test('completes the status and the outputs', async () => {
    const { log, definitions } = world();
    log.bounded = false;
    const run = await Run.start(options(plain, definitions));
    let completed = 0;
    const complete = () => completed++;
    run.status$.subscribe({ complete });
    run.output('readings').subscribe({ complete });
    run.kill(new RunError('Enough.'));
    await run.done.catch(() => undefined);
    expect(completed).toBe(2);
  });

  test('settles too when a sink throws as it is closed', async () => {
    const { log, target, definitions } = world();
    log.bounded = false;
    target.closesWith = () => {
      throw new Error('Already gone.');
    };
    const run = await Run.start(options(plain, definitions));
    run.kill(new RunError('Enough.'));
    await expect(run.done).rejects.toThrow('Enough.');
  });

  test('closes each connection once when several things fail at once', async () => {
    const { target } = world();
    const manual = new ManualSource();
    const run = await Run.start(
      options(plan, [manualSource('log', manual), testSink('target', target), testSink('dead', target)]),
    );
    manual.context.fail(new RunError('One.'));
    manual.context.fail(new RunError('Two.'));
    await expect(run.stop()).rejects.toThrow('One.');
    await expect(run.done).rejects.toThrow('One.');
    expect(manual.closed).toBe(1);
    expect(target.closed).toBe(2);
  });
});

describe('the start', () => {
  const two = planOf([
    stream('left', [source('a', 'left'), sink('out', 'target')]),
    stream('right', [source('b', 'right'), sink('out2', 'target')]),
  ]);

  test('is refused, with all closed again, when a source fails while the next one opens', async () => {
    const { target } = world();
    const left = new ManualSource();
    const right = new ManualSource();
    right.onOpen = async () => {
      left.context.fail(new RunError('The broker refused the user.'));
      await turns();
    };
    const starting = Run.start(
      options(two, [manualSource('left', left), manualSource('right', right), testSink('target', target)]),
    );
    await expect(starting).rejects.toThrow('The broker refused the user.');
    expect([left.closed, right.closed, target.closed]).toEqual([1, 1, 2]);
  });

  test('closes a source that has nothing to read before its `open` has returned', async () => {
    const { target } = world();
    const manual = new ManualSource();
    manual.onOpen = async () => {
      manual.context.complete();
      await turns();
    };
    await runToEnd(options(plan, [manualSource('log', manual), testSink('target', target), testSink('dead', target)]));
    expect(manual.closed).toBe(1);
  });

  test('shows the results of the end of an input that had been read before to whoever subscribes', async () => {
    const { log, definitions, store } = world();
    const other = new ManualSource();
    const both = planOf([
      plan.streams[0]!,
      plan.streams[1]!,
      stream('more', [source('b', 'more'), sink('out2', 'target')]),
    ]);
    const all = [...definitions, manualSource('more', other)];
    log.bounded = false;
    log.add('0', reading(1, 1));
    const first = await Run.start(options(both, all, { store }));
    await until(() => first.status().partitions[0]?.read === 1);
    await first.stop();
    log.bounded = true;
    const second = await Run.start(options(both, all, { store }));
    const seen: unknown[] = [];
    second.output('readings').subscribe((records) => seen.push(...records.map(({ key }) => key)));
    await until(() => seen.length === 1);
    await second.stop();
  });

  test('of an output names the streams when there is none of that name', async () => {
    const { log, definitions } = world();
    log.bounded = false;
    const run = await Run.start(options(plan, definitions));
    expect(() => run.output('reading')).toThrow(/no stream `reading`.*`readings`, `bad`/);
    await run.stop();
  });
});

describe('records that a sink refuses', () => {
  test('during the last flush of a stop reach the dead letters, and are refused again after a crash', async () => {
    const { log, target, dead, store, definitions } = world();
    log.bounded = false;
    log.add('0', reading(1, 1), reading(2, 11));
    target.refuses = () => 'Too hot.';
    let release: () => void = () => undefined;
    target.beforeWrite = () => new Promise<void>((resolve) => (release = resolve));
    const first = await Run.start(options(plan, definitions, { store, checkpointMs: never }));
    await until(() => first.status().sinks['out']?.pending === 1);
    const stopping = first.stop();
    await turns();
    release();
    await stopping;
    const code = ({ record }: (typeof dead.written)[number]) => (record.value as { code: string }).code;
    expect(dead.written.map(code)).toEqual(['sink-refused']);
    target.beforeWrite = () => undefined;
    log.add('0', reading(3, 21));
    const second = await Run.start(options(plan, definitions, { store, checkpointMs: never }));
    await until(() => dead.written.length === 2);
    second.kill(new RunError('crash'));
    await second.done.catch(() => undefined);
    const third = await Run.start(options(plan, definitions, { store, checkpointMs: never }));
    await until(() => dead.written.length === 3);
    await third.stop();
    expect(dead.written[2]).toEqual(dead.written[1]);
  });
});

test('nothing above left a rejection that nobody handles', async () => {
  await turns();
  expect(unhandled).toEqual([]);
});
