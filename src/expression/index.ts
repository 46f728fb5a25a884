/** The expression language: CEL over one record. Names are fields of the record, or `event`, `key`, `time`, `window`, `meta`. */
import type { Expression, RecordType } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import { check, checkFieldName } from './check.ts';
import { compile } from './evaluate.ts';
import { checkParts, compileParts } from './template.ts';

/** Evaluates an expression for one record. Throws a RejectError `expression-failed` that says which operand was missing or of the wrong type. */
export type Evaluate = (record: StreamRecord) => unknown;

/** Fills a template for one record. Throws a RejectError `expression-failed`. */
export type Render = (record: StreamRecord) => string;

/** One thing wrong with an expression; `start` and `end` count characters of its text. */
export interface ExpressionProblem {
  readonly code: 'bad-expression' | 'unknown-field' | 'type-mismatch';
  readonly message: string;
  readonly hint?: string;
  readonly start: number;
  readonly end: number;
}

export interface Checked {
  /** JSON Schema of the result, as far as it is known. */
  readonly type: RecordType;
  readonly problems: readonly ExpressionProblem[];
}

/** Parses and type-checks a CEL expression against what is known of the record. */
export function checkExpression(source: string, input: RecordType): Checked {
  return check(source, input);
}

/** The same for a template: text with expressions in braces; `{{` and `}}` are braces. */
export function checkTemplate(source: string, input: RecordType): Checked {
  return checkParts(source, input);
}

/** The same for the name of a field; `a.b` goes into nested objects. */
export function checkField(path: string, input: RecordType): Checked {
  return checkFieldName(path, input);
}

/**
 * Makes an expression ready to run: CEL text, or a function given from TypeScript. Call it once, when the step is created.
 * Throws a TopologyError for text that cannot be read. What a function throws becomes a RejectError `expression-failed`.
 */
export function compileExpression(source: Expression): Evaluate {
  return compile(source);
}

/** Makes a template ready to run. `clean` rewrites each value that comes from the record, or throws a RejectError to refuse it. */
export function compileTemplate(source: string, clean: (value: string) => string = (value) => value): Render {
  return compileParts(source, clean);
}
