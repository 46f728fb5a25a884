import type { ProblemCode } from '../errors.ts';
import { checkExpression, checkField, checkTemplate } from '../expression/index.ts';
import type { JsonSchema, RecordType, TypeCheck } from '../operator.ts';
import { eitherType } from '../record-type.ts';
import type { DraftStep, DraftStream } from './draft.ts';
import type { Report, Site } from './report.ts';
import { routesOf, type Streams } from './streams.ts';
import type { Path, Special } from './values.ts';
import { siteAt } from './written.ts';

/** What is known of a record that a step, source or sink has refused. */
export const deadLetterType: JsonSchema = {
  type: 'object',
  properties: {
    version: { type: 'integer' },
    code: { type: 'string' },
    message: { type: 'string' },
    reasons: { type: 'array' },
    topology: { type: 'string' },
    topologyHash: { type: 'string' },
    step: { type: 'string' },
    operator: { type: 'string' },
    stage: { type: 'string', enum: ['source', 'step', 'sink'] },
    attempt: { type: 'integer' },
    at: { type: 'number' },
    source: { type: 'string' },
    offset: { type: 'integer' },
    part: { type: 'string' },
    key: {},
    originalKey: {},
    time: { type: 'number' },
    topic: { type: 'string' },
    headers: { type: 'object' },
    window: { type: 'object', properties: { start: { type: 'number' }, end: { type: 'number' } } },
    payload: { type: 'string' },
    payloadEncoding: { type: 'string', enum: ['utf8', 'base64'] },
    original: { type: 'boolean' },
    bytes: { type: 'integer' },
    truncated: { type: 'object' },
  },
  required: [
    'version',
    'code',
    'message',
    'topology',
    'topologyHash',
    'step',
    'operator',
    'stage',
    'attempt',
    'at',
    'source',
    'offset',
    'payload',
    'payloadEncoding',
    'original',
    'bytes',
  ],
};

/** Follows the type of the records through all streams, and checks expressions, templates and fields against it. */
export function checkTypes(
  order: readonly DraftStream[],
  streams: Streams,
  lastResort: string | undefined,
  report: Report,
): ReadonlyMap<DraftStep, RecordType> {
  const after = new Map<DraftStep, RecordType>();
  const before = new Map<DraftStep, RecordType>();
  const ends = new Map<string, RecordType>();
  for (const stream of order) {
    let type = inputType(stream, streams, { ends, before }, lastResort);
    for (const step of stream.steps) {
      before.set(step, type);
      type = checkStep(step, type, ends, report);
      after.set(step, type);
    }
    ends.set(stream.name, ends.has(stream.name) ? undefined : type);
  }
  return after;
}

function inputType(
  stream: DraftStream,
  streams: Streams,
  { ends, before }: { ends: ReadonlyMap<string, RecordType>; before: ReadonlyMap<DraftStep, RecordType> },
  lastResort: string | undefined,
): RecordType {
  const types: RecordType[] = stream.from.map(({ to }) => ends.get(to));
  for (const step of streams.all.flatMap(({ steps }) => steps)) {
    if (step.otherwise?.to === stream.name || step.late?.to === stream.name) types.push(deadLetterType);
    if (routesOf(step).some(({ to }) => to === stream.name)) types.push(before.get(step));
  }
  if (lastResort === stream.name) types.push(deadLetterType);
  return types.length === 0 ? undefined : types.reduce(eitherType);
}

function checkStep(
  step: DraftStep,
  input: RecordType,
  ends: ReadonlyMap<string, RecordType>,
  report: Report,
): RecordType {
  const { definition } = step;
  if (step.when) checkWhen(step.when, input, report);
  if (definition.kind === 'source') {
    const check = new StepCheck(
      step,
      asked(step, () => definition.type?.(step.options as never)),
      ends,
      report,
    );
    asked(step, () => definition.check?.(step.options as never, check));
    check.rest(true);
    return check.input;
  }
  const check = new StepCheck(step, input, ends, report);
  const result = asked(step, () => definition.type?.(step.options as never, check));
  check.rest(definition.type === undefined);
  if (definition.kind === 'sink' || definition.type === undefined || result === input) return input;
  // What the step makes of the record was not read, or depends on a field whose name is wrong.
  if (!step.sound || check.doubtful) return undefined;
  return step.when ? eitherType(input, result as RecordType) : (result as RecordType);
}

