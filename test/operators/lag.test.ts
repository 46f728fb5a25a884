import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lag } from '../../operators/lag/index.ts';
import { TopologyError } from '../../src/errors.ts';
import type { StepDefinition } from '../../src/operator.ts';
import { Driver, StreamRecord } from '../../src/testing.ts';
import { migrated } from './migrated.ts';
import { loaded, mqtt, problemsOf } from './topologies.ts';

const definition = lag as unknown as StepDefinition;
const values = fc.oneof(
  { weight: 8, arbitrary: fc.record({ a: fc.constantFrom(1, null, 'x'), b: fc.nat(3) }, { requiredKeys: [] }) },
  { weight: 1, arbitrary: fc.constantFrom(7, null, [1]) },
);
const input = fc
  .array(fc.tuple(fc.constantFrom('k', 'l'), values), { maxLength: 20 })
  .map((list) => list.map(([key, value], n) => new StreamRecord<unknown>(value, key, 100 - n, n)));
const settings = fc.record(
  { fields: fc.constantFrom<string | string[]>('a', ['a', 'b'], ['b']), by: fc.integer({ min: 1, max: 4 }) },
  { requiredKeys: [] },
);
const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

function wantedOf(value: object, fields: string | string[] | undefined): unknown {
  if (fields === undefined) return value;
  if (typeof fields === 'string') return (value as Record<string, unknown>)[fields] ?? null;
  return Object.fromEntries(Object.entries(value).filter(([name]) => fields.includes(name)));
}

describe('lag', () => {
  test('adds what the record so many before it said, per key and in order of arrival', () =>
    fc.assert(
      fc.property(input, settings, (records, given) => {
        const driver = new Driver(definition, { as: 'was', ...given }).push(...records);
        const taken = records.filter(({ value }) => isObject(value));
        const expected = taken.map((record) => {
          const same = taken.filter(({ key, offset }) => key === record.key && offset < record.offset);
          const before = same.at(-(given.by ?? 1));
          const was = before === undefined ? null : wantedOf(before.value as object, given.fields);
          return { ...(record.value as object), was };
        });
        expect(driver.output.map(({ value }) => value)).toStrictEqual(expected);
        expect(driver.rejectedCodes()).toEqual(records.flatMap((r) => (taken.includes(r) ? [] : ['schema-violation'])));
      }),
      { numRuns: 1_000 },
    ));

  test('gives the same after a restart at any cut, through the bytes of a checkpoint', () =>
    fc.assert(
      fc.property(input, settings, fc.nat(), (records, given, n) => {
        const options = { as: 'was', ...given };
        const cut = n % (records.length + 1);
        const before = new Driver(definition, options).push(...records.slice(0, cut));
        const after = new Driver(definition, options, { from: before.checkpoint() }).push(...records.slice(cut));
        const whole = new Driver(definition, options).push(...records);
        expect([...before.output, ...after.output]).toEqual(whole.output);
      }),
      { numRuns: 500 },
    ));

  test('goes on with another `by`, or with fields instead of the whole, as if it had always had them', () =>
    fc.assert(
      fc.property(input, settings, settings, fc.nat(), (records, old, given, n) => {
        const [from, to] = [old, given].map(({ fields, by }) => ({ fields: fields ?? null, by: by ?? null }));
        const migrate = definition.migrate!({ as: 'was', ...given }, { version: 1, options: from! });
        expect(migrate !== undefined).toBe(from!.fields === null || String(from!.fields) === String(to!.fields));
        if (migrate === undefined) return;
        const cut = n % (records.length + 1);
        const before = new Driver(definition, { as: 'was', ...old }).push(...records.slice(0, cut)).checkpoint();
        const after = new Driver(definition, { as: 'was', ...given }, { from: migrated(before, migrate) });
        after.push(...records.slice(cut));
        // With a larger `by` it is as if the records had begun with those that were kept.
        const kept = ['k', 'l'].flatMap((key) =>
          records
            .slice(0, cut)
            .filter((record) => record.key === key && isObject(record.value))
            .slice(-(old.by ?? 1)),
        );
        const whole = new Driver(definition, { as: 'was', ...given }).push(...kept);
        const known = whole.output.length;
        expect(after.output).toEqual(whole.push(...records.slice(cut)).output.slice(known));
      }),
      { numRuns: 500 },
    ));

  test('sees records as they came in, without what it has added itself', () => {
    const driver = new Driver(definition, { as: 'was' });
    for (let n = 0; n < 3; n++) driver.push(new StreamRecord({ n }, 'k'));
    expect(driver.output[2]!.value).toEqual({ n: 2, was: { n: 1 } });
  });

  test('keeps only the fields it needs', () => {
    const bytes = (fields: object) => {
      const driver = new Driver(definition, { as: 'was', ...fields });
      driver.push(new StreamRecord({ a: 1, long: 'x'.repeat(10_000) }, 'k'));
      return [...driver.checkpoint().store.entries('')].reduce((sum, [, bytes]) => sum + bytes.length, 0);
    };
    expect(bytes({ fields: 'a' })).toBeLessThan(200);
    expect(bytes({ fields: ['a'] })).toBeLessThan(200);
    expect(bytes({})).toBeGreaterThan(10_000);
  });

  test('reads nested fields, and refuses a name that no field can have', () => {
    const driver = new Driver(definition, { as: 'was', fields: 'a.b' });
    driver.push(new StreamRecord({ a: { b: 7 } }, 'k'), new StreamRecord({}, 'k'));
    expect(driver.output[1]!.value).toEqual({ was: 7 });
    expect(() => new Driver(definition, { as: '__proto__' })).toThrow(TopologyError);
  });

  test('knows the type of what it adds', () => {
    const steps = (options: string, more = '') =>
      `\n  a: [${mqtt('a')}, { validate: ./reading.json }, { keyBy: id }, { id: l, lag: ${options} }, ${more}{ print: }]\n`;
    const typeOf = (options: string) => loaded(steps(options)).plan!.streams[0]!.steps[3]!.type as object;
    const number = { type: 'number' };
    expect(typeOf('{ fields: temperature, as: was }')).toMatchObject({
      required: ['id', 'temperature', 'was'],
      properties: { was: { type: ['number', 'null'] } },
    });
    expect(typeOf('{ fields: [temperature], as: was }')).toMatchObject({
      properties: { was: { type: ['object', 'null'], properties: { temperature: number }, required: [] } },
    });
    expect(problemsOf(steps('{ as: was }', '{ filter: was.temperatur > 1 }, '))[0]).toMatch(
      /^unknown-field .*temperatur/,
    );
    expect(problemsOf(steps('{ fields: temperatur, as: was }'))[0]).toMatch(/^unknown-field .*temperatur/);
    expect(problemsOf(steps('{ as: __proto__ }'))[0]).toMatch(/^bad-value .*__proto__/);
  });
});
