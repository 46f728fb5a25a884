import { type ASTNode, EvaluationError } from '@marcbachmann/cel-js';
import { RejectError, RunError } from '../errors.ts';
import type { Prepared } from './prepare.ts';
import { Unholdable } from './result.ts';

/** Says why an expression failed for one record: the expression, the field, what it was. Never a value of the record. */
export function failure(prepared: Prepared, error: unknown): RejectError | RunError {
  if (error instanceof RejectError || error instanceof RunError) return error;
  return new RejectError('expression-failed', `\`${shortened(prepared.source)}\`: ${reason(prepared, error)}.`);
}

/** Shortens a long expression for a message. */
export function shortened(source: string): string {
  const line = source.replaceAll(/\s+/g, ' ').trim();
  return line.length > 100 ? `${line.slice(0, 99)}…` : line;
}

/** CEL's name of a type in words. */
export function inWords(type: string): string {
  const bare = type.replaceAll(/dyn<([^<>]*)>/g, '$1').replaceAll(/dyn<(.*)>$/g, '$1');
  if (bare === 'int' || bare === 'double' || bare === 'uint') return 'a number';
  if (bare === 'bool') return 'true or false';
  if (bare === 'string') return 'a string';
  if (bare === 'null') return 'null';
  if (bare.startsWith('list')) return 'a list';
  if (bare.startsWith('map') || bare.startsWith('$')) return 'an object';
  if (bare === 'dyn') return 'a value';
  return bare.endsWith('Timestamp') ? 'a time' : bare.endsWith('Duration') ? 'a duration' : `a ${bare}`;
}

/** The two sides of `no such overload: double < string`. */
export function operandTypes(summary: string, op: string): readonly string[] {
  const types = summary.replace(/^no such overload: /, '');
  return types.split(` ${op} `);
}

function reason(prepared: Prepared, error: unknown): string {
  if (error instanceof Unholdable) return error.message;
  if (error instanceof RangeError) return 'the record is nested too deeply or is too large for it';
  if (!(error instanceof EvaluationError)) return 'it stopped with an error of the expression engine';
  const node = error.node as ASTNode | undefined;
  switch (error.code) {
    case 'no_such_key':
      return missing(node);
    case 'unknown_variable':
      return missingVariable(error.summary.replace('Unknown variable: ', ''));
    case 'no_such_overload':
      return node === undefined ? 'an operand has the wrong type' : wrongOperand(prepared, node, error.summary);
    case 'no_matching_overload':
      return wrongArgument(prepared, node, error.summary);
    case 'invalid_logical_operand':
    case 'invalid_condition_type':
      return wrongCondition(prepared, node, error.summary);
    default:
      return reasons[error.code] ?? `it stopped: ${error.code.replaceAll('_', ' ')}`;
  }
}

// cel-js's own texts for these quote the value, which must not reach a log.
const reasons: Record<string, string> = {
  division_by_zero: 'a whole number is divided by zero',
  modulo_by_zero: 'a whole number is divided by zero',
  numeric_overflow: 'a whole number is too large',
  integer_overflow: 'a whole number is too large',
  index_out_of_bounds: 'an index lies outside the list or text',
  index_out_of_range: 'an index lies outside the list or text',
  bool_conversion_error: '`bool()` was given a text that is neither true nor false',
  int_conversion_error: '`int()` was given a text that is not a whole number',
  uint_conversion_error: '`uint()` was given something that is not a whole number from 0 on',
  double_conversion_error: '`double()` was given a text that is not a number',
  invalid_timestamp: '`timestamp()` was given a text that is not a time such as `2026-01-31T12:00:00Z`',
  invalid_duration: '`duration()` was given a text that is not a duration such as `1h30m`',
  invalid_regular_expression: 'the pattern of `matches` or `regexReplace` is not a regular expression of RE2',
  no_such_group: 'the replacement of `regexReplace` names a group that its pattern does not have',
  text_too_long: '`regexReplace` would make a text of more than 16,777,216 characters',
  not_base64: '`fromBase64()` was given a text that is not base64',
  not_text: '`fromBase64()` was given bytes that are no UTF-8 text',
  too_deep: '`flatten()` was given an object that nests deeper than 200 levels',
  too_many_fields: '`flatten()` was given more than 100,000 fields, or names that are too long',
  bad_time_pattern:
    'the pattern of a time holds a letter that means nothing: there are yyyy, MM, dd, HH, mm, ss, SSS, ZZ, and texts in single quotes',
  unknown_zone: 'a time zone is not one such as `Europe/Berlin`',
  time_text_differs: '`parseTime()` was given a text that is not as its pattern says',
  no_such_time: '`parseTime()` was given a time that there is not',
  time_out_of_range: '`formatTime()` was given a time outside the years 0 to 9999',
  invalid_comprehension_range: 'a loop needs a list or an object',
  too_many_items: 'its loops visit more than 100,000 items',
  empty_list: '`min` or `max` was given an empty list',
  not_numbers: '`min` or `max` was given a list that holds more than numbers',
  optional_value_missing: 'an optional value is missing; use `.orValue(…)`',
  unsupported_type: 'a value is not JSON data',
};