/**
 * What a definition says of options. Unsound ones it is asked about only to learn against what their expressions are to be checked: it
 * may well stumble over them, and what is wrong with them has been said.
 */
function asked<T>(step: DraftStep, ask: () => T): T | undefined {
  if (step.sound) return ask();
  try {
    return ask();
  } catch {
    return undefined;
  }
}

function checkWhen(
  { source, written, filled, unread }: NonNullable<DraftStep['when']>,
  input: RecordType,
  report: Report,
): void {
  if (typeof source === 'function' || unread) return;
  const { type, problems } = checkExpression(source, input);
  for (const { code, message, hint, start, end } of problems) {
    report.add(code, spanSite({ written, filled }, start, end), message, { hint });
  }
  if (problems.length > 0 || type === undefined || typeof type === 'boolean') return;
  const found = type['type'];
  if (found === undefined || found === 'boolean' || (Array.isArray(found) && found.includes('boolean'))) return;
  report.add(
    'type-mismatch',
    written,
    `\`when\` must be true or false, but \`${source}\` is ${typeWords[String(found)] ?? String(found)}.`,
    {
      hint: 'Compare it with something, as in `fuel < 500`.',
    },
  );
}

const typeWords: Record<string, string> = {
  number: 'a number',
  integer: 'a number',
  string: 'a text',
  array: 'a list',
  object: 'a mapping',
  null: 'null',
};

function spanSite({ written, filled }: Pick<Special, 'written' | 'filled'>, start: number, end: number): Site {
  const at = filled ? undefined : written.span?.(start, end);
  return at ? { at } : written;
}

const checkers = { expression: checkExpression, template: checkTemplate, field: checkField };

class StepCheck implements TypeCheck {
  readonly input: RecordType;
  /** The name of a field is wrong: what the step makes of the record is not clear. */
  doubtful = false;
  readonly #step: DraftStep;
  readonly #ends: ReadonlyMap<string, RecordType>;
  readonly #report: Report;
  readonly #seen = new Set<Special>();

  constructor(step: DraftStep, input: RecordType, ends: ReadonlyMap<string, RecordType>, report: Report) {
    this.#step = step;
    this.input = input;
    this.#ends = ends;
    this.#report = report;
  }

  expression(path: Path): RecordType {
    const found = this.#step.specials.find(({ format, path: at }) => format !== 'stream' && samePath(at, path));
    if (found?.format === 'input') return this.#ends.get(String(found.value));
    return found ? this.#check(found, this.input) : undefined;
  }

  problem(
    path: Path,
    message: string,
    hint?: string,
    severity: 'error' | 'warning' = 'error',
    code: ProblemCode = 'bad-value',
  ): void {
    const { written, site, sound } = this.#step;
    if (!sound) return;
    const at = path.length === 0 ? site : siteAt(written, path);
    this.#report.add(code, at, message, { hint, ...(severity === 'warning' && { severity }) });
  }

  /** Checks what the definition has not looked at: against the type, or, where only the definition knows it, as to syntax. */
  rest(typed: boolean): void {
    for (const special of this.#step.specials) {
      if (!this.#seen.has(special)) this.#check(special, typed ? this.input : undefined);
    }
  }

  #check(special: Special, input: RecordType): RecordType {
    this.#seen.add(special);
    const { format, value, unread } = special;
    if (typeof value !== 'string' || unread || !(format in checkers)) return undefined;
    const { type, problems } = checkers[format as keyof typeof checkers](value, input);
    for (const { code, message, hint, start, end } of problems) {
      this.#report.add(code, spanSite(special, start, end), message, { hint });
    }
    if (problems.length > 0 && format === 'field') this.doubtful = true;
    return problems.length > 0 ? undefined : type;
  }
}

function samePath(a: Path, b: Path): boolean {
  return a.length === b.length && a.every((part, index) => String(part) === String(b[index]));
}
