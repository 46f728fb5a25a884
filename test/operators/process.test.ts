import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { process } from '../../operators/process/index.ts';
import { editorSchema } from '../../src/cli/editor-schema.ts';
import { from, type Process, planToJson, topology, toYaml } from '../../src/index.ts';
import { recordId, StreamRecord } from '../../src/record.ts';
import { Driver, TopologyDriver } from '../../src/testing.ts';
import { loadTopology } from '../../src/topology/load.ts';

type Given = Process<unknown, unknown, unknown>;
const record = (time: number, key = 'k', value: unknown = {}, offset = 0) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');
const drive = (given: Process<unknown, unknown, unknown>) => new Driver(process, given, { id: 'own' });
const values = (driver: Driver) => driver.output.map((r) => r.value);

/** Counts records, and tells the count a second after the first; forgets it then. */
const counting: Process<unknown, { count: number }, unknown> = {
  state: () => ({ count: 0 }),
  onRecord({ time }, step) {
    if (++step.state.count === 1) step.timer(time + 1_000);
    if (step.state.count % 2 === 0) for (const n of [1, 2]) step.emit({ pair: step.state.count, n });
  },
  onTimer(at, key, step) {
    step.emit({ key, at, count: step.state.count });
    step.forget();
  },
};
const arrivals = fc
  .array(fc.record({ step: fc.nat(10), key: fc.constantFrom('a', 'b') }), { maxLength: 25 })
  .map((given) => given.map(({ step, key }, offset) => record(step * 500, key, {}, offset)));

