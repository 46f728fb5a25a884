import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { detect } from '../../operators/detect/index.ts';
import { catalogue } from '../../operators/index.ts';
import { recordId, StreamRecord } from '../../src/record.ts';
import { Driver, TopologyDriver } from '../../src/testing.ts';
import { loadTopology } from '../../src/topology/load.ts';

const absence = 1_000;
const both = { absence: '1s', recovered: true };
const record = (time: number, key = 'k', offset = 0, value: unknown = {}) =>
  new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0');
const shown = (records: readonly StreamRecord[]) =>
  records.map(({ key, time, value }) => {
    const { status, since, silence } = value as { status: string; since: number; silence: number };
    return `${String(key)} ${status} since ${since} for ${silence} at ${time}`;
  });
const events = (options: object, times: readonly number[], outOfOrderMs = 0) =>
  shown(new Driver(detect, options, { outOfOrderMs }).push(...times.map((time) => record(time))).output);

// Steps of half the absence, a millisecond more or less: every boundary, in any order.
const arrivals = fc
  .array(fc.record({ step: fc.nat(14), jitter: fc.constantFrom(-1, 0, 0, 1), key: fc.constantFrom('a', 'a', 'b') }), {
    maxLength: 30,
  })
  .map((given) => given.map(({ step, jitter, key }, offset) => record(5_000 + step * 500 + jitter, key, offset)));
const disorder = fc.constantFrom(0, 1, 500, 1_000, 3_000);

/** By the definition, from all records of a key at once: for input that is never behind the watermark. */
function expected(input: readonly StreamRecord[], recovered: boolean, upto: number): string[] {
  const found: { at: number; text: string }[] = [];
  for (const key of new Set(input.map((r) => r.key))) {
    const times = input.filter((r) => r.key === key).map((r) => r.time);
    times.sort((a, b) => a - b);
    for (const [i, since] of times.entries()) {
      const next = times[i + 1] ?? Number.POSITIVE_INFINITY;
      if (next - since <= absence || since + absence + 1 > upto) continue;
      found.push({
        at: since + absence,
        text: `${String(key)} absent since ${since} for ${absence} at ${since + absence}`,
      });
      if (recovered && next <= upto && next !== Number.POSITIVE_INFINITY)
        found.push({ at: next, text: `${String(key)} recovered since ${since} for ${next - since} at ${next}` });
    }
  }
  return found.map(({ text }) => text).sort();
}

