import type { Expression, RecordType } from '../operator.ts';
import type { StreamRecord } from '../record.ts';

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
export function checkExpression(_source: string, _input: RecordType): Checked {
  throw new Error('not here yet');
}

/** The same for a template: text with expressions in braces; `{{` and `}}` are braces. */
export function checkTemplate(_source: string, _input: RecordType): Checked {
  throw new Error('not here yet');
}

/** Makes an expression ready to run: CEL text, or a function given from TypeScript. Call it once, when the step is created. */
export function compileExpression(_source: Expression): Evaluate {
  throw new Error('not here yet');
}

/** Makes a template ready to run. `clean` rewrites each value that comes from the record, or throws a RejectError to refuse it. */
export function compileTemplate(_source: string, _clean?: (value: string) => string): Render {
  throw new Error('not here yet');
}
