import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { branch } from '../../operators/branch/index.ts';
import { TopologyError } from '../../src/errors.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { Driver, StreamRecord } from '../../src/testing.ts';
import { driven, loaded, mqtt, problemsOf, t0 } from './topologies.ts';

const definition = branch as unknown as StepDefinition;
const driver = (options: unknown) => new Driver(definition, options);
const record = (value: unknown, offset = 0) => new StreamRecord(value, 'k', 1_000, offset);

describe('branch', () => {
  test('sends each record where the definition says, in order, and rejects what cannot be answered', () => {
    // Each condition is true, false, unanswerable (missing) or no boolean.
    const answers = fc.constantFrom(true, false, undefined, 7);
    const values = fc.array(fc.record({ a: answers, b: answers, c: answers }), { maxLength: 12 });
    fc.assert(
      fc.property(values, fc.constantFrom('first', 'all', undefined), fc.boolean(), (inputs, match, rest) => {
        const options = { a: 'a', b: 'b', c: 'c', ...(rest && { else: 'rest' }), ...(match && { match }) };
        const found = driver(options).push(...inputs.map((value, n) => record(JSON.parse(JSON.stringify(value)), n)));
        const wanted = new Map<string, number[]>();
        const put = (stream: string, n: number) => wanted.set(stream, [...(wanted.get(stream) ?? []), n]);
        for (const [n, value] of inputs.entries()) {
          const given = [value.a, value.b, value.c];
          const first = match === 'all' ? -1 : given.indexOf(true);
          const asked = first === -1 ? given : given.slice(0, first + 1);
          if (asked.some((answer) => typeof answer !== 'boolean')) put('rejected', n);
          else if (!asked.includes(true)) put(rest ? 'rest' : 'output', n);
          else for (const [i, answer] of asked.entries()) if (answer) put('abc'[i]!, n);
        }
        for (const stream of ['a', 'b', 'c', 'rest'])
          expect(found.routed.get(stream)?.map(({ offset }) => offset)).toEqual(wanted.get(stream));
        expect(found.output.map(({ offset }) => offset)).toEqual(wanted.get('output') ?? []);
        expect(found.rejected.map(({ record }) => record.offset)).toEqual(wanted.get('rejected') ?? []);
      }),
      { numRuns: 1_000 },
    );
  });

  test('looks at no condition behind the first true one, and at all of them with `match: all`', () => {
    const value = { a: true };
    expect(driver({ a: 'a', b: 'b' }).push(record(value)).rejected).toEqual([]);
    const all = driver({ a: 'a', b: 'b', match: 'all' }).push(record(value));
    expect([all.rejectedCodes(), all.routed.size]).toEqual([['expression-failed'], 0]);
  });

  test('names the condition that gave neither true nor false', () => {
    const { rejected } = driver({ a: 'a' }).push(record({ a: 'yes' }));
    expect(rejected[0]!.message).toBe('The condition of `a` gave a string; `branch` needs true or false.');
  });

  test('`else: drop` ends what meets no condition', () => {
    const found = driver({ a: 'a', else: 'drop' }).push(record({ a: false }));
    expect([found.output, found.routed.size, found.rejected]).toEqual([[], 0, []]);
  });

  test('takes a function as a condition, and refuses options that mean nothing', () => {
    const found = driver({ a: ({ n }: { n: number }) => n > 1 }).push(record({ n: 1 }), record({ n: 2 }, 1));
    expect(found.routed.get('a')?.map(({ offset }) => offset)).toEqual([1]);
    for (const options of [() => true, { else: 'a' }, { 7: 'true' }])
      expect(() => driver(options)).toThrow(TopologyError);
  });
});

const topology = (steps: string, more = '') => `
  readings: [${mqtt('a')}, { validate: ./reading.json }, ${steps}]
  cold: [{ print: }]
  hot: [{ print: }]
${more}`;

