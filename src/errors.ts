/** Every problem a topology file can have. `problem.code` is one of these. */
export const problemCodes = [
  'yaml-syntax',
  'duplicate-key',
  'unknown-key',
  'missing-key',
  'wrong-type',
  'bad-value',
  'unknown-operator',
  'two-operators',
  'unknown-stream',
  'unused-stream',
  'cycle',
  'no-source',
  'misplaced-step',
  'missing-time',
  'missing-key-by',
  'unproven-key',
  'needs-final',
  'unset-variable',
  'unknown-param',
  'secret-misplaced',
  'unreadable-file',
  'bad-schema',
  'bad-expression',
  'unknown-field',
  'type-mismatch',
  'unsafe-topic',
  'unsupported-version',
] as const;
export type ProblemCode = (typeof problemCodes)[number];

/** Why a record left the main path. `reject.code` of a dead letter is one of these. */
export const rejectCodes = [
  'payload-malformed',
  'payload-encoding',
  'payload-too-large',
  'payload-too-deep',
  'payload-forbidden-key',
  'topic-unknown',
  'time-invalid',
  'time-future',
  'schema-violation',
  'key-missing',
  'key-invalid',
  'over-limit',
  'too-many-keys',
  'expression-failed',
  'late',
  'was-idle',
  'sink-refused',
  'step-failed',
  'buffer-full',
] as const;
export type RejectCode = (typeof rejectCodes)[number];

/** A place in a topology file. Line and column count from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Length of the marked text on that line, for the caret line; 0 when unknown. */
  readonly length?: number;
}

/** One thing wrong with a topology: what was found, what was expected, what to do. */
export interface Problem {
  readonly code: ProblemCode;
  /** What is wrong: what was found and what was expected. A full sentence. */
  readonly message: string;
  /** What to do about it. A full sentence. */
  readonly hint?: string;
  readonly place?: Place;
  readonly severity?: 'error' | 'warning';
}

/** Raised when a topology has problems; carries all of them. Nothing has been started. */
export class TopologyError extends Error {
  override readonly name = 'TopologyError';
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(
      problems
        .map((p) => `${p.place ? `${p.place.file}:${p.place.line}:${p.place.column} ` : ''}${p.message}`)
        .join('\n'),
    );
    this.problems = problems;
  }
}

/** Raised inside a step or source for one record: it goes to the dead letter, the run goes on. */
export class RejectError extends Error {
  override readonly name = 'RejectError';
  readonly code: RejectCode;
  constructor(code: RejectCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Raised when a run cannot go on: wrong credentials, a full disk, unreadable state. The message says what to do. */
export class RunError extends Error {
  override readonly name = 'RunError';
  /** Where it happened, as `stream › step`, when known. */
  readonly where: string | undefined;
  constructor(message: string, options: { where?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.where = options.where;
  }
}

/** A transaction has not been committed, or nobody knows: the work since the last commit has to be done again. */
export class TransactionError extends Error {
  /** Another process has taken the partition: it is no longer ours. */
  readonly fenced: boolean;
  constructor(message: string, fenced: boolean, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TransactionError';
    this.fenced = fenced;
  }
}
