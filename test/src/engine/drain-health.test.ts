import { describe, expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { RunError } from '../../../src/errors.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
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

const plan = planOf([
  stream('readings', [
    source('in', 'list'),
    step('key', 'testKeyBy'),
    step('latest', 'windowLast', { every: '10s' }),
    sink('out', 'results'),
  ]),
]);
const reading = (n: number, ts: number) => ({
  payload: JSON.stringify({ key: 'a', n, ts: at(ts) }),
  arrival: at(100),
});

function world() {
  const log = new TestLog();
  log.bounded = false;
  log.add('0');
  const target = new TestTarget();
  const store = new MemoryStore();
  const ports = memoryPorts();
  const begin = () =>
    Run.start(
      options(plan, [testSource('list', log), testSink('results', target)], { store, ports, checkpointMs: 1_000 }),
    );
  const results = () => target.written.map(({ record }) => (record.value as { n: number }).n);
  return { log, target, ports, begin, results };
}

describe('draining', () => {
  test('closes open windows with what they hold, and says so in their pane', async () => {
    const { log, target, begin, results } = world();
    log.add('0', reading(1, 0), reading(2, 15));
    const run = await begin();
    await until(() => run.status().partitions[0]?.read === 2);
    await run.drain();
    expect(results()).toEqual([1, 2]);
    expect(target.written.map(({ record }) => record.window?.pane)).toEqual(['final', 'drained']);
  });

  test('leaves event time where it was: the next start goes on, and does not take what comes for late', async () => {
    const { log, begin, results } = world();
    log.add('0', reading(1, 0), reading(2, 15));
    const first = await begin();
    await until(() => first.status().partitions[0]?.read === 2);
    await first.drain();
    log.add('0', reading(3, 16), reading(4, 30));
    const second = await begin();
    await until(() => second.status().partitions[0]?.read === 2);
    await second.stop();
    expect(results()).toEqual([1, 2, 3]);
    expect(second.status().steps['latest']?.late).toBe(0);
  });

  test('stopping does none of this: the window goes on after the restart', async () => {
    const { log, begin, results } = world();
    log.add('0', reading(1, 0));
    const first = await begin();
    await until(() => first.status().partitions[0]?.read === 1);
    await first.stop();
    expect(results()).toEqual([]);
    log.add('0', reading(2, 5), reading(3, 10));
    const second = await begin();
    await until(() => second.status().partitions[0]?.read === 2);
    await second.stop();
    expect(results()).toEqual([2]);
  });
});

describe('health', () => {
  test('follows the run from its start to its end', async () => {
    const { begin } = world();
    const run = await begin();
    expect(run.health()).toMatchObject({ state: 'starting', healthy: false });
    await until(() => run.health().state === 'running');
    expect(run.health()).toEqual({ state: 'running', healthy: true, reasons: [] });
    const stopping = run.stop();
    expect(run.health()).toMatchObject({ state: 'stopping', healthy: false });
    await stopping;
    expect(run.health()).toMatchObject({ state: 'ended', healthy: false });
  });

  test('says what has ended a run', async () => {
    const { begin } = world();
    const run = await begin();
    run.kill(new RunError('The bucket is gone.'));
    await run.done.catch(() => undefined);
    expect(run.health()).toMatchObject({ state: 'failed', healthy: false, reasons: ['The bucket is gone.'] });
  });

  test('suffers when checkpoints stay away because a sink does not answer, and recovers with it', async () => {
    const { log, target, ports, begin } = world();
    let answer: () => void = () => undefined;
    target.beforeWrite = () => new Promise<void>((resolve) => (answer = resolve));
    const run = await begin();
    log.add('0', reading(1, 0), reading(2, 15));
    await until(() => run.status().sinks['out']?.pending === 1);
    for (let second = 0; second < 3; second++) ports.clock.advance(1_000);
    expect(run.health().healthy).toBe(true);
    ports.clock.advance(1);
    expect(run.health().reasons).toEqual(['No checkpoint for 3001 ms, although one is due every 1000 ms.']);
    target.beforeWrite = () => undefined;
    answer();
    await until(() => run.health().healthy);
    expect(run.health().checkpointAgeMs).toBe(0);
    await run.stop();
  });

  test('does not ask for checkpoints where nothing happens', async () => {
    const { ports, begin } = world();
    const run = await begin();
    await until(() => run.health().state === 'running');
    ports.clock.advance(3_600_000);
    expect(run.health().healthy).toBe(true);
    await run.stop();
  });
});
