import type { ErrorObject } from 'ajv';
import type { Definition } from '../operator.ts';
import { Secret } from '../secret.ts';
import type { Report } from './report.ts';
import { optionErrors } from './schema-check.ts';
import { didYouMean, listed, nearest } from './suggest.ts';
import { alternatives, found, isFilled, type OptionSchema, type Path } from './values.ts';
import { nodeAt, siteAt, type Written } from './written.ts';

/** What is being checked: an operator, as the user wrote it, and its options as written. */
export interface About {
  readonly definition: Pick<Definition, 'options'>;
  readonly name: string;
  readonly written: Written;
  readonly report: Report;
  /** Nodes about which enough has been said. */
  readonly unread: ReadonlySet<Written>;
}

/** Checks an operator's options against its schema and words what is wrong. */
export function checkOptions(about: About, value: unknown): void {
  const errors = telling(optionErrors(about.definition.options, forSchema(value)));
  for (const error of errors) {
    const path = error.instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const node = nodeAt(about.written, path);
    if (!(node && about.unread.has(node)) && !isMisspelt(error, errors)) tell(error, path, about);
  }
}

/** An option is missing only because its name is misspelt, which another error says. */
function isMisspelt(
  { keyword, instancePath, params, parentSchema }: ErrorObject,
  errors: readonly ErrorObject[],
): boolean {
  if (keyword !== 'required') return false;
  const known = Object.keys((parentSchema as OptionSchema).properties ?? {});
  return errors.some(
    (other) =>
      other.keyword === 'additionalProperties' &&
      other.instancePath === instancePath &&
      nearest(String(other.params['additionalProperty']), known) === params['missingProperty'],
  );
}

function tell(error: ErrorObject, path: Path, { name, written, report }: About): void {
  const shape = (error.parentSchema ?? {}) as OptionSchema;
  const what = path.length === 0 ? `\`${name}\`` : `\`${path.join('.')}\``;
  const node = nodeAt(written, path);
  if (error.keyword === 'additionalProperties') {
    const extra = String(error.params['additionalProperty']);
    const known = Object.keys(shape.properties ?? {});
    const site = siteAt(written, [...path, extra], 'key');
    const value = nodeAt(written, [...path, extra]);
    if (value) report.passOver(value);
    report.add('unknown-key', site, `${what} has no option \`${extra}\`.${didYouMean(extra, known)}`, {
      hint: known.length > 0 ? `Its options are ${listed(known)}.` : `\`${name}\` takes no options.`,
    });
    return;
  }
  if (error.keyword === 'required') {
    const missing = String(error.params['missingProperty']);
    const option = shape.properties?.[missing];
    report.add('missing-key', siteAt(written, path, 'key'), `${what} needs the option \`${missing}\`.`, {
      hint: `Write \`${missing}: ${sample(option)}\`.${option?.description ? ` ${option.description}` : ''}`,
    });
    return;
  }
  const site = siteAt(written, path);
  const shown = node && !(report.hides(node) && node.kind === 'scalar');
  const is = shown ? found(node) : node ? 'a text, which is not shown here' : 'empty';
  const expected = wanted(error);
  const code = error.keyword === 'type' || error.keyword === 'anyOf' ? 'wrong-type' : 'bad-value';
  const choices = (shape.enum ?? []).map(String);
  const near =
    error.keyword === 'enum' && typeof error.data === 'string' && shown && !isFilled(node)
      ? didYouMean(error.data, choices)
      : '';
  report.add(code, site, `${what} must be ${expected}, but is ${is}.${near}`, {
    hint: hintFor(error, shape, path, shown === true && !isFilled(node)),
  });
}

/** Words for what a schema wants. */
function wanted(error: ErrorObject): string {
  const shape = (error.parentSchema ?? {}) as OptionSchema;
  const limit = error.params['limit'] as number | undefined;
  switch (error.keyword) {
    case 'anyOf':
      return alternatives(shape)
        .map(shapeName)
        .filter((name, index, all) => all.indexOf(name) === index)
        .join(' or ');
    case 'enum':
    case 'const':
      return shapeName(shape);
    case 'pattern':
      if (shape.format === 'duration' || shape.format === 'size') return shapeName(shape);
      return `a text that matches ${String(error.params['pattern'])}`;
    case 'minimum':
      return `at least ${limit}`;
    case 'maximum':
      return `at most ${limit}`;
    case 'exclusiveMinimum':
      return `more than ${limit}`;
    case 'exclusiveMaximum':
      return `less than ${limit}`;
    case 'minLength':
      return limit === 1 ? 'a text that is not empty' : `a text of at least ${limit} characters`;
    case 'maxLength':
      return `a text of at most ${limit} characters`;
    case 'minItems':
      return limit === 1 ? 'a list that is not empty' : `a list of at least ${limit}`;
    case 'maxItems':
      return `a list of at most ${limit}`;
    case 'minProperties':
      return limit === 1 ? 'a mapping that is not empty' : `a mapping of at least ${limit} entries`;
    case 'uniqueItems':
      return 'a list in which nothing stands twice';
    case 'type':
      return shapeName(shape);
    default:
      return `as its schema says (${error.message ?? error.keyword})`;
  }
}