function missing(node: ASTNode | undefined): string {
  const path = node === undefined ? undefined : pathOf(node);
  if (path === undefined) {
    const isName = node !== undefined && (node.op === '.' || node.op === '.?');
    return isName ? `there is no field \`${String(node.args[1])}\`` : 'an object has no such key';
  }
  const [root, ...names] = path as [string, ...string[]];
  if (root === 'window') return `the record is not the result of a window, so it has no \`${path.join('.')}\``;
  if (root === 'meta') return `the record has no \`${path.join('.')}\``;
  if (root === 'event') return `the record has no field \`${names.join('.')}\``;
  return `\`${root}\` has no field \`${names.join('.')}\``;
}

function missingVariable(name: string): string {
  if (name === 'key') return 'the record has no key; put a `keyBy` before this step';
  if (name === 'time') return 'the record has no event time; give its source a `time`';
  if (name === 'event') return 'the record has no value';
  return `there is no \`${name}\``;
}

function wrongOperand(prepared: Prepared, node: ASTNode, summary: string): string {
  if (node.op === '!_' || node.op === '-_') {
    const type = summary.replace(/^no such overload: [!-]/, '');
    return `${subject(prepared, node.args as ASTNode, type)}; \`${node.op[0]}\` needs ${node.op === '!_' ? 'true or false' : 'a number'}`;
  }
  const [left, right] = operandTypes(summary, node.op);
  if (!Array.isArray(node.args) || left === undefined || right === undefined) return 'an operand has the wrong type';
  const [a, b] = node.args as unknown as [ASTNode, ASTNode];
  if (inWords(left) === 'null') return subject(prepared, a, left);
  if (inWords(right) === 'null') return subject(prepared, b, right);
  return `\`${node.op}\` cannot take ${inWords(left)} (\`${text(prepared, a)}\`) and ${inWords(right)} (\`${text(prepared, b)}\`)`;
}

function wrongArgument(prepared: Prepared, node: ASTNode | undefined, summary: string): string {
  const call = summary.match(/'(?:(.+)\.)?(\w+)\((.*)\)'$/);
  if (call === null || node === undefined) return 'a function was given an argument of the wrong type';
  const [, receiver, name, list = ''] = call;
  const types = list === '' ? [] : list.split(', ').map(inWords);
  const shown = name!.replace(/^__/, '');
  if (shown === 'items') return 'a loop needs a list or an object';
  if (
    node.op === 'rcall' &&
    receiver !== undefined &&
    inWords(receiver) !== 'a value' &&
    inWords(receiver) !== 'a string'
  )
    return `${subject(prepared, node.args[1] as ASTNode, receiver)}; it has no \`${shown}\``;
  const on = receiver === undefined ? '' : ` on ${inWords(receiver)}`;
  return `\`${shown}\`${on} cannot take ${types.length === 0 ? 'no argument' : types.join(' and ')}`;
}

function wrongCondition(prepared: Prepared, node: ASTNode | undefined, summary: string): string {
  const type = summary.match(/got '(.*)'$/)?.[1] ?? 'dyn';
  if (node === undefined) return `true or false is needed, found ${inWords(type)}`;
  return `${subject(prepared, node, type)}; true or false is needed`;
}

function subject(prepared: Prepared, node: ASTNode, type: string): string {
  const path = pathOf(node);
  if (path?.[0] === 'event' && path.length > 1) return `the field \`${path.slice(1).join('.')}\` is ${inWords(type)}`;
  return `\`${text(prepared, node)}\` is ${inWords(type)}`;
}

function text({ source, rewriting }: Prepared, node: ASTNode): string {
  return shortened(source.slice(rewriting.original(node.start), rewriting.original(node.end)));
}

function pathOf(node: ASTNode): string[] | undefined {
  if (node.op === 'id') return [node.args];
  if (node.op !== '.' && node.op !== '.?') return undefined;
  const [parent, name] = node.args as unknown as [ASTNode, string];
  const before = pathOf(parent);
  return before === undefined ? undefined : [...before, name];
}