describe('process', () => {
  test('gives each key a state of its own, and emits the record with another value', () => {
    const driver = drive({
      state: () => ({ sum: 0 }),
      onRecord({ value }, step) {
        const state = step.state as { sum: number };
        state.sum += value as number;
        step.emit(state.sum);
      },
    }).push(record(1, 'a', 1), record(2, 'b', 10), record(3, 'a', 2));
    expect(driver.output.map((r) => [r.key, r.time, r.value, r.origin])).toEqual([
      ['a', 1, 1, 'in/0'],
      ['b', 2, 10, 'in/0'],
      ['a', 3, 3, 'in/0'],
    ]);
    expect(driver.keys).toBe(2);
  });

  test('makes a state only when it is looked at, anew after `forget`, and none without `state`', () => {
    const blind = drive({ state: () => ({}), onRecord: (_, step) => step.emit(step.watermark) });
    expect([values(blind.push(record(5), record(6))), blind.keys]).toEqual([[Number.NEGATIVE_INFINITY, 5], 0]);
    const forgetful = drive({
      state: () => [0],
      onRecord({ value }, step) {
        (step.state as number[]).push(value as number);
        step.emit([...(step.state as number[])]);
        if (value === 2) step.forget();
      },
    }).push(...[1, 2, 3].map((n) => record(n, 'k', n)));
    expect(values(forgetful)).toEqual([
      [0, 1],
      [0, 1, 2],
      [0, 3],
    ]);
    const without = drive({
      onRecord(_, step) {
        step.emit(step.state === undefined);
        step.state = 'set';
        step.emit(step.state);
      },
    }).push(record(1), record(2));
    expect(values(without)).toEqual([true, 'set', false, 'set']);
  });

  test('fires timers in event time, and dates what they emit by them', () => {
    const driver = drive({
      onRecord({ time }, step) {
        for (const at of [time + 10, time + 5, time + 10]) step.timer(at);
      },
      onTimer: (at, key, step) => step.emit([key, at, step.watermark]),
    }).push(record(100));
    expect(driver.advanceTo(104).output).toEqual([]);
    expect(values(driver.advanceTo(105))).toEqual([['k', 105, 104]]);
    driver.end();
    expect(driver.output.map((r) => [r.key, r.time, r.window])).toEqual([
      ['k', 105, expect.objectContaining({ step: 'own', start: 105, end: 106, label: 105 })],
      ['k', 110, expect.objectContaining({ step: 'own', start: 110, end: 111, label: 110 })],
    ]);
    expect(driver.keys).toBe(0);
  });

  test('gives each record it makes an id of its own, the same after every restart', () => {
    const twice: Process<unknown, unknown, unknown> = {
      onRecord({ time }, step) {
        step.timer(time);
        step.emit(1);
        step.emit(2);
      },
      onTimer(_at, _key, step) {
        step.emit(3);
        step.emit(4);
      },
    };
    const ids = ['in/0/7', 'in/0/7#1', 'own/k/100', 'own/k/100#1'];
    expect(
      drive(twice)
        .push(record(100, 'k', {}, 7))
        .output.map(recordId),
    ).toEqual(ids);
    expect(
      drive(twice)
        .push(record(100, 'k', {}, 7).withPart('x'))
        .output.map(recordId),
    ).toEqual(['in/0/7#x', 'in/0/7#x#1', ...ids.slice(2)]);
  });

  test('rejects or calls late the record at hand, and what it throws for', () => {
    const driver = drive({
      onRecord({ value }, step) {
        if (value === 'bad') step.reject('It is bad.', [{ path: '/' }]);
        else if (value === 'late') step.late('It is late.');
        else if (value === 'timer') step.timer(Number.POSITIVE_INFINITY);
        else if (value === 'nothing') step.emit(undefined);
        else throw new Error('No.');
      },
    }).push(...['bad', 'late', 'timer', 'nothing', 'throw'].map((value) => record(1, 'k', value)));
    expect(driver.rejected.map(({ code, message }) => [code, message])).toEqual([
      ['step-failed', 'It is bad.'],
      ['late', 'It is late.'],
      ['step-failed', 'The step failed: It asked for a timer at Infinity; expected a time in ms.'],
      ['step-failed', 'The step failed: It emitted nothing; expected a value, or null.'],
      ['step-failed', 'The step failed: No.'],
    ]);
    expect(driver.rejected[0]!.reasons).toEqual([{ path: '/' }]);
  });

  test('ends the run when a timer fails, when it rejects where there is no record, and when a function is asynchronous', () => {
    const timer = (onTimer: NonNullable<Process<unknown, unknown, unknown>['onTimer']>) => () =>
      drive({ onRecord: ({ time }, step) => step.timer(time), onTimer }).push(record(1));
    const fails = () => {
      throw new Error('No.');
    };
    expect(timer(fails)).toThrow('The timer of step `own` failed: No.');
    for (const name of ['reject', 'late'] as const)
      expect(timer((_at, _key, step) => (step as unknown as { [n: string]: (m: string) => void })[name]!('x'))).toThrow(
        `It called \`${name}\` while a timer fired: there is no record.`,
      );
    expect(timer(async () => {})).toThrow(/`onTimer` of step `own` gave a promise/);
    expect(() => drive({ onRecord: async () => {} }).push(record(1))).toThrow(
      /`onRecord` of step `own` gave a promise/,
    );
  });

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, fc.constantFrom(0, 700, 3_000), fc.nat(), (input, outOfOrderMs, n) => {
        const cut = n % (input.length + 1);
        const before = new Driver(process, counting, { outOfOrderMs }).push(...input.slice(0, cut));
        const after = new Driver(process, counting, { outOfOrderMs, from: before.checkpoint() });
        const whole = new Driver(process, counting, { outOfOrderMs }).push(...input);
        after.push(...input.slice(cut)).end();
        whole.end();
        expect([...before.output, ...after.output]).toEqual(whole.output);
        expect([...before.output, ...after.output].map(recordId)).toEqual(whole.output.map(recordId));
        expect([after.keys, whole.keys]).toEqual([0, 0]);
      }),
      { numRuns: 500 },
    ));
});

