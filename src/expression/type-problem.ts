import type { ASTNode } from '@marcbachmann/cel-js';
import { functionNames, signatures } from './environment.ts';
import { inWords, operandTypes, shortened } from './failure.ts';
import type { ExpressionProblem } from './index.ts';
import { nearest } from './nearest.ts';
import type { Prepared } from './prepare.ts';

/** What cel-js's type checker raises. */
interface CheckError {
  readonly code?: string;
  readonly summary?: string;
  readonly node?: unknown;
  readonly range?: { readonly start: number; readonly end: number };
}

/** Turns an error of cel-js's type checker into a problem at a place of the expression as it was written. */
export function typeProblem(prepared: Prepared, error: unknown): ExpressionProblem {
  const { code = '', summary = '', node, range } = error as CheckError;
  const { source, rewriting } = prepared;
  const start = range === undefined ? 0 : rewriting.original(range.start);
  const end = range === undefined ? source.length : rewriting.original(range.end);
  const place = { start, end };
  const part = shortened(source.slice(start, end));
  switch (code) {
    case 'no_such_overload':
      return { code: 'type-mismatch', ...operator(part, node as ASTNode, summary), ...place };
    case 'no_matching_overload':
      return { ...call(part, summary), ...place };
    case 'invalid_logical_operand':
    case 'invalid_condition_type': {
      const found = summary.match(/got '(.*)'$/)?.[1] ?? 'dyn';
      const message = `\`${part}\` needs true or false, found ${inWords(found)}.`;
      return { code: 'type-mismatch', message, hint: 'Compare it with something, as in `fuel > 0`.', ...place };
    }
    case 'incompatible_ternary_branches':
      return {
        code: 'type-mismatch',
        message: `The two results of \`${part}\` differ in type.`,
        hint: 'Put `dyn(…)` around one of them.',
        ...place,
      };
    case 'invalid_index_type':
      return {
        code: 'type-mismatch',
        message: `An index of \`${part}\` must be a whole number or a name.`,
        hint: 'Write `int(…)` around a number of the record.',
        ...place,
      };
    case 'unknown_variable':
    case 'no_such_key':
      return { code: 'unknown-field', message: `\`${part}\` does not exist here.`, ...place };
    default:
      return {
        code: code.startsWith('invalid_macro') ? 'bad-expression' : 'type-mismatch',
        message: `\`${part}\`: ${inPlainWords(summary)}.`,
        ...place,
      };
  }
}

function operator(part: string, node: ASTNode, summary: string): { message: string; hint?: string } {
  if (node.op === '!_')
    return { message: `\`${part}\`: \`!\` needs true or false, found ${inWords(summary.replace(/.*!/, ''))}.` };
  if (node.op === '-_')
    return { message: `\`${part}\`: \`-\` needs a number, found ${inWords(summary.replace(/.*: -/, ''))}.` };
  const [left = 'dyn', right = 'dyn'] = operandTypes(summary, node.op);
  const words = [inWords(left), inWords(right)];
  const compares = ['==', '!=', '<', '<=', '>', '>='].includes(node.op);
  const message = compares
    ? `\`${part}\` compares ${words[0]} with ${words[1]}.`
    : `\`${part}\`: \`${node.op}\` cannot take ${words[0]} and ${words[1]}.`;
  if (words.includes('null'))
    return { message, hint: 'The type says that it is never null. To ask whether a field is there, write `has(…)`.' };
  if (words.includes('a string') && words.includes('a number')) {
    const hint =
      node.op === '+'
        ? 'To join them write `string(…)` around the number.'
        : 'Write `double(…)` around the string, or quotes around the number.';
    return { message, hint };
  }
  return { message };
}

function call(part: string, summary: string): { code: ExpressionProblem['code']; message: string; hint?: string } {
  const found = summary.match(/'(?:(.+)\.)?(\w+)\((.*)\)'$/);
  const name = (found?.[2] ?? part).replace(/^__(?=matches)/, '');
  if (name === '__items')
    return {
      code: 'type-mismatch',
      message: `\`${part}\`: a loop needs a list or an object, found ${inWords(found?.[1] ?? 'dyn')}.`,
    };
  const known = signatures(name);
  if (known.length === 0) {
    const meant = nearest(name, functionNames());
    const hint = meant === undefined ? undefined : `Did you mean \`${meant}\`?`;
    return {
      code: 'bad-expression',
      message: `There is no function \`${name}\`.`,
      ...(hint === undefined ? {} : { hint }),
    };
  }
  const given =
    found?.[3] === '' || found?.[3] === undefined ? 'nothing' : found[3].split(', ').map(inWords).join(', ');
  const on = found?.[1] === undefined ? '' : ` on ${inWords(found[1])}`;
  const shown = known
    .slice(0, 4)
    .map((signature) => `\`${signature}\``)
    .join(', ');
  const hint = `It is ${shown}${known.length > 4 ? ', …' : ''}.${given.includes('number') && shown.includes('int') ? ' Write `int(…)` around a number of the record.' : ''}`;
  return { code: 'type-mismatch', message: `\`${name}\` cannot be called${on} with ${given}.`, hint };
}

function inPlainWords(summary: string): string {
  const line = summary.replace(/\.$/, '');
  return line.charAt(0).toLowerCase() + line.slice(1);
}
