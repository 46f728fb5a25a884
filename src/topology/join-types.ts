import { isDeepStrictEqual } from 'node:util';
import type { JsonSchema, RecordType } from '../operator.ts';

type ObjectType = {
  readonly type: 'object';
  readonly properties: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
};

/** What is known of a record that is of one type or of the other. */
export function joinTypes(a: RecordType, b: RecordType): RecordType {
  if (a === undefined || b === undefined) return undefined;
  if (isDeepStrictEqual(a, b)) return a;
  if (isObject(a) && isObject(b)) return joinObjects(a, b);
  const types = [a, b].map((type) => (typeof type === 'object' ? type['type'] : undefined));
  if (types.every((type) => type === 'number' || type === 'integer')) return { type: 'number' };
  if (types[0] !== undefined && types[0] === types[1] && typeof types[0] === 'string') return { type: types[0] };
  return undefined;
}

function joinObjects(a: ObjectType, b: ObjectType): JsonSchema {
  const names = new Set([...Object.keys(a.properties), ...Object.keys(b.properties)]);
  const properties: Record<string, JsonSchema> = {};
  for (const name of names) {
    const [left, right] = [a.properties[name], b.properties[name]];
    // A field that only one of them knows may be there or not; of what type is known only from that one.
    const joined = left === undefined || right === undefined ? {} : joinTypes(left, right);
    properties[name] = joined ?? {};
  }
  const required = (a.required ?? []).filter((name) => b.required?.includes(name));
  const closed = a.additionalProperties === false && b.additionalProperties === false;
  return {
    type: 'object',
    properties,
    ...(required.length > 0 && { required }),
    ...(closed && { additionalProperties: false }),
  };
}

function isObject(type: RecordType): type is ObjectType {
  return typeof type === 'object' && type['type'] === 'object' && typeof type['properties'] === 'object';
}
