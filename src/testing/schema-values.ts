import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import fc from 'fast-check';
import type { JsonSchema } from '../operator.ts';

type Keywords = Readonly<Record<string, unknown>>;

/** What this file knows, or what says nothing about a value. */
const known = new Set(
  `type properties required additionalProperties items enum const anyOf oneOf minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
  minLength maxLength minItems maxItems uniqueItems format $ref $schema $id $comment title description default examples definitions
  readOnly writeOnly`.split(/\s+/),
);

/**
 * Values that a JSON Schema (draft-07) allows, small and near its bounds more often than not. Optional properties are there or not; properties
 * that the schema does not name are never there. Throws a TypeError at a keyword that is not understood: a value that breaks it would be no
 * record. Every value is checked against the whole schema before it is given out.
 */
export function recordsOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  // First, so that what is not understood is said in the words of this file.
  const values = new Values(schema).of(schema, '#', 0);
  const ajv = new Ajv({ strict: false });
  formats.default(ajv);
  const accepts = ajv.compile(schema as object);
  return values.filter((value) => accepts(value) as boolean);
}

class Values {
  readonly #root: JsonSchema;

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  of(schema: JsonSchema, at: string, depth: number): fc.Arbitrary<unknown> {
    if (schema === true) return fc.constantFrom<unknown>(null, 'text', 1);
    if (schema === false) throw new TypeError(`${at} allows no value, so none can be made.`);
    const unknown = Object.keys(schema).find((name) => !known.has(name));
    if (unknown !== undefined)
      throw new TypeError(
        `${at} has the keyword \`${unknown}\`, of which no values are made. Leave it out here, or write an arbitrary.`,
      );
    if ('$ref' in schema) return this.#referred(String(schema['$ref']), at, depth);
    if ('const' in schema) return fc.constant(schema['const']);
    if (Array.isArray(schema['enum'])) return fc.constantFrom(...schema['enum']);
    const choice = (schema['anyOf'] ?? schema['oneOf']) as JsonSchema[] | undefined;
    if (choice !== undefined) return fc.oneof(...choice.map((one, n) => this.of(one, `${at}/${n}`, depth)));
    const type = schema['type'] ?? (schema['properties'] ? 'object' : ['null', 'string', 'number']);
    const types = Array.isArray(type) ? type : [type];
    return fc.oneof(...types.map((one) => this.#typed(one, schema, at, depth)));
  }

  #typed(type: unknown, schema: Keywords, at: string, depth: number): fc.Arbitrary<unknown> {
    if (type === 'null') return fc.constant(null);
    if (type === 'boolean') return fc.boolean();
    if (type === 'integer' || type === 'number') return numbers(schema, type === 'integer');
    if (type === 'string') return texts(schema, at);
    if (type === 'array') {
      const items = (schema['items'] ?? true) as JsonSchema;
      if (Array.isArray(items)) throw new TypeError(`${at} has a list of \`items\`, of which no values are made.`);
      const minLength = (schema['minItems'] ?? 0) as number;
      const maxLength = (schema['maxItems'] ?? minLength + 3) as number;
      const item = this.of(items, `${at}/items`, depth + 1);
      const bounds = { minLength, maxLength };
      return schema['uniqueItems']
        ? fc.uniqueArray(item, { ...bounds, selector: (one) => JSON.stringify(one) })
        : fc.array(item, bounds);
    }
    const properties = Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>);
    const required = (schema['required'] ?? []) as string[];
    const missing = required.find((name) => !properties.some(([one]) => one === name));
    if (missing !== undefined) properties.push([missing, true]);
    // Deep inside a schema that refers to itself, only what has to be there is.
    const wanted = depth < 4 ? properties : properties.filter(([name]) => required.includes(name));
    const fields = wanted.map(([name, one]) => [name, this.of(one, `${at}/${name}`, depth + 1)] as const);
    return fc.record(Object.fromEntries(fields), {
      requiredKeys: required.filter((name) => fields.some(([one]) => one === name)),
      noNullPrototype: true,
    });
  }

  #referred(to: string, at: string, depth: number): fc.Arbitrary<unknown> {
    if (!to.startsWith('#')) throw new TypeError(`${at} refers to \`${to}\`, which is not in the schema.`);
    if (depth > 12) throw new TypeError(`${at} refers to itself in what has to be there: no value ends.`);
    const names = to.slice(1).split('/').filter(Boolean);
    const found = names.reduce<unknown>((inner, name) => (inner as Keywords | undefined)?.[name], this.#root);
    if (found === undefined) throw new TypeError(`${at} refers to \`${to}\`, which is not there.`);
    return this.of(found as JsonSchema, to, depth + 1);
  }
}

function numbers(schema: Keywords, integer: boolean): fc.Arbitrary<number> {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema as Record<
    string,
    number | undefined
  >;
  const step = multipleOf ?? (integer ? 1 : undefined);
  const least = Math.max(minimum ?? Number.NEGATIVE_INFINITY, exclusiveMinimum ?? Number.NEGATIVE_INFINITY);
  const most = Math.min(maximum ?? Number.POSITIVE_INFINITY, exclusiveMaximum ?? Number.POSITIVE_INFINITY);
  const min = Number.isFinite(least) ? least : Math.min(-1_000, most - 1_000);
  const max = Number.isFinite(most) ? most : Math.max(1_000, min + 1_000);
  const allowed = (value: number) => value !== exclusiveMinimum && value !== exclusiveMaximum;
  const base: fc.Arbitrary<number> =
    step === undefined
      ? fc.oneof(fc.constantFrom(min, max), fc.double({ min, max, noNaN: true }))
      : fc.integer({ min: Math.ceil(min / step), max: Math.floor(max / step) }).map((n) => n * step);
  // JSON has no -0.
  return base.map((value) => (value === 0 ? 0 : value)).filter(allowed);
}

function texts(schema: Keywords, at: string): fc.Arbitrary<string> {
  const format = schema['format'] as string | undefined;
  const date = fc
    .date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
    .map((one) => one.toISOString());
  if (format === 'date-time') return date;
  if (format === 'date') return date.map((text) => text.slice(0, 10));
  if (format === 'uuid') return fc.uuid();
  if (format === 'ipv4') return fc.ipV4();
  if (format === 'email') return fc.emailAddress();
  if (format !== undefined) throw new TypeError(`${at} has the format \`${format}\`, of which no values are made.`);
  const minLength = (schema['minLength'] ?? 0) as number;
  return fc.string({ minLength, maxLength: (schema['maxLength'] ?? minLength + 8) as number, unit: 'grapheme-ascii' });
}
