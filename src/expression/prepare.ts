import type { ASTNode } from '@marcbachmann/cel-js';
import { runEnvironment, typeNames, variables } from './environment.ts';
import { linearPattern } from './functions.ts';
import type { ExpressionProblem } from './index.ts';
import { Rewriting } from './rewriting.ts';
import { syntaxProblem } from './syntax-problem.ts';

const maxLength = 10_000;
const maxLoops = 2;
const maxBindings = 8;
const loops: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);

/** Names with dots from `event`, `window` or `meta` on, as in `event.position.lat`. */
export interface Path {
  readonly root: string;
  readonly names: readonly string[];
  /** Place of the whole path, and of each name in it, in the expression as it was written. */
  readonly start: number;
  readonly end: number;
  readonly places: readonly { readonly start: number; readonly end: number }[];
}

/** An expression that has been parsed and rewritten for cel-js. */
export interface Prepared {
  readonly source: string;
  /** The tree of the expression as written; `undefined` when it cannot be parsed. */
  readonly tree: ASTNode | undefined;
  readonly rewriting: Rewriting;
  /** Every use of a field, and of the variables that have fields. */
  readonly paths: readonly Path[];
  readonly variables: ReadonlySet<string>;
  readonly loops: boolean;
  readonly problems: readonly ExpressionProblem[];
}

/**
 * Parses an expression, checks what cel-js does not limit, and rewrites it: a free name becomes a field of `event`, so that
 * no record has to be copied into a context; loops count their items; `matches` runs in linear time. Rewriting is done on the
 * text, by the places of the tree, as cel-js's own `serialize` loses parentheses (`a - (b - c)`) and digits (`1e-12`).
 * `mixed` lets the two results of `? :` differ in type, as in `fuel < 500 ? "refuel" : null`.
 */
export function prepare(source: string, mixed = false): Prepared {
  const walk = new Walk(source, mixed);
  let tree: ASTNode | undefined;
  if (source.length > maxLength) {
    walk.problem(0, source.length, `The expression has ${source.length} characters; at most ${maxLength} are allowed.`);
  } else {
    try {
      tree = runEnvironment.parse(source).ast;
      walk.visit(tree, []);
    } catch (error) {
      tree = undefined;
      walk.problems.push(syntaxProblem(source, error));
    }
  }
  const { paths, problems, edits } = walk;
  return { source, tree, rewriting: edits, paths, variables: walk.used, loops: walk.counted, problems };
}

class Walk {
  readonly source: string;
  readonly mixed: boolean;
  readonly edits: Rewriting;
  readonly paths: Path[] = [];
  readonly used = new Set<string>();
  readonly problems: ExpressionProblem[] = [];
  counted = false;
  #loops = 0;
  #bindings = 0;

  constructor(source: string, mixed: boolean) {
    this.source = source;
    this.mixed = mixed;
    this.edits = new Rewriting(source);
  }

  problem(start: number, end: number, message: string, hint?: string): void {
    this.problems.push({ code: 'bad-expression', message, start, end, ...(hint === undefined ? {} : { hint }) });
  }

  visit(node: ASTNode, scope: readonly string[]): void {
    switch (node.op) {
      case 'value':
        return;
      case 'id':
      case '.':
      case '.?':
        this.#path(node, scope);
        return;
      case 'call':
        this.#call(node.args[0], node);
        for (const arg of node.args[1]) this.visit(arg, scope);
        return;
      case 'rcall':
        this.#method(node, scope);
        return;
      case 'map':
        for (const [key, value] of node.args) {
          this.#mapKey(key);
          this.visit(key, scope);
          this.visit(value, scope);
        }
        return;
      case '!_':
      case '-_':
        this.visit(node.args as ASTNode, scope);
        return;
      case '==':
      case '!=':
      case 'in':
        // Beside `type(x)` the name of a type is that type; anywhere else it is a field of the record.
        if ((node.args as ASTNode[]).some(isTypeCall)) {
          for (const part of node.args as ASTNode[])
            this.visit(part, isTypeCall(part) ? scope : [...scope, ...typeNames]);
          return;
        }
        for (const part of node.args as ASTNode[]) this.visit(part, scope);
        return;
      case '?:':
        if (this.mixed) this.#ternary(node.args.slice(1));
        for (const part of node.args) this.visit(part, scope);
        return;
      default:
        for (const part of node.args as ASTNode[]) this.visit(part, scope);
    }
  }

