import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { flatMap } from '../../operators/flat-map/index.ts';
import { catalogue } from '../../operators/index.ts';
import { from, topology } from '../../src/index.ts';
import { recordId, StreamRecord } from '../../src/record.ts';
import { Driver, TopologyDriver } from '../../src/testing.ts';

const record = (value: unknown, offset = 7) =>
  new StreamRecord(value, 'k', 5_000, offset, { topic: 't' }, undefined, 3, 'in/0');
const spread = (options: unknown, value: unknown) => {
  const driver = new Driver(flatMap, options).push(record(value));
  return { values: driver.output.map((r) => r.value), rejected: driver.rejected, output: driver.output };
};

describe('flatMap', () => {
  test('gives each element the key, time, place and partition of the record', () => {
    const { output } = spread({ list: 'a' }, { a: [{ x: 1 }, { x: 2 }] });
    expect(output.map((r) => [r.key, r.time, r.offset, r.meta, r.partition, r.origin])).toEqual(
      Array(2).fill(['k', 5_000, 7, { topic: 't' }, 3, 'in/0']),
    );
  });

  test('takes any data for an element, null and lists too', () => {
    const a = [1, 'x', null, false, [1], {}];
    expect(spread({ list: 'a' }, { a }).values).toEqual(a);
  });

  test.each([
    [{ a: { x: 1 } }, 'an object'],
    [{ a: 'text' }, 'a string'],
    [{ a: 3 }, 'a number'],
    [{ a: true }, 'a boolean'],
  ])('rejects %j: it is no list, and says what came', (value, words) => {
    const { values, rejected } = spread({ list: 'a' }, value);
    expect([values, rejected.map(({ code }) => code)]).toEqual([[], ['expression-failed']]);
    expect(rejected[0]!.message).toBe(`\`list\` gave ${words}; expected a list.`);
  });

  test.each([{}, { a: null }])('rejects %j: a list that is not there is not an empty one', (value) => {
    expect(spread({ list: 'a' }, value).rejected.map(({ code }) => code)).toEqual(['expression-failed']);
  });

  test('takes as many elements as `max`, and rejects a longer list whole', () => {
    expect(spread({ list: 'a', max: 2 }, { a: [1, 2] }).values).toEqual([1, 2]);
    const { values, rejected } = spread({ list: 'a', max: 2 }, { a: [1, 2, 3] });
    expect([values, rejected[0]?.code]).toEqual([[], 'expression-failed']);
    expect(rejected[0]!.message).toContain('3 elements, and `max` is 2');
    const long = Array.from({ length: 10_001 }, (_, i) => i);
    expect(spread({ list: 'a' }, { a: long }).values).toEqual([]);
    expect(spread({ list: 'a' }, { a: long.slice(1) }).values.length).toBe(10_000);
  });

  test('rejects a list with something in it that is no data, before any of it goes on', () => {
    const { values, rejected } = spread({ list: () => [1, undefined] }, {});
    expect([values, rejected.map(({ message }) => message)]).toEqual([
      [],
      ['Element 1 of `list` is nothing; expected data.'],
    ]);
    expect(spread({ list: () => [() => 1] }, {}).rejected.length).toBe(1);
  });

  test('puts the element beside the rest of the record with `as`, leaving the record itself alone', () => {
    const value = Object.freeze({ a: [1, 2], e: 'old' });
    expect(spread({ list: 'a', as: 'e' }, value).values).toEqual([
      { a: [1, 2], e: 1 },
      { a: [1, 2], e: 2 },
    ]);
    expect(spread({ list: '[1]', as: 'e' }, 'text').rejected.map(({ code }) => code)).toEqual(['schema-violation']);
  });

  test('checks its options against the type of the record, and knows what comes out', () => {
    const problems: unknown[] = [];
    const typed = (given: Parameters<NonNullable<typeof flatMap.type>>[0], type: object | undefined) =>
      flatMap.type!(given, {
        input: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
        expression: () => type as never,
        problem: (path, _message, _hint, _severity, code) => void problems.push([path.join('.'), code]),
      });
    const list = { type: 'array', items: { type: 'object', properties: { x: { type: 'number' } } } };
    expect(typed({ list: 'a' }, list)).toEqual(list.items);
    expect(typed({ list: 'a' }, undefined)).toBeUndefined();
    expect(typed({ list: 'a', as: 'e' }, list)).toMatchObject({ properties: { id: {}, e: list.items } });
    expect(problems).toEqual([]);
    typed({ list: 'a' }, { type: 'number' });
    typed({ list: 'a', as: '__proto__' }, list);
    expect(problems).toEqual([
      ['list', 'type-mismatch'],
      ['as', undefined],
    ]);
  });

  test('gives every record an id of its own, also where lists hold lists', () =>
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.array(fc.nat(3), { maxLength: 4 }), { maxLength: 12 }), { maxLength: 4 }),
        (input) => {
          const outer = new Driver(flatMap, { list: 'a' }).push(
            ...input.map((lists, offset) => record({ a: lists.map((b) => ({ b })) }, offset)),
          );
          const inner = new Driver(flatMap, { list: 'b' }).push(...outer.output);
          expect(inner.output.map((r) => r.value)).toEqual(input.flat(2));
          const ids = [...outer.output, ...inner.output].map(recordId);
          expect(new Set(ids).size).toBe(ids.length);
          // Nothing but the input decides them.
          const again = new Driver(flatMap, { list: 'b' }).push(...outer.output);
          expect(again.output.map(recordId)).toEqual(inner.output.map(recordId));
        },
      ),
    ));

  test('is typed in TypeScript, and its records go through a whole topology', async () => {
    const begun = topology('batches')
      .stream('readings')
      .from<{ site: string; readings: { fuel: number }[] }>(from.kafka({ brokers: 'localhost:9092', topic: 't' }));
    const chain = begun
      .flatMap((value) => value.readings)
      .filter((value) => {
        expectTypeOf(value).toEqualTypeOf<{ fuel: number }>();
        return value.fuel < 500;
      });
    begun.flatMap({ list: (value) => value.readings, as: 'reading' }).filter((value) => {
      expectTypeOf(value.reading).toEqualTypeOf<{ fuel: number }>();
      return value.site !== '';
    });
    const driver = await TopologyDriver.start(chain.plan(), catalogue);
    await driver.push('readings', { value: { readings: [{ fuel: 499 }, { fuel: 501 }, { fuel: 1 }] } });
    expect(driver.output('readings').map((r) => [r.value, recordId(r)])).toEqual([
      [{ fuel: 499 }, 'readings.kafka/0/0#0'],
      [{ fuel: 1 }, 'readings.kafka/0/0#2'],
    ]);
  });
});
