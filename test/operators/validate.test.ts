import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { validate } from '../../operators/validate/index.ts';
import { TopologyError } from '../../src/errors.ts';
import type { JsonSchema } from '../../src/operator.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';
import { cpuMs } from '../cpu.ts';

const generator = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'Generator',
  type: 'object',
  properties: {
    generatorID: { type: 'string', pattern: '^g[0-9]+$' },
    fuel: { type: 'number', minimum: 0 },
    at: { type: 'string', format: 'date-time' },
    state: { enum: ['on', 'off'] },
    parts: {
      type: 'array',
      items: { type: 'object', required: ['id'], additionalProperties: false, properties: { id: { type: 'integer' } } },
    },
  },
  required: ['generatorID', 'fuel'],
};
const good = { generatorID: 'g1', fuel: 480 };
const drive = (schema: JsonSchema, ...values: unknown[]) =>
  new Driver(validate, { schema }).push(...values.map((value) => new StreamRecord(value)));
const message = (value: unknown, schema: JsonSchema = generator) => drive(schema, value).rejected[0]?.message;
const problemsOf = (schema: JsonSchema) => {
  const said: string[] = [];
  const problem = (_path: unknown, text: string) => void said.push(text);
  const type = validate.type!({ schema }, { input: undefined, expression: () => undefined, problem });
  return { said, type };
};

