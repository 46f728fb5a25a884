import { Observable } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { type Definition, defineStep, RejectError, type Step, Type } from '../../../src/operator.ts';
import { StreamRecord } from '../../../src/record.ts';
import { asRx } from '../../../src/rx.ts';
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

const unhandled: unknown[] = [];
const note = (reason: unknown) => unhandled.push(reason);
beforeAll(() => void process.on('unhandledRejection', note));
afterAll(() => void process.off('unhandledRejection', note));

const custom = (behaviour: Step<unknown>, keyed = false): Definition =>
  defineStep({
    name: 'custom',
    summary: 'Does as a test says.',
    options: Type.Object({}),
    examples: [],
    keyed,
    create: () => behaviour,
  }) as unknown as Definition;

/** Runs records of keys a, b, c … through one custom step; gives the run, what came out and the dead letters. */
async function through(
  behaviour: Step<unknown>,
  given: { keyed?: boolean; when?: () => unknown; count?: number } = {},
) {
  const log = new TestLog();
  log.add('0', ...Array.from({ length: given.count ?? 2 }, (_, n) => ({ key: `k${n}`, n, ts: at(n) })));
  const target = new TestTarget();
  const dead = new TestTarget();
  const plan = planOf(
    [
      stream('readings', [
        source('in', 'log'),
        step('key', 'testKeyBy'),
        step('own', 'custom', {}, given.when === undefined ? {} : { when: given.when }),
        sink('out', 'target'),
      ]),
      stream('bad', [sink('letters', 'dead')]),
    ],
    'bad',
  );
  const definitions = [testSource('log', log), testSink('target', target), testSink('dead', dead)];
  let run: Run | undefined;
  const error = await runToEnd(options(plan, [...definitions, custom(behaviour, given.keyed)])).then(
    (done) => {
      run = done;
    },
    (reason: unknown) => reason as Error,
  );
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).toEqual([]);
  const letters = dead.written.map(
    ({ record }) => record.value as { code: string; message: string; step: string; payload: string },
  );
  return { run, error, letters, target };
}

describe('a step', () => {
  test('sees the watermark of the records before the one at hand: event time moves on after a record, and before the next', async () => {
    const seen: number[] = [];
    await through({ onRecord: (_record, context) => void seen.push(context.watermark) }, { count: 3 });
    expect(seen).toEqual([Number.NEGATIVE_INFINITY, at(0), at(1)]);
  });

  test('keeps the keys 1 and "1" apart, over a restart too', async () => {
    const log = new TestLog();
    log.bounded = false;
    log.add('0', { key: 1, ts: at(0) }, { key: '1', ts: at(1) }, { key: '1', ts: at(2) });
    const target = new TestTarget();
    const counts = custom(
      {
        onRecord(record, context) {
          context.state = ((context.state as number | undefined) ?? 0) + 1;
          context.emit(record.withValue(context.state));
        },
      },
      true,
    );
    const plan = planOf([
      stream('readings', [source('in', 'log'), step('key', 'testKeyBy'), step('own', 'custom'), sink('out', 'target')]),
    ]);
    const given = options(plan, [testSource('log', log), testSink('target', target), counts]);
    const first = await Run.start(given);
    await until(() => target.written.length === 3);
    await first.stop();
    log.add('0', { key: 1, ts: at(3) }, { key: '1', ts: at(4) });
    const second = await Run.start(given);
    await until(() => target.written.length === 5);
    await second.stop();
    expect(target.written.map(({ record }) => [record.key, record.value])).toEqual([
      [1, 1],
      ['1', 1],
      ['1', 2],
      [1, 2],
      ['1', 3],
    ]);
  });

  test('whose function is asynchronous ends the run and says so, rather than losing what comes later', async () => {
    for (const keyed of [false, true]) {
      const onRecord = async () => Promise.reject(new Error('Too late to be seen.'));
      const { error, target } = await through({ onRecord }, { keyed });
      expect(error?.message).toMatch(/`own`.*promise.*synchronous/);
      expect(target.written).toEqual([]);
    }
  });

  test('whose timer is asynchronous ends the run too', async () => {
    const { error } = await through(
      {
        onRecord: (record, context) => context.timer(record.time),
        onTimer: () => Promise.reject(new Error('Lost.')) as never,
      },
      { keyed: true },
    );
    expect(error?.message).toMatch(/`own`.*promise.*synchronous/);
  });

  test('whose `when` is asynchronous rejects each record with the reason', async () => {
    const { error, letters } = await through(
      { onRecord: (record, context) => context.emit(record) },
      { when: () => Promise.reject(new Error('Not seen.')) },
    );
    expect(error).toBeUndefined();
    expect(letters.map(({ code, step: id }) => [code, id])).toEqual([
      ['expression-failed', 'own'],
      ['expression-failed', 'own'],
    ]);
  });

  test('that throws for the first record of a key keeps nothing of that key', async () => {
    const { run, letters } = await through(
      {
        onRecord(record) {
          throw new RejectError('step-failed', `No ${String(record.key)} here.`);
        },
      },
      { keyed: true, count: 5 },
    );
    expect(letters.length).toBe(5);
    expect(run?.status().steps['own']?.keys).toBe(0);
  });

  test('that asks for a timer at no time at all is told so, for this record', async () => {
    const { error, letters } = await through(
      { onRecord: (_record, context) => context.timer(Number.NaN) },
      { keyed: true },
    );
    expect(error).toBeUndefined();
    expect(letters.map(({ code }) => code)).toEqual(['step-failed', 'step-failed']);
    expect(letters[0]?.message).toMatch(/NaN/);
  });

  test('that throws something which is no error in a timer ends the run with what it threw', async () => {
    for (const [thrown, text] of [
      ['plain text', /timer of step `own` failed: plain text/],
      [undefined, /timer of step `own` failed: undefined/],
    ] as const) {
      const { error } = await through(
        {
          onRecord: (record, context) => context.timer(record.time),
          onTimer() {
            throw thrown;
          },
        },
        { keyed: true },
      );
      expect(error?.message).toMatch(text);
    }
  });

  test('may reject a value that JSON cannot hold: the dead letter has what can be told of it', async () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const values = [{ big: 12_345_678_901_234_567_890n }, circular];
    const { error, letters } = await through({
      onRecord(record, context) {
        const n = (record.value as { n: number }).n;
        // With a window, so that the payload is made of the value.
        const made = record.withValue(values[n]).withWindow({ step: 'own', start: 0, end: 1, label: 0 });
        context.reject(made, 'schema-violation', 'As it is.');
      },
    });
    expect(error).toBeUndefined();
    expect(letters.map(({ code, step: id }) => [code, id])).toEqual([
      ['schema-violation', 'own'],
      ['schema-violation', 'own'],
    ]);
    expect(letters[0]?.payload).toBe('{"big":"12345678901234567890"}');
    expect(letters[1]?.payload).toMatch(/cannot be written as JSON/);
  });
});

describe('asRx', () => {
  test('gives an error that ends the step to the subscriber, and does not throw it at the process', async () => {
    const behaviour: Step<unknown> = {
      onRecord(_record, context) {
        context.state = 1;
      },
    };
    const input = new Observable<StreamRecord>((to) => to.next(new StreamRecord({}, 'a', 1)));
    const error = await new Promise<Error>((resolve) => {
      input.pipe(asRx(custom(behaviour) as never, {})).subscribe({ error: resolve });
    });
    expect(error.message).toMatch(/keeps state but is not declared `keyed`/);
  });
});
