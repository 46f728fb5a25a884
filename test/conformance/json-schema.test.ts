import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { validate } from '../../operators/validate/index.ts';
import { type JsonSchema, StreamRecord } from '../../src/operator.ts';
import { Driver } from '../../src/testing.ts';
import { suiteFolder } from './suites.ts';

interface Group {
  readonly file: string;
  readonly group: string;
  readonly optional: boolean;
  readonly schema: JsonSchema;
  readonly tests: readonly { readonly description: string; readonly data: unknown; readonly valid: boolean }[];
}

const folder = suiteFolder('json-schema-draft7');
const read = (name: string) => readFileSync(join(folder!, name), 'utf8');

/** Required tests that are known to differ: ajv honours keywords beside `$ref`, and cannot name `__proto__` in `properties`. */
const exceptions = [
  'properties.json | properties whose names are Javascript object property names | __proto__ not valid',
  'ref.json | ref overrides any sibling keywords | ref valid, maxItems ignored',
  'ref.json | $ref prevents a sibling $id from changing the base uri | $ref resolves to /definitions/base_foo, data does not validate',
  'ref.json | $ref prevents a sibling $id from changing the base uri | $ref resolves to /definitions/base_foo, data validates',
];

describe.skipIf(folder === undefined)('the JSON Schema draft-07 suite', () => {
  test('is passed by `validate`: accepted records go on, all others are schema violations', () => {
    const groups = read('cases.jsonl')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Group);
    // One remote schema is of a later draft, for the optional cross-draft tests: `validate` refuses such a schema, as it says.
    const remotes = Object.entries(JSON.parse(read('remotes.json')) as Record<string, { $schema?: string }>);
    const refs = Object.fromEntries(remotes.filter(([, { $schema }]) => !$schema?.includes('2019-09')));
    const passed = { required: 0, optional: 0 };
    const count = { required: 0, optional: 0 };
    const failed: string[] = [];
    for (const { schema, file, group, optional, tests } of groups) {
      const kind = optional ? 'optional' : 'required';
      const accepts = acceptor(schema, refs);
      for (const { data, valid, description } of tests) {
        count[kind]++;
        const found = accepts(data);
        if (found === valid) passed[kind]++;
        else if (!optional)
          failed.push(`${file} | ${group} | ${description}${typeof found === 'string' ? ` | ${found}` : ''}`);
      }
    }
    console.log(
      `JSON Schema draft-07: required ${passed.required} of ${count.required}, optional ${passed.optional} of ${count.optional}`,
    );
    expect(count).toEqual({ required: 913, optional: 552 });
    expect(failed).toEqual(exceptions);
    // Most of the others are patterns that RE2 does not have, and formats that ajv-formats does not know.
    expect(passed.optional).toBeGreaterThanOrEqual(476);
  }, 120_000);
});

/** One `validate` step, as a topology has it; it gives the problem's text when the schema is refused. */
function acceptor(schema: JsonSchema, refs: Record<string, JsonSchema>): (data: unknown) => boolean | string {
  let driver: Driver;
  const needed = JSON.stringify(schema).includes('http://localhost:1234/') ? refs : {};
  try {
    driver = new Driver(validate, { schema, refs: needed });
  } catch (error) {
    return () => (error as Error).message;
  }
  return (data) => {
    const before = driver.output.length;
    driver.push(new StreamRecord(data));
    if (driver.output.length > before) return true;
    expect(driver.rejected.at(-1)).toMatchObject({ code: 'schema-violation' });
    return false;
  };
}