describe('detect', () => {
  test('tells of a silence once the watermark is past it, and not before', () => {
    const driver = new Driver(detect, { absence: '1s' }).push(record(5_000));
    expect(driver.advanceTo(6_000).output).toEqual([]);
    expect(shown(driver.advanceTo(6_001).output)).toEqual(['k absent since 5000 for 1000 at 6000']);
    expect(driver.advanceTo(1e9).output.length).toBe(1);
    expect(driver.keys).toBe(0);
  });

  test('takes a distance of exactly `absence` for no silence, and a millisecond more for one', () => {
    expect(events(both, [5_000, 6_000, 7_000])).toEqual([]);
    expect(events(both, [5_000, 6_001])).toEqual([
      'k absent since 5000 for 1000 at 6000',
      'k recovered since 5000 for 1001 at 6001',
    ]);
  });

  test('tells of every silence again after the key was back', () => {
    expect(events({ absence: '1s' }, [0, 2_000, 5_000, 5_500, 9_000])).toEqual([
      'k absent since 0 for 1000 at 1000',
      'k absent since 2000 for 1000 at 3000',
      'k absent since 5500 for 1000 at 6500',
    ]);
  });

  test('finds no silence where a record out of order fills it while the watermark waits', () => {
    expect(events(both, [0, 1_900, 950, 12_000], 10_000)).toEqual([]);
    expect(events(both, [0, 1_900, 12_950], 10_000)).toEqual([
      'k absent since 0 for 1000 at 1000',
      'k recovered since 0 for 1900 at 1900',
      'k absent since 1900 for 1000 at 2900',
    ]);
  });

  test('dates the return by the first record after the silence, also when that one came later', () => {
    expect(events(both, [0, 4_000, 3_500, 9_000], 5_000)).toEqual([
      'k absent since 0 for 1000 at 1000',
      'k recovered since 0 for 3500 at 3500',
    ]);
  });

  test('calls a record late whose own absence is over, and ends an absence with one that is behind but not as late', () => {
    const start = () => new Driver(detect, both).push(record(5_000)).advanceTo(7_000);
    const late = start().push(record(5_999));
    expect([late.rejectedCodes(), late.output.length]).toEqual([['late'], 1]);
    const behind = start().push(record(6_000));
    expect(behind.rejectedCodes()).toEqual([]);
    expect(shown(behind.output).at(-1)).toBe('k recovered since 5000 for 1000 at 6000');
    expect(shown(behind.advanceTo(7_001).output).at(-1)).toBe('k absent since 6000 for 1000 at 7000');
  });

  test('keeps nothing of a key whose first record is late', () => {
    const driver = new Driver(detect, both).advanceTo(9_000).push(record(7_999));
    expect([driver.rejectedCodes(), driver.keys]).toEqual([['late'], 0]);
  });

  test('rejects a record without event time', () => {
    const driver = new Driver(detect, both).push(record(Number.NaN));
    expect([driver.rejectedCodes(), driver.keys]).toEqual([['time-invalid'], 0]);
  });

  test('gives its events ids that tell the silences and their ends apart', () => {
    const driver = new Driver(detect, both, { id: 'dead' }).push(...[0, 2_000, 4_000].map((time) => record(time)));
    expect(driver.end().map(recordId)).toEqual([
      'dead/k/0',
      'dead/k/0#recovered',
      'dead/k/2000',
      'dead/k/2000#recovered',
      'dead/k/4000',
    ]);
    expect(driver.output.map(({ window }) => [window?.start, window?.end, window?.label])).toEqual([
      [0, 1_001, 1_000],
      [0, 2_001, 2_000],
      [2_000, 3_001, 3_000],
      [2_000, 4_001, 4_000],
      [4_000, 5_001, 5_000],
    ]);
  });

  test('keeps fields of the last record before the silence, and of the one that ends it', () => {
    const options = { ...both, keep: ['site', 'fuel'] };
    const driver = new Driver(detect, options, { outOfOrderMs: 800 }).push(
      record(100, 'k', 0, { site: 'US', fuel: 2, load: 1 }),
      record(0, 'k', 1, { site: 'DE', fuel: 1 }),
      record(5_000, 'k', 2, { site: 'FR' }),
      record(4_900, 'k', 3, { site: 'IT', fuel: null }),
      record(6_000, 'k', 4, 'text'),
    );
    expect(driver.end().map((r) => r.value)).toEqual([
      { status: 'absent', since: 100, silence: 1_000, site: 'US', fuel: 2 },
      { status: 'recovered', since: 100, silence: 4_800, site: 'IT', fuel: null },
      { status: 'absent', since: 6_000, silence: 1_000 },
    ]);
  });

  test('forgets a key that stays away for longer than `forgetAfter`, and does not know it when it is back', () => {
    const options = { ...both, forgetAfter: '2s' };
    const start = () => new Driver(detect, options).push(record(0));
    expect(start().advanceTo(3_000).keys).toBe(1);
    expect(start().advanceTo(3_001).keys).toBe(0);
    expect(shown(start().push(record(3_000)).output).at(-1)).toBe('k recovered since 0 for 3000 at 3000');
    expect(shown(start().push(record(3_001)).output)).toEqual(['k absent since 0 for 1000 at 1000']);
    // The record waits in the state before the watermark gets there: the answer is the same.
    expect(events(options, [0, 3_001, 3_001 + 2_000], 2_000)).toEqual(['k absent since 0 for 1000 at 1000']);
  });

  test('goes on with what it knows after `absence` or `recovered` has changed', () => {
    const short = new Driver(detect, both, { outOfOrderMs: 10_000 }).push(record(0), record(1_500), record(4_000));
    const long = new Driver(detect, { absence: '2s', recovered: true }, { from: short.checkpoint() });
    expect(shown(long.end())).toEqual([
      'k absent since 1500 for 2000 at 3500',
      'k recovered since 1500 for 2500 at 4000',
      'k absent since 4000 for 2000 at 6000',
    ]);
    const away = new Driver(detect, both).push(record(0)).advanceTo(2_000);
    const without = new Driver(detect, { absence: '1s' }, { from: away.checkpoint() }).push(record(2_500));
    expect(without.output).toEqual([]);
    expect([shown(without.end()), without.keys]).toEqual([['k absent since 2500 for 1000 at 3500'], 0]);
  });

  test('checks its options, and knows the type of its events', () => {
    const problems: string[] = [];
    const input = { type: 'object', properties: { site: { type: 'string' }, b: {} }, required: ['site'] };
    const typed = (given: Parameters<NonNullable<typeof detect.type>>[0]) =>
      detect.type!(given, {
        input,
        expression: (path) => ({ title: path.join('.') }),
        problem: (path) => void problems.push(path.join('.')),
      });
    expect(typed({ absence: '1ms', recovered: true, forgetAfter: '1d', keep: ['site', 'b'] })).toMatchObject({
      properties: { site: { title: 'keep.0' }, b: { title: 'keep.1' }, since: { type: 'number' } },
      required: ['site', 'status', 'since', 'silence'],
    });
    expect(problems).toEqual([]);
    for (const wrong of ['0s', '500us', '1500us']) typed({ absence: wrong });
    typed({ absence: '1s', forgetAfter: '1d' });
    typed({ absence: '1s', recovered: true, forgetAfter: '0s' });
    typed({ absence: '1s', keep: ['ok', 'since', 'a.b'] });
    expect(problems).toEqual(['absence', 'absence', 'absence', 'forgetAfter', 'forgetAfter', 'keep.1', 'keep.2']);
  });

  test('equals the definition, whatever the order of arrival, while the watermark waits', () =>
    fc.assert(
      fc.property(arrivals, fc.boolean(), fc.nat(9), (input, recovered, steps) => {
        const driver = new Driver(detect, { absence: '1s', recovered }, { outOfOrderMs: 1e6 }).push(...input);
        const upto = 5_000 + steps * 1_000;
        driver.advanceTo(upto);
        expect(shown(driver.output).sort()).toEqual(expected(input, recovered, upto));
        driver.end();
        expect(shown(driver.output).sort()).toEqual(expected(input, recovered, Number.POSITIVE_INFINITY));
        expect(driver.rejected).toEqual([]);
      }),
      { numRuns: 1_000 },
    ));

  test('tells of absence and return in turn, each once, in the order of event time, for any disorder', () =>
    fc.assert(
      fc.property(arrivals, disorder, (input, outOfOrderMs) => {
        const driver = new Driver(detect, both, { outOfOrderMs }).push(...input);
        driver.end();
        expect(new Set(driver.output.map(recordId)).size).toBe(driver.output.length);
        const late = new Set(driver.rejected.map((r) => r.record));
        for (const key of ['a', 'b']) {
          const known = input.filter((r) => r.key === key && !late.has(r)).map((r) => r.time);
          const own = driver.output
            .filter((r) => r.key === key)
            .map((r) => r.value as { status: string; since: number });
          expect(own.map(({ status }) => status)).toEqual(own.map((_, i) => (i % 2 === 0 ? 'absent' : 'recovered')));
          expect(own.length % 2).toBe(known.length === 0 ? 0 : 1);
          for (const { since } of own) expect(known).toContain(since);
          if (known.length > 0) expect(own.at(-1)!.since).toBe(Math.max(...known));
        }
        expect(new Set(driver.rejectedCodes())).toEqual(new Set(late.size > 0 ? ['late'] : []));
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(arrivals, disorder, fc.boolean(), fc.nat(), (input, outOfOrderMs, recovered, n) => {
        const cut = n % (input.length + 1);
        const options = { absence: '1s', recovered, forgetAfter: '1500ms' };
        const before = new Driver(detect, options, { outOfOrderMs }).push(...input.slice(0, cut));
        const after = new Driver(detect, options, { outOfOrderMs, from: before.checkpoint() });
        const whole = new Driver(detect, options, { outOfOrderMs }).push(...input);
        after.push(...input.slice(cut));
        expect([...before.output, ...after.output]).toEqual(whole.output);
        expect([...before.rejectedCodes(), ...after.rejectedCodes()]).toEqual(whole.rejectedCodes());
        expect(after.keys).toBe(whole.keys);
        after.end();
        whole.end();
        expect(shown([...before.output, ...after.output])).toEqual(shown(whole.output));
        expect([after.keys, whole.keys]).toEqual([0, 0]);
      }),
      { numRuns: 1_000 },
    ));
});

describe('detect in a topology', () => {
  const text = `
version: 1
name: dead-generators
streams:
  readings:
    - kafka: { brokers: 'localhost:9092', topic: t, keyedBy: generatorID, time: { from: arrival, outOfOrder: 2s, idle: 30s } }
    - keyBy: generatorID
  dead:
    - from: readings
    - detect: { absence: 5m, recovered: true, keep: [generatorID] }
      id: dead
    - print
`;
  const start = async () => {
    const { plan, problems } = loadTopology({ text, file: 'dead.yaml' }, { catalogue, env: {} });
    expect(problems.filter(({ severity }) => severity !== 'warning')).toEqual([]);
    return TopologyDriver.start(plan!, catalogue);
  };
  const fiveMinutes = 5 * 60_000;
  const found = (driver: TopologyDriver) =>
    driver.output('dead').map(({ value }) => value as { status: string; generatorID: string; since: number });

  test('finds a generator that is dead while others go on', async () => {
    const driver = await start();
    const began = driver.now;
    for (let minute = 0; minute <= 6; minute++) {
      await driver.advanceTo(began + minute * 60_000);
      await driver.push('readings', { value: { generatorID: 'alive' } });
      if (minute === 0) await driver.push('readings', { value: { generatorID: 'dead' } });
    }
    expect(found(driver)).toEqual([{ status: 'absent', generatorID: 'dead', since: began, silence: fiveMinutes }]);
  });

  test('finds it also when everything is silent, by the idle time of the source, and once over a crash', async () => {
    const driver = await start();
    const began = driver.now;
    await driver.push('readings', { value: { generatorID: 'g1' } });
    await driver.checkpoint();
    await driver.advanceTo(began + fiveMinutes);
    expect(found(driver)).toEqual([]);
    // Event time follows the clock at the distance of `outOfOrder` and `idle`.
    await driver.advanceTo(began + fiveMinutes + 33_000);
    expect(found(driver).map(({ status }) => status)).toEqual(['absent']);
    await driver.crash();
    await driver.restore();
    await driver.advanceTo(driver.now + 2 * fiveMinutes);
    expect(found(driver).map(({ status }) => status)).toEqual(['absent']);
    await driver.push('readings', { value: { generatorID: 'g1' } });
    await driver.advanceTo(driver.now + 33_000);
    expect(found(driver).map(({ status }) => status)).toEqual(['absent', 'recovered']);
  });
});
