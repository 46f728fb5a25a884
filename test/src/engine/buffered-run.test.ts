import { describe, expect, test } from 'vitest';
import { openBufferStore } from '../../../src/engine/buffer-store.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import {
  type DeadLetter,
  type Definition,
  RunError,
  type SinkContext,
  type SinkDefinition,
} from '../../../src/operator.ts';
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
} from './harness.ts';

const reading = (n: number) => ({ key: 'a', n, ts: at(n) });

/** A topology with a buffer before its sink, on one disk and one store over all its lives. */
function world() {
  const [log, target, dead] = [new TestLog(), new TestTarget(), new TestTarget()];
  const [ports, store] = [memoryPorts(), new MemoryStore()];
  const link = { up: true };
  const out = testSink('target', target) as SinkDefinition;
  const away = {
    ...out,
    open: async (given: object, context: SinkContext) => {
      if (!link.up) throw new RunError('The target is away.');
      return out.open(given, context);
    },
  } as Definition;
  target.beforeWrite = async () => {
    while (!link.up) await ports.clock.sleep(100);
  };
  const buffer = { maxBytes: 1 << 20, whenFull: 'block' as const };
  const plan = planOf(
    [
      stream('readings', [source('in', 'log'), step('key', 'testKeyBy'), sink('out', 'target', { buffer })]),
      stream('bad', [sink('letters', 'dead')]),
    ],
    'bad',
  );
  const definitions = [testSource('log', log), away, testSink('dead', dead)];
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const start = () =>
    Run.start(
      options(plan, definitions, {
        ports,
        store,
        openBuffer: (id, { maxBytes }) =>
          openBufferStore(ports.disk, `/buffer/${id}`, { maxBytes, blocks: true, log: silent, clock: ports.clock }),
      }),
    );
  const settle = async (done: () => boolean) => {
    for (let turn = 0; turn < 3_000 && !done(); turn++) {
      ports.clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(done()).toBe(true);
  };
  const written = () => target.written.map(({ record }) => (record.value as { n: number }).n);
  return { log, target, dead, link, start, settle, written };
}

describe('a run with a buffer', () => {
  test('starts, takes checkpoints and restarts while the target is away, and has lost nothing when it is back', async () => {
    const { log, link, start, settle, written } = world();
    log.bounded = false;
    link.up = false;
    log.add('0', ...[0, 1, 2, 3, 4].map(reading));
    const first = await start();
    await settle(() => first.status().checkpoint !== undefined && first.status().sinks['out']?.written === 5);
    expect(first.status().sinks['out']?.buffer).toMatchObject({ waiting: 5, forwarded: 0 });
    first.kill(new Error('The plug was pulled.'));
    await first.done.catch(() => undefined);
    log.add('0', ...[5, 6].map(reading));
    const second = await start();
    await settle(() => second.status().sinks['out']?.buffer?.waiting === 7);
    // What the checkpoint covers is not read again: it comes out of the buffer.
    expect(second.status().partitions[0]?.read).toBe(2);
    link.up = true;
    await settle(() => written().length >= 7);
    expect(written()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const stopping = second.stop();
    let stopped = false;
    void stopping.then(() => {
      stopped = true;
    });
    await settle(() => stopped);
  });

  test('makes dead letters of what the target refuses later, perhaps in another life', async () => {
    const { log, target, dead, link, start, settle } = world();
    log.bounded = false;
    link.up = false;
    target.refuses = ({ value }) => ((value as { n: number }).n === 1 ? 'Not that.' : undefined);
    log.add('0', ...[0, 1, 2].map(reading));
    const first = await start();
    await settle(() => first.status().checkpoint !== undefined);
    first.kill(new Error('The plug was pulled.'));
    await first.done.catch(() => undefined);
    link.up = true;
    const second = await start();
    await settle(() => dead.written.length > 0 && second.status().sinks['out']?.buffer?.waiting === 0);
    expect(dead.written.map(({ record }) => record.value as DeadLetter)).toMatchObject([
      { step: 'out', code: 'sink-refused', message: 'Not that.', source: 'in/0', offset: 1 },
    ]);
    second.kill(new Error('Enough.'));
    await second.done.catch(() => undefined);
  });

  test('is over only when the target has all, where the input has an end', async () => {
    const { log, link, start, settle, written } = world();
    link.up = false;
    log.add('0', ...[0, 1, 2].map(reading));
    const run = await start();
    await settle(() => run.status().sinks['out']?.written === 3);
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(run.health().state).toBe('stopping');
    link.up = true;
    await settle(() => run.health().state === 'ended');
    expect(written()).toEqual([0, 1, 2]);
  });

  test('ends when dead letters of the buffer are refused too', async () => {
    const { log, target, dead, start, settle } = world();
    target.refuses = () => 'Not that.';
    dead.refuses = () => 'Nor that.';
    log.add('0', reading(0));
    const run = await start();
    const failed = expect(run.done).rejects.toThrow('`letters` could not take a dead letter: Nor that.');
    await settle(() => run.health().state === 'failed');
    await settle(() => target.closed > 0);
    await failed;
  });
});
