import { describe, expect, test } from 'vitest';
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
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  until,
} from './harness.ts';

const turns = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** A promise, and what opens it. */
function barrier() {
  let open: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { closed, open: () => open() };
}

/** A store whose commits wait. */
class SlowStore extends MemoryStore {
  commits = 0;
  wait: () => Promise<void> = () => Promise.resolve();
  override async commit(changes: Parameters<MemoryStore['commit']>[0]): Promise<void> {
    this.commits++;
    await this.wait();
    await super.commit(changes);
  }
}

const plan = planOf([
  stream('readings', [
    source('in', 'manual', { field: 'ts', unit: 'ms', idle: '5s' }),
    step('key', 'testKeyBy'),
    sink('first', 'target'),
    step('latest', 'windowLast', { every: '10s' }),
    sink('out', 'results'),
  ]),
]);
const reading = (n: number, ts: number) => ({
  payload: JSON.stringify({ key: 'a', n, ts: at(ts) }),
  arrival: at(100),
});

async function running(checkpointMs: number | undefined = 1_000, checkpointRecords?: number) {
  const manual = new ManualSource();
  const target = new TestTarget();
  const results = new TestTarget();
  const ports = memoryPorts();
  ports.clock.advance(at(20));
  const store = new SlowStore();
  const log = new TestLog();
  log.bounded = false;
  const definitions = [manualSource('manual', manual), testSink('target', target), testSink('results', results)];
  const run = await Run.start(
    options(plan, definitions, {
      ...{ ports, store },
      ...(Number.isFinite(checkpointMs) && { checkpointMs }),
      ...(checkpointRecords !== undefined && { checkpointRecords }),
    }),
  );
  return { manual, target, results, ports, store, log, run };
}

test('a partition that only our own sink holds up is not silent', async () => {
  const { manual, target, ports, store, log, run } = await running(1e12);
  const stuck = barrier();
  target.beforeWrite = () => stuck.closed;
  log.batchSize = () => 100;
  log.add('0', ...Array.from({ length: 20 }, (_, n) => reading(n, n / 10)));
  manual.assign('0', log);
  await until(() => run.status().partitions[0]?.read === 20);
  for (let tenths = 0; tenths < 200; tenths++) {
    ports.clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect([...store.entries('idle')]).toEqual([]);
  stuck.open();
  await until(() => {
    ports.clock.advance(100);
    return [...store.entries('idle')].length === 1;
  });
  await run.stop();
});

describe('a checkpoint', () => {
  test('is taken every 5 s unless told otherwise, and only when there is something new', async () => {
    // Not a number of ms: the default.
    const { manual, ports, store, log, run } = await running(Number.NaN);
    // Its window is not due for long: no step of silence is written meanwhile.
    log.add('0', reading(1, 150));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    ports.clock.advance(4_999);
    await turns();
    expect(store.commits).toBe(0);
    ports.clock.advance(1);
    await until(() => store.commits === 1);
    await turns();
    ports.clock.advance(5_000);
    await turns();
    expect(store.commits).toBe(1);
    await run.stop();
  });

  test('is taken after so many records, not after one less', async () => {
    const { manual, store, log, run } = await running(1e12, 3);
    log.batchSize = () => 1;
    log.add('0', reading(1, 1), reading(2, 2));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 2);
    await turns();
    expect(store.commits).toBe(0);
    log.add('0', reading(3, 3));
    await until(() => store.commits === 1);
    expect(manual.context.position('0')).toBe(3);
    await run.stop();
  });

  test('is committed, and told to the sources, before the next one is taken', async () => {
    const { manual, ports, store, log, run } = await running();
    const slow = barrier();
    store.wait = () => slow.closed;
    let told = 0;
    manual.onCommitted = () => {
      told++;
    };
    log.add('0', reading(1, 1));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    ports.clock.advance(1_000);
    await until(() => store.commits === 1);
    log.add('0', reading(2, 2));
    await until(() => run.status().partitions[0]?.read === 2);
    const left = manual.context.revoke('0');
    await turns();
    expect([store.commits, told]).toEqual([1, 0]);
    slow.open();
    await left;
    expect([store.commits, told]).toEqual([2, 2]);
    expect(manual.context.position('0')).toBe(2);
    await run.stop();
  });

  test('that waits for a sink is given up, with nothing written, when the sink fails', async () => {
    const { manual, target, ports, store, log, run } = await running();
    const stuck = barrier();
    target.beforeWrite = async () => {
      await stuck.closed;
      throw new RunError('The bucket is gone.');
    };
    log.add('0', reading(1, 1));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    ports.clock.advance(1_000);
    await turns();
    stuck.open();
    await expect(run.done).rejects.toThrow('The bucket is gone.');
    expect([...store.entries('')]).toEqual([]);
    expect(store.commits).toBe(0);
  });

  test('holds the intake until the sinks have confirmed, and no step of silence is taken meanwhile', async () => {
    const { manual, target, results, ports, store, log, run } = await running();
    const stuck = barrier();
    target.beforeWrite = () => stuck.closed;
    log.add('0', reading(1, 1));
    manual.assign('0', log);
    await until(() => run.status().partitions[0]?.read === 1);
    ports.clock.advance(1_000);
    await turns();
    for (let tenths = 0; tenths < 200; tenths++) {
      ports.clock.advance(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect([...store.entries('')]).toEqual([]);
    log.add('0', reading(2, 2));
    await turns();
    expect(run.status().partitions[0]?.read).toBe(1);
    stuck.open();
    await until(() => run.status().partitions[0]?.read === 2);
    await until(() => {
      ports.clock.advance(100);
      return results.written.length === 1;
    });
    expect((results.written[0]!.record.value as { n: number }).n).toBe(2);
    await run.stop();
  });
});
