import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { RunError } from '../../../src/errors.ts';
import { type Definition, defineStep, Type } from '../../../src/operator.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import {
  at,
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

const windowed = (windowOptions: object = {}) =>
  planOf(
    [
      stream('readings', [
        source('in', 'log'),
        step('key', 'testKeyBy'),
        step('latest', 'windowLast', { every: '10s', ...windowOptions }),
        sink('out', 'target'),
      ]),
      stream('bad', [sink('letters', 'dead')]),
    ],
    'bad',
  );

function world() {
  const log = new TestLog();
  const target = new TestTarget();
  const dead = new TestTarget();
  return {
    log,
    target,
    dead,
    definitions: [testSource('log', log), testSink('target', target), testSink('dead', dead)],
  };
}

const results = (target: TestTarget) => target.written.map(({ id, record }) => [id, (record.value as { n: number }).n]);
const letters = (target: TestTarget) =>
  target.written.map(({ record }) => record.value as { code: string; offset: number; payload: string; step: string });

describe('a run', () => {
  test('reads, closes windows at the end of the input, and says what it did', async () => {
    const { log, target, dead, definitions } = world();
    log.add('0', { key: 'a', n: 1, ts: at(1) }, { key: 'a', n: 2, ts: at(9.999) }, { key: 'a', n: 3, ts: at(10) });
    const run = await runToEnd(options(windowed(), definitions));
    expect(results(target)).toEqual([
      [`latest/a/${at(0)}`, 2],
      [`latest/a/${at(10)}`, 3],
    ]);
    expect(dead.written).toEqual([]);
    expect(run.status().steps['latest']).toMatchObject({ in: 3, out: 2, rejected: 0, late: 0, keys: 0 });
    expect([target.opened, target.closed]).toEqual([1, 1]);
    expect(log.committed.get('0')).toBe(3);
  });

  test('counts and routes every kind of bad record with its original bytes, and goes on', async () => {
    const { log, target, dead, definitions } = world();
    const arrival = at(100);
    const json = (value: object) => ({ payload: JSON.stringify(value), arrival });
    const bad: [string, { payload: string | Buffer; arrival: number }][] = [
      ['payload-malformed', { payload: '{"key":"a",', arrival }],
      ['payload-malformed', { payload: '', arrival }],
      ['payload-encoding', { payload: Buffer.from([0x22, 0xff, 0x22]), arrival }],
      ['payload-too-large', { payload: `"${'x'.repeat(1024 * 1024)}"`, arrival }],
      ['payload-too-deep', { payload: '['.repeat(5_000) + ']'.repeat(5_000), arrival }],
      ['payload-forbidden-key', { payload: `{"ts":${at(1)},"a":{"__proto__":{"x":1}}}`, arrival }],
      ['payload-forbidden-key', { payload: `{"ts":${at(1)},"\\u005f_proto__":1}`, arrival }],
      ['time-invalid', json({ key: 'a', ts: 1_700_000_000 })],
      ['time-invalid', json({ key: 'a', ts: '2026' })],
      ['time-invalid', json({ key: 'a' })],
      ['time-future', json({ key: 'a', ts: Date.UTC(2099, 0, 1) })],
      ['key-missing', json({ ts: at(3) })],
    ];
    log.add(
      '0',
      json({ key: 'a', n: 1, ts: at(1) }),
      ...bad.map(([, entry]) => entry),
      json({ key: 'a', n: 2, ts: at(2) }),
    );
    const run = await runToEnd(options(windowed(), definitions));
    expect(results(target)).toEqual([[`latest/a/${at(0)}`, 2]]);
    expect(letters(dead).map(({ code }) => code)).toEqual(bad.map(([code]) => code));
    for (const [i, letter] of letters(dead).entries()) {
      const payload = Buffer.from(bad[i]![1].payload);
      const kept = Buffer.from(letter.payload, (letter as { payloadEncoding?: BufferEncoding }).payloadEncoding);
      expect(kept.equals(payload.subarray(0, 512 * 1024))).toBe(true);
      expect(letter.offset).toBe(i + 1);
    }
    expect(run.status().partitions[0]).toMatchObject({ read: bad.length + 2, rejected: bad.length - 1 });
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  test('routes a late record, and does not move event time by a record from the future', async () => {
    const { log, target, dead, definitions } = world();
    const entry = (n: number, ts: number) => ({ payload: JSON.stringify({ key: 'a', n, ts }), arrival: at(30) });
    log.add('0', entry(1, at(1)), entry(2, at(91)), entry(3, at(2)), entry(4, at(10)), entry(5, at(3)));
    await runToEnd(options(windowed(), definitions));
    expect(letters(dead).map(({ code, offset }) => [code, offset])).toEqual([
      ['time-future', 1],
      ['late', 4],
    ]);
    expect(results(target).map(([, n]) => n)).toEqual([3, 4]);
  });

  test('sends records that a sink refuses to the dead letters before the checkpoint that covers them', async () => {
    const { log, target, dead, definitions } = world();
    target.refuses = (record) => ((record.value as { n: number }).n === 2 ? 'Too hot.' : undefined);
    log.add('0', ...[1, 2, 3].map((n) => ({ key: `k${n}`, n, ts: at(n) })));
    await runToEnd(options(windowed(), definitions));
    expect(results(target).map(([, n]) => n)).toEqual([1, 3]);
    expect(letters(dead)).toMatchObject([
      { code: 'sink-refused', message: 'Too hot.', step: 'out', payload: `{"key":"k2","n":2,"ts":${at(2)}}` },
    ]);
  });

  test('stops rather than loses a record when the dead letters are refused too', async () => {
    const { log, dead, definitions } = world();
    dead.refuses = () => 'Full.';
    log.add('0', { ts: at(1) });
    await expect(runToEnd(options(windowed(), definitions))).rejects.toThrow(
      /`letters` could not take a dead letter: Full\./,
    );
  });

  test('sends a record on which a step fails to the dead letters, and goes on', async () => {
    const { log, target, dead, definitions } = world();
    const fragile = defineStep({
      name: 'fragile',
      summary: 'Breaks.',
      options: Type.Object({}),
      examples: [],
      create: () => ({
        onRecord(record, step) {
          if ((record.value as { n: number }).n === 2) throw new TypeError('n is two');
          step.emit(record);
        },
      }),
    }) as unknown as Definition;
    const plan = planOf(
      [
        stream('all', [source('in', 'log'), step('weak', 'fragile'), sink('out', 'target')]),
        stream('bad', [sink('letters', 'dead')]),
      ],
      'bad',
    );
    log.add('0', ...[1, 2, 3].map((n) => ({ n, ts: at(n) })));
    await runToEnd(options(plan, [...definitions, fragile]));
    expect(target.written.map(({ id }) => id)).toEqual(['in/0/0', 'in/0/2']);
    expect(letters(dead)).toMatchObject([
      { code: 'step-failed', message: 'The step failed: n is two', step: 'weak', offset: 1 },
    ]);
  });

  test('drops only where `drop` is written', async () => {
    const { log, dead, definitions } = world();
    log.add('0', { ts: at(1) }, { key: 'a', n: 1, ts: at(20) }, { key: 'a', n: 1, ts: at(1) });
    const plan = windowed();
    const steps = plan.streams[0]!.steps.map((s) => (s.id === 'key' ? { ...s, otherwise: 'drop' } : s));
    const run = await runToEnd(
      options({ ...plan, streams: [{ ...plan.streams[0]!, steps }, plan.streams[1]!] }, definitions),
    );
    expect(letters(dead).map(({ code }) => code)).toEqual(['late']);
    expect(run.status().steps['key']).toMatchObject({ in: 3, out: 2, rejected: 1 });
  });

  test('sends late records to `late`, without one to `otherwise`, and only then to the dead letters', async () => {
    for (const [more, into] of [
      [{ late: 'tardy', otherwise: 'odd' }, 'tardy'],
      [{ otherwise: 'odd' }, 'odd'],
      [{}, 'bad'],
    ] as const) {
      const { log, definitions } = world();
      const side = { tardy: new TestTarget(), odd: new TestTarget(), bad: new TestTarget() };
      log.add('0', { key: 'a', n: 1, ts: at(20) }, { key: 'a', n: 2, ts: at(1) });
      const steps = windowed().streams[0]!.steps.map((s) => (s.id === 'latest' ? { ...s, ...more } : s));
      const sides = Object.keys(side).map((name) => stream(name, [sink(`${name}.out`, name)]));
      const sinks = Object.entries(side).map(([name, target]) => testSink(name, target));
      const plan = planOf([stream('readings', steps), ...sides], 'bad');
      await runToEnd(options(plan, [...definitions, ...sinks]));
      const got = Object.entries(side).filter(([, { written }]) => written.length > 0);
      expect(got.map(([name]) => name)).toEqual([into]);
    }
  });

  test('keeps windows open over a stop, and closes them after the restart', async () => {
    const { log, target, definitions } = world();
    log.bounded = false;
    log.add('0', { key: 'a', n: 1, ts: at(1) });
    const store = new MemoryStore();
    const first = await Run.start(options(windowed(), definitions, { store }));
    await until(() => first.status().partitions[0]?.read === 1);
    await first.stop();
    await first.done;
    expect(target.written).toEqual([]);
    log.add('0', { key: 'a', n: 2, ts: at(10) });
    const second = await Run.start(options(windowed(), definitions, { store }));
    await until(() => target.written.length === 1);
    await second.stop();
    expect(results(target)).toEqual([[`latest/a/${at(0)}`, 1]]);
  });

  test('lets a slow sink stop the intake, and never holds more than the sink may lag', async () => {
    const { log, target, definitions } = world();
    log.add('0', ...Array.from({ length: 500 }, (_, n) => ({ key: 'a', n, ts: at(n) })));
    let most = 0;
    let run: Run | undefined;
    target.beforeWrite = async () => {
      most = Math.max(most, run?.status().sinks['out']?.pending ?? 0);
      // Five times slower than the source could be.
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    const plan = planOf([stream('readings', [source('in', 'log'), sink('out', 'target')])]);
    run = await Run.start(options(plan, definitions));
    await run.done;
    expect(target.written.length).toBe(500);
    expect(most).toBeLessThanOrEqual(2 * 4 + 3);
  });

  test('ends with the error of a sink that cannot go on, and leaves the last checkpoint as it was', async () => {
    const { log, target, definitions } = world();
    log.add('0', { key: 'a', n: 1, ts: at(1) });
    target.beforeWrite = () => {
      throw new RunError('The token is not accepted.');
    };
    const store = new MemoryStore();
    await expect(runToEnd(options(windowed(), definitions, { store }))).rejects.toThrow('The token is not accepted.');
    expect(store.get('checkpoint')).toBeUndefined();
    expect(target.closed).toBe(1);
  });

  test('refuses state that the topology no longer fits, and an input that has ended', async () => {
    const { log, definitions } = world();
    log.add('0', { key: 'a', n: 1, ts: at(1) });
    log.bounded = false;
    const store = new MemoryStore();
    const run = await Run.start(options(windowed(), definitions, { store }));
    await until(() => run.status().partitions[0]?.read === 1);
    await run.stop();
    const changed = options(windowed({ every: '20s' }), definitions, { store });
    await expect(Run.start(changed)).rejects.toThrow(
      /`latest` was made by `windowLast` \(state version 1, every: "10s"\); the topology now says .*every: "20s"/,
    );
    const renamed = windowed();
    const steps = renamed.streams[0]!.steps.map((s) => (s.id === 'latest' ? { ...s, id: 'newest' } : s));
    const without = options(
      { ...renamed, streams: [{ ...renamed.streams[0]!, steps }, renamed.streams[1]!] },
      definitions,
      { store },
    );
    await expect(Run.start(without)).rejects.toThrow(/state of the step `latest`, which the topology no longer has/);
    log.bounded = true;
    await runToEnd(options(windowed(), definitions, { store }));
    await expect(Run.start(options(windowed(), definitions, { store }))).rejects.toThrow(/has ended/);
  });

  test('gives each source partition its own event time and state', async () => {
    const { log, target, definitions } = world();
    log.add('0', { key: 'a', n: 1, ts: at(1) }, { key: 'a', n: 2, ts: at(500) });
    log.add('1', { key: 'a', n: 3, ts: at(2) }, { key: 'a', n: 4, ts: at(3) });
    const run = await runToEnd(options(windowed(), definitions));
    expect(
      results(target)
        .map(([, n]) => n)
        .sort(),
    ).toEqual([1, 2, 4]);
    expect(run.status().steps['latest']).toMatchObject({ late: 0 });
  });

  test('shares one task between sources that meet in a keyed step, and holds event time to the slower one', async () => {
    const { log, target, definitions } = world();
    const other = new TestLog();
    log.add('0', { key: 'a', n: 1, ts: at(1) }, { key: 'a', n: 2, ts: at(500) });
    other.add('0', { key: 'a', n: 3, ts: at(2) }, { key: 'a', n: 4, ts: at(3) });
    const plan = planOf([
      stream('left', [source('in', 'log')]),
      stream('right', [source('in2', 'other')]),
      stream(
        'both',
        [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
        ['left', 'right'],
      ),
    ]);
    const run = await runToEnd(options(plan, [...definitions, testSource('other', other)]));
    expect(results(target)).toEqual([
      [`latest/a/${at(0)}`, 4],
      [`latest/a/${at(500)}`, 2],
    ]);
    expect(run.status().steps['latest']).toMatchObject({ in: 4, late: 0 });
  });

  test('holds event time back until every source of a shared task has shown a partition', async () => {
    const { log, target, definitions } = world();
    const other = new TestLog();
    let show: () => void = () => undefined;
    other.ready = new Promise((resolve) => {
      show = resolve;
    });
    log.bounded = false;
    log.add('0', { key: 'a', n: 1, ts: at(1) }, { key: 'a', n: 2, ts: at(500) });
    other.add('0', { key: 'a', n: 3, ts: at(2) }, { key: 'a', n: 4, ts: at(3) }, { key: 'a', n: 5, ts: at(20) });
    const plan = planOf([
      stream('left', [source('in', 'log')]),
      stream('right', [source('in2', 'other')]),
      stream(
        'both',
        [step('key', 'testKeyBy'), step('latest', 'windowLast', { every: '10s' }), sink('out', 'target')],
        ['left', 'right'],
      ),
    ]);
    const run = await Run.start(options(plan, [...definitions, testSource('other', other)]));
    await until(() => run.status().partitions[0]?.read === 2);
    expect(target.written).toEqual([]);
    show();
    await until(() => target.written.length === 2);
    await run.stop();
    expect(results(target).map(([, n]) => n)).toEqual([4, 5]);
  });

  test('moves event time by every record, before the next one is looked at', async () => {
    const { log, dead, definitions } = world();
    log.add('0', ...[9.5, 9.999, 10, 9.999].map((t, n) => ({ key: 'a', n, ts: at(t) })));
    await runToEnd(options(windowed(), definitions));
    expect(letters(dead).map(({ code, offset }) => [code, offset])).toEqual([['late', 3]]);
  });

  test('watches streams without changing them', async () => {
    const { log, target, definitions } = world();
    log.bounded = false;
    log.add('0', { key: 'a', n: 1, ts: at(1) }, { key: 'b', n: 2, ts: at(10) });
    const run = await Run.start(options(windowed(), definitions));
    const seen: unknown[] = [];
    run.output('readings').subscribe((records) => seen.push(...records.map((r) => r.key)));
    log.add('0', { key: 'c', n: 3, ts: at(20) });
    await until(() => target.written.length === 2);
    await run.stop();
    expect(seen).toEqual(['a', 'b']);
  });
});

describe('silence', () => {
  const idle = { field: 'ts', unit: 'ms', idle: '5s' };
  const idlePlan = (time: object | string) => {
    const plan = windowed();
    const [first, ...rest] = plan.streams[0]!.steps;
    return {
      ...plan,
      streams: [{ ...plan.streams[0]!, steps: [{ ...first!, options: { time } }, ...rest] }, plan.streams[1]!],
    };
  };

  test('closes a window once the only partition has been silent for `idle`, not a moment before', async () => {
    const { log, target, definitions } = world();
    log.bounded = false;
    const ports = memoryPorts();
    ports.clock.advance(at(0));
    log.add('0', { payload: JSON.stringify({ key: 'a', n: 1, ts: at(1) }), arrival: at(1) });
    const run = await Run.start(options(idlePlan(idle), definitions, { ports }));
    await until(() => run.status().partitions[0]?.read === 1);
    // The window ends at 10 s; event time follows the clock 5 s behind: it may close at 15 s.
    for (let t = 0; t < 14_800; t += 200) {
      ports.clock.advance(200);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(target.written.length).toBe(0);
    ports.clock.advance(200);
    await until(() => target.written.length === 1);
    log.add('0', { payload: JSON.stringify({ key: 'a', n: 2, ts: at(2) }), arrival: at(16) });
    await until(() => run.status().steps['latest']?.late === 1);
    await run.stop();
  });

  test('takes the same idle step at the same place after a crash, so that no window comes out two ways', async () => {
    const { log, target, dead, definitions } = world();
    log.bounded = false;
    const store = new MemoryStore();
    const ports = memoryPorts();
    ports.clock.advance(at(20));
    const entry = (n: number, ts: number) => ({ payload: JSON.stringify({ key: 'a', n, ts }), arrival: at(20) });
    log.add('0', entry(1, at(1)));
    const first = await Run.start(options(idlePlan(idle), definitions, { ports, store }));
    await until(() => first.status().partitions[0]?.read === 1);
    await until(() => {
      ports.clock.advance(100);
      return target.written.length === 1;
    });
    log.add('0', entry(2, at(2)));
    await until(() => dead.written.length === 1);
    first.kill(new RunError('crash'));
    await first.done.catch(() => undefined);
    const second = await Run.start(options(idlePlan(idle), definitions, { ports, store }));
    await until(() => second.status().steps['latest']?.late === 1);
    await second.stop();
    expect(results(target)).toEqual([
      [`latest/a/${at(0)}`, 1],
      [`latest/a/${at(0)}`, 1],
    ]);
    expect(letters(dead).map(({ code, offset }) => [code, offset])).toEqual([
      ['was-idle', 1],
      ['was-idle', 1],
    ]);
  });
});

describe('any input', () => {
  // Around windows of 10 s, in steps that hit their edges; keys a and b; every seventh payload is broken.
  const inputs = fc.array(
    fc.record({
      tick: fc.nat(16),
      key: fc.constantFrom('a', 'b'),
      jitter: fc.constantFrom(-1, 0, 1),
      broken: fc.nat(6),
    }),
    { maxLength: 40 },
  );
  const payloads = (input: readonly { tick: number; key: string; jitter: number; broken: number }[]) =>
    input.map(({ tick, key, jitter, broken }, n) => ({
      payload: broken === 0 ? '{' : JSON.stringify({ key, n, ts: at(tick * 2.5) + jitter }),
      arrival: at(100),
    }));
  const byId = (target: TestTarget) => {
    const all = new Map<string, unknown>();
    for (const { id, record } of target.written) {
      const value = JSON.stringify(record.value);
      // The same id never stands for two different results.
      expect(all.get(id) ?? value).toBe(value);
      all.set(id, value);
    }
    return all;
  };

  test('gives the same at any batch size', () =>
    fc.assert(
      fc.asyncProperty(inputs, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), async (input, sizes) => {
        const runs = [];
        for (const size of [() => 1, (i: number) => sizes[i % sizes.length]!]) {
          const { log, target, dead, definitions } = world();
          let i = 0;
          log.batchSize = () => size(i++);
          log.add('0', ...payloads(input));
          await runToEnd(options(windowed({ lateness: '2500ms' }), definitions));
          runs.push([results(target), letters(dead)]);
        }
        expect(runs[1]).toEqual(runs[0]);
      }),
      { numRuns: 200 },
    ));

  test('gives the same results and dead letters under any crashes, each result perhaps more than once but always alike', () =>
    fc.assert(
      fc.asyncProperty(
        inputs,
        fc.array(fc.record({ pulls: fc.nat(12), writes: fc.nat(8) }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 12 }),
        async (input, crashes, checkpointRecords) => {
          const calm = world();
          calm.log.add('0', ...payloads(input));
          await runToEnd(options(windowed(), calm.definitions));

          const store = new MemoryStore();
          const { log, target, dead, definitions } = world();
          log.add('0', ...payloads(input));
          for (const { pulls, writes } of crashes) {
            let [pullsLeft, writesLeft] = [pulls, writes];
            const crash = () => {
              throw new RunError('crash');
            };
            log.beforePull = () => pullsLeft-- <= 0 && crash();
            target.beforeWrite = () => writesLeft-- <= 0 && crash();
            try {
              await runToEnd(options(windowed(), definitions, { store, checkpointRecords }));
            } catch (error) {
              if (/has ended/.test((error as Error).message)) break;
              expect((error as Error).message).toBe('crash');
            }
          }
          log.beforePull = () => undefined;
          target.beforeWrite = () => undefined;
          await runToEnd(options(windowed(), definitions, { store, checkpointRecords })).catch((error: Error) =>
            expect(error.message).toMatch(/has ended/),
          );
          expect(byId(target)).toEqual(byId(calm.target));
          expect(byId(dead)).toEqual(byId(calm.dead));
        },
      ),
      { numRuns: 500 },
    ));
});