const typeNames: Record<string, string> = {
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  null: 'empty',
};
const formatNames: Record<string, string> = {
  duration: 'a length of time',
  size: 'a number of bytes with its unit',
  expression: 'an expression',
  function: 'a function, which only TypeScript can give',
  template: 'a text with expressions in braces',
  field: 'the name of a field',
  stream: 'the name of a stream',
  input: 'the name of a stream',
  path: 'the path of a file',
  'json-schema': 'a JSON Schema or the path of one',
};

/** A few words for one shape: `a length of time`, `one of `s`, `ms``, `a list of texts`. */
export function shapeName(shape: OptionSchema): string {
  if (shape.enum) {
    return shape.enum.length === 1 ? `\`${String(shape.enum[0])}\`` : `one of ${listed(shape.enum.map(String), 'or')}`;
  }
  if (shape.const !== undefined) return `\`${String(shape.const)}\``;
  if (shape.format && formatNames[shape.format]) return formatNames[shape.format]!;
  return (shape.type && typeNames[shape.type]) ?? 'something else';
}

/** A value to show in a hint: an example, the default, or what the type suggests. */
export function sample(option: OptionSchema | undefined): string {
  const given = option?.examples?.[0] ?? option?.default ?? option?.enum?.[0];
  if (given !== undefined) return typeof given === 'string' ? given : JSON.stringify(given);
  const formats: Record<string, string> = { duration: '10s', size: '1MiB', expression: 'fuel < 500', path: './file' };
  return (
    (option?.format && formats[option.format]) ??
    { number: '1', integer: '1', boolean: 'true', array: '[…]', object: '{ … }' }[option?.type ?? ''] ??
    '…'
  );
}

function hintFor(error: ErrorObject, shape: OptionSchema, path: Path, shown: boolean): string | undefined {
  if (shape.format === 'duration')
    return 'Write a number and a unit: ns, us, ms, s, m, h, d or w — for example 10s or 1m30s.';
  if (shape.format === 'size') return 'Write a number and a unit: B, kB, MB, GB, KiB, MiB or GiB — for example 64kB.';
  if (error.keyword === 'type' && shape.type !== 'string' && typeof error.data === 'string') {
    if (shape.type === 'array')
      return `Write a list: \`${path.at(-1) ?? ''}: [${shown && error.data.length < 40 && !/[$\s,]/.test(error.data) ? error.data : '…'}]\`.`;
    if (shape.type !== 'object') return 'Write it without quotes.';
  }
  const example = shape.examples?.[0] ?? (shape.default as unknown);
  return example === undefined
    ? shape.description
    : `For example: \`${typeof example === 'string' ? example : JSON.stringify(example)}\`.`;
}

/**
 * Of the errors of a choice, only those of the branch that was meant: the one whose type fits. If none fits, the choice itself is told.
 */
function telling(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  const dropped = new Set<ErrorObject>();
  for (const choice of errors.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf')) {
    const inside = errors.filter((error) => error !== choice && error.schemaPath.startsWith(`${choice.schemaPath}/`));
    const branchOf = (error: ErrorObject) => error.schemaPath.slice(choice.schemaPath.length + 1).split('/')[0];
    const wrongType = new Set(
      inside.filter((e) => e.keyword === 'type' && e.instancePath === choice.instancePath).map(branchOf),
    );
    const fitting = [...new Set(inside.map(branchOf))].filter((branch) => !wrongType.has(branch));
    const meant = fitting.sort((a, b) => count(inside, branchOf, a) - count(inside, branchOf, b))[0];
    for (const error of inside) if (branchOf(error) !== meant) dropped.add(error);
    if (meant !== undefined) dropped.add(choice);
  }
  return errors.filter((error) => !dropped.has(error));
}

function count(errors: readonly ErrorObject[], branchOf: (error: ErrorObject) => string | undefined, branch: unknown) {
  return errors.filter((error) => branchOf(error) === branch).length;
}

/** The same value with text in place of secrets and functions, as the schema knows them. */
function forSchema(value: unknown): unknown {
  if (value instanceof Secret) return '***';
  if (typeof value === 'function') return 'function';
  if (Array.isArray(value)) return value.map(forSchema);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, forSchema(item)]));
}
