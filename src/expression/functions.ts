import { type ASTNode, type Environment, EvaluationError } from '@marcbachmann/cel-js';
import type { Duration, UnsignedInt } from '@marcbachmann/cel-js/evaluator';
import { RE2JS } from 're2js';
import { registerTextFunctions } from './text-functions.ts';

/** Items that one evaluation may visit in `map`, `filter`, `all`, `exists` and `exists_one`, all loops together. */
export const maxItems = 100_000;

let itemsLeft = maxItems;

/** Starts the count of visited items anew; called before each evaluation that has a loop. */
export function resetItems(): void {
  itemsLeft = maxItems;
}

const sync = { async: false } as const;

/**
 * Adds to an environment for checking what the engine allows between numbers only while their types are open, as they are
 * at run time: `3 in readings`, `readings == [1, 2]`.
 */
export function allowMixedLists(environment: Environment): void {
  const never = () => false;
  environment
    .registerOperator('int in list<double>: bool', never)
    .registerOperator('double in list<int>: bool', never)
    .registerOperator('list<double> == list<int>: bool', never);
}

/** Adds what CEL lacks: mixed arithmetic, rounding, `min`, `max`, `coalesce`, more for text and time, and loops that count their items. */
export function registerFunctions(environment: Environment): void {
  registerNumbers(environment);
  registerText(environment);
  registerTextFunctions(environment, cachedPattern);
  registerConversions(environment);
  registerLoops(environment);
  for (const count of [2, 3, 4]) registerCoalesce(environment, count);
}

// A number of a record is a CEL double; literals and sizes are CEL ints. CEL itself refuses to mix the two in arithmetic.
function registerNumbers(environment: Environment): void {
  const arithmetic: Record<string, (a: number, b: number) => number> = {
    '+': (a, b) => a + b,
    '-': (a, b) => a - b,
    '*': (a, b) => a * b,
    '/': (a, b) => a / b,
    '%': (a, b) => a % b,
  };
  for (const [op, apply] of Object.entries(arithmetic)) {
    environment.registerOperator(`double ${op} int: double`, (a: number, b: bigint) => apply(a, Number(b)));
    environment.registerOperator(`int ${op} double: double`, (a: bigint, b: number) => apply(Number(a), b));
  }
  environment.registerOperator('double == int: bool', (a: number, b: bigint) => equal(a, b));
  environment.registerOperator('double % double: double', (a: number, b: number) => a % b);
  const rounding: Record<string, (a: number) => number> = {
    abs: Math.abs,
    // Half away from zero, as CEL's own math extension has it; Math.round goes up.
    round: (a) => Math.sign(a) * Math.round(Math.abs(a)),
    floor: Math.floor,
    ceil: Math.ceil,
  };
  for (const [name, apply] of Object.entries(rounding)) {
    environment.registerFunction(`${name}(double): double`, apply, sync);
    environment.registerFunction(`${name}(int): int`, (a: bigint) => (name === 'abs' && a < 0n ? -a : a), sync);
  }
  for (const [name, better] of [
    ['min', (a: number | bigint, b: number | bigint) => b < a],
    ['max', (a: number | bigint, b: number | bigint) => b > a],
  ] as const) {
    const pick = (...all: (number | bigint)[]) => {
      const whole = all.every((a) => typeof a === 'bigint');
      const best = all.reduce((kept, a) => (Number.isNaN(kept) || better(kept, a) ? a : kept));
      return whole ? best : Number(all.find((a) => Number.isNaN(a)) ?? best);
    };
    for (const types of [...combinations(2), ...combinations(3)]) {
      const result = types.every((type) => type === 'int') ? 'int' : 'double';
      environment.registerFunction(`${name}(${types.join(', ')}): ${result}`, pick, sync);
    }
    const ofList = (list: unknown[]) => {
      if (list.length === 0) throw failed('empty_list', `${name}() of an empty list`);
      if (!list.every((a) => typeof a === 'number' || typeof a === 'bigint'))
        throw failed('not_numbers', `${name}() of a list that holds more than numbers`);
      return pick(...(list as number[]));
    };
    environment.registerFunction(`${name}(list): dyn`, ofList, sync);
  }
}

// Comparing is exact between the two, where converting one to the other is not beyond 2^53.
function equal(a: number | bigint, b: number | bigint): boolean {
  return a >= b && a <= b;
}

function combinations(length: number): string[][] {
  if (length === 0) return [[]];
  return combinations(length - 1).flatMap((rest) => ['int', 'double'].map((type) => [type, ...rest]));
}

