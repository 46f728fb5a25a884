import { RejectError, TopologyError } from '../errors.ts';
import type { RecordType } from '../operator.ts';
import { jsonTypes } from '../record-type.ts';
import { check } from './check.ts';
import { compile } from './evaluate.ts';
import { shortened } from './failure.ts';
import type { Checked, ExpressionProblem, Render } from './index.ts';

/** A part of a template: text as it stands, or an expression and where it starts. */
type Part = { readonly text: string } | { readonly expression: string; readonly start: number };

/** Checks each expression of a template against the type of the record. */
export function checkParts(source: string, input: RecordType): Checked {
  const { parts, problems } = split(source);
  const all = [...problems];
  for (const part of parts) {
    if ('text' in part) continue;
    const checked = check(part.expression, input);
    const { start } = part;
    for (const p of checked.problems) all.push({ ...p, start: p.start + start, end: p.end + start });
    if (checked.problems.length > 0) continue;
    const odd = jsonTypes(checked.type).find((type) => type === 'object' || type === 'array');
    if (odd !== undefined) all.push(notText(part.expression, odd, start));
  }
  return { type: { type: 'string' }, problems: all };
}

/** Makes a template ready to run. A value that is missing, null, a list or an object is an error of that record. */
export function compileParts(source: string, clean: (value: string) => string): Render {
  const { parts, problems } = split(source);
  if (problems.length > 0) throw new TopologyError(problems.map(({ code, message }) => ({ code, message })));
  const pieces = parts.map((part) => {
    if ('text' in part) return part.text;
    const evaluate = compile(part.expression);
    return (record: Parameters<Render>[0]) => clean(asText(part.expression, evaluate(record)));
  });
  const [only] = pieces;
  if (pieces.length === 0) return () => '';
  if (pieces.length === 1 && typeof only === 'string') return () => only;
  return (record) => {
    let text = '';
    for (const piece of pieces) text += typeof piece === 'string' ? piece : piece(record);
    return text;
  };
}

function asText(expression: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const found =
    value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : 'nothing';
  throw new RejectError(
    'expression-failed',
    `\`{${shortened(expression)}}\` is ${found}; a text, number or boolean is expected.`,
  );
}

function notText(expression: string, type: string, start: number): ExpressionProblem {
  const found = type === 'array' ? 'a list' : 'an object';
  return {
    code: 'type-mismatch',
    message: `\`{${shortened(expression)}}\` is ${found}; a text, number or boolean is expected.`,
    start,
    end: start + expression.length,
  };
}

function split(source: string): { parts: Part[]; problems: ExpressionProblem[] } {
  const parts: Part[] = [];
  const problems: ExpressionProblem[] = [];
  let text = '';
  let i = 0;
  while (i < source.length) {
    const char = source[i]!;
    if ((char === '{' || char === '}') && source[i + 1] === char) {
      text += char;
      i += 2;
    } else if (char === '}') {
      problems.push(stray(i, '`}` closes nothing here.', 'For a brace as text write `}}`.'));
      i++;
    } else if (char === '{') {
      const end = closing(source, i + 1);
      if (end === -1) {
        problems.push({ ...stray(i, '`{` is never closed.', 'For a brace as text write `{{`.'), end: source.length });
        break;
      }
      const expression = source.slice(i + 1, end);
      if (expression.trim() === '')
        problems.push({
          ...stray(i, 'There is nothing between the braces.', 'Write a field, such as `{generatorID}`.'),
          end: end + 1,
        });
      if (text !== '') parts.push({ text });
      text = '';
      parts.push({ expression, start: i + 1 });
      i = end + 1;
    } else {
      text += char;
      i++;
    }
  }
  if (text !== '') parts.push({ text });
  return { parts, problems };
}

function stray(start: number, message: string, hint: string): ExpressionProblem {
  return { code: 'bad-expression', message, hint, start, end: start + 1 };
}

// Where the expression ends: braces of its own and braces in its strings do not count.
function closing(source: string, from: number): number {
  let depth = 0;
  for (let i = from; i < source.length; i++) {
    const char = source[i];
    if (char === '"' || char === "'") {
      i = stringEnd(source, i);
      if (i === -1) return -1;
    } else if (char === '{') depth++;
    else if (char === '}' && depth-- === 0) return i;
  }
  return -1;
}

function stringEnd(source: string, start: number): number {
  const quote = source[start]!;
  const delimiter = source.startsWith(quote.repeat(3), start) ? quote.repeat(3) : quote;
  const raw = /[rR]$/.test(source.slice(Math.max(0, start - 1), start));
  for (let i = start + delimiter.length; i < source.length; i++) {
    if (source[i] === '\\' && !raw) i++;
    else if (source.startsWith(delimiter, i)) return i + delimiter.length - 1;
  }
  return -1;
}