describe('process in a topology', () => {
  const readings = topology('runs')
    .stream('readings')
    .from<{ generatorID: string; fuel: number }>(from.simulate({ realTime: false, time: { field: 'ts', unit: 'ms' } }))
    .keyBy('generatorID');

  test('gives state of an older version to `migrate`, and takes none of a newer one', () => {
    const given = (version?: number, migrate?: Given['migrate']) =>
      ({ onRecord: () => {}, ...(version && { version }), ...(migrate && { migrate }) }) as Given;
    const from = (version: number | null) => ({ version: 1, options: { version } });
    const box: Given['migrate'] = (state, version) => [state, version];
    expect(process.migrate!(given(3, box), from(2))?.('old')).toEqual(['old', 2]);
    expect(process.migrate!(given(3, box), from(null))?.('old')).toEqual(['old', 1]);
    expect(process.migrate!(given(1, box), from(2))).toBeUndefined();
    expect(process.migrate!(given(2), from(1))).toBeUndefined();
    // Left out or written, version 1 is the same.
    expect(process.migrate!(given(1), from(null))?.('old')).toBe('old');
  });

  test('is typed: the record, the state, and what comes out when it is said', () => {
    const plan = readings
      .process(
        {
          state: () => ({ low: 0 }),
          onRecord(record, step) {
            expectTypeOf(record.value).toEqualTypeOf<{ generatorID: string; fuel: number }>();
            expectTypeOf(step.state).toEqualTypeOf<{ low: number }>();
          },
          onTimer(at, key, step) {
            expectTypeOf(at).toEqualTypeOf<number>();
            expectTypeOf(key).toEqualTypeOf<string | number | boolean>();
            expectTypeOf(step.state).toEqualTypeOf<{ low: number }>();
          },
        },
        { id: 'low' },
      )
      .process<number[], { sum: number }>(
        { state: () => [], onRecord: (_, step) => step.emit({ sum: step.state.length }) },
        { id: 'sum', otherwise: 'drop' },
      )
      .filter((value) => {
        expectTypeOf(value).toEqualTypeOf<{ sum: number }>();
        return value.sum > 0;
      })
      .plan();
    expect(plan.streams[0]!.steps.map(({ id }) => id)).toContain('sum');
    // @ts-expect-error: state needs a name to be kept under.
    expect(() => readings.process({ onRecord() {} }).plan()).toThrow(/id/);
    // @ts-expect-error: a record is not emitted as such, and `sum` is a number.
    readings.process<undefined, { sum: number }>({ onRecord: (_, step) => step.emit({ sum: 'x' }) }, { id: 'x' });
  });

  test('shows its functions by name in the plan, and says that YAML cannot hold them', () => {
    const plan = readings.process({ onRecord: function onlyLow() {} }, { id: 'low' }).plan();
    expect(JSON.stringify(planToJson(plan))).toContain('{"onRecord":{"function":"onlyLow"}}');
    expect(() => toYaml(plan, catalogue)).toThrow(
      '`low` holds a function, which YAML cannot. Keep the topology in TypeScript, or make an operator of it (`defineStep`).',
    );
  });

  test('is refused in YAML, with a way out, and not offered there by editors', () => {
    const text = `
version: 1
name: x
streams:
  readings:
    - simulate: { time: { field: ts, unit: ms } }
    - keyBy: generatorID
    - process: { onRecord: "record => record" }
      id: own
    - print
`;
    const { plan, problems } = loadTopology({ text, file: 'x.yaml' }, { catalogue, env: {} });
    expect(plan).toBeUndefined();
    expect(problems.map(({ code, message, hint }) => [code, message, hint])).toEqual([
      [
        'wrong-type',
        '`onRecord` must be a function, which only a topology in TypeScript can hold.',
        'Write the topology in TypeScript, or an operator of your own (`defineStep`) that YAML can name.',
      ],
    ]);
    const offered = JSON.stringify(editorSchema(catalogue));
    expect([offered.includes('"throttle"'), offered.includes('"process"')]).toEqual([true, false]);
  });

  test('keeps state and timers over a crash', async () => {
    const plan = topology('counts')
      .stream('readings')
      .from(from.simulate({ realTime: false, time: { field: 'ts', unit: 'ms' } }))
      .keyBy('generatorID')
      .process(counting, { id: 'counts' })
      .plan();
    const driver = await TopologyDriver.start(plan, catalogue);
    const began = Date.UTC(2026, 0, 1);
    const push = (ms: number) => driver.push('readings', { value: { generatorID: 'a', ts: began + ms } });
    await push(0);
    await driver.checkpoint();
    await push(500);
    await driver.crash();
    await driver.restore();
    await push(1_500);
    expect(driver.output('readings').map((r) => r.value)).toEqual([
      { pair: 2, n: 1 },
      { pair: 2, n: 2 },
      { key: 'a', at: began + 1_000, count: 3 },
    ]);
  });
});
