import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FailureRate } from '../../../src/engine/failure-rate.ts';
import { RetryingSink } from '../../../src/engine/retrying-sink.ts';
import { Run } from '../../../src/engine/run.ts';
import { type DeadLetter, type OpenSink, StreamRecord } from '../../../src/operator.ts';
import { ManualClock, memoryPorts } from '../../../src/ports/memory.ts';
import type { ErrorPolicy, Plan, PlanStep } from '../../../src/topology/plan.ts';
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

const good = (n: number) => ({ key: 'a', ts: at(n) });

/** One stream with a step that rejects what has no key, a sink, and a sink for dead letters. */
function world(beside: { step?: Partial<PlanStep>; out?: Partial<PlanStep>; plan?: Partial<Plan> } = {}) {
  const log = new TestLog();
  const [target, dead] = [new TestTarget(), new TestTarget()];
  const plan: Plan = {
    ...planOf(
      [
        stream('readings', [
          source('in', 'log'),
          step('key', 'testKeyBy', {}, beside.step),
          sink('out', 'target', beside.out),
        ]),
        stream('bad', [sink('letters', 'dead')]),
      ],
      'bad',
    ),
    ...beside.plan,
  };
  const ports = memoryPorts();
  const definitions = [testSource('log', log), testSink('target', target), testSink('dead', dead)];
  const letters = () => dead.written.map(({ record }) => record.value as DeadLetter);
  return { log, target, dead, letters, ports, options: options(plan, definitions, { ports }) };
}

describe('a dead letter', () => {
  test('says how often it was tried and when, where, and whether its payload is what came in', async () => {
    const { log, target, letters, ports, options } = world();
    ports.clock.advance(at(5));
    target.refuses = () => 'Full.';
    const payload = `{"ts": ${at(1)} }`;
    log.add('0', { payload }, { payload: '{' }, good(1));
    await runToEnd(options);
    const told = letters().map(({ stage, operator, original, payload, attempt, at, version, bytes }) => [
      stage,
      operator,
      original,
      payload,
      attempt,
      at,
      version,
      bytes,
    ]);
    expect(told).toEqual([
      ['step', 'testKeyBy', true, payload, 1, at(5), 1, payload.length],
      ['source', 'log', true, '{', 1, at(5), 1, 1],
      ['sink', 'target', false, JSON.stringify(good(1)), 1, at(5), 1, expect.any(Number)],
    ]);
  });

  test('that its sink refuses ends the run, with a plain error and without another dead letter', async () => {
    const { log, dead, options } = world({ plan: { onError: { retry: { attempts: 2, backoffMs: 1 } } } });
    let writes = 0;
    dead.beforeWrite = () => {
      writes++;
    };
    dead.refuses = () => 'No room.';
    log.add('0', { payload: '{' });
    const { clock } = options.ports as ReturnType<typeof memoryPorts>;
    const run = await Run.start(options);
    const ended = expect(run.done).rejects.toThrow(
      /^`letters` could not take a dead letter: No room\. The run stops here/,
    );
    await until(() => writes === 1);
    while (clock.sleeping > 0 && writes < 2) {
      clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await ended;
    expect([writes, dead.written.length]).toEqual([2, 0]);
  });
});

describe('`onError: fail`', () => {
  test('ends the run at the first record that is rejected, with its step, place and code and without its payload', async () => {
    const { log, dead, options } = world({ step: { onError: { fail: true } } });
    log.add('0', good(1), { ts: at(2), pin: '4711' }, good(3));
    const failure = await runToEnd(options).catch((error: Error) => error as Error);
    expect(failure).toMatchObject({
      where: 'key',
      message: expect.stringMatching(/^`key` of `test` has rejected record 1 of `in\/0` \(`key-missing`\): No key\./),
    });
    expect([String(failure).includes('4711'), dead.written]).toEqual([false, []]);
  });

  test('of a topology holds for steps without a stream of their own, and is not about late records', async () => {
    const own = world({ step: { otherwise: 'bad' }, plan: { onError: { fail: true } } });
    own.log.add('0', { ts: at(2) });
    await runToEnd(own.options);
    expect(own.letters()).toMatchObject([{ step: 'key', code: 'key-missing' }]);

    const late = new TestLog().add('0', good(1), good(300), good(2));
    const [out, dead] = [new TestTarget(), new TestTarget()];
    const steps = [source('in', 'late'), step('key', 'testKeyBy'), step('w', 'windowLast', { every: '1m' })];
    const plan: Plan = {
      ...planOf([stream('a', [...steps, sink('out', 'target')]), stream('bad', [sink('letters', 'dead')])], 'bad'),
      onError: { fail: true },
    };
    await runToEnd(options(plan, [testSource('late', late), testSink('target', out), testSink('dead', dead)]));
    expect(dead.written.map(({ record }) => (record.value as DeadLetter).code)).toEqual(['late']);
  });
});

test('`onError: drop` of a topology counts what is rejected and goes on', async () => {
  const { log, dead, target, options } = world({ plan: { otherwise: 'drop' } });
  log.add('0', { ts: at(2) }, { payload: '{' }, good(3));
  const status = (await runToEnd(options)).status();
  expect([dead.written.length, target.written.length]).toEqual([0, 1]);
  expect([status.steps['key']?.rejected, status.partitions[0]?.rejected]).toEqual([1, 1]);
});

describe('`retry` of a sink', () => {
  const retry = (attempts: number): ErrorPolicy => ({ retry: { attempts, backoffMs: 1_000 } });

  test('writes again what the target refuses, so often, and then tells the dead letter how often', async () => {
    const { log, target, letters, ports, options } = world({ out: { onError: retry(3) } });
    let writes = 0;
    target.beforeWrite = () => {
      writes++;
    };
    target.refuses = ({ offset }) => (offset === 1 || (offset === 2 && writes < 2) ? 'Not now.' : undefined);
    log.add('0', good(0), good(1), good(2));
    const run = await Run.start(options);
    while (run.health().state !== 'ended') {
      ports.clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(target.written.map(({ record }) => record.offset)).toEqual([0, 2]);
    expect([writes, letters()]).toMatchObject([3, [{ step: 'out', offset: 1, attempt: 3, code: 'sink-refused' }]]);
  });

  test('gives every record once, refuses by its own place, and never writes what was taken', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 2, max: 5 }),
        async (refusals, attempts) => {
          const left = [...refusals];
          const taken: number[] = [];
          const target: OpenSink = {
            async write(records) {
              return records.flatMap(({ value }, index) => {
                if (left[value as number]! > 0) {
                  left[value as number]!--;
                  return [{ index, message: `No ${value}.` }];
                }
                taken.push(value as number);
                return [];
              });
            },
            async close() {},
          };
          const ports = { ...memoryPorts(), clock: { now: () => 0, sleep: async () => undefined } };
          const sink = new RetryingSink(target, { attempts, backoffMs: 1 }, ports, new AbortController().signal);
          const refused = (await sink.write(refusals.map((_, n) => new StreamRecord(n)))) ?? [];
          expect(taken.sort((a, b) => a - b)).toEqual(refusals.flatMap((times, n) => (times < attempts ? [n] : [])));
          expect(refused).toEqual(
            refusals.flatMap((times, index) =>
              times < attempts ? [] : [{ index, message: `No ${index}.`, attempts }],
            ),
          );
        },
      ),
    ));

  test('pauses longer from time to time, and ends with the run', async () => {
    const waits: number[] = [];
    const ended = new AbortController();
    const clock = {
      now: () => 0,
      async sleep(ms: number) {
        waits.push(ms);
        if (waits.length === 9) ended.abort();
      },
    };
    const target: OpenSink = { write: async () => [{ index: 0, message: 'No.' }], close: async () => {} };
    const ports = { ...memoryPorts(), clock, random: () => 1 };
    const sink = new RetryingSink(target, { attempts: 100, backoffMs: 1_000 }, ports, ended.signal);
    await expect(sink.write([new StreamRecord(1)])).rejects.toThrow('Stopped while records');
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  });
});

