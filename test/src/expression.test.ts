import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RejectError, TopologyError } from '../../src/errors.ts';
import {
  checkExpression,
  checkField,
  checkTemplate,
  compileExpression,
  compileTemplate,
} from '../../src/expression/index.ts';
import { nearest } from '../../src/expression/nearest.ts';
import { StreamRecord } from '../../src/record.ts';
import { recordFields } from '../../src/record-type.ts';
import { suiteFolder } from '../conformance/suites.ts';
import { cpuMs } from '../cpu.ts';

const value = { fuel: 480, name: 'g1', none: null, list: [1, 2, 3], on: true, pos: { lat: 1.5 }, type: 'diesel' };
const window = { step: 'w', start: 0, end: 10_000, label: 5, pane: 'late', seq: 2 } as const;
const meta = { topic: 'a/b/c', headers: { trace: 'x' } };
const evaluate = (source: string, given: unknown = value) => compileExpression(source)(new StreamRecord(given));
const failing = (source: string, given: unknown = value) => {
  try {
    evaluate(source, given);
  } catch (error) {
    expect(error).toBeInstanceOf(RejectError);
    expect((error as RejectError).code).toBe('expression-failed');
    return (error as Error).message;
  }
  throw new Error(`${source} did not fail`);
};
const refused = (source: string) => {
  try {
    compileExpression(source);
  } catch (error) {
    expect(error).toBeInstanceOf(TopologyError);
    return (error as Error).message;
  }
  throw new Error(`${source} was not refused`);
};

