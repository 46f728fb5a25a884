import { Point } from '@influxdata/influxdb-client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isPlainName, type LineOptions, lineMaker, reservedNames } from '../../operators/influx/lines.ts';
import { RejectError, StreamRecord } from '../../src/operator.ts';

const make = (options: Partial<LineOptions>) =>
  lineMaker({ measurement: 'genData', ...options }, (name) => new Point(name));
const lineOf = (value: unknown, options: Partial<LineOptions> = {}, time = 1000) =>
  make(options)(new StreamRecord(value, 'k', time));
const whyNot = (value: unknown, options: Partial<LineOptions> = {}, time = 1000) => {
  try {
    return lineOf(value, options, time);
  } catch (error) {
    if (!(error instanceof RejectError)) throw error;
    return `refused: ${error.message}`;
  }
};

/** Reads line protocol as the server does; throws on what it would not take. */
function parse(text: string) {
  let at = 0;
  const until = (ends: string, escapes: string) => {
    let out = '';
    for (; at < text.length && !ends.includes(text[at]!); at++) {
      if (text[at] === '\\' && escapes.includes(text[at + 1] ?? '\n')) at++;
      if (text[at] === '\n') throw new Error('a line ends too early');
      out += text[at];
    }
    return out;
  };
  const measurement = until(', ', ', ');
  const tags: Record<string, string> = {};
  const fields: Record<string, unknown> = {};
  while (text[at] === ',') {
    at++;
    const name = until('=', ', =');
    at++;
    tags[name] = until(', ', ', =');
  }
  do {
    at++;
    const name = until('=', ', =');
    at++;
    if (text[at] === '"') {
      let out = '';
      for (at++; text[at] !== '"'; at++) {
        if (at >= text.length) throw new Error('a text that never ends');
        if (text[at] === '\\' && '"\\'.includes(text[at + 1]!)) at++;
        out += text[at];
      }
      at++;
      fields[name] = out;
    } else {
      const word = until(', ', '');
      fields[name] = word === 'T' || (word !== 'F' && (word.endsWith('i') ? BigInt(word.slice(0, -1)) : Number(word)));
    }
  } while (text[at] === ',');
  if (text[at] !== ' ' || !/^ -?\d+$/.test(text.slice(at))) throw new Error(`no time at ${at}`);
  return { measurement, tags, fields, time: text.slice(at + 1) };
}

// What escaping is about, more often than chance would bring it.
const nasty = fc.oneof(
  fc
    .array(fc.constantFrom(',', '=', ' ', '"', '\\', 'a', '#', '\n', '\t', '\u0000', 'é', '\ud800', '🙂'), {
      maxLength: 5,
    })
    .map((c) => c.join('')),
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.constantFrom('__proto__', 'time', '_field', 'constructor'),
);
const scalar = fc.oneof(nasty, fc.double(), fc.integer(), fc.boolean(), fc.constant(null), fc.constant({}));

test('every line is read back as the record it was made of, or refused: never as something else', () => {
  let made = 0;
  fc.assert(
    fc.property(
      nasty,
      nasty,
      scalar,
      fc.dictionary(nasty, scalar, { maxKeys: 4 }),
      (measurement, tag, tagValue, others) => {
        fc.pre(isPlainName(tag) && !reservedNames.includes(tag)); // the options are checked before
        const fields = { fuel: 1.5, ...others };
        const value = Object.fromEntries([...Object.entries(fields), [tag, tagValue]]);
        let line: string;
        try {
          line = lineOf(value, { measurement: measurement.replace(/[{}]/g, ''), tags: [tag] });
        } catch (error) {
          if (!(error instanceof RejectError)) throw error;
          return;
        }
        made++;
        const read = parse(line);
        expect(line.startsWith('#')).toBe(false);
        expect(read.measurement).toBe(measurement.replace(/[{}]/g, ''));
        expect(read.tags).toEqual({ [tag]: String(tagValue) });
        const expected = Object.entries(value).filter(
          ([name, field]) => name !== tag && field !== null && typeof field !== 'object',
        );
        expect(read.fields).toEqual(Object.fromEntries(expected.map(([name, f]) => [name, Object.is(f, -0) ? 0 : f])));
        expect(read.time).toBe('1000');
      },
    ),
    { numRuns: 3000 },
  );
  expect(made).toBeGreaterThan(200);
});

test('writes all plain fields that are no tags, numbers as floats', () => {
  const reading = {
    generatorID: 'generator1',
    fuel: 500,
    alarm: 'no action',
    on: true,
    off: false,
    gone: null,
    at: { lat: 1 },
    list: [1],
  };
  expect(lineOf(reading, { tags: ['generatorID'] })).toBe(
    'genData,generatorID=generator1 alarm="no action",fuel=500,off=F,on=T 1000',
  );
  expect(lineOf(reading, { tags: ['generatorID'], fields: ['fuel', 'at.lat', 'gone'], integers: ['fuel'] })).toBe(
    'genData,generatorID=generator1 at.lat=1,fuel=500i 1000',
  );
});

