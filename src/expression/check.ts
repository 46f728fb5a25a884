import type { ASTNode } from '@marcbachmann/cel-js';
import type { JsonSchema, RecordType } from '../operator.ts';
import { type FieldAt, fieldAt, itemType, jsonTypes } from '../record-type.ts';
import { type CelSchema, checkEnvironment } from './environment.ts';
import { parsePrepared } from './evaluate.ts';
import type { Checked, ExpressionProblem } from './index.ts';
import { nearest } from './nearest.ts';
import { type Path, type Prepared, prepare } from './prepare.ts';
import { typeProblem } from './type-problem.ts';

const windowFields: JsonSchema = {
  type: 'object',
  properties: {
    start: { type: 'number' },
    end: { type: 'number' },
    label: { type: 'number' },
    pane: { type: 'string', enum: ['early', 'final', 'late', 'drained'] },
    seq: { type: 'integer' },
    step: { type: 'string' },
  },
};
const metaFields: JsonSchema = {
  type: 'object',
  properties: {
    topic: { type: 'string' },
    headers: { type: 'object' },
    retained: { type: 'boolean' },
    route: { type: 'string' },
  },
};

/** Checks an expression against the type of the record: syntax, names, types. */
export function check(source: string, input: RecordType): Checked {
  const prepared = prepare(source);
  if (prepared.tree === undefined || prepared.problems.length > 0)
    return { type: undefined, problems: prepared.problems };
  const problems: ExpressionProblem[] = [];
  for (const path of prepared.paths) {
    const problem = unknownName(path, input);
    if (problem !== undefined && !problems.some(({ start }) => start === problem.start)) problems.push(problem);
  }
  const environment = checkEnvironment(eventSchema(prepared, input));
  const { prepared: used, checked } = parsePrepared(prepared, environment);
  if (!checked.valid) {
    const problem = typeProblem(used, checked.error);
    // A name that is already reported as unknown is no news; nor is what follows from it.
    if (!problems.some(({ start, end }) => start >= problem.start && end <= problem.end)) problems.push(problem);
    return { type: undefined, problems };
  }
  return { type: resultType(prepared.tree, source, input, checked.type ?? 'dyn', prepared), problems };
}

/** Checks the name of a field against the type of the record; the type is that of the field. */
export function checkFieldName(path: string, input: RecordType): Checked {
  const names = path.split('.');
  if (names.some((name) => name === '')) {
    const message = `\`${path}\` is not the name of a field: a part between dots is empty.`;
    return { type: undefined, problems: [{ code: 'unknown-field', message, start: 0, end: path.length }] };
  }
  let start = 0;
  const places = names.map((name) => {
    const place = { start, end: start + name.length };
    start = place.end + 1;
    return place;
  });
  const found = fieldAt(input, names);
  const problem = problemOf({ root: 'event', names, start: 0, end: path.length, places }, found);
  return { type: found.kind === 'known' ? found.type : undefined, problems: problem === undefined ? [] : [problem] };
}

function typeOfPath(path: Path, input: RecordType): FieldAt {
  const type =
    path.root === 'event'
      ? input
      : path.root === 'window'
        ? windowFields
        : path.root === 'meta'
          ? metaFields
          : undefined;
  return fieldAt(type, path.names);
}

function unknownName(path: Path, input: RecordType): ExpressionProblem | undefined {
  return problemOf(path, typeOfPath(path, input));
}

function problemOf(path: Path, found: FieldAt): ExpressionProblem | undefined {
  if (found.kind !== 'missing') return undefined;
  const name = path.names[found.index]!;
  const place = path.places[found.index]!;
  const parent = [path.root === 'event' ? '' : path.root, ...path.names.slice(0, found.index)]
    .filter(Boolean)
    .join('.');
  const message = parent === '' ? `The record has no field \`${name}\`.` : `\`${parent}\` has no field \`${name}\`.`;
  return { code: 'unknown-field', message, hint: hintFor(name, found.names), start: place.start, end: place.end };
}

function hintFor(name: string, names: readonly string[]): string {
  const meant = nearest(name, names);
  if (meant !== undefined) return `Did you mean \`${meant}\`?`;
  if (names.length === 0) return 'It is a plain value without fields.';
  const shown = names
    .slice(0, 10)
    .map((field) => `\`${field}\``)
    .join(', ');
  return `It has ${shown}${names.length > 10 ? ', …' : ''}.`;
}

