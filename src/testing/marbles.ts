import type { StepDefinition } from '../operator.ts';
import { durationMs, type Key, StreamRecord } from '../operator.ts';
import { Driver, type DriverOptions } from '../testing.ts';
import { lineDiff, showRecord } from './law-text.ts';

/** What a marble stands for: a value, or a value with its key. */
export type Marble = { readonly key?: Key; readonly value: unknown };

export interface MarbleOptions {
  /** What each letter stands for; a letter that is not here is its own value, as a text. */
  readonly marbles?: Readonly<Record<string, Marble>>;
  /** Length of one sign, in ms; 1,000 unless given. */
  readonly frameMs?: number;
}

/** A line of marbles, read: the records with their times, and when the input ends, if it does. */
export interface Marbles {
  readonly records: readonly StreamRecord[];
  /** In ms; `undefined` when the line has no `|`. */
  readonly endMs: number | undefined;
}

/**
 * Reads a line such as `a-b 10s (cd)|`. Each sign takes one frame of event time, the first at 0: `-` is a frame without a record, a letter or
 * digit is a record, records in parentheses come in the frame of the opening one, `10s` between spaces moves time on by so much, `|`
 * ends the input. Spaces take no time. Throws a TypeError that says where the line is wrong.
 */
export function marbles(line: string, { marbles: known = {}, frameMs = 1_000 }: MarbleOptions = {}): Marbles {
  const records: StreamRecord[] = [];
  let time = 0;
  let group: number | undefined;
  let endMs: number | undefined;
  const wrong = (at: number, what: string): never => {
    throw new TypeError(`${what}:\n  ${line}\n  ${' '.repeat(at)}^`);
  };
  for (let at = 0; at < line.length; at++) {
    const sign = line[at]!;
    if (sign === ' ') continue;
    if (endMs !== undefined && !(sign === ')' && group !== undefined))
      wrong(at, 'Nothing can come behind `|`, the end of the input');
    const length =
      at === 0 || line[at - 1] === ' ' ? /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+(?= |$|\|)/.exec(line.slice(at)) : null;
    if (length) {
      if (group !== undefined) wrong(at, 'Inside parentheses no time passes');
      time += durationMs(length[0]);
      at += length[0].length - 1;
      continue;
    }
    if (sign === '(') {
      if (group !== undefined) wrong(at, 'Parentheses do not nest');
      group = at;
      continue;
    }
    if (sign === ')') {
      if (group === undefined) wrong(at, 'No `(` stands before this');
      group = undefined;
    } else if (sign === '|') endMs = time;
    else if (/[\p{L}\p{N}]/u.test(sign)) {
      const { key, value } = Object.hasOwn(known, sign) ? known[sign]! : { value: sign };
      const offset = records.length;
      records.push(new StreamRecord(value, key, time, offset, undefined, undefined, undefined, 'in/0'));
    } else if (sign !== '-')
      wrong(
        at,
        `\`${sign}\` stands for nothing; a line has letters, digits, \`-\`, \`|\`, parentheses and lengths of time`,
      );
    if (group === undefined) time += frameMs;
  }
  if (group !== undefined) wrong(group, 'This parenthesis is not closed');
  return { records, endMs };
}

/** What a step is expected to do with a line of marbles. */
export interface MarbleRun extends MarbleOptions, DriverOptions {
  readonly options?: unknown;
  readonly input: string;
  /**
   * A record stands at the event time at which it comes out, which is that of the watermark; what comes at the end of the input stands
   * behind `|`'s frame, as in `--(a|)`.
   */
  readonly output: string;
  /** The same for rejected and late records: none unless given. */
  readonly rejected?: string;
}

/**
 * Runs a step over a line of marbles and compares what comes out, and when. Throws an Error with both lines, one record a line, where they
 * differ: values, keys and the frame of each.
 */
export function expectMarbles(definition: StepDefinition, run: MarbleRun): void {
  const { input, output, rejected = '', options, marbles: known, frameMs = 1_000, ...more } = run;
  const reading = { frameMs, ...(known && { marbles: known }) };
  const { records, endMs } = marbles(input, reading);
  const driver = new Driver(definition, options, more);
  const came: string[] = [];
  const refused: string[] = [];
  const take = (time: number) => {
    for (const record of driver.output.slice(came.length)) came.push(text(record, time));
    for (const { record } of driver.rejected.slice(refused.length)) refused.push(text(record, time));
  };
  for (const record of records) {
    driver.push(record);
    take(record.time);
  }
  if (endMs !== undefined) {
    driver.end();
    take(endMs);
  }
  const lines = (line: string) => marbles(line, reading).records.map((record) => text(record, record.time));
  const wrong = [
    ...difference('What comes out', lines(output), came),
    ...difference('What is rejected', lines(rejected), refused),
  ];
  if (wrong.length > 0) throw new Error([`\`${definition.name}\` over \`${input}\`:`, ...wrong].join('\n'));
}

const text = ({ key, value }: StreamRecord, time: number) =>
  showRecord(new StreamRecord(value, key, time)).replace(/^#0, /, '');

function difference(what: string, expected: readonly string[], found: readonly string[]): string[] {
  if (expected.join('\n') === found.join('\n')) return [];
  return [`  ${what}, - expected and + found:`, ...lineDiff(expected, found).map((line) => `    ${line}`)];
}
