import { isAbsolute, resolve } from 'node:path';
import { Secret } from '../secret.ts';
import { interpolate, isNumber, type Quote, reason, type Surroundings } from './interpolate.ts';
import type { Report } from './report.ts';
import { schemaProblem } from './schema-check.ts';
import { described, objectOf, plainValue, type Written, type WrittenScalar } from './written.ts';

/** The part of JSON Schema that option schemas are made of. */
export interface OptionSchema {
  readonly type?: string;
  readonly format?: string;
  /** What the name of this entry means beyond its text: `stream`, when it is the name of one. */
  readonly keyFormat?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, OptionSchema>>;
  readonly patternProperties?: Readonly<Record<string, OptionSchema>>;
  readonly additionalProperties?: boolean | OptionSchema;
  readonly items?: OptionSchema | readonly OptionSchema[];
  readonly required?: readonly string[];
  readonly anyOf?: readonly OptionSchema[];
  readonly oneOf?: readonly OptionSchema[];
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
}

export type Path = readonly (string | number)[];

/** An option whose format means something beyond its text: an expression, a field, the name of a stream. */
export interface Special {
  readonly format: string;
  readonly path: Path;
  readonly written: WrittenScalar;
  readonly value: unknown;
  /** Variables were filled in: offsets in the value are not those of the file. */
  readonly filled: boolean;
  /** A variable in it has no value: what is wrong has been said, and nothing else can be. */
  readonly unread: boolean;
}

const special = new Set(['expression', 'template', 'field', 'stream', 'input']);

/** All shapes that a value may have: a schema, or the branches of its `anyOf`. */
export function alternatives(schema: OptionSchema | undefined): readonly OptionSchema[] {
  if (!schema) return [];
  const branches = schema.anyOf ?? schema.oneOf;
  return branches ? branches.flatMap(alternatives) : [schema];
}

/** What the options say of one key of a mapping. */
export function childSchemas(shapes: readonly OptionSchema[], name: string): readonly OptionSchema[] {
  return shapes.flatMap((shape) => {
    if (shape.properties && Object.hasOwn(shape.properties, name)) return alternatives(shape.properties[name]);
    const byPattern = Object.entries(shape.patternProperties ?? {}).find(([pattern]) => new RegExp(pattern).test(name));
    if (byPattern) return alternatives(byPattern[1]);
    return typeof shape.additionalProperties === 'object' ? alternatives(shape.additionalProperties) : [];
  });
}

/** Turns what was written into the values that a schema wants: variables filled in, scalars converted, files read, secrets wrapped. */
export class ValueReader {
  readonly specials: Special[] = [];
  /** Scalars whose variables could not be filled in: what is wrong with them has been said. */
  readonly unread = new Set<Written>();
  readonly #from: Surroundings;
  readonly #report: Report;

  constructor(from: Surroundings, report: Report) {
    this.#from = from;
    this.#report = report;
  }

  read(node: Written, shapes: readonly OptionSchema[], path: Path = []): unknown {
    if (shapes.some(({ format }) => format === 'json-schema')) return this.#jsonSchema(node);
    // Also the whole of `sasl: plain:user:password`, where a mapping with a password is expected.
    if ((node.kind !== 'map' && shapes.some(holdsSecret)) || shapes.some(isSecret)) this.#report.hide(node);
    if (node.kind === 'list') {
      return node.items.map((item, index) => this.read(item, itemSchemas(shapes, index), [...path, index]));
    }
    if (node.kind === 'map') {
      return objectOf(
        [...node.entries].map(([name, { key, value }]) => {
          const inside = childSchemas(shapes, name);
          const at = [...path, name];
          const format = inside.find(({ keyFormat }) => keyFormat !== undefined)?.keyFormat;
          const written = { kind: 'scalar' as const, value: name, ...key };
          if (format) this.specials.push({ format, path: at, written, value: name, filled: false, unread: false });
          return [name, this.read(value, inside, at)];
        }),
      );
    }
    return this.#scalar(node, shapes, path);
  }

