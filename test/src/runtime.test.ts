import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fileSink } from '../../operators/file/index.ts';
import type { Definition } from '../../src/operator.ts';
import { ManualClock } from '../../src/ports/memory.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { silentLog, start } from '../../src/runtime.ts';
import {
  at,
  catalogue,
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
} from './engine/harness.ts';

let state: string;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'penstock-runtime-'));
});
afterEach(() => rmSync(state, { recursive: true, force: true }));

const plan = planOf([
  stream('readings', [
    source('in', 'log'),
    step('key', 'testKeyBy'),
    step('latest', 'windowLast', { every: '10s' }),
    sink('out', 'target'),
  ]),
]);

function world() {
  const log = new TestLog();
  log.bounded = false;
  log.add('0', { key: 'a', n: 1, ts: at(1) });
  const target = new TestTarget();
  const definitions = catalogue(testSource('log', log), testSink('target', target), fileSink as unknown as Definition);
  return { log, target, definitions };
}

describe('start', () => {
  test('with `fresh` leaves the state of a run that is at work alone', async () => {
    const { definitions } = world();
    const first = await start(plan, definitions, { state });
    await until(() => first.status().partitions[0]?.read === 1);
    await expect(start(plan, definitions, { state, fresh: true })).rejects.toThrow(/is in use by process \d+/);
    await first.stop();
    const second = await start(plan, definitions, { state });
    expect(second.status().partitions[0]).toMatchObject({ offset: 0 });
    await second.stop();
  });

  test('with `store: memory` leaves nothing behind, says so, and reads its input anew', async () => {
    const { definitions } = world();
    const warned: string[] = [];
    const log = { ...silentLog, warn: (message: string) => warned.push(message) };
    for (let n = 1; n <= 2; n++) {
      const run = await start({ ...plan, state: { store: 'memory' } }, definitions, { state, log });
      await until(() => run.status().partitions[0]?.read === 1);
      await run.stop();
      expect([run.status().checkpoint?.id, warned.length]).toEqual([1, n]);
    }
    expect(warned[0]).toMatch(/memory: it is lost/);
    expect(existsSync(join(state, 'state.mdb'))).toBe(false);
  });

  test.each([
    { every: 20_000, checkpointMs: undefined, taken: 20_000 },
    { every: 20_000, checkpointMs: 7_000, taken: 7_000 },
    { every: undefined, checkpointMs: undefined, taken: 5_000 },
  ])('takes a checkpoint after `state.every`, $every ms, unless told otherwise: $checkpointMs', async (given) => {
    const { definitions } = world();
    const { every, checkpointMs, taken } = given;
    const clock = new ManualClock(at(1));
    const run = await start({ ...plan, state: every === undefined ? {} : { every } }, definitions, {
      state,
      ports: { ...systemPorts(), clock },
      ...(checkpointMs !== undefined && { checkpointMs }),
    });
    await until(() => run.status().partitions[0]?.read === 1);
    clock.advance(taken - 1);
    let turns = 0;
    await until(() => turns++ > 100);
    expect(run.status().checkpoint).toBeUndefined();
    clock.advance(1);
    await until(() => run.status().checkpoint !== undefined);
    await run.stop();
  });

  test('with `fresh` begins anew, and keeps the journals', async () => {
    const { definitions } = world();
    const first = await start(plan, definitions, { state });
    await until(() => first.status().partitions[0]?.read === 1);
    await first.stop();
    writeFileSync(join(state, 'journal'), 'acknowledged');
    const second = await start(plan, definitions, { state, fresh: true });
    expect(second.status().checkpoint).toBeUndefined();
    expect(readFileSync(join(state, 'journal'), 'utf8')).toBe('acknowledged');
    await second.stop();
  });

  test('stops at once for a signal that was aborted before', async () => {
    const { definitions } = world();
    const run = await start(plan, definitions, { state, signal: AbortSignal.abort() });
    await run.done;
    expect(existsSync(join(state, 'lock'))).toBe(false);
  });

  test('stops for a signal that is aborted later', async () => {
    const { definitions } = world();
    const abort = new AbortController();
    const run = await start(plan, definitions, { state, signal: abort.signal });
    abort.abort();
    await run.done;
  });

  test('writes dead letters without a route to a file, though a stream of the plan has the name it would take', async () => {
    const { log, target, definitions } = world();
    log.bounded = true;
    log.add('0', { payload: '{' });
    const taken = planOf([
      {
        ...plan.streams[0]!,
        steps: plan.streams[0]!.steps.map((s) => (s.id === 'key' ? { ...s, otherwise: 'deadLetters' } : s)),
      },
      stream('deadLetters', [sink('deadLetters.file', 'target')]),
    ]);
    log.add('0', { n: 7, ts: at(2) });
    const run = await start(taken, definitions, { state });
    await run.done;
    const lines = readFileSync(join(state, 'dead-letters.jsonl'), 'utf8').trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { code: string }).code)).toEqual(['payload-malformed']);
    expect(target.written.map(({ record }) => (record.value as { code?: string }).code)).toContain('key-missing');
  });
});