describe('an expression', () => {
  test.each([
    ['fuel < 500 ? "refuel" : "no action"', 'refuel'],
    ['fuel * 9 / 5 + 32', 896],
    ['fuel - (fuel - 3)', 3],
    ['fuel / 1000', 0.48],
    ['7 / 2', 3],
    ['fuel == 480 && 480 != fuel', false],
    ['2 in list', true],
    ['size(list) + size(name)', 5],
    ['list.map(x, x * 2)', [2, 4, 6]],
    ['(list + [4]).filter(x, x > 2)', [3, 4]],
    ['("a,b").split(",").map(part, part + "!")', ['a!', 'b!']],
    ['list.exists(x, x == pos.lat * 2)', true],
    ['{"a": fuel, "b": [size(list), {"c": 1}]}', { a: 480, b: [3, { c: 1 }] }],
    ['fuel < 0 ? fuel : null', null],
    ['fuel < 0 ? 1.5 : 1', 1],
    ['type', 'diesel'],
    ['type(fuel) == double && type(list) == list', true],
    ['event["fuel"]', 480],
    ['event.pos.lat', 1.5],
    ['none == null', true],
    ['has(fuel) && !has(fule) && !has(pos.lon) && has(event.none)', true],
    ['coalesce(fule, none, 7)', 7],
    ['coalesce(pos.lon, fuel)', 480],
    ['coalesce(list[9], "end")', 'end'],
    ['pos.?lon.orValue(9)', 9],
    ['abs(-fuel)', 480],
    ['round(2.5) + round(-2.5) + floor(1.9) + ceil(1.1)', 3],
    ['min(3, fuel, 2.5)', 2.5],
    ['max(list)', 3],
    ['max(1, 2)', 2],
    ['name.replace("g", "$&") + name.upper()', '$&1G1'],
    ['"a.b.c".replace(".", "-", 1)', 'a-b.c'],
    ['name.matches("^g[0-9]$")', true],
    ['(name + "x").matches("x$")', true],
    ['matches(name, "1")', true],
    ['fuel / 0 > 1', true],
    ['false && missing', false],
    ['missing || true', true],
    ['timestamp("2026-01-02T03:04:05Z")', '2026-01-02T03:04:05.000Z'],
    ['duration("90s")', '90s'],
    ['string(timestamp("2026-01-02T03:04:05Z"))', '2026-01-02T03:04:05Z'],
    ['b"ab"', 'YWI='],
    ['cel.bind(x, fuel + 1, x * x)', 481 * 481],
  ])('%s gives %j', (source, expected) => {
    expect(evaluate(source)).toEqual(expected);
  });

  test('knows key, time, window and meta of the record, and they win over fields of the same name', () => {
    const record = new StreamRecord({ key: 'field', time: 'field' }, 7, 1_000, 0, meta, window);
    const given = (source: string) => compileExpression(source)(record);
    expect(given('[key, time, window.start, window.end]')).toEqual([7, 1_000, 0, 10_000]);
    expect(given("[window.pane == 'late', window.seq > 1, window.seq]")).toEqual([true, true, 2]);
    expect(given('meta.topic.replace("/", ".") + meta.headers.trace')).toBe('a.b.cx');
    expect(given('event.key + event.time')).toBe('fieldfield');
  });

  test.each([
    ['fule < 500', '`fule < 500`: the record has no field `fule`.'],
    ['pos.lon > 1', '`pos.lon > 1`: the record has no field `pos.lon`.'],
    ['none < 500', '`none < 500`: the field `none` is null.'],
    ['500 > none', '`500 > none`: the field `none` is null.'],
    ['name < 500', '`name < 500`: `<` cannot take a string (`name`) and a number (`500`).'],
    ['!fuel', '`!fuel`: the field `fuel` is a number; `!` needs true or false.'],
    ['fuel ? 1 : 2', '`fuel ? 1 : 2`: the field `fuel` is a number; true or false is needed.'],
    ['fuel && on', '`fuel && on`: the field `fuel` is a number; true or false is needed.'],
    ['fuel.startsWith("x")', '`fuel.startsWith("x")`: the field `fuel` is a number; it has no `startsWith`.'],
    ['key', '`key`: the record has no key; put a `keyBy` before this step.'],
    ['time > 5', '`time > 5`: the record has no event time; give its source a `time`.'],
    ['window.end', '`window.end`: the record is not the result of a window, so it has no `window.end`.'],
    ['meta.topic', '`meta.topic`: the record has no `meta.topic`.'],
    ['1 / 0', '`1 / 0`: a whole number is divided by zero.'],
    ['1.0 / 0.0', '`1.0 / 0.0`: the result is Infinity, which JSON cannot hold.'],
    ['size(list) / size([])', '`size(list) / size([])`: a whole number is divided by zero.'],
  ])('%s fails and says why', (source, message) => {
    expect(failing(source)).toBe(message);
  });

  test('never shows a value of the record in a reason', () => {
    const secret = { s: 'hunter2', n: 4242, l: ['hunter2'] };
    for (const source of [
      'bool(s)',
      'int(s)',
      'double(s)',
      'timestamp(s)',
      's < n',
      's.matches(s + "(")',
      'event[s]',
      'l[int(n)]',
      'duration(s)',
    ]) {
      const message = failing(source, secret);
      expect(message.replace(source, '')).not.toMatch(/hunter2|4242/);
    }
  });

  test('refuses a whole number that JSON cannot hold exactly, at any depth', () => {
    expect(failing('9007199254740993')).toContain('beyond 2^53');
    expect(failing('[{"a": 9007199254740993}]')).toContain('beyond 2^53');
    expect(evaluate('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER);
  });

  test('does not change the record, and gives parts of it as they are', () => {
    const frozen = Object.freeze({ part: Object.freeze({ a: Object.freeze([1]) }) });
    expect(evaluate('part', frozen)).toBe(frozen.part);
    expect(evaluate('[part][0]', frozen)).toBe(frozen.part);
  });

  test.each([
    ['fuel <', 'ends where'],
    ['a ?? b', '`?` cannot stand here'],
    ['now() > 3', 'There is no function `now`'],
    ['random()', 'There is no function `random`'],
    ['package', '`package` is a reserved word'],
    ['__items(list)', 'There is no function `__items`'],
    ['__x', 'reserved'],
    ['1 + "a"', '`+` cannot take a number and a string'],
    ['{"constructor": 1}', 'cannot be a key'],
    ['list.map(event, fuel)', '`event` is the record'],
    ['name.matches("(?=a)")', 'cannot use this pattern'],
    ['list.map(a, list.map(b, list.map(c, c)))', 'at most 2'],
    [`1${' '.repeat(10_000)}`, 'at most 10000'],
    ['('.repeat(500), 'too large'],
    ['!'.repeat(9_000), ''],
    [`${'1 + '.repeat(2_000)}1`, ''],
  ])('%.30s is refused or runs, and never hangs', (source, message) => {
    if (message !== '') expect(refused(source)).toContain(message);
    else
      try {
        evaluate(source);
      } catch (error) {
        expect([TopologyError, RejectError]).toContain((error as Error).constructor);
      }
  });

  test('reaches nothing outside the record', () => {
    const probes = [
      'constructor',
      'toString',
      'hasOwnProperty',
      'valueOf',
      'globalThis',
      'process',
      'this',
      'require',
      'event.constructor',
      'event.__proto__',
      'event["__proto__"]',
      'event["constructor"]["constructor"]',
      'name.constructor',
      'name.length',
      'list.length',
      'list.push',
      'list.constructor',
      'event.toString()',
      'name.constructor.constructor("return process")()',
      'eval("1")',
      'Function("return 1")()',
      'import("fs")',
    ];
    for (const probe of probes) expect(() => evaluate(probe), probe).toThrow();
    expect(evaluate('has(event.constructor) || has(event.__proto__) || "toString" in event')).toBe(false);
  });

  test('reads an own field named `__proto__` as the data that it is', () => {
    expect(evaluate('event.__proto__.a', JSON.parse('{"__proto__": {"a": 1}}'))).toBe(1);
  });

  test('matches in linear time', () => {
    const started = cpuMs();
    expect(evaluate('name.matches("(a+)+$")', { name: `${'a'.repeat(50)}!` })).toBe(false);
    expect(cpuMs() - started).toBeLessThan(2_000);
  });

  test('stops when its loops visit more than 100,000 items', () => {
    const list = Array.from({ length: 400 }, (_, i) => i);
    expect(failing('list.map(a, list.map(b, a * b))', { list })).toContain('more than 100,000 items');
    expect(evaluate('size(list.map(a, list.map(b, a * b)))', { list: list.slice(0, 300) })).toBe(300);
    // Each evaluation counts anew.
    const each = compileExpression('list.all(a, list.all(b, a + b >= 0))');
    for (let i = 0; i < 5; i++) expect(each(new StreamRecord({ list: list.slice(0, 200) }))).toBe(true);
  });

  test('may be a function, whose error is an error of that record', () => {
    const record = new StreamRecord({ fuel: 3 }, 'k');
    expect(compileExpression((v, r) => `${r.key} ${v.fuel}`)(record)).toBe('k 3');
    expect(() => compileExpression((v) => v.a.b)(record)).toThrow(/The function threw TypeError/);
    expect(() => compileExpression(async () => 1)(record)).toThrow(/promise/);
    expect(compileExpression(() => 5n)(record)).toBe(5);
  });

  test('gives what plain code gives, for any numbers of a record', () =>
    fc.assert(
      fc.property(
        fc.double({ noNaN: true }),
        fc.double({ noNaN: true }),
        fc.integer({ min: -5, max: 5 }),
        (a, b, k) => {
          const given = { a, b };
          expect(evaluate(`a < b`, given)).toBe(a < b);
          expect(evaluate(`a == b || a > ${k}`, given)).toBe(a === b || a > k);
          const sum = a * k + b;
          if (Number.isFinite(sum)) expect(evaluate(`a * ${k} + b`, given)).toBe(sum);
          else expect(failing(`a * ${k} + b`, given)).toContain('JSON');
        },
      ),
    ));

  test('never throws anything but its own errors, whatever the text', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            'fuel',
            'list',
            'event',
            '.',
            '(',
            ')',
            '[',
            ']',
            '{',
            '}',
            '"',
            "'",
            '<',
            '==',
            '+',
            '-',
            '?',
            ':',
            ',',
            '1',
            '2.5',
            ' ',
            '//',
            '\n',
            'map',
            'has',
            'matches',
            '.map(x, x)',
            '!',
            '&&',
            'in',
            '\\',
            '💥',
          ),
          { maxLength: 14 },
        ),
        (parts) => {
          const source = parts.join('');
          const { problems } = checkExpression(source, undefined);
          for (const { start, end } of problems) {
            expect(start).toBeGreaterThanOrEqual(0);
            expect(end).toBeGreaterThanOrEqual(start);
            expect(end).toBeLessThanOrEqual(source.length);
          }
          try {
            evaluate(source);
          } catch (error) {
            expect([TopologyError, RejectError]).toContain((error as Error).constructor);
          }
        },
      ),
      { numRuns: 3_000 },
    ));
});

