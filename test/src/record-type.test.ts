import { expect, test } from 'vitest';
import { eitherType } from '../../src/record-type.ts';

const object = (properties: object, required: string[] = [], more = {}) =>
  ({ type: 'object', properties, ...(required.length > 0 && { required }), ...more }) as const;

test('a record of one type or the other has the fields of both, and must have only those that both must have', () => {
  const a = object({ id: { type: 'string' }, fuel: { type: 'integer' }, own: {} }, ['id', 'fuel', 'own']);
  const b = object({ id: { type: 'string' }, fuel: { type: 'number' }, other: {} }, ['id', 'other']);
  expect(eitherType(a, b)).toEqual(
    object({ id: { type: 'string' }, fuel: { type: 'number' }, own: {}, other: {} }, ['id']),
  );
});
test('fields of two kinds may be anything, and an unknown record makes all unknown', () => {
  expect(eitherType(object({ a: { type: 'string' } }), object({ a: { type: 'number' } }))).toEqual(object({ a: {} }));
  expect([eitherType(undefined, object({})), eitherType(object({}), undefined)]).toEqual([undefined, undefined]);
});
test('is closed only when both are', () => {
  const closed = object({}, [], { additionalProperties: false });
  expect(eitherType(closed, object({ a: {} }, [], { additionalProperties: false }))).toMatchObject({
    additionalProperties: false,
  });
  expect(eitherType(closed, object({ a: {} }))).not.toHaveProperty('additionalProperties');
});