  #scalar(node: WrittenScalar, shapes: readonly OptionSchema[], path: Path): unknown {
    const format = shapes.find((shape) => shape.format !== undefined)?.format;
    let filled = false;
    let value = node.value;
    if (node.text !== undefined && !(value === null && !node.quoted)) {
      const rules = { secrets: format === 'secret', quote: quoteFor(format) };
      const result = interpolate(node.text, node, this.#from, this.#report, rules);
      if (!result.complete) this.unread.add(node);
      filled = result.filled;
      const wanted = wantedTypes(shapes);
      value = filled
        ? result.sole !== undefined && fits(result.sole, wanted)
          ? result.sole
          : converted(result.text, wanted)
        : this.#written({ ...node, text: result.text }, wanted);
    }
    if (typeof value === 'function' && format !== 'expression' && format !== 'function' && !takesFunction(shapes)) {
      this.#report.add('wrong-type', node, `\`${path.join('.')}\` is a function; only expressions may be functions.`);
      return null;
    }
    if (format !== undefined && special.has(format))
      this.specials.push({ format, path, written: node, value, filled, unread: this.unread.has(node) });
    if (typeof value !== 'string') return value;
    if (format === 'secret') return new Secret(value);
    if (format === 'path') return value === '' || isAbsolute(value) ? value : resolve(this.#from.folder, value);
    return value;
  }

  /** A scalar without variables: its source text where the schema wants text, what YAML makes of it elsewhere. */
  #written(node: WrittenScalar, wanted: ReadonlySet<string>): unknown {
    const { value, text = '' } = node;
    if (typeof value === 'string') return text;
    if (wanted.has('string') && !wanted.has(kindOf(value))) return text;
    if (wanted.size === 0 && looksLikeText(text, value)) {
      this.#report.add('wrong-type', node, `\`${text}\` is read as the number ${String(value)}.`, {
        hint: `If it is a text, put it in quotes: "${text}".`,
        severity: 'warning',
      });
    }
    return value;
  }

  #jsonSchema(node: Written): unknown {
    let schema: unknown;
    if (node.kind === 'scalar' && typeof node.value === 'string') {
      const { text, complete } = interpolate(node.text ?? node.value, node, this.#from, this.#report);
      if (!complete) this.unread.add(node);
      schema = complete ? this.#schemaFile(text, node) : undefined;
      if (schema === undefined) return true;
    } else schema = plainValue(node);
    const problem = schemaProblem(schema);
    if (problem !== undefined) {
      this.#report.add('bad-schema', node, `The schema is no JSON Schema (draft-07): ${problem}`, {
        hint: 'Give the path of a JSON file, or the schema itself as a mapping.',
      });
    }
    return schema;
  }

  #schemaFile(path: string, node: WrittenScalar): unknown {
    let text: string;
    try {
      text = this.#from.readFile(isAbsolute(path) ? path : resolve(this.#from.folder, path));
    } catch (error) {
      this.#report.add('unreadable-file', node, `The schema's file \`${path}\` cannot be read${reason(error)}.`, {
        hint: 'Check the path: relative paths begin at the folder of the topology.',
      });
      return undefined;
    }
    try {
      return JSON.parse(text.replace(/^\ufeff/, ''));
    } catch (error) {
      this.#report.add('bad-schema', node, `\`${path}\` holds no JSON: ${jsonTrouble(error, text)}`, {
        hint: 'Correct the file. A JSON Schema is JSON, without comments and trailing commas.',
      });
      return undefined;
    }
  }
}

function jsonTrouble(error: unknown, text: string): string {
  const message = (error as Error).message.replace(/, "?[\s\S]*$| in JSON[\s\S]*$/, '');
  const at = /position (\d+)/.exec((error as Error).message)?.[1];
  if (at === undefined) return `${message}.`;
  const before = text.slice(0, Number(at)).split('\n');
  return `${message} in line ${before.length}, column ${before.at(-1)!.length + 1}.`;
}

function isSecret({ format }: OptionSchema): boolean {
  return format === 'secret';
}

function holdsSecret({ properties = {} }: OptionSchema): boolean {
  return Object.values(properties).some((inner) =>
    alternatives(inner).some((shape) => isSecret(shape) || holdsSecret(shape)),
  );
}

/** Where every entry is an expression, a function may compute all of them at once. */
function takesFunction(shapes: readonly OptionSchema[]): boolean {
  return shapes.some(({ patternProperties = {} }) =>
    Object.values(patternProperties).some(({ format }) => format === 'expression'),
  );
}

function itemSchemas(shapes: readonly OptionSchema[], index: number): readonly OptionSchema[] {
  return shapes.flatMap(({ items }) => {
    if (Array.isArray(items)) return alternatives(items[index]);
    return items ? alternatives(items as OptionSchema) : [];
  });
}

function quoteFor(format: string | undefined): Quote {
  if (format === 'expression') return (value) => (typeof value === 'string' ? JSON.stringify(value) : String(value));
  if (format === 'template') return (value) => String(value).replace(/[{}]/g, '$&$&');
  return String;
}

function wantedTypes(shapes: readonly OptionSchema[]): ReadonlySet<string> {
  const wanted = new Set<string>();
  for (const shape of shapes) {
    if (shape.type !== undefined) wanted.add(shape.type === 'integer' ? 'number' : shape.type);
    for (const value of shape.enum ?? (shape.const === undefined ? [] : [shape.const])) wanted.add(kindOf(value));
  }
  return wanted;
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value;
}

function fits(value: unknown, wanted: ReadonlySet<string>): boolean {
  return wanted.size === 0 || wanted.has(kindOf(value));
}

// Text that was filled in becomes a number or a boolean only where the schema wants one and no text.
function converted(text: string, wanted: ReadonlySet<string>): unknown {
  if (wanted.has('string') || wanted.size === 0) return text;
  if (wanted.has('number') && isNumber(text)) return Number(text);
  if (wanted.has('boolean') && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

/** `012`, `1.10`, `0x1F` and `1e3` are rarely meant as numbers. */
function looksLikeText(text: string, value: unknown): boolean {
  return typeof value === 'number' && /^[-+]?0[\dxo]|[eE]|\.\d*[1-9]0+$/.test(text) && !/^\.?[-+]?inf|nan/i.test(text);
}

/** The node is written with variables: its value must not be shown. */
export function isFilled(node: Written): boolean {
  return node.kind === 'scalar' && node.text !== undefined && /\$\{/.test(node.text);
}

/** What was found there, for a message. */
export function found(node: Written): string {
  if (node.kind === 'scalar' && isFilled(node)) return `what \`${node.text}\` stands for`;
  return described(node);
}