describe('checking', () => {
  const type = {
    type: 'object',
    required: ['fuel'],
    properties: {
      fuel: { type: 'number' },
      name: { type: 'string' },
      on: { type: 'boolean' },
      maybe: { type: ['number', 'null'] },
      list: { type: 'array', items: { type: 'number' } },
      pos: { $ref: '#/definitions/pos' },
      open: { type: 'object' },
    },
    additionalProperties: true,
    definitions: {
      pos: { type: 'object', properties: { lat: { type: 'number' }, near: { $ref: '#/definitions/pos' } } },
    },
  };
  const problems = (source: string) =>
    checkExpression(source, type).problems.map(({ code, start, end, hint }) => [code, source.slice(start, end), hint]);

  test.each([
    ['fule < 500', [['unknown-field', 'fule', 'Did you mean `fuel`?']]],
    [
      'pos.lta > 1 && event.Fuel > 1',
      [
        ['unknown-field', 'lta', 'Did you mean `lat`?'],
        ['unknown-field', 'Fuel', 'Did you mean `fuel`?'],
      ],
    ],
    ['pos.near.near.lot > 1', [['unknown-field', 'lot', 'Did you mean `lat`?']]],
    ['window.pan', [['unknown-field', 'pan', 'Did you mean `pane`?']]],
    ['window.strat', [['unknown-field', 'strat', 'Did you mean `start`?']]],
    ['has(nmae)', [['unknown-field', 'nmae', 'Did you mean `name`?']]],
    ['list.map(x, x + fule)', [['unknown-field', 'fule', 'Did you mean `fuel`?']]],
    [
      'fuel == "x"',
      [['type-mismatch', 'fuel == "x"', 'Write `double(…)` around the string, or quotes around the number.']],
    ],
    [
      '(fuel) - (fuel - "a")',
      [['type-mismatch', 'fuel - "a"', 'Write `double(…)` around the string, or quotes around the number.']],
    ],
    ['fuel.map(x, x)', [['type-mismatch', 'fuel', undefined]]],
    ['rond(fuel)', [['bad-expression', 'rond(fuel)', 'Did you mean `round`?']]],
    ['name + fuel', [['type-mismatch', 'name + fuel', 'To join them write `string(…)` around the number.']]],
  ])('%s is reported at its place', (source, expected) => {
    expect(problems(source)).toEqual(expected);
  });

  test.each([
    ['fuel', { type: 'number' }],
    ['fuel < 500 ? "refuel" : "no action"', { type: 'string' }],
    ['fuel < 500 ? "refuel" : null', { type: ['string', 'null'] }],
    ['fuel == 500 || maybe == null', { type: 'boolean' }],
    ['size(list)', { type: 'integer' }],
    ['fuel / 2', { type: 'number' }],
    ['list.map(x, x + 1)', { type: 'array', items: { type: 'number' } }],
    ['3 in list', { type: 'boolean' }],
    ['fuel in [1, 2]', { type: 'boolean' }],
    [
      '{"a": fuel, "b": name}',
      { type: 'object', properties: { a: { type: 'number' }, b: { type: 'string' } }, required: ['a', 'b'] },
    ],
    ['size(pos) + size(event)', { type: 'integer' }],
    ['open.anything', undefined],
    ['event["anything"]', undefined],
    ['coalesce(maybe, 0)', undefined],
    ['pos.near.lat', { type: 'number' }],
  ])('%s has no problem, and its type', (source, expected) => {
    expect(checkExpression(source, type)).toEqual({ type: expected, problems: [] });
  });

  test('says nothing about names when nothing is known of the record', () => {
    for (const input of [undefined, true, {}, { type: 'object' }])
      expect(checkExpression('anything.at.all < 500', input)).toEqual({ type: { type: 'boolean' }, problems: [] });
  });

  test('knows the fields of either side of anyOf, and of all parts of allOf', () => {
    const part = (name: string, schema: object) => ({ type: 'object', properties: { [name]: schema } });
    const both = { anyOf: [part('a', { type: 'number' }), part('b', { type: 'string' })] };
    expect(checkExpression('a > 1', both).problems).toEqual([]);
    const sure = { anyOf: both.anyOf.map((branch) => ({ ...branch, required: Object.keys(branch.properties) })) };
    expect([...recordFields(sure)!].map(([name, { required }]) => [name, required])).toEqual([
      ['a', false],
      ['b', false],
    ]);
    expect(checkExpression('c > 1', both).problems).toMatchObject([{ code: 'unknown-field' }]);
    expect(
      checkExpression('a + b', { allOf: [part('a', { type: 'number' }), part('b', { type: 'string' })] }).problems,
    ).toMatchObject([{ code: 'type-mismatch' }]);
  });

  test('checks names of fields', () => {
    expect(checkField('pos.lat', type)).toEqual({ type: { type: 'number' }, problems: [] });
    expect(checkField('pos.lta', type).problems).toMatchObject([
      { code: 'unknown-field', start: 4, end: 7, hint: 'Did you mean `lat`?' },
    ]);
    expect(checkField('a..b', undefined).problems.length).toBe(1);
  });

  test('what lint accepts without a word also runs on a record of that type', () =>
    fc.assert(
      fc.property(
        fc.constantFrom('fuel', 'name', 'on', 'list', 'pos.lat', '1', '2.5', '"x"', 'size(list)', 'list[0]', 'true'),
        fc.constantFrom('+', '-', '*', '/', '%', '<', '==', '!=', '>=', '&&', '||', 'in'),
        fc.constantFrom('fuel', 'name', 'on', 'list', 'pos.lat', '3', '0.5', '"y"', 'size(name)', 'list[1]', 'false'),
        (left, op, right) => {
          const source = `${left} ${op} ${right}`;
          if (checkExpression(source, type).problems.length === 0)
            evaluate(source, { fuel: 1, name: 'n', on: true, list: [1, 2], pos: { lat: 2 } });
        },
      ),
      { numRuns: 1_500 },
    ));
});

