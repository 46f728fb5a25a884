import { isDeepStrictEqual } from 'node:util';
import type { JsonSchema, RecordType } from './operator.ts';

type Schema = { readonly [keyword: string]: unknown };

/** What is known of one field of a record. */
export interface FieldType {
  readonly type: RecordType;
  /** Every record has it. */
  readonly required: boolean;
}

/**
 * The fields that a record is known to have. `undefined` when nothing is known of them, so that no name can be called wrong.
 * Looks through local `$ref`, `allOf`, `anyOf` and `oneOf`; never fetches a remote one.
 */
export function recordFields(type: RecordType): ReadonlyMap<string, FieldType> | undefined {
  return isSchema(type) ? gather(type, type, 0) : undefined;
}

/** The type of the field at a path; `unknown` when it may or may not be there, `missing` with what there is when it is a typing mistake. */
export type FieldAt =
  | { readonly kind: 'known'; readonly type: RecordType }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'missing'; readonly index: number; readonly names: readonly string[] };

/** Follows a path of names into a record type. */
export function fieldAt(type: RecordType, path: readonly string[]): FieldAt {
  let at = type;
  for (const [index, name] of path.entries()) {
    if (!isSchema(at)) return { kind: 'unknown' };
    const fields = recordFields(at);
    if (fields === undefined) {
      if (isScalar(at)) return { kind: 'missing', index, names: [] };
      return { kind: 'unknown' };
    }
    const field = fields.get(name);
    if (field === undefined) {
      const more = openFields(at, at, 0);
      if (more === undefined) return { kind: 'missing', index, names: [...fields.keys()] };
      return { kind: 'unknown' };
    }
    at = field.type;
  }
  return at === undefined ? { kind: 'unknown' } : { kind: 'known', type: at };
}

/** The type of a record with these fields added or overridden. Nothing is known of it when nothing was known before. */
export function withFields(type: RecordType, added: Iterable<readonly [string, RecordType]>): RecordType {
  const fields = recordFields(type);
  if (fields === undefined) return undefined;
  const all = new Map(fields);
  for (const [name, field] of added) all.set(name, { type: field, required: true });
  return objectType(all);
}

/** The type of a record that has these fields. */
export function objectType(fields: ReadonlyMap<string, FieldType>): RecordType {
  return {
    type: 'object',
    properties: Object.fromEntries([...fields].map(([name, field]) => [name, field.type ?? true])),
    required: [...fields].filter(([, field]) => field.required).map(([name]) => name),
  };
}

/** The type of a value that is of this type or null. What is known of the fields of an object stays known. */
export function orNull(type: RecordType): RecordType {
  if (type === undefined) return undefined;
  if (isSchema(type) && typeof type['type'] === 'string') return { ...type, type: [type['type'], 'null'] };
  return { anyOf: [type, { type: 'null' }] };
}

/** Whether a value of this type can be null, or nothing is known of it. */
export function mayBeNull(type: RecordType): boolean {
  const schema = resolve(type, type, 0);
  if (!isSchema(schema)) return true;
  return typesOf(schema).includes('null') || typesOf(schema).length === 0;
}

/** The JSON types that a value of this type can have; empty when nothing is known. */
export function jsonTypes(type: RecordType): readonly string[] {
  const schema = resolve(type, type, 0);
  return isSchema(schema) ? typesOf(schema) : [];
}

/** The type of a list's items. */
export function itemType(type: RecordType): RecordType {
  const schema = resolve(type, type, 0);
  if (!isSchema(schema) || !isSchema(schema['items'])) return undefined;
  return detached(schema['items'], type);
}

function typesOf(schema: Schema): string[] {
  const { type, const: constant, enum: values, anyOf, oneOf } = schema;
  if (typeof type === 'string') return [type];
  if (Array.isArray(type)) return type.map(String);
  if (constant !== undefined) return [jsonTypeOf(constant)];
  if (Array.isArray(values)) return [...new Set(values.map(jsonTypeOf))];
  const branches = [anyOf, oneOf].find(Array.isArray) as unknown[] | undefined;
  if (branches !== undefined) {
    const each = branches.map((branch) => (isSchema(branch) && branch['$ref'] === undefined ? typesOf(branch) : []));
    return each.some((types) => types.length === 0) ? [] : [...new Set(each.flat())];
  }
  return isSchema(schema['properties']) && Object.keys(schema['properties']).length > 0 ? ['object'] : [];
}

/** The JSON type of a value, as JSON Schema calls it. */
export function jsonTypeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value;
}

function isScalar(schema: JsonSchema): boolean {
  const types = jsonTypes(schema);
  return types.length > 0 && types.every((type) => ['string', 'number', 'integer', 'boolean'].includes(type));
}

