import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duration, UnsignedInt } from '@marcbachmann/cel-js/evaluator';
import { describe, expect, test } from 'vitest';
import { RejectError, TopologyError } from '../../src/errors.ts';
import { compileExpression } from '../../src/expression/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { suiteFolder } from './suites.ts';
import { asText, type Message, readTextproto } from './textproto.ts';

const folder = suiteFolder('cel-conformance');
const core =
  'basic comparisons conversions fields fp_math integer_math lists logic macros parse string timestamps'.split(' ');

/** What a record cannot hold: the wrapper must refuse it. */
const refused = Symbol('refused');

interface Case {
  readonly name: string;
  readonly expression: string;
  readonly bindings: Record<string, unknown>;
  /** `undefined`: an error is expected. */
  readonly expected: unknown;
}

const one = (message: Message | undefined, name: string) => message?.get(name)?.[0];
const inner = (message: Message | undefined, name: string) => one(message, name) as Message | undefined;

function cases(file: string): Case[] {
  const suite = readTextproto(readFileSync(join(folder!, `${file}.textproto`), 'utf8'));
  return (suite.get('section') as Message[]).flatMap((section) =>
    ((section.get('test') ?? []) as Message[]).filter(isOfJson).map((given) => {
      const value = inner(given, 'value');
      return {
        name: `${file}/${String(one(section, 'name'))}/${String(one(given, 'name'))}`,
        expression: asText(one(given, 'expr') as string),
        bindings: bindingsOf(given),
        // A test that names neither a value nor an error expects `true`.
        expected: given.has('eval_error') ? undefined : value === undefined ? true : dataOf(value),
      };
    }),
  );
}

// Protobuf messages, enums and containers have no counterpart in JSON records.
function isOfJson(given: Message): boolean {
  const expression = String(one(given, 'expr'));
  const whole = JSON.stringify(given, (_key, part: unknown) => (part instanceof Map ? [...part] : part));
  if (given.has('container') || given.has('any_eval_errors') || given.has('typed_result')) return false;
  return !/TestAllTypes|NestedTestAllTypes|enum_value|Proto[23]|proto[23]|google\.protobuf\.(?!Timestamp|Duration)/.test(
    whole + expression,
  );
}

function bindingsOf(given: Message): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const binding of (given.get('bindings') ?? []) as Message[])
    fields[one(binding, 'key') as string] = celOf(inner(inner(binding, 'value'), 'value')!);
  return fields;
}

function kindAndValue(value: Message): [string, unknown] {
  const [entry] = value;
  return entry === undefined ? ['none', undefined] : [entry[0], entry[1][0]];
}

/** A value of the suite as CEL has it, for bindings. */
function celOf(value: Message): unknown {
  const [kind, given] = kindAndValue(value);
  if (kind === 'int64_value') return BigInt(given as string);
  if (kind === 'uint64_value') return new UnsignedInt(BigInt(given as string));
  if (kind === 'bytes_value') return Buffer.from(given as string, 'latin1');
  if (kind === 'list_value') return (((given as Message).get('values') ?? []) as Message[]).map(celOf);
  if (kind === 'map_value')
    return Object.fromEntries(entriesOf(given as Message).map(([k, v]) => [String(celOf(k)), celOf(v)]));
  if (kind === 'object_value') {
    const [type, seconds, nanos] = messageOf(given as Message);
    return type === 'Timestamp' ? new Date(Number(seconds) * 1_000 + nanos / 1e6) : new Duration(seconds, nanos);
  }
  return scalar(kind, given);
}

/** A value of the suite as it must leave the wrapper: JSON data. */
function dataOf(value: Message): unknown {
  const [kind, given] = kindAndValue(value);
  if (kind === 'int64_value' || kind === 'uint64_value')
    return Number.isSafeInteger(Number(given)) ? Number(given) : refused;
  if (kind === 'bytes_value') return Buffer.from(given as string, 'latin1').toString('base64');
  if (kind === 'list_value') {
    const items = (((given as Message).get('values') ?? []) as Message[]).map(dataOf);
    return items.includes(refused) ? refused : items;
  }
  if (kind === 'map_value') {
    const entries = entriesOf(given as Message).map(([k, v]) => [String(dataOf(k)), dataOf(v)] as const);
    return entries.some(([, v]) => v === refused) ? refused : Object.fromEntries(entries);
  }
  if (kind === 'object_value') {
    const [type, seconds, nanos] = messageOf(given as Message);
    if (type === 'Timestamp') return new Date(Number(seconds) * 1_000 + nanos / 1e6).toISOString();
    return new Duration(seconds, nanos).toString();
  }
  const data = scalar(kind, given);
  return typeof data === 'number' && !Number.isFinite(data) ? refused : data;
}

function scalar(kind: string, given: unknown): unknown {
  if (kind === 'null_value') return null;
  if (kind === 'string_value' || kind === 'type_value') return asText(String(given));
  if (kind === 'double_value') return Number(String(given).replace(/^(-?)inf.*$/i, '$1Infinity'));
  return given;
}

function entriesOf(map: Message): [Message, Message][] {
  return ((map.get('entries') ?? []) as Message[]).map((entry) => [inner(entry, 'key')!, inner(entry, 'value')!]);
}

function messageOf(value: Message): [string, bigint, number] {
  const [type, message] = kindAndValue(value);
  const fields = message as Message;
  return [type.split('.').pop()!, BigInt(String(one(fields, 'seconds') ?? 0)), Number(one(fields, 'nanos') ?? 0)];
}

function run({ expression, bindings }: Case): unknown {
  try {
    return compileExpression(expression)(new StreamRecord(bindings));
  } catch (error) {
    if (error instanceof TopologyError) return undefined;
    if (!(error instanceof RejectError) || error.code !== 'expression-failed') throw error;
    return error.message.includes('which JSON cannot hold') ? refused : undefined;
  }
}

const same = (a: unknown, b: unknown) => {
  // What is refused at the door is an error as well.
  if (a === refused && b === undefined) return true;
  try {
    expect(a).toEqual(b);
    return true;
  } catch {
    return false;
  }
};

describe.skipIf(folder === undefined)('the CEL conformance suite', () => {
  test('is passed as far as the engine goes, through the wrapper', () => {
    const all = core.flatMap(cases);
    const failed = all.filter((given) => !same(run(given), given.expected));
    console.log(`CEL conformance, core: ${all.length - failed.length} of ${all.length}`);
    if (process.env['SHOW_FAILED'])
      for (const f of failed)
        console.log(f.name, '|', f.expression, '|', String(run(f)), '|', JSON.stringify(f.expected));
    expect(all.length - failed.length).toBeGreaterThanOrEqual(954);
  });
});