// Only the fields that the expression uses are declared: what is used as a whole must stay `dyn`, as cel-js knows no type
// that is both an object with fields and a map.
function eventSchema(prepared: Prepared, input: RecordType): string | CelSchema {
  const root: CelSchema = {};
  const paths = prepared.paths.filter((path) => path.root === 'event');
  if (paths.length === 0 || paths.some((path) => path.names.length === 0) || usesDynamically(prepared)) return 'dyn';
  for (const path of [...paths].sort((a, b) => a.names.length - b.names.length))
    declare(root, path, typeOfPath(path, input));
  return root;
}

function usesDynamically({ tree, source }: Prepared): boolean {
  return tree === undefined || source.includes('.?');
}

function declare(root: CelSchema, path: Path, found: FieldAt): void {
  let at = root;
  for (const [index, name] of path.names.entries()) {
    const known = Object.hasOwn(at, name) ? at[name] : undefined;
    if (typeof known === 'string') return;
    if (index === path.names.length - 1) {
      set(at, name, found.kind === 'known' ? celType(found.type) : 'dyn');
      return;
    }
    if (known !== undefined) at = known;
    else {
      const next: CelSchema = {};
      set(at, name, next);
      at = next;
    }
  }
}

function set(schema: CelSchema, name: string, value: string | CelSchema): void {
  Object.defineProperty(schema, name, { value, enumerable: true, configurable: true, writable: true });
}

/** The CEL type of a JSON Schema. Numbers are doubles; what may be null or is not known is `dyn`. */
function celType(type: RecordType): string {
  const types = jsonTypes(type).map((name) => (name === 'integer' ? 'number' : name));
  const [only, ...others] = new Set(types);
  if (only === undefined || others.length > 0) return 'dyn';
  if (only === 'number') return 'double';
  if (only === 'boolean') return 'bool';
  if (only === 'string') return 'string';
  if (only !== 'array') return 'dyn';
  const item = celType(itemType(type));
  return item === 'dyn' ? 'list' : `list<${item}>`;
}

function resultType(tree: ASTNode, source: string, input: RecordType, type: string, prepared: Prepared): RecordType {
  const [path, ...others] = prepared.paths;
  if (
    path !== undefined &&
    others.length === 0 &&
    path.start === tree.start &&
    path.end === tree.end &&
    (tree.op === 'id' || tree.op === '.')
  ) {
    const found = typeOfPath(path, input);
    return found.kind === 'known' ? found.type : undefined;
  }
  const part = (node: ASTNode) => check(source.slice(node.start, node.end), input).type;
  if (tree.op === 'map') return literalType(tree.args, part);
  if (tree.op === '?:') return either(fromCel(type), tree.args.slice(1).map(part));
  return fromCel(type);
}

function literalType(
  entries: readonly (readonly [ASTNode, ASTNode])[],
  part: (node: ASTNode) => RecordType,
): RecordType {
  const properties: Record<string, JsonSchema> = {};
  for (const [key, value] of entries) {
    if (key.op !== 'value' || typeof key.args !== 'string') return { type: 'object' };
    properties[key.args] = part(value) ?? true;
  }
  return { type: 'object', properties, required: Object.keys(properties) };
}

function either(type: RecordType, branches: readonly RecordType[]): RecordType {
  if (type !== undefined) return type;
  const types = branches.map(jsonTypes);
  if (types.some((each) => each.length === 0)) return undefined;
  const all = [...new Set(types.flat())];
  return all.some((name) => name === 'object' || name === 'array') ? undefined : { type: all };
}

/** The JSON Schema of what a CEL type becomes in a record. */
function fromCel(type: string): RecordType {
  const list = type.match(/^list<(.+)>$/);
  if (list !== null) {
    const items = fromCel(list[1]!);
    return items === undefined ? { type: 'array' } : { type: 'array', items };
  }
  const plain: Record<string, JsonSchema> = {
    double: { type: 'number' },
    int: { type: 'integer' },
    uint: { type: 'integer' },
    string: { type: 'string' },
    bool: { type: 'boolean' },
    null: { type: 'null' },
    list: { type: 'array' },
    map: { type: 'object' },
    bytes: { type: 'string' },
    type: { type: 'string' },
    'google.protobuf.Timestamp': { type: 'string', format: 'date-time' },
    'google.protobuf.Duration': { type: 'string' },
  };
  if (type.startsWith('map<')) return { type: 'object' };
  return Object.hasOwn(plain, type) ? plain[type] : undefined;
}