describe('`stopAt`', () => {
  test('ends the run when too many records are rejected, with step, count and code', async () => {
    const onError: ErrorPolicy = { stopAt: { share: 0.5, overMs: 60_000, atLeast: 4 } };
    const { log, letters, options } = world({ step: { onError } });
    const bad = (n: number) => ({ ts: at(n) });
    log.add('0', bad(0), good(1), good(2), bad(3), good(4), bad(5), good(6), bad(7), bad(8), bad(9));
    await expect(runToEnd(options)).rejects.toThrow(
      /^`key` has rejected 2 of the 4 records of the last 60 s, most of them with `key-missing`: `stopAt` ends the run at a share of 0\.5\./,
    );
    expect(letters().length).toBeLessThan(2);
  });

  test('counts what a source cannot read, and what a sink is refused', async () => {
    const onError: ErrorPolicy = { stopAt: { share: 0.9, overMs: 1_000, atLeast: 3 } };
    const unread = world({ plan: { onError } });
    unread.log.add('0', { payload: '{' }, { payload: '{' }, { payload: '{' });
    await expect(runToEnd(unread.options)).rejects.toThrow(/^`in` has rejected 3 of the 3 .*`payload-malformed`/);
    const refused = world({ out: { onError } });
    refused.target.refuses = () => 'No.';
    refused.log.add('0', good(0), good(1), good(2));
    await expect(runToEnd(refused.options)).rejects.toThrow(/^`out` has rejected 3 of the 3 .*`sink-refused`/);
  });

  test('ends a run exactly when, of the records of about the last `over`, so many were rejected', () =>
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 400 })), { maxLength: 200 }),
        fc.constantFrom(0.2, 0.5, 1),
        (course, share) => {
          const clock = new ManualClock();
          const [overMs, atLeast] = [1_000, 5];
          const rate = new FailureRate('s', { share, overMs, atLeast }, clock);
          const past: { at: number; fails: boolean }[] = [];
          for (const [fails, pause] of course) {
            clock.advance(pause);
            past.push({ at: clock.now(), fails });
            rate.count();
            if (!fails) continue;
            const ended = throws(() => rate.failed('step-failed'));
            // What is forgotten goes a tenth of `over` at a time: the edge lies somewhere in there.
            const now = clock.now();
            const edges = [now - overMs, now - 0.9 * overMs, ...past.map((one) => one.at)].filter(
              (edge) => edge >= now - overMs && edge <= now - 0.9 * overMs,
            );
            const verdicts = edges.map((edge) => {
              const recent = past.filter((one) => one.at > edge);
              return recent.length >= atLeast && recent.filter((one) => one.fails).length >= share * recent.length;
            });
            expect(verdicts).toContain(ended);
            if (ended) return;
          }
        },
      ),
    ));
});

function throws(call: () => void): boolean {
  try {
    call();
    return false;
  } catch {
    return true;
  }
}