test('says why a record makes no point', () => {
  const fuel = 1;
  expect(whyNot(7)).toMatch(/The value is a number; a point is made of an object/);
  expect(whyNot([])).toMatch(/The value is a list/);
  expect(whyNot({})).toMatch(/None of its fields can be written/);
  expect(whyNot({ a: 1 }, { fields: ['fuel', 'load'] })).toMatch(/None of its fields can be written: `fuel`, `load`/);
  expect(whyNot({ fuel }, { tags: ['id'] })).toMatch(/`id` is a tag, but is missing or null/);
  expect(whyNot({ fuel, id: null }, { tags: ['id'] })).toMatch(/missing or null/);
  expect(whyNot({ fuel, id: '' }, { tags: ['id'] })).toMatch(/is empty/);
  expect(whyNot({ fuel, id: [] }, { tags: ['id'] })).toMatch(/but is a list/);
  expect(whyNot({ fuel, id: 'x\\' }, { tags: ['id'] })).toMatch(/ends in a backslash/);
  expect(whyNot({ fuel, id: 'x\ny' }, { tags: ['id'] })).toMatch(/line end/);
  expect(whyNot({ fuel: Number.NaN })).toMatch(/`fuel` is NaN/);
  expect(whyNot({ fuel: Number.POSITIVE_INFINITY })).toMatch(/`fuel` is Infinity/);
  expect(whyNot({ fuel, time: 1 })).toMatch(/keeps the name `time` for itself/);
  expect(whyNot({ fuel, 'x\\': 1 })).toMatch(/name of a field is empty, ends in a backslash/);
  expect(whyNot(JSON.parse('{"__proto__":1}'))).toMatch(/name of a field/);
  expect(whyNot({ fuel: {} }, { fields: ['fuel'] })).toMatch(/`fuel` is an object/);
  expect(whyNot({ fuel: 1.5 }, { integers: ['fuel'] })).toMatch(/no whole number of at most 2\^53/);
  expect(whyNot({ fuel: 2 ** 53 }, { integers: ['fuel'] })).toMatch(/no whole number/);
  expect(whyNot({ fuel: 9007199254740993n }, { integers: ['fuel'] })).toMatch(/no whole number/);
  expect(whyNot({ fuel: 'half \ud800' })).toMatch(/lone surrogate/);
  expect(whyNot({ fuel }, { measurement: '#x' })).toMatch(/measurement is empty, begins with `#`/);
  expect(whyNot({ fuel }, {}, Number.NaN)).toMatch(/no event time. Give its source a `time`/);
  expect(whyNot({ fuel }, { time: 'windowEnd' })).toMatch(/needs the result of a window/);
});

test('whole numbers are exact up to the last one', () => {
  expect(lineOf({ n: 2 ** 53 - 1 }, { integers: ['n'] })).toBe('genData n=9007199254740991i 1000');
  expect(lineOf({ n: 12n }, { integers: ['n'] })).toBe('genData n=12i 1000');
});

test('times keep every digit in each precision, and end where those of the server end', () => {
  const at = (time: number, precision: 's' | 'ms' | 'us' | 'ns') =>
    whyNot({ n: 1 }, { precision }, time).replace('genData n=1 ', '');
  const ms = 1704067200123;
  expect(['s', 'ms', 'us', 'ns'].map((p) => at(ms, p as 's'))).toEqual([
    '1704067200',
    '1704067200123',
    '1704067200123000',
    '1704067200123000000',
  ]);
  expect(at(ms + 0.25, 'us')).toBe('1704067200123250');
  expect(at(-1, 's')).toBe('-1');
  expect(at(9_223_372_036_854, 'ns')).toBe('9223372036854000000');
  expect(at(9_223_372_036_855, 'ns')).toMatch(/1677 to 2262/);
  expect(at(-9_223_372_036_855, 'ms')).toMatch(/1677 to 2262/);
});

test('the result of a window carries the time that its step says, unless told otherwise', () => {
  const window = { step: 's', start: 60_000, end: 120_000, label: 90_000 };
  const result = new StreamRecord({ n: 1 }, 'k', 0).withWindow(window);
  const time = (rule?: LineOptions['time']) => make(rule ? { time: rule } : {})(result).split(' ')[2];
  expect([time(), time('label'), time('windowStart'), time('windowEnd'), time('event')]).toEqual([
    '90000',
    '90000',
    '60000',
    '120000',
    '119999',
  ]);
  expect(lineOf({ n: 1 }, {}, 5)).toBe('genData n=1 5');
});
