import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RejectError } from '../../src/errors.ts';
import { checkExpression, compileExpression } from '../../src/expression/index.ts';
import { formatTime, parseTime } from '../../src/expression/time-text.ts';
import { StreamRecord } from '../../src/record.ts';
import { cpuMs } from '../cpu.ts';

const evaluate = (source: string, value: unknown = {}) => compileExpression(source)(new StreamRecord(value));
const failing = (source: string, value: unknown = {}) => {
  try {
    evaluate(source, value);
  } catch (error) {
    expect(error).toBeInstanceOf(RejectError);
    return (error as Error).message;
  }
  throw new Error(`${source} did not fail`);
};

describe('functions of texts', () => {
  test.each([
    ['"a1b22".regexReplace("[0-9]+", "#")', 'a#b#'],
    ['"gen-raw".regexReplace("^(.*)-raw$", "$1")', 'gen'],
    ['"ab".regexReplace("(a)(x)?", "$2$1$0$$1")', 'aa$1b'],
    ['"abc".regexReplace("", "-")', '-a-b-c-'],
    ['"none".regexReplace("x", "y")', 'none'],
    ['"4111 1111".mask(4)', '*****1111'],
    ['"🙂🙂a".mask(1)', '**a'],
    ['"ab".mask(9) + "ab".mask(0) + "ab".mask(-1)', 'ab****'],
    ['base64("ü") + base64(b"\\x01")', 'w7w=AQ=='],
    ['fromBase64("w7w=") + fromBase64("w7w")', 'üü'],
    ['sha256("abc")', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'flatten({"a": 1, "b": {"c": [{"d": 1}], "e": {"f": null}}, "g": {}})',
      { a: 1, 'b.c': [{ d: 1 }], 'b.e.f': null, g: {} },
    ],
    ['flatten(event, "_")', { a_b: 1 }],
  ])('%s gives %j', (source, expected) => {
    expect(evaluate(source, { a: { b: 1 } })).toEqual(expected);
  });

  test.each([
    ['s.regexReplace("(", "")', /not a regular expression of RE2/],
    ['s.regexReplace("a", "$1")', /names a group that its pattern does not have/],
    ['fromBase64(s)', /not base64/],
    ['fromBase64("/w==")', /no UTF-8 text/],
    ['formatTime(0, s)', /holds a letter that means nothing/],
    ['formatTime(0, "yyyy", s)', /time zone is not one such as/],
    ['formatTime(1e18, "yyyy")', /outside the years 0 to 9999/],
    ['parseTime(s, "yyyy")', /not as its pattern says/],
    ['parseTime("2026-02-30", "yyyy-MM-dd")', /a time that there is not/],
    ['s.mask("x")', /mask/],
  ])('%s fails, and the reason holds nothing of the record', (source, message) => {
    const said = failing(source, { s: 'a hunter2 (' });
    expect(said).toMatch(message);
    expect(said).not.toContain('hunter2');
  });

  test('are type-checked', () => {
    const type = { type: 'object', properties: { n: { type: 'number' }, s: { type: 'string' } } };
    expect(checkExpression('n.mask(4)', type).problems).toHaveLength(1);
    expect(checkExpression('sha256(n)', type).problems).toHaveLength(1);
    expect(checkExpression('s.regexReplace("a", "b")', type)).toMatchObject({ problems: [], type: { type: 'string' } });
    expect(checkExpression('parseTime(s, "yyyy")', type)).toMatchObject({ problems: [], type: { type: 'number' } });
    expect(checkExpression('formatTime(n, "yyyy", "UTC")', type)).toMatchObject({ problems: [] });
  });

  test('a pattern that other engines run for minutes takes no time, and a text does not grow without end', () => {
    const text = 'a'.repeat(50_000);
    const started = cpuMs();
    evaluate('s.regexReplace("(a+)+$|b", "x")', { s: `${text}!` });
    expect(cpuMs() - started).toBeLessThan(5_000);
    expect(failing('s.regexReplace("a", s)', { s: text })).toMatch(/more than 16,777,216 characters/);
  });

  test('flatten gives each leaf once, under its path', () =>
    fc.assert(
      fc.property(
        fc.object({ key: fc.stringMatching(/^[a-z_]{1,9}$/), maxDepth: 4, withNullPrototype: false }),
        (given) => {
          const value = JSON.parse(JSON.stringify(given)) as Record<string, unknown>;
          const flat = evaluate('flatten(event, "/")', value) as Record<string, unknown>;
          const leaves = (inner: object, path: string[]): [string, unknown][] =>
            Object.entries(inner).flatMap(([name, item]) =>
              item !== null && typeof item === 'object' && !Array.isArray(item) && Object.keys(item).length > 0
                ? leaves(item, [...path, name])
                : [[[...path, name].join('/'), item]],
            );
          expect(Object.entries(flat)).toEqual(leaves(value, []));
        },
      ),
    ));
});

