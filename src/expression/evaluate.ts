import { RejectError, RunError, TopologyError } from '../errors.ts';
import { fieldReader } from '../field.ts';
import type { Expression } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import { runEnvironment } from './environment.ts';
import { failure, shortened } from './failure.ts';
import { resetItems } from './functions.ts';
import type { Evaluate, ExpressionProblem } from './index.ts';
import { type Prepared, prepare } from './prepare.ts';
import { toData } from './result.ts';
import { typeProblem } from './type-problem.ts';

/** Makes an expression or a function ready to run. */
export function compile(source: Expression): Evaluate {
  return typeof source === 'function' ? compileFunction(source) : compileCel(source);
}

/** Parses what was rewritten, and type-checks it in an environment. The results of `? :` may differ in type. */
export function parsePrepared(prepared: Prepared, environment = runEnvironment) {
  const program = environment.parse(prepared.rewriting.text);
  const checked = program.check();
  if (checked.valid || checked.error?.code !== 'incompatible_ternary_branches') return { prepared, program, checked };
  const mixed = prepare(prepared.source, true);
  const again = environment.parse(mixed.rewriting.text);
  return { prepared: mixed, program: again, checked: again.check() };
}

function compileCel(source: string): Evaluate {
  const given = prepare(source);
  if (given.problems.length > 0) throw unusable(source, given.problems);
  const { prepared, program, checked } = parsePrepared(given);
  if (!checked.valid) throw unusable(source, [typeProblem(prepared, checked.error)]);
  const asIs = isField(prepared);
  const read =
    asIs && prepared.paths[0]!.root === 'event' ? fieldReader(prepared.paths[0]!.names.join('.')) : undefined;
  const fill = filler(prepared.variables);
  const { loops } = prepared;
  return (record) => {
    try {
      const field = read?.(record.value);
      if (field !== undefined && typeof field !== 'bigint') return field;
      if (loops) resetItems();
      const result = program(fill(record));
      if (typeof result === 'boolean' || typeof result === 'string') return result;
      if (asIs && typeof result !== 'bigint') return result;
      return toData(result);
    } catch (error) {
      throw failure(prepared, error);
    }
  };
}

// A field as it stands holds nothing that a record could not hold.
function isField({ tree, paths }: Prepared): boolean {
  const [path] = paths;
  return path !== undefined && tree !== undefined && path.start === tree.start && path.end === tree.end;
}

const nothing = Object.freeze({});

// One context for all records: an expression is never inside another one, and keeps nothing.
function filler(used: ReadonlySet<string>): (record: StreamRecord) => object {
  const context: Record<string, unknown> = {
    event: undefined,
    key: undefined,
    time: undefined,
    window: nothing,
    meta: nothing,
  };
  if (used.size === 0 || (used.size === 1 && used.has('event'))) {
    return (record) => {
      context['event'] = record.value;
      return context;
    };
  }
  return (record) => {
    context['event'] = record.value;
    context['key'] = record.key;
    context['time'] = Number.isNaN(record.time) ? undefined : record.time;
    context['window'] = record.window ?? nothing;
    context['meta'] = record.meta ?? nothing;
    return context;
  };
}

function compileFunction(given: Exclude<Expression, string>): Evaluate {
  return (record) => {
    let result: unknown;
    try {
      result = given(record.value, record);
    } catch (error) {
      if (error instanceof RejectError || error instanceof RunError) throw error;
      const said = error instanceof Error ? `${error.name}: ${error.message}` : 'something that is not an Error';
      throw new RejectError('expression-failed', `The function${named(given)} threw ${said}`);
    }
    if (result instanceof Promise) {
      // Nobody waits for it: were it to reject, it would end the process.
      result.catch(() => undefined);
      throw new RejectError(
        'expression-failed',
        `The function${named(given)} gave a promise; it must give its result at once.`,
      );
    }
    return typeof result === 'bigint' ? toData(result) : result;
  };
}

function named(given: { name: string }): string {
  return given.name === '' ? '' : ` \`${given.name}\``;
}

function unusable(source: string, problems: readonly ExpressionProblem[]): TopologyError {
  return new TopologyError(
    problems.map(({ code, message, hint }) => ({
      code,
      message: `\`${shortened(source)}\`: ${message}`,
      ...(hint === undefined ? {} : { hint }),
    })),
  );
}