describe('a template', () => {
  const record = new StreamRecord({ generatorID: 'g1', fuel: 4.5, n: null, pos: {} });
  test.each([
    ['gen/{generatorID}/cmd', 'gen/g1/cmd'],
    ['{fuel}{{{generatorID}}}', '4.5{g1}'],
    ['plain', 'plain'],
    ['', ''],
    ['{ {"a": "}"}["a"] }{"{x}"}', '}{x}'],
    ["{'it\\'s }'}", "it's }"],
  ])('%s gives %s', (source, expected) => {
    expect(compileTemplate(source)(record)).toBe(expected);
  });
  test('rejects a record whose value is missing, null or no text', () => {
    for (const source of ['{fule}', '{n}', '{pos}']) expect(() => compileTemplate(source)(record)).toThrow(RejectError);
  });
  test('cleans each value from the record, and nothing else', () => {
    const cleaned = compileTemplate('a/{generatorID}/{fuel}', (text) => `<${text}>`);
    expect(cleaned(record)).toBe('a/<g1>/<4.5>');
  });
  test('reports problems at their place in the whole text', () => {
    const source = 'a/{fule}/{pos}/}{';
    const input = { type: 'object', properties: { fuel: { type: 'number' }, pos: { type: 'object' } } };
    const places = checkTemplate(source, input).problems.map(({ code, start, end }) => [
      code,
      source.slice(start, end),
    ]);
    expect(places.sort()).toEqual([
      ['bad-expression', '{'],
      ['bad-expression', '}'],
      ['type-mismatch', 'pos'],
      ['unknown-field', 'fule'],
    ]);
    expect(() => compileTemplate('{')).toThrow(TopologyError);
  });
  test('gives any text back when its braces are doubled', () =>
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('{', '}', 'a', '"') }), (text) => {
        expect(compileTemplate(text.replaceAll('{', '{{').replaceAll('}', '}}'))(record)).toBe(text);
      }),
    ));
});

test('finds the name that was meant, and none when none is near', () => {
  const names = ['fuel', 'load', 'lat', 'temperature'];
  expect([
    nearest('fule', names),
    nearest('FUEL', names),
    nearest('temprature', names),
    nearest('xyz', names),
    nearest('l', names),
  ]).toEqual(['fuel', 'fuel', 'temperature', undefined, undefined]);
});

const naughty = suiteFolder('naughty-strings');
test.skipIf(naughty === undefined)('naughty strings survive as field names, values and literals', () => {
  const strings = JSON.parse(readFileSync(join(naughty!, 'blns.json'), 'utf8')) as string[];
  for (const text of strings) {
    const given = Object.fromEntries([[text, text]]);
    if (text !== '') expect(evaluate(`event[${JSON.stringify('k')}]`, { k: text })).toBe(text);
    expect(evaluate('event[k]', { k: 'v', v: text })).toBe(text);
    expect(evaluate('event.all(k, event[k] == k)', given), text).toBe(true);
    expect(compileTemplate('{s}')(new StreamRecord({ s: text }))).toBe(text);
  }
});
