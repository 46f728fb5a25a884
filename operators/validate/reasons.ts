import type { ErrorObject } from 'ajv';
import { kindOf } from '../../src/operator.ts';

/** One way in which a record does not satisfy the schema. Holds names, types and the schema's own words, never a value. */
export interface Reason {
  /** The place in the record, as in `position.lat` or `readings[3].fuel`; empty for the record itself. */
  readonly path: string;
  readonly message: string;
  /** The keyword of the schema, and where it stands in it. */
  readonly keyword: string;
  readonly schemaPath: string;
}

/** Turns ajv's errors into sentences that name the field, what it is and what is expected. */
export function reasonsOf(errors: readonly ErrorObject[], value: unknown): Reason[] {
  return errors.map((error) => {
    const names = error.instancePath.split('/').slice(1).map(unescaped);
    const path = pathOf(names);
    return {
      path,
      message: sentence(error, path, valueAt(value, names)),
      keyword: error.keyword,
      schemaPath: error.schemaPath,
    };
  });
}

function sentence(
  { keyword, params, message = 'does not satisfy the schema' }: ErrorObject,
  path: string,
  found: unknown,
): string {
  const it = path === '' ? 'The record' : `\`${path}\``;
  const inside = path === '' ? '' : `${path}.`;
  switch (keyword) {
    case 'type': {
      const wanted = [params['type']].flat().map(String);
      return `${it} is ${kindOf(found)}; expected ${wanted.map(inWords).join(' or ')}.`;
    }
    case 'required':
      return `The record has no \`${shortened(inside + String(params['missingProperty']))}\`, which is required.`;
    case 'additionalProperties':
      return `\`${shortened(inside + String(params['additionalProperty']))}\` is not a field of the schema.`;
    case 'enum':
      return `${it} is not one of ${listed(params['allowedValues'])}.`;
    case 'const':
      return `${it} is not ${listed([params['allowedValue']])}.`;
    case 'pattern':
      return `${it} does not match the pattern \`${shortened(String(params['pattern']))}\`.`;
    case 'format':
      return `${it} is not in the format \`${String(params['format'])}\`.`;
    case 'false schema':
      return `${it} is not allowed by the schema.`;
    default:
      return `${it} ${message}.`;
  }
}

function inWords(type: string): string {
  if (type === 'null') return 'null';
  if (type === 'integer') return 'a whole number';
  if (type === 'array') return 'a list';
  return type === 'object' ? 'an object' : `a ${type}`;
}

function listed(values: unknown): string {
  const all = Array.isArray(values) ? values : [];
  const shown = all.slice(0, 10).map((value) => JSON.stringify(value));
  return `${shown.join(', ')}${all.length > shown.length ? ', …' : ''}`;
}

function pathOf(names: readonly string[]): string {
  let path = '';
  for (const name of names) path += /^\d+$/.test(name) ? `[${name}]` : path === '' ? name : `.${name}`;
  return shortened(path);
}

function valueAt(value: unknown, names: readonly string[]): unknown {
  let found = value;
  for (const name of names) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}

// Names come from the record and may be of any length.
function shortened(text: string): string {
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}

function unescaped(name: string): string {
  return name.replaceAll('~1', '/').replaceAll('~0', '~');
}
