import { Ajv, type Options } from 'ajv';
import formats from 'ajv-formats';
import { RE2JS } from 're2js';
import type { JsonSchema } from '../../src/operator.ts';
import { type Reason, reasonsOf } from './reasons.ts';

/** A schema that cannot be used, and what to do about it. */
export class BadSchema extends Error {
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

export interface Validator {
  readonly accepts: (value: unknown) => boolean;
  /** Why a value was not accepted. */
  reasons(value: unknown): Reason[];
}

/** Values with more parts than this are only asked for the first reason: all of them could be a million. */
const maxParts = 2_000;
const maxReasons = 20;

/** Compiles a schema, once. Throws BadSchema when it cannot be used. */
export function compileSchema(schema: JsonSchema, refs: Readonly<Record<string, JsonSchema>> = {}): Validator {
  const first = compileWith({}, schema, refs);
  let all: typeof first | undefined;
  return {
    accepts: first as (value: unknown) => boolean,
    reasons(value) {
      if (parts(value, maxParts) >= maxParts) return reasonsOf(first.errors ?? [], value);
      all ??= compileWith({ allErrors: true }, schema, refs);
      all(value);
      return reasonsOf((all.errors ?? first.errors ?? []).slice(0, maxReasons), value);
    },
  };
}

function compileWith(more: Options, schema: JsonSchema, refs: Readonly<Record<string, JsonSchema>>) {
  if (typeof schema !== 'boolean' && (typeof schema !== 'object' || schema === null || Array.isArray(schema)))
    throw new BadSchema(
      'The schema is not a JSON Schema: an object, true or false is expected.',
      'Give the path of a file, or the schema itself.',
    );
  const ajv = new Ajv({
    strict: false,
    ownProperties: [schema, ...Object.values(refs)].some(namesInherited),
    logger: false,
    code: { regExp: linearRegExp },
    ...more,
  });
  formats.default(ajv);
  useLinearUniqueItems(ajv);
  try {
    for (const [uri, ref] of Object.entries(refs)) addReference(ajv, uri, ref);
    return ajv.compile(schema as object);
  } catch (error) {
    if (error instanceof BadSchema) throw error;
    throw explained(error as Error & { missingRef?: string });
  }
}

// Without a look at who owns a property, `required: ["toString"]` is met by every object. The look triples the cost of a check,
// and only names that objects inherit need it.
const inherited = Object.getOwnPropertyNames(Object.prototype);
function namesInherited(schema: JsonSchema): boolean {
  const text = JSON.stringify(schema);
  return inherited.some((name) => text.includes(name)) || text.includes('\\u');
}

function addReference(ajv: Ajv, uri: string, schema: JsonSchema): void {
  try {
    ajv.addSchema(schema as object, uri);
  } catch (error) {
    const { message, hint } = explained(error as Error);
    throw new BadSchema(`In \`refs\`, \`${uri}\`: ${message}`, hint);
  }
}

function explained(error: Error & { missingRef?: string }): BadSchema {
  if (error.missingRef !== undefined)
    return new BadSchema(
      `The schema refers to \`${error.missingRef}\`, which is not in it; nothing is ever fetched.`,
      'Put it under `definitions`, or give it in `refs` under its URI.',
    );
  if (error instanceof RangeError)
    return new BadSchema('The schema is nested too deeply.', 'Use `definitions` and `$ref`.');
  const draft = error.message.match(/^no schema with key or ref "(.*)"$/);
  if (draft !== null)
    return new BadSchema(
      `The schema is written in \`${draft[1]}\`; draft-07 is expected.`,
      'Set `$schema` to "http://json-schema.org/draft-07/schema#", or leave it out.',
    );
  return new BadSchema(
    `The schema is not a JSON Schema (draft-07): ${error.message}.`,
    'Correct it at the place that the message names.',
  );
}

// ajv's default is JavaScript's RegExp: `^(a+)+$` takes 14 s on 29 characters.
function linearRegExp(pattern: string) {
  try {
    return RE2JS.compile(RE2JS.translateRegExp(pattern) as string);
  } catch (error) {
    throw new BadSchema(
      `The pattern \`${pattern}\` cannot be used: ${(error as Error).message}.`,
      'Patterns are RE2, which runs in linear time: no look-ahead, no look-behind and no back-references.',
    );
  }
}
linearRegExp.code = 'linearRegExp';

// ajv compares each item with each other: 8,000 objects take seconds.
function useLinearUniqueItems(ajv: Ajv): void {
  ajv.removeKeyword('uniqueItems');
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    error: { message: 'must NOT have duplicate items' },
    validate: (wanted: boolean, items: unknown[]) => !wanted || new Set(items.map(canonical)).size === items.length,
  });
}

// Equal values have equal texts: names sorted, -0 as 0.
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined';
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const fields = value as Record<string, unknown>;
  const names = Object.keys(fields).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(fields[name])}`).join()}}`;
}

function parts(value: unknown, limit: number): number {
  const waiting = [value];
  let count = 0;
  while (waiting.length > 0 && count < limit) {
    const next = waiting.pop();
    count++;
    if (typeof next !== 'object' || next === null) continue;
    const inside = Object.values(next);
    if (inside.length >= limit) return limit;
    for (const item of inside) waiting.push(item);
  }
  return count;
}