describe('branch in a topology', () => {
  test('feeds streams of their own, with the records as they are, and failures to `otherwise`', async () => {
    const run = await driven(`
  readings:
    - ${mqtt('a')}
    - branch: { cold: temperature < 5, hot: temperature > 30, else: normal }
      otherwise: odd
  cold: [{ print: }]
  hot: [{ map: { hot: temperature } }, { print: }]
  normal: [{ print: }]
  odd: [{ print: }]
`);
    const values = [4, 5, 30, 31, null];
    for (const temperature of values) await run.push('readings', { topic: 'a/x', value: { t: t0, temperature } });
    await run.end();
    const seen = (stream: string) => run.output(stream).map(({ value }) => value as typeof value & object);
    expect(seen('cold')).toMatchObject([{ temperature: 4 }]);
    expect(seen('hot')).toMatchObject([{ temperature: 31, hot: 31 }]);
    expect(seen('normal')).toMatchObject([{ temperature: 5 }, { temperature: 30 }]);
    expect(seen('odd')).toMatchObject([{ code: 'expression-failed', step: 'readings.branch' }]);
    expect(run.output('readings')).toEqual([]);
  });

  test('knows the type of the records in the streams it feeds, and the order of its conditions in the plan', () => {
    const wrong = '  normal: [{ filter: temperatur < 5 }, { print: }]\n';
    expect(
      problemsOf(topology('{ branch: { cold: temperature < 5, hot: temperature > 30, else: normal } }', wrong)),
    ).toEqual(['unknown-field 8:22 The record has no field `temperatur`.']);
    const { plan } = loaded(topology('{ branch: { hot: temperature > 30, cold: temperature < 5, else: drop } }'));
    expect(plan!.streams[0]!.steps[2]).toMatchObject({ routes: ['hot', 'cold'] });
  });

  test('goes on behind it without `else`, and not with it', () => {
    const steps = '{ branch: { cold: temperature < 5, hot: temperature > 30 } }';
    expect(problemsOf(topology(`${steps}, { print: }`))).toEqual([]);
    expect(problemsOf(topology(steps))[0]).toMatch(/^unused-stream .* `readings` ends in no sink/);
    const whole = '{ branch: { cold: temperature < 5, hot: temperature > 30, else: drop } }';
    expect(problemsOf(topology(whole))).toEqual([]);
    expect(problemsOf(topology(`${whole}, { print: }`))[0]).toMatch(/^misplaced-step .*`print` gets no record/);
    expect(problemsOf(topology(whole, '  more: [{ from: readings }, { print: }]\n'))[0]).toMatch(
      /^misplaced-step 8:18 The end of the stream `readings` gets no record/,
    );
  });

  test('refuses a stream that is not there at its name, and one that ends in no sink', () => {
    const steps = '{ branch: { cold: temperature < 5, hott: temperature > 30, else: drop } }';
    expect(problemsOf(topology(steps))[0]).toMatch(
      /^unknown-stream 5:\d+ There is no stream `hott`. Did you mean `hot`\?/,
    );
    const dangling = topology(
      '{ branch: { cold: temperature < 5, hot: temperature > 30, else: normal } }',
      '  normal: [{ set: { a: 1 } }]\n',
    );
    expect(problemsOf(dangling)).toEqual([
      'unused-stream 8:14 The stream `normal` ends in no sink and no stream continues it.',
    ]);
  });

  test('refuses conditions that are neither true nor false, names of digits, and going round in a circle', () => {
    expect(problemsOf(topology('{ branch: { cold: temperature, hot: "true", else: drop } }'))[0]).toMatch(
      /^bad-value .*The condition of `cold` gives a number/,
    );
    expect(
      problemsOf(
        topology('{ branch: { cold: "true", hot: "true", 7: "true", else: drop } }', '  7: [{ print: }]\n'),
      )[0],
    ).toMatch(/^bad-value .*`7` has a name of digits alone/);
    expect(
      problemsOf(
        topology(
          '{ branch: { cold: "true", hot: "true", round: "true", else: drop } }',
          '  round: [{ branch: { round: "true", else: drop } }]\n',
        ),
      )[0],
    ).toMatch(/^cycle .*`round` → `round`/);
  });
});