describe('times as texts', () => {
  test.each([
    [0, 'yyyy-MM-dd HH:mm:ss.SSS', 'UTC', '1970-01-01 00:00:00.000'],
    [1_767_225_599_999, "yyyyMMdd'T'HHmmss.SSSZZ", 'UTC', '20251231T235959.999Z'],
    [1_767_225_599_999, "yyyy-MM-dd HH 'o''clock' ZZ", 'Europe/Berlin', "2026-01-01 00 o'clock +01:00"],
    [1_782_864_000_000, 'HH:mm ZZ', 'America/St_Johns', '21:30 -02:30'],
    [-62_135_596_800_000, 'yyyy', 'UTC', '0001'],
  ])('%d as %s in %s is %s, and back', (ms, pattern, zone, text) => {
    expect(formatTime(ms, pattern, zone)).toBe(text);
    const whole = /yyyy.*dd.*SSS/.test(pattern);
    if (whole) expect(parseTime(text, pattern, zone)).toBe(ms);
  });

  test('what is written is read again as the same time, in any zone, but for the hour that comes twice', () =>
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1900-01-01'), max: new Date('2090-01-01'), noInvalidDate: true }),
        fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe'),
        (date, zone) => {
          const ms = date.getTime();
          const pattern = 'yyyy-MM-dd HH:mm:ss.SSS';
          const text = formatTime(ms, pattern, zone);
          const back = parseTime(text, pattern, zone);
          expect(formatTime(back, pattern, zone)).toBe(text);
          expect(back).toBeLessThanOrEqual(ms);
          expect(ms - back).toBeLessThanOrEqual(2 * 3_600_000);
          // Offsets of old times have seconds, which ZZ cannot hold.
          if (ms > Date.UTC(1990, 0, 1)) {
            const exact = `${pattern}ZZ`;
            expect(parseTime(formatTime(ms, exact, zone), exact, zone)).toBe(ms);
          }
        },
      ),
    ));

  test('an hour that spring leaves out is no time; of one that comes twice it is the first', () => {
    const at = (text: string) => parseTime(text, 'yyyy-MM-dd HH:mm', 'Europe/Berlin');
    expect(() => at('2026-03-29 02:30')).toThrow('no_such_time');
    expect(at('2026-03-29 03:00') - at('2026-03-29 01:59')).toBe(60_000);
    expect(new Date(at('2026-10-25 02:30')).toISOString()).toBe('2026-10-25T00:30:00.000Z');
    for (const text of ['2026-13-01 00:00', '2026-00-01 00:00', '2026-01-01 24:00', '2026-01-01 00:60'])
      expect(() => at(text)).toThrow('no_such_time');
    for (const text of ['2026-1-01 00:00', '2026-01-01 00:00 ', 'x2026-01-01 00:00'])
      expect(() => at(text)).toThrow('time_text_differs');
  });

  test('a time of CEL, a number and the time of a record are written alike', () => {
    expect(evaluate('formatTime(timestamp("2026-01-02T03:04:05Z"), "HH:mm")')).toBe('03:04');
    expect(evaluate('formatTime(60000, "HH:mm") + formatTime(n, "HH:mm")', { n: 60_000.5 })).toBe('00:0100:01');
    expect(compileExpression('formatTime(time, "yyyyMMdd")')(new StreamRecord({}, 'k', 0))).toBe('19700101');
  });
});