  #path(node: ASTNode, scope: readonly string[]): void {
    const names: string[] = [];
    const places: { start: number; end: number }[] = [];
    let at = node;
    while (at.op === '.' || at.op === '.?') {
      names.unshift(at.args[1] as unknown as string);
      places.unshift({ start: at.pos, end: at.end });
      at = at.args[0] as ASTNode;
    }
    if (at.op !== 'id') {
      this.visit(at, scope);
      return;
    }
    const root = at.args;
    if (scope.includes(root) || (root === 'google' && names[0] === 'protobuf')) return;
    if (root.startsWith('__'))
      this.problem(
        at.start,
        at.end,
        `\`${root}\`: names beginning with \`__\` are reserved.`,
        `For a field of the record write \`event.${root}\`.`,
      );
    const isVariable = variables.has(root);
    this.used.add(isVariable ? root : 'event');
    if (!isVariable) {
      this.edits.insert(at.start, 'event.');
      names.unshift(root);
      places.unshift({ start: at.start, end: at.end });
    }
    // What is behind `.?` may be missing by intent.
    const certain = node.op === '.?' || this.source.slice(node.start, node.end).includes('.?');
    if (!certain)
      this.paths.push({ root: isVariable ? root : 'event', names, start: node.start, end: node.end, places });
  }

  #method(node: ASTNode & { op: 'rcall' }, scope: readonly string[]): void {
    const [name, receiver, args] = node.args;
    this.#call(name, node);
    const isBinding = name === 'bind' && receiver.op === 'id' && receiver.args === 'cel' && args.length === 3;
    const isLoop = loops.has(name) && (args.length === 2 || (name === 'map' && args.length === 3));
    const isOptional = receiver.op === 'id' && receiver.args === 'optional' && ['of', 'none'].includes(name);
    if (!isBinding && !isOptional) this.visit(receiver, scope);
    // A list or object that is written out is small already, and keeps its exact type this way.
    if (isLoop && receiver.op !== 'list' && receiver.op !== 'map') {
      this.counted = true;
      this.edits.insert(this.#dotAfter(receiver), '.__items()');
    }
    if (name === 'matches' && args.length === 1) this.#matches(receiver, args[0]!);
    if (!isLoop && !isBinding) {
      for (const arg of args) this.visit(arg, scope);
      return;
    }
    const [variable, ...rest] = args as [ASTNode, ...ASTNode[]];
    const inner = variable.op === 'id' ? [...scope, variable.args] : scope;
    if (variable.op === 'id' && variable.args === 'event')
      this.problem(
        variable.start,
        variable.end,
        '`event` is the record and cannot be the name of a loop variable.',
        'Choose another name.',
      );
    if (isBinding) this.visit(rest.shift()!, scope);
    this.#enter(isLoop, node, () => {
      for (const arg of rest) this.visit(arg, inner);
    });
  }

  #enter(isLoop: boolean, node: ASTNode, visit: () => void): void {
    if (isLoop) this.#loops++;
    else this.#bindings++;
    if (this.#loops > maxLoops)
      this.problem(
        node.start,
        node.end,
        `Loops (\`map\`, \`filter\`, \`all\`, \`exists\`) stand ${this.#loops} deep in one another; at most ${maxLoops} are allowed.`,
        'Compute the inner list in a `map` step before this one.',
      );
    if (this.#bindings > maxBindings)
      this.problem(
        node.start,
        node.end,
        `\`cel.bind\` stands ${this.#bindings} deep; at most ${maxBindings} are allowed.`,
        'Compute the parts in a `map` step before this one.',
      );
    visit();
    if (isLoop) this.#loops--;
    else this.#bindings--;
  }

  #call(name: string, node: ASTNode): void {
    if (name.startsWith('__')) this.problem(node.start, node.end, `There is no function \`${name}\`.`);
  }

  #matches(receiver: ASTNode, pattern: ASTNode): void {
    this.edits.insert(this.source.indexOf('matches', this.#dotAfter(receiver)), '__');
    if (pattern.op !== 'value' || typeof pattern.args !== 'string') return;
    try {
      linearPattern(pattern.args);
    } catch (error) {
      this.problem(
        pattern.start,
        pattern.end,
        `\`matches\` cannot use this pattern: ${(error as Error).message}.`,
        'Patterns are RE2: no look-ahead, no look-behind and no back-references.',
      );
    }
  }

  // A receiver's place leaves out the parentheses around it, so the dot behind it is the first safe place for an insertion.
  #dotAfter(receiver: ASTNode): number {
    const between = this.source.slice(receiver.end).match(/^(?:\)|\s|\/\/[^\n]*)*/);
    return receiver.end + (between?.[0].length ?? 0);
  }

  // CEL wants both results of `? :` to be of one type; a literal made `dyn` frees it of that.
  #ternary(branches: readonly ASTNode[]): void {
    const literal = [...branches]
      .reverse()
      .find(({ op }) => op === 'value' || op === 'list' || op === 'map' || op === 'call');
    if (literal === undefined) return;
    this.edits.insert(literal.start, 'dyn(');
    this.edits.insert(literal.end, ')');
  }

  // cel-js drops these keys without a word.
  #mapKey(key: ASTNode): void {
    if (key.op !== 'value' || typeof key.args !== 'string') return;
    if (['__proto__', 'constructor', 'prototype'].includes(key.args))
      this.problem(
        key.start,
        key.end,
        `\`${key.args}\` cannot be a key of an object made by an expression.`,
        'Use another name.',
      );
  }
}

function isTypeCall(node: ASTNode): boolean {
  return node.op === 'call' && node.args[0] === 'type';
}
