import {
  interpolate,
  type Param,
  type ParamType,
  paramFromText,
  paramTypes,
  type Surroundings,
} from './interpolate.ts';
import type { Report, Site } from './report.ts';
import { didYouMean, listed } from './suggest.ts';
import { found } from './values.ts';
import { described, type Written, type WrittenMap } from './written.ts';

const keys = ['type', 'default', 'description'];
const forms: Record<ParamType, string> = {
  duration: 'a length of time such as 10s',
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
  size: 'a size such as 64kB',
};

/** Reads `params`, with the values given from outside in place of defaults. */
export function readParams(
  node: Written | undefined,
  set: Readonly<Record<string, unknown>>,
  from: Omit<Surroundings, 'params'>,
  report: Report,
): ReadonlyMap<string, Param> {
  const params = new Map<string, Param>();
  if (node && node.kind !== 'map') {
    report.add('wrong-type', node, `\`params\` must be a mapping of names, but is ${found(node)}.`, {
      hint: 'Write `params: { every: { type: duration, default: 1m } }`.',
    });
    return params;
  }
  for (const [name, { key, value }] of node?.entries ?? []) {
    const before = report.size;
    const param = readParam(name, key, value, set[name], { ...from, params: new Map() }, report);
    const broken = report.size > before && param?.value === undefined;
    params.set(name, { type: 'string', value: undefined, ...param, broken });
  }
  for (const name of Object.keys(set)) {
    if (node?.kind === 'map' && node.entries.has(name)) continue;
    const known = [...(node?.kind === 'map' ? node.entries.keys() : [])];
    report.add('unknown-param', {}, `There is no parameter \`${name}\` to be set.${didYouMean(name, known)}`, {
      hint: known.length > 0 ? `\`params\` declares ${listed(known)}.` : 'The topology declares none under `params`.',
    });
  }
  return params;
}

function readParam(
  name: string,
  key: Site,
  node: Written,
  given: unknown,
  from: Surroundings,
  report: Report,
): Param | undefined {
  if (node.kind !== 'map') {
    report.add(
      'wrong-type',
      node,
      `The parameter \`${name}\` must be a mapping with \`type\` and \`default\`, but is ${found(node)}.`,
      {
        hint: `Write \`${name}: { type: string, default: … }\`.`,
      },
    );
    return undefined;
  }
  for (const [other, { key: site }] of node.entries) {
    if (keys.includes(other)) continue;
    report.add('unknown-key', site, `A parameter has no \`${other}\`.${didYouMean(other, keys)}`, {
      hint: `It has ${listed(keys)}.`,
    });
  }
  const type = readType(name, key, node, report);
  if (!type) return undefined;
  if (given !== undefined) return { type, value: givenValue(name, key, type, given, report) };
  return { type, value: defaultValue(name, type, node, from, report) };
}

function readType(name: string, key: Site, node: WrittenMap, report: Report): ParamType | undefined {
  const entry = node.entries.get('type');
  if (!entry) {
    report.add('missing-key', key, `The parameter \`${name}\` has no \`type\`.`, {
      hint: `Write \`type: duration\`; types are ${listed(paramTypes)}.`,
    });
    return undefined;
  }
  const type = entry.value.kind === 'scalar' ? entry.value.value : undefined;
  if (paramTypes.includes(type as ParamType)) return type as ParamType;
  report.add(
    'bad-value',
    entry.value,
    `The type of a parameter must be one of ${listed(paramTypes, 'or')}, but is ${found(entry.value)}.${typeof type === 'string' ? didYouMean(type, paramTypes) : ''}`,
  );
  return undefined;
}

function givenValue(name: string, key: Site, type: ParamType, given: unknown, report: Report): Param['value'] {
  const value = typeof given === 'string' ? paramFromText(type, given) : given;
  const expected = type === 'duration' || type === 'size' ? 'string' : type;
  if (typeof value === expected) return value as Param['value'];
  report.add(
    'bad-value',
    key,
    `The parameter \`${name}\` must be ${forms[type]}, but was set to ${described({ kind: 'scalar', value: given })}.`,
    {
      hint: `Give --set ${name}=… ${forms[type]}.`,
    },
  );
  return undefined;
}

function defaultValue(
  name: string,
  type: ParamType,
  node: WrittenMap,
  from: Surroundings,
  report: Report,
): Param['value'] {
  const written = node.entries.get('default')?.value;
  if (!written) return undefined;
  if (written.kind === 'scalar' && written.value !== null) {
    const filled = written.text === undefined ? undefined : interpolate(written.text, written, from, report);
    if (filled?.complete === false) return undefined;
    const value = paramFromText(type, filled?.text ?? String(written.value));
    if (value !== undefined) return value;
  }
  report.add(
    'bad-value',
    written,
    `The default of the parameter \`${name}\` must be ${forms[type]}, but is ${found(written)}.`,
  );
  return undefined;
}
