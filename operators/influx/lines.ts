import type { Point } from '@influxdata/influxdb-client';
import { compileTemplate, fieldReader, RejectError, type Render, type StreamRecord } from '../../src/operator.ts';

export type Precision = 's' | 'ms' | 'us' | 'ns';

export interface LineOptions {
  readonly measurement: string;
  readonly tags?: readonly string[];
  readonly fields?: readonly string[];
  readonly integers?: readonly string[];
  readonly time?: 'label' | 'event' | 'windowStart' | 'windowEnd';
  readonly precision?: Precision;
}

/** Names that the server keeps for itself: it drops the whole point. */
export const reservedNames: readonly string[] = ['time', '_field', '_measurement'];

/** A name that line protocol can hold as it is: no control character, no half character, no backslash at its end. */
export function isPlainName(name: string): boolean {
  return name !== '' && name !== '__proto__' && !unwritable.test(name) && !name.endsWith('\\');
}

const unwritable = /[\p{Cc}\p{Cs}]/u;
const halfCharacter = /\p{Cs}/u;
// Int64 nanoseconds end here, in 2262.
const lastMs = 9_223_372_036_854;

type Write = (text: string) => Point;

/**
 * Makes the line of a record, or throws a RejectError that says why there is none. Whatever the server would drop, or would take as something
 * else, is refused here: one line that cannot be parsed spoils a whole request.
 */
export function lineMaker(options: LineOptions, point: Write): (record: StreamRecord) => string {
  const measurementOf = measurement(options.measurement);
  const timeOf = timestamp(options.time, options.precision ?? 'ms');
  const tags = (options.tags ?? []).map((name) => ({ name, read: fieldReader(name) }));
  const fields = options.fields?.map((name) => ({ name, read: fieldReader(name) }));
  const skipped = new Set(options.tags);
  const integers = new Set(options.integers);
  return (record) => {
    const { value } = record;
    if (!isObject(value)) throw refused(`The value is ${typeName(value)}; a point is made of an object's fields.`);
    const line = point(measurementOf(record));
    for (const { name, read } of tags) line.tag(name, tagValue(name, read(value)));
    let count = 0;
    if (fields) {
      for (const { name, read } of fields) count += addField(line, name, read(value), integers, true);
    } else {
      for (const name of Object.keys(value)) {
        if (!skipped.has(name)) count += addField(line, name, value[name], integers, false);
      }
    }
    if (count === 0) {
      throw refused(
        `None of its fields can be written: ${options.fields ? list(options.fields) : 'there is no number, text or boolean'}.`,
      );
    }
    return line.toLineProtocol({ convertTime: () => timeOf(record) })!;
  };
}

function measurement(text: string): Render {
  const checked = (name: string) => {
    if (isPlainName(name) && !name.startsWith('#')) return name;
    throw refused('The measurement is empty, begins with `#`, ends in a backslash or holds a control character.');
  };
  if (!/[{}]/.test(text)) return () => checked(text);
  const render = compileTemplate(text);
  return (record) => checked(render(record));
}

// A point without one of its tags would fall into another series, over the points of others.
function tagValue(name: string, value: unknown): string {
  if (value === undefined || value === null || value === '') {
    throw refused(
      `\`${name}\` is a tag, but ${value === '' ? 'is empty' : 'is missing or null'}: the point would fall into another series.`,
    );
  }
  if (typeof value === 'object')
    throw refused(`\`${name}\` is a tag, but is ${typeName(value)}; expected text, a number or a boolean.`);
  const text = String(value);
  if (isPlainName(text) || text === '__proto__') return text;
  throw refused(`\`${name}\` is a tag, but ends in a backslash or holds a line end or another control character.`);
}

function addField(line: Point, name: string, value: unknown, integers: ReadonlySet<string>, named: boolean): 0 | 1 {
  if (value === undefined || value === null) return 0;
  if (typeof value === 'object' && !named) return 0;
  if (reservedNames.includes(name))
    throw refused(`InfluxDB keeps the name \`${name}\` for itself. Rename the field before this sink.`);
  if (!isPlainName(name))
    throw refused('The name of a field is empty, ends in a backslash or holds a control character.');
  if (integers.has(name)) line.intField(name, integer(name, value));
  else if (typeof value === 'number') line.floatField(name, finite(name, value));
  else if (typeof value === 'boolean') line.booleanField(name, value);
  else if (typeof value === 'string') line.stringField(name, wholeText(name, value));
  else throw refused(`\`${name}\` is ${typeName(value)}; expected a number, text or a boolean.`);
  return 1;
}

function integer(name: string, value: unknown): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (Number.isSafeInteger(number)) return number as number;
  throw refused(`\`${name}\` is listed in \`integers\`, but is no whole number of at most 2^53.`);
}

function finite(name: string, value: number): number {
  if (Number.isFinite(value)) return value;
  throw refused(`\`${name}\` is ${value}, which InfluxDB cannot hold.`);
}

function wholeText(name: string, value: string): string {
  if (!halfCharacter.test(value)) return value;
  throw refused(`\`${name}\` holds half a character (a lone surrogate), which would be stored as another one.`);
}

function timestamp(rule: LineOptions['time'], precision: Precision): (record: StreamRecord) => string {
  const instant = ({ time, window }: StreamRecord): number => {
    if (rule === 'event' || (rule === undefined && !window)) return time;
    if (!window) throw refused(`\`time: ${rule}\` needs the result of a window, but this record is none.`);
    return rule === 'windowStart' ? window.start : rule === 'windowEnd' ? window.end : window.label;
  };
  return (record) => {
    const ms = instant(record);
    if (Number.isNaN(ms)) throw refused('The record has no event time. Give its source a `time`.');
    if (!(Math.abs(ms) <= lastMs))
      throw refused('The time lies outside of what InfluxDB can hold (the years 1677 to 2262).');
    if (precision === 's') return String(Math.floor(ms / 1000));
    if (precision === 'ms') return String(Math.floor(ms));
    const us = Math.round(ms * 1000);
    return precision === 'us' ? String(us) : String(BigInt(us) * 1000n);
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

const list = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(', ');

function refused(message: string): RejectError {
  return new RejectError('sink-refused', message);
}
