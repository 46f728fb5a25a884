import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { type Environment, EvaluationError } from '@marcbachmann/cel-js';
import type { RE2JS } from 're2js';
import { formatTime, parseTime, TimeTextProblem } from './time-text.ts';

/** A text that an expression makes out of another one is at most so long, in characters. */
export const maxText = 16 << 20;
/** Levels and fields that `flatten` may meet. */
const maxLevels = 200;
const maxFields = 100_000;

const sync = { async: false } as const;
const timestamp = 'google.protobuf.Timestamp';

/**
 * Adds what turns texts, times and objects into other ones: `regexReplace`, `mask`, `base64`, `fromBase64`, `sha256`, `formatTime`, `parseTime`,
 * `flatten`. All take time linear in what they are given, and their results are bounded. `pattern` compiles a regular expression.
 */
export function registerTextFunctions(environment: Environment, pattern: (text: string) => RE2JS): void {
  const utf8 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  environment
    .registerFunction(
      'string.regexReplace(string, string): string',
      (text: string, from: string, to: string) => regexReplace(text, pattern(from), to),
      sync,
    )
    .registerFunction('string.mask(int): string', mask, sync)
    .registerFunction('base64(string): string', (text: string) => Buffer.from(text).toString('base64'), sync)
    .registerFunction('base64(bytes): string', (bytes: Uint8Array) => utf8(bytes).toString('base64'), sync)
    .registerFunction('fromBase64(string): string', fromBase64, sync)
    .registerFunction('sha256(string): string', (text: string) => createHash('sha256').update(text).digest('hex'), sync)
    .registerFunction('flatten(map): map', (value: object) => flatten(value, '.'), sync)
    .registerFunction('flatten(map, string): map', flatten, sync);
  for (const type of ['double', 'int', timestamp]) {
    const write = (time: number | bigint | Date, text: string, zone?: string) =>
      told(() => formatTime(Number(time), text, zone));
    environment
      .registerFunction(`formatTime(${type}, string): string`, write, sync)
      .registerFunction(`formatTime(${type}, string, string): string`, write, sync);
  }
  const read = (text: string, form: string, zone?: string) => told(() => parseTime(text, form, zone));
  environment
    .registerFunction('parseTime(string, string): double', read, sync)
    .registerFunction('parseTime(string, string, string): double', read, sync);
}

function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof TimeTextProblem) throw failed(error.message);
    throw error;
  }
}

/** Each match becomes `to`, in which `$0` is the match, `$1` its first group and `$$` a dollar. */
function regexReplace(text: string, pattern: RE2JS, to: string): string {
  const matcher = pattern.matcher(text);
  const pieces = to.split(/\$(\d|\$)/);
  let result = '';
  let at = 0;
  while (matcher.find()) {
    result += text.slice(at, matcher.start());
    for (const [n, piece] of pieces.entries()) {
      if (n % 2 === 0) result += piece;
      else if (piece === '$') result += '$';
      else if (Number(piece) <= matcher.groupCount()) result += matcher.group(Number(piece)) ?? '';
      else throw failed('no_such_group');
    }
    at = matcher.end();
    if (result.length > maxText) throw failed('text_too_long');
  }
  return result + text.slice(at);
}

/** All but the last `keep` characters become `*`. */
function mask(text: string, keep: bigint): string {
  const characters = [...text];
  const hidden = Math.max(0, characters.length - Math.max(0, Number(keep)));
  return '*'.repeat(hidden) + characters.slice(hidden).join('');
}

function fromBase64(text: string): string {
  const bytes = Buffer.from(text, 'base64');
  // Buffer passes over what is no base64.
  if (bytes.toString('base64').replace(/=+$/, '') !== text.replace(/=+$/, '')) throw failed('not_base64');
  if (!isUtf8(bytes)) throw failed('not_text');
  return bytes.toString('utf8');
}

/** Fields of nested objects become fields of one object, their names put together. Lists stay, and so do objects without fields. */
function flatten(value: object, separator: string): object {
  const result: Record<string, unknown> = {};
  let count = 0;
  const visit = (inner: object, prefix: string, depth: number) => {
    if (depth > maxLevels) throw failed('too_deep');
    for (const [name, item] of inner instanceof Map ? inner : Object.entries(inner)) {
      if (++count > maxFields || prefix.length > maxText / maxFields) throw failed('too_many_fields');
      const field = prefix + String(name);
      if (isObject(item) && Object.keys(item).length > 0) visit(item, field + separator, depth + 1);
      else Object.defineProperty(result, field, { value: item, enumerable: true, configurable: true, writable: true });
    }
  };
  visit(value, '', 1);
  return result;
}

function isObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

// What is said of it stands with the other reasons, by its code.
function failed(code: string): EvaluationError {
  return new EvaluationError({ code, message: code });
}
