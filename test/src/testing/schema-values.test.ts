import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { recordsOf } from '../../../src/testing/laws.ts';

const shipped = JSON.parse(readFileSync(new URL('../../../topologies/generator.schema.json', import.meta.url), 'utf8'));
const schemas: [string, object][] = [
  ['the shipped one', shipped],
  [
    'bounds',
    {
      type: 'object',
      properties: {
        a: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
        b: { type: 'integer', multipleOf: 5, minimum: 3 },
      },
      required: ['a', 'b'],
      additionalProperties: false,
    },
  ],
  [
    'texts',
    {
      type: 'object',
      properties: {
        at: { type: 'string', format: 'date-time' },
        on: { format: 'date', type: 'string' },
        id: { type: 'string', format: 'uuid' },
        ip: { type: 'string', format: 'ipv4' },
        name: { type: 'string', minLength: 2, maxLength: 3 },
      },
    },
  ],
  ['lists', { type: 'array', minItems: 1, uniqueItems: true, items: { enum: ['a', 'b', 3, null] }, maxItems: 3 }],
  ['choices', { oneOf: [{ type: 'integer' }, { type: ['number', 'null'], minimum: 5 }, { const: { x: 1 } }] }],
  [
    'itself',
    {
      $ref: '#/definitions/node',
      definitions: {
        node: {
          type: 'object',
          properties: { n: { type: 'integer' }, next: { $ref: '#/definitions/node' } },
          required: ['n', 'more'],
        },
      },
    },
  ],
];

test.each(schemas)('all values of a schema satisfy it: %s', (_name, schema) => {
  const ajv = new Ajv({ strict: false });
  formats.default(ajv);
  const accepts = ajv.compile(schema);
  const seen = new Set<string>();
  fc.assert(
    fc.property(recordsOf(schema as never), (value) => {
      seen.add(JSON.stringify(value));
      // As they come over the wire.
      return accepts(JSON.parse(JSON.stringify(value))) as boolean;
    }),
    { numRuns: 1_000 },
  );
  expect(seen.size).toBeGreaterThan(10);
});

test.each([
  [{ type: 'string', pattern: '^a' }, '# has the keyword `pattern`'],
  [{ type: 'object', properties: { a: { not: {} } } }, '#/a has the keyword `not`'],
  [{ type: 'string', format: 'regex' }, 'the format `regex`'],
  [{ $ref: '#/definitions/x' }, 'refers to `#/definitions/x`'],
])('a keyword that is not understood is named: %j', (schema, message) => {
  expect(() => recordsOf(schema as never)).toThrow(message);
});
