import { isDeepStrictEqual } from 'node:util';
import pc from 'picocolors';
import type { ActualRecord, Difference } from '../testing/compare.ts';
import type { TestOutcome } from '../testing/run-test.ts';
import type { ExpectedRecord, TopologyTest } from '../topology/tests.ts';

/** One test that was run. */
export interface TestResult extends TestOutcome {
  readonly file: string;
  /** Its place among the tests of the file, from 0. */
  readonly index: number;
  readonly name: string;
  /** What it expects, by stream or sink. */
  readonly expected: TopologyTest['expect'];
  readonly place?: TopologyTest['place'];
}

/** Results for people: a line for each test, and below those that failed what differs, `-` for expected and `+` for what came. */
export function describeResults(results: readonly TestResult[], color: boolean): string {
  const colors = pc.createColors(color);
  const lines: string[] = [];
  for (const [n, { file, name, passed, place, differences, error }] of results.entries()) {
    if (file !== results[n - 1]?.file) lines.push(colors.bold(file));
    const at = passed || !place ? '' : colors.dim(`  ${place.file}:${place.line}`);
    lines.push(`  ${passed ? colors.green('✓') : colors.red('✗')} ${printable(name)}${at}`);
    if (error !== undefined) lines.push(`      ${printable(error)}`);
    for (const difference of differences) {
      lines.push(`      ${difference.output}`);
      for (const line of diff(difference))
        lines.push(
          `        ${line.startsWith('-') ? colors.red(line) : line.startsWith('+') ? colors.green(line) : line}`,
        );
    }
  }
  const failed = results.filter(({ passed }) => !passed).length;
  lines.push(`${results.length - failed} passed${failed > 0 ? `, ${failed} failed` : ''}`);
  return lines.join('\n');
}

/** A record that came in place of an expected one is shown by the fields that differ, others whole. */
function diff({ missing, extra }: Difference): string[] {
  const pairs = Math.min(missing.length, extra.length);
  return [
    ...missing.slice(0, pairs).flatMap((wanted, n) => changed(wanted, extra[n]!)),
    ...missing.slice(pairs).map((wanted) => `- ${text(wanted)}`),
    ...extra.slice(pairs).map((record) => `+ ${text(record)}`),
  ];
}

function changed(wanted: ExpectedRecord, { key, value }: ActualRecord): string[] {
  const like = 'like' in wanted;
  const came = text({ ...(key !== undefined && { key }), value });
  const fields = fieldDiff(like ? wanted.like : wanted.value, value, like, '');
  const small = isObject(value) && fields.length <= Object.keys(value).length;
  if (!small || (wanted.key !== undefined && wanted.key !== key)) return [`- ${text(wanted)}`, `+ ${came}`];
  return [`in ${came.length > 160 ? `${came.slice(0, 160)}…` : came}`, ...fields];
}

/** Each field that differs, by its path. `like`: fields that were not asked for do not count. */
function fieldDiff(wanted: unknown, value: unknown, like: boolean, path: string): string[] {
  const lists = Array.isArray(wanted) && Array.isArray(value) && wanted.length === value.length;
  if (lists || (isObject(wanted) && isObject(value))) {
    const [before, after] = [wanted as Record<string, unknown>, value as Record<string, unknown>];
    const names = new Set([...Object.keys(before), ...(like ? [] : Object.keys(after))]);
    return [...names].flatMap((name) =>
      fieldDiff(before[name], after[name], like, path === '' ? name : `${path}.${name}`),
    );
  }
  if (isDeepStrictEqual(wanted, value)) return [];
  const line = (sign: string, one: unknown) => (one === undefined ? [] : [`${sign} ${path}: ${json(one)}`]);
  return [...line('-', wanted), ...line('+', value)];
}

function text(record: ExpectedRecord | ActualRecord): string {
  const { key } = record;
  const shown = 'like' in record ? `like ${json(record.like)}` : json(record.value);
  return key === undefined ? shown : `${json(key)}: ${shown}`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function json(value: unknown): string {
  return printable(JSON.stringify(value) ?? 'nothing');
}

// What a test feeds may hold escape sequences that would act on the terminal.
function printable(given: string): string {
  return given.replace(/[\p{Cc}\p{Cf}]/gu, (sign) => (sign === '\n' ? ' ' : '\ufffd'));
}
