import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isCelError, isCelList, isCelMap, run as runOracle } from '@bufbuild/cel';
import { Duration, UnsignedInt } from '@marcbachmann/cel-js/evaluator';
import fc from 'fast-check';
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

// Expressions of three types over a small record: numbers meet at equality, fields are missing, null or of the wrong type.
const record = {
  a: 1,
  b: 2.5,
  c: -1,
  s: 'ab',
  t: '',
  p: true,
  q: false,
  n: null,
  l: [1, 2.5, 1],
  o: { a: 1, s: 'ab' },
};
const { number, bool, text } = fc.letrec<{ number: string; bool: string; text: string; list: string }>((tie) => ({
  number: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'cel' },
    fc.constantFrom('a', 'b', 'c', 'o.a', 'n', 'missing', 's', '0.0', '1.0', '2.5', 'l[0]', 'l[1]', 'l[9]'),
    fc
      .tuple(tie('number'), fc.constantFrom('+', '-', '*', '/'), tie('number'))
      .map(([x, op, y]) => `(${x} ${op} ${y})`),
    // Not doubled: the other folds `--n` to `n` before it looks at the type.
    fc.constantFrom('a', 'b', 's', 'n', 'missing').map((x) => `(-${x})`),
    fc.tuple(tie('bool'), tie('number'), tie('number')).map(([p, x, y]) => `(${p} ? ${x} : ${y})`),
  ),
  text: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'cel' },
    fc.constantFrom('s', 't', 'o.s', 'n', 'missing', '"ab"', '"a"', '""', "'\\n'"),
    fc.tuple(tie('text'), tie('text')).map(([x, y]) => `(${x} + ${y})`),
  ),
  list: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'cel' },
    fc.constantFrom('l', '[1.0, 2.5]', '[a, b]', 'missing', 'n'),
    fc.tuple(tie('list'), tie('bool')).map(([l, p]) => `${l}.filter(x, ${p})`),
    fc.tuple(tie('list'), tie('number')).map(([l, x]) => `(${l}).map(x, x - ${x})`),
    fc.tuple(tie('list'), tie('list')).map(([k, l]) => `(${k} + ${l})`),
  ),
  bool: fc.oneof(
    { maxDepth: 5, depthIdentifier: 'cel' },
    fc.constantFrom('p', 'q', 'true', 'false', 'n', 'missing', 'has(o.a)', 'has(o.b)'),
    fc
      .tuple(tie('number'), fc.constantFrom('<', '<=', '>', '>=', '==', '!='), tie('number'))
      .map((x) => `(${x.join(' ')})`),
    fc.tuple(tie('text'), fc.constantFrom('<', '==', '!='), tie('text')).map((x) => `(${x.join(' ')})`),
    fc.tuple(tie('bool'), fc.constantFrom('&&', '||'), tie('bool')).map((x) => `(${x.join(' ')})`),
    fc.constantFrom('p', 'q', 's', 'n', 'missing', '(a < b)', '(n < a)').map((x) => `(!${x})`),
    fc
      .tuple(tie('text'), fc.constantFrom('startsWith', 'contains', 'endsWith'), tie('text'))
      .map(([x, f, y]) => `${x}.${f}(${y})`),
    fc.tuple(tie('list'), fc.constantFrom('all', 'exists'), tie('number')).map(([l, f, x]) => `${l}.${f}(x, x < ${x})`),
    fc.tuple(tie('number'), tie('list')).map(([x, l]) => `(${x} in ${l})`),
  ),
}));

const failedMark = Symbol('failed');

function oracle(expression: string): unknown {
  try {
    const result = runOracle(expression, record as never);
    return isCelError(result) ? failedMark : plain(result);
  } catch {
    return failedMark;
  }
}

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : failedMark;
  if (isCelList(value)) {
    const items = [...value].map(plain);
    return items.includes(failedMark) ? failedMark : items;
  }
  return isCelMap(value) ? Object.fromEntries([...value].map(([k, v]) => [String(k), plain(v)])) : value;
}

function ours(expression: string): unknown {
  try {
    return compileExpression(expression)(new StreamRecord(record));
  } catch (error) {
    expect([RejectError, TopologyError]).toContain((error as Error).constructor);
    return failedMark;
  }
}

describe('beside a second implementation of CEL', () => {
  test('gives the same answer, or fails as well, for generated expressions', () => {
    const counts = { answered: 0, failed: 0, refusedEarly: 0 };
    fc.assert(
      fc.property(fc.oneof(number, bool, text), (expression) => {
        const mine = ours(expression);
        const theirs = oracle(expression);
        if (mine === failedMark && theirs !== failedMark && isStatic(expression)) {
          counts.refusedEarly++;
          return;
        }
        counts[mine === failedMark ? 'failed' : 'answered']++;
        expect(mine).toEqual(theirs);
      }),
      { numRuns: 3_000 },
    );
    console.log(
      `beside @bufbuild/cel: ${counts.answered} equal answers, ${counts.failed} failed in both, ${counts.refusedEarly} refused before running`,
    );
    expect(counts.answered).toBeGreaterThan(counts.refusedEarly * 5);
  });
});

// Ours type-checks literals before it runs: `1.0 == "a" || true` is refused, where the other answers `true`.
function isStatic(expression: string): boolean {
  try {
    compileExpression(expression);
    return false;
  } catch {
    return true;
  }
}