function gather(given: Schema, root: Schema, depth: number): Map<string, FieldType> | undefined {
  const schema = resolve(given, root, depth);
  if (!isSchema(schema) || depth > 16) return undefined;
  const { properties, required, allOf } = schema;
  const names = new Set(Array.isArray(required) ? required : []);
  let fields: Map<string, FieldType> | undefined;
  if (isSchema(properties) && Object.keys(properties).length > 0) {
    const own = Object.entries(properties);
    fields = new Map(own.map(([n, t]) => [n, { type: detached(t as JsonSchema, root), required: names.has(n) }]));
  }
  for (const part of Array.isArray(allOf) ? allOf : []) fields = union(fields, gather(part, root, depth + 1), false);
  for (const keyword of ['then', 'else'])
    if (isSchema(schema[keyword])) fields = union(fields, loosened(gather(schema[keyword], root, depth + 1)), false);
  for (const keyword of ['anyOf', 'oneOf']) {
    const branches = schema[keyword];
    if (!Array.isArray(branches)) continue;
    const each = branches.map((branch) => gather(branch, root, depth + 1));
    if (each.some((branch) => branch === undefined)) continue;
    const either = each.reduce((all, branch) => union(all, branch, true));
    fields = union(fields, either, false);
  }
  return fields;
}

function union(
  a: Map<string, FieldType> | undefined,
  b: Map<string, FieldType> | undefined,
  either: boolean,
): Map<string, FieldType> | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  const all = new Map(a);
  if (either) for (const [name, field] of a) if (!b.has(name)) all.set(name, { ...field, required: false });
  for (const [name, field] of b) {
    const first = a.get(name);
    if (first === undefined) all.set(name, either ? { ...field, required: false } : field);
    else {
      const required = either ? first.required && field.required : first.required || field.required;
      const type = JSON.stringify(first.type) === JSON.stringify(field.type) ? first.type : undefined;
      all.set(name, { type, required });
    }
  }
  return all;
}

function loosened(fields: Map<string, FieldType> | undefined): Map<string, FieldType> | undefined {
  if (fields === undefined) return undefined;
  return new Map([...fields].map(([name, field]) => [name, { ...field, required: false }]));
}

// A schema for names that are not listed, or patterns of names, says that such names are meant to be there.
function openFields(given: Schema, root: Schema, depth: number): true | undefined {
  const schema = resolve(given, root, depth);
  if (!isSchema(schema) || depth > 16) return undefined;
  const { additionalProperties, patternProperties, allOf, anyOf, oneOf } = schema;
  if (isSchema(additionalProperties) && Object.keys(additionalProperties).length > 0) return true;
  if (isSchema(patternProperties) && Object.keys(patternProperties).length > 0) return true;
  for (const parts of [allOf, anyOf, oneOf])
    if (Array.isArray(parts) && parts.some((part) => isSchema(part) && openFields(part, root, depth + 1))) return true;
  return undefined;
}

function resolve(type: RecordType, root: RecordType, depth: number): RecordType {
  if (!isSchema(type) || typeof type['$ref'] !== 'string') return type;
  const pointer = type['$ref'];
  if (!pointer.startsWith('#') || depth > 16) return undefined;
  let at: unknown = root;
  for (const name of pointer.slice(1).split('/').filter(Boolean)) {
    const key = decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~');
    at = isSchema(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  }
  return resolve(at as RecordType, root, depth + 1);
}

// A part of a schema taken out of it must take along what its references point to.
function detached(part: JsonSchema, root: RecordType): RecordType {
  if (!isSchema(part) || !isSchema(root)) return part;
  const { definitions, $defs } = root;
  if (definitions === undefined && $defs === undefined) return part;
  const resolved = resolve(part, root, 0);
  if (!isSchema(resolved)) return resolved;
  if (!JSON.stringify(resolved).includes('"$ref"')) return resolved;
  return {
    ...resolved,
    ...(definitions === undefined ? {} : { definitions }),
    ...($defs === undefined ? {} : { $defs }),
  };
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type ObjectType = {
  readonly type: 'object';
  readonly properties: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
};

/** What is known of a record that is of one type or of the other. */
export function eitherType(a: RecordType, b: RecordType): RecordType {
  if (a === undefined || b === undefined) return undefined;
  if (isDeepStrictEqual(a, b)) return a;
  if (isObjectType(a) && isObjectType(b)) return eitherObject(a, b);
  const types = [a, b].map((type) => (typeof type === 'object' ? type['type'] : undefined));
  if (types.every((type) => type === 'number' || type === 'integer')) return { type: 'number' };
  if (types[0] !== undefined && types[0] === types[1] && typeof types[0] === 'string') return { type: types[0] };
  return undefined;
}

function eitherObject(a: ObjectType, b: ObjectType): JsonSchema {
  const names = new Set([...Object.keys(a.properties), ...Object.keys(b.properties)]);
  const properties: Record<string, JsonSchema> = {};
  for (const name of names) {
    const [left, right] = [a.properties[name], b.properties[name]];
    // A field that only one of them knows may be there or not; of what type is known only from that one.
    const joined = left === undefined || right === undefined ? {} : eitherType(left, right);
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

function isObjectType(type: RecordType): type is ObjectType {
  return typeof type === 'object' && type['type'] === 'object' && typeof type['properties'] === 'object';
}
