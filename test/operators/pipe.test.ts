import fc from 'fast-check';
import { from as rxFrom } from 'rxjs';
import { concatMap, filter, map, mergeMap, scan, take } from 'rxjs/operators';
import { describe, expect, test } from 'vitest';
import { pipe } from '../../operators/pipe/index.ts';
import { topology } from '../../src/index.ts';
import { StreamRecord, TopologyError } from '../../src/operator.ts';
import { Driver } from '../../src/testing.ts';

const record = (value: unknown, offset = 0) =>
  new StreamRecord(value, 'g1', 1_000, offset, undefined, undefined, undefined, 'in/0');
const begin = (...operators: unknown[]) => new Driver(pipe, { operators: operators as never });

describe('pipe', () => {
  test('gives none, one or several records for one, each with its key, time and an id of its own', () => {
    const driver = begin(concatMap((count: number) => rxFrom(Array.from({ length: count }, (_, n) => n))));
    for (const [offset, count] of [0, 1, 3].entries()) driver.push(record(count, offset));
    const out = driver.output;
    expect(out.map(({ value, offset, part }) => [value, offset, part])).toEqual([
      [0, 1, undefined],
      [0, 2, undefined],
      [1, 2, '1'],
      [2, 2, '2'],
    ]);
    expect(out.every(({ key, time }) => key === 'g1' && time === 1_000)).toBe(true);
  });

  test('does what the same operators do to a list', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (values) => {
        const driver = begin(
          map((n: number) => n * 2),
          filter((n: number) => n % 3 !== 0),
        );
        for (const value of values) driver.push(record(value));
        expect(driver.output.map(({ value }) => value)).toEqual(values.map((n) => n * 2).filter((n) => n % 3 !== 0));
      }),
    );
  });

  test('keeps what its operators keep for as long as it lives', () => {
    const driver = begin(scan((sum: number, n: number) => sum + n, 0));
    for (const value of [1, 2, 3]) driver.push(record(value));
    expect(driver.output.map(({ value }) => value)).toEqual([1, 3, 6]);
  });

  test('ends the run when an operator answers later, for what comes then belongs to no record', async () => {
    const driver = begin(mergeMap((n: number) => Promise.resolve(n)));
    driver.push(record(1));
    await new Promise((resolve) => setImmediate(resolve));
    expect(() => driver.push(record(2))).toThrow(
      /`pipe` step .* only operators that answer at once|after its record had gone/,
    );
  });

  test('ends the run when an operator fails or ends the stream', () => {
    const failing = begin(
      map(() => {
        throw new Error('No fuel.');
      }),
    );
    expect(() => failing.push(record(1))).toThrow(/ended with an error \(No fuel\.\) in `pipe` step/);
    expect(() => begin(take(1)).push(record(1))).toThrow(/ended the stream before its input had ended/);
  });

  test('is typed in TypeScript, and says in YAML that it needs TypeScript', () => {
    const plan = topology('piped')
      .stream('readings')
      .from<{ fuel: number }>({ source: 'simulate', options: {}, beside: {} })
      .pipe(
        map(({ fuel }) => fuel / 10),
        filter((percent) => percent.toFixed(0) !== '0'),
      )
      .map({ low: (percent: number) => percent < 50 })
      .print()
      .plan();
    expect(plan.streams[0]!.steps.map(({ operator }) => operator)).toEqual(['simulate', 'pipe', 'map', 'print']);
    expect(() =>
      topology('wrong')
        .stream('readings')
        .from({ source: 'simulate', options: {}, beside: {} })
        .pipe('delay' as never)
        .print()
        .plan(),
    ).toThrow(TopologyError);
  });
});