function registerText(environment: Environment): void {
  const replaceSome = (text: string, from: string, to: string, count: bigint) => {
    if (count < 0n) return text.replaceAll(from, () => to);
    let left = Number(count);
    return text.replaceAll(from, (found) => (left-- > 0 ? to : found));
  };
  const charAt = (text: string, index: bigint) => {
    const at = Number(index);
    if (at < 0 || at > text.length) throw failed('index_out_of_bounds', 'index out of bounds');
    return text.charAt(at);
  };
  environment
    .registerFunction(
      'string.replace(string, string): string',
      (a: string, b: string, c: string) => a.replaceAll(b, () => c),
      sync,
    )
    .registerFunction('string.replace(string, string, int): string', replaceSome, sync)
    .registerFunction('string.lower(): string', (a: string) => a.toLowerCase(), sync)
    .registerFunction('string.upper(): string', (a: string) => a.toUpperCase(), sync)
    .registerFunction('string.charAt(int): string', charAt, sync)
    .registerFunction('matches(string, string): bool', matchesLinear, sync)
    .registerFunction('string.__matches(string): bool', matchesLinear, sync);
}

const timestamp = 'google.protobuf.Timestamp';
const span = 'google.protobuf.Duration';

// Conversions of the CEL specification that cel-js lacks.
function registerConversions(environment: Environment): void {
  environment
    .registerFunction('int(uint): int', (value: UnsignedInt) => BigInt(value.valueOf()), sync)
    .registerFunction(`int(${timestamp}): int`, (value: Date) => BigInt(Math.floor(value.getTime() / 1_000)), sync)
    .registerFunction(`string(${timestamp}): string`, (value: Date) => value.toISOString().replace('.000Z', 'Z'), sync)
    .registerFunction(`string(${span}): string`, (value: Duration) => value.toString(), sync)
    .registerFunction(`timestamp(${timestamp}): ${timestamp}`, (value: Date) => value, sync)
    .registerFunction(`duration(${span}): ${span}`, (value: Duration) => value, sync);
}

const patterns = new Map<string, RE2JS>();

/** A pattern for the linear-time engine. Throws RE2JS's own error for what it does not know, such as look-ahead. */
export function linearPattern(pattern: string): RE2JS {
  return RE2JS.compile(pattern);
}

// cel-js takes JavaScript's own RegExp, in which `(a+)+$` on 31 characters runs for two minutes.
const matchesLinear = (text: string, pattern: string): boolean => cachedPattern(pattern).test(text);

function cachedPattern(pattern: string): RE2JS {
  let compiled = patterns.get(pattern);
  if (compiled === undefined) {
    try {
      compiled = linearPattern(pattern);
    } catch {
      throw failed('invalid_regular_expression', 'not a regular expression of RE2');
    }
    // Patterns may come from records: the cache must not grow with them.
    if (patterns.size >= 1_000) patterns.clear();
    patterns.set(pattern, compiled);
  }
  return compiled;
}

function registerLoops(environment: Environment): void {
  const count = <T>(items: T, size: number): T => {
    itemsLeft -= size;
    if (itemsLeft < 0) throw failed('too_many_items', `more than ${maxItems} items to visit`);
    return items;
  };
  environment
    .registerFunction('list<A>.__items(): list<A>', (items: unknown[]) => count(items, items.length), sync)
    .registerFunction('map.__items(): map', (items: object) => count(items, Object.keys(items).length), sync);
}

const missing: ReadonlySet<string> = new Set(['no_such_key', 'unknown_variable', 'index_out_of_bounds']);

/** What cel-js hands to a macro: the parts of its evaluator and checker that we use. */
interface Runner {
  run(ast: ASTNode, context: unknown): unknown;
}
interface Checker {
  check(ast: ASTNode, context: unknown): CelType;
  getType(name: string): CelType;
  registry: unknown;
}
interface CelType {
  readonly kind: string;
  unify(registry: unknown, other: CelType): CelType | null;
}

// `coalesce(a, b)`: the first that is neither missing nor null. A macro, as a function's arguments are evaluated before it.
function registerCoalesce(environment: Environment, count: number): void {
  const macro = ({ args }: { args: ASTNode[] }) => ({
    async: false,
    typeCheck(checker: Checker, _macro: unknown, context: unknown): CelType {
      const dyn = checker.getType('dyn');
      const types = args.map((arg) => checker.check(arg, context));
      return types.reduce((all, type) => all.unify(checker.registry, type) ?? dyn);
    },
    evaluate(runner: Runner, _macro: unknown, context: unknown): unknown {
      for (let i = 0; i < count - 1; i++) {
        try {
          const value = runner.run(args[i]!, context);
          if (value !== null) return value;
        } catch (error) {
          if (!(error instanceof EvaluationError && missing.has(error.code))) throw error;
        }
      }
      return runner.run(args[count - 1]!, context);
    },
  });
  const parameters = Array.from({ length: count }, () => 'ast').join(', ');
  environment.registerFunction(`coalesce(${parameters}): dyn`, macro as never, sync);
}

function failed(code: string, message: string): EvaluationError {
  return new EvaluationError({ code, message });
}
