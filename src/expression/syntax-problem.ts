import { ParseError } from '@marcbachmann/cel-js';
import type { ExpressionProblem } from './index.ts';

/** Turns what cel-js's parser throws into a problem at its place, with the CEL for what was likely meant. */
export function syntaxProblem(source: string, error: unknown): ExpressionProblem {
  if (!(error instanceof ParseError)) {
    const message =
      error instanceof RangeError ? 'The expression is nested too deeply.' : 'The expression cannot be read.';
    return { code: 'bad-expression', message, start: 0, end: source.length };
  }
  const { start = 0, end = source.length } = error.range ?? {};
  const hint = syntaxHint(source, error, start);
  const found = source.slice(start, Math.max(end, start + 1));
  return {
    code: 'bad-expression',
    message: syntaxMessage(error, found),
    ...(hint === undefined ? {} : { hint }),
    start: Math.min(start, source.length),
    end: Math.min(Math.max(end, start), source.length),
  };
}

function syntaxMessage(error: ParseError, found: string): string {
  if (error.code === 'limit_exceeded') return `The expression is too large: ${error.summary.toLowerCase()}.`;
  if (error.code === 'reserved_identifier') return `\`${found}\` is a reserved word of CEL and cannot be a name.`;
  if (error.summary.endsWith('EOF'))
    return found === ''
      ? 'The expression ends where a value or an operator is expected.'
      : `The expression ends too early.`;
  if (['unexpected_character', 'unexpected_token', 'expected_token'].includes(error.code)) {
    const wanted = error.summary.match(/^Expected ([A-Z]+)/)?.[1];
    const expected = wanted === undefined ? '' : `; expected ${tokens[wanted] ?? wanted.toLowerCase()}`;
    return `\`${found}\` cannot stand here${expected}.`;
  }
  return `${error.summary}.`;
}

const tokens: Record<string, string> = {
  RPAREN: '`)`',
  RBRACKET: '`]`',
  RBRACE: '`}`',
  COLON: '`:`',
  IDENTIFIER: 'a name',
};

function syntaxHint(source: string, error: ParseError, start: number): string | undefined {
  if (error.code === 'reserved_identifier')
    return `Write \`event.${source.slice(start, error.range?.end)}\` for the field of that name.`;
  const rest = source.slice(Math.max(0, start - 1));
  if (/^.?\?\?/.test(rest)) return 'For a value that may be missing write `coalesce(a, b)`.';
  if (/^.?=(?!=)/.test(rest)) return 'To compare write `==`.';
  if (/^.?&(?!&)/.test(rest)) return 'For "and" write `&&`.';
  if (/^.?\|(?!\|)/.test(rest)) return 'For "or" write `||`.';
  if (/^.?\b(and|or|not)\b/.test(rest)) return 'Write `&&`, `||` and `!`.';
  return undefined;
}