describe('validate', () => {
  test('passes the very same record', () => {
    const record = new StreamRecord(Object.freeze({ ...good }), 'k', 5);
    expect(new Driver(validate, { schema: generator }).push(record).output[0]).toBe(record);
  });

  test.each([
    [{ ...good, fuel: '480' }, '`fuel` is a string; expected a number.'],
    [{ ...good, fuel: null }, '`fuel` is null; expected a number.'],
    [{ fuel: 3 }, 'The record has no `generatorID`, which is required.'],
    [{ ...good, generatorID: 'x' }, '`generatorID` does not match the pattern `^g[0-9]+$`.'],
    [{ ...good, fuel: -1 }, '`fuel` must be >= 0.'],
    [{ ...good, at: 'yesterday' }, '`at` is not in the format `date-time`.'],
    [{ ...good, state: 'idle' }, '`state` is not one of "on", "off".'],
    [{ ...good, parts: [{ id: 1 }, { id: 1, x: 2 }] }, '`parts[1].x` is not a field of the schema.'],
    [{ ...good, parts: [{}] }, 'The record has no `parts[0].id`, which is required.'],
    ['text', 'The record is a string; expected an object.'],
    [{}, 'The record has no `generatorID`, which is required. (and 1 more)'],
  ])('%j: %s', (value, expected) => {
    expect(message(value)).toBe(expected);
  });

  test('gives every reason, with its place', () => {
    const [rejection] = drive(generator, { generatorID: 7, fuel: 'x', parts: [{ id: 1.5 }] }).rejected;
    expect(rejection!.code).toBe('schema-violation');
    expect(rejection!.reasons).toMatchObject([
      { path: 'generatorID', keyword: 'type' },
      { path: 'fuel', keyword: 'type' },
      { path: 'parts[0].id', keyword: 'type' },
    ]);
  });

  test('never shows a value of the record', () => {
    const value = { generatorID: 'hunter2', fuel: 'hunter2', at: 'hunter2', state: 'hunter2', parts: ['hunter2'] };
    expect(
      JSON.stringify(drive(generator, value).rejected.map(({ message: m, reasons }) => [m, reasons])),
    ).not.toContain('hunter2');
  });

  test('gives a bounded number of reasons for a record of any size', () => {
    const many = drive(generator, { ...good, parts: Array(300).fill({}) }).rejected[0]!;
    expect(many.reasons!.length).toBe(20);
    expect(drive(generator, { ...good, parts: Array(100_000).fill({}) }).rejected[0]!.reasons!.length).toBe(1);
  });

  test('asks for own fields only', () => {
    const schema = { required: ['toString', '__proto__', 'constructor'] };
    expect(drive(schema, {}).rejectedCodes()).toEqual(['schema-violation']);
    expect(drive(schema, JSON.parse('{"toString": 1, "__proto__": 2, "constructor": 3}')).output.length).toBe(1);
  });

  test('rejects a record that is nested deeper than the stack, and goes on', () => {
    let deep: unknown = {};
    for (let i = 0; i < 100_000; i++) deep = { next: deep };
    const schema = { type: 'object', properties: { next: { $ref: '#' } } };
    const driver = drive(schema, deep, { next: {} });
    expect([driver.rejectedCodes(), driver.output.length]).toEqual([['schema-violation'], 1]);
  });

  test('checks patterns and unique items in linear time', () => {
    const started = cpuMs();
    expect(message(`${'a'.repeat(40)}!`, { pattern: '^(a+)+$' })).toContain('does not match');
    const items = Array.from({ length: 8_000 }, (_, i) => ({ i, a: [i] }));
    expect(drive({ uniqueItems: true }, items).output.length).toBe(1);
    expect(drive({ uniqueItems: true }, [...items, { a: [7], i: 7 }]).rejectedCodes()).toEqual(['schema-violation']);
    expect(cpuMs() - started).toBeLessThan(3_000);
  });

  test.each([
    [{ type: 'objekt' }, 'not a JSON Schema (draft-07)'],
    [{ pattern: '(?=a)b' }, 'The pattern `(?=a)b` cannot be used'],
    [{ $ref: 'http://127.0.0.1:9/never.json' }, 'nothing is ever fetched'],
    [{ $schema: 'https://json-schema.org/draft/2020-12/schema' }, 'draft-07 is expected'],
    ['./generator.schema.json', 'not a JSON Schema'],
    [null, 'not a JSON Schema'],
  ])('%j is a problem at lint time, and refused when the step is made', (schema, expected) => {
    expect(problemsOf(schema as never).said).toEqual([expect.stringContaining(expected)]);
    expect(() => validate.create({ schema: schema as never }, 'id')).toThrow(TopologyError);
  });

  test('takes schemas of other files by their URI', () => {
    const schema = { properties: { fuel: { $ref: 'https://example.com/fuel.json' } } };
    const refs = { 'https://example.com/fuel.json': { type: 'number' } };
    const driver = new Driver(validate, { schema, refs }).push(
      ...[{ fuel: 1 }, { fuel: 'x' }].map((v) => new StreamRecord(v)),
    );
    expect([driver.output.length, driver.rejectedCodes()]).toEqual([1, ['schema-violation']]);
  });

  test('makes its schema the type of the records, and nothing else of true and false', () => {
    expect(problemsOf(generator)).toEqual({ said: [], type: generator });
    expect(drive(true, 1).output.length).toBe(1);
    expect(drive(false, 1).rejected[0]!.message).toBe('The record is not allowed by the schema.');
  });

  test('adds no defaults and changes nothing', () => {
    const value = Object.freeze({ a: 1 });
    expect(drive({ properties: { b: { default: 3 } } }, value).output[0]!.value).toEqual({ a: 1 });
  });

  test('passes or rejects each record, and tells equal items as JSON does', () =>
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ maxDepth: 2 }), { maxLength: 5 }), (items) => {
        const list = JSON.parse(JSON.stringify(items)) as unknown[];
        const same = (a: unknown, b: unknown) => {
          try {
            expect(a).toEqual(b);
            return true;
          } catch {
            return false;
          }
        };
        const unique = list.every((a, i) => list.every((b, j) => i === j || !same(a, b)));
        const driver = drive({ uniqueItems: true }, list, [...list, ...list.slice(0, 1)]);
        expect(driver.output.length).toBe((unique ? 1 : 0) + (list.length === 0 ? 1 : 0));
        expect(driver.output.length + driver.rejected.length).toBe(2);
      }),
    ));
});
