import { isAbsolute, resolve } from 'node:path';
import { parseDuration, parseSize } from '../quantity.ts';
import type { Report, Site } from './report.ts';
import { didYouMean, listed } from './suggest.ts';

/** The types that a parameter may have. */
export const paramTypes = ['duration', 'string', 'number', 'boolean', 'size'] as const;
export type ParamType = (typeof paramTypes)[number];

export interface Param {
  readonly type: ParamType;
  readonly value: string | number | boolean | undefined;
  /** What is wrong with it has been said. */
  readonly broken?: boolean;
}

/** Where values for `${…}` come from. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly params: ReadonlyMap<string, Param>;
  /** Folder of the topology: relative paths begin there. */
  readonly folder: string;
  readFile(path: string): string;
}

/** What a scalar's text became. `sole`: the whole scalar is one `${param:…}`, whose typed value this is. */
export interface Filled {
  readonly text: string;
  readonly filled: boolean;
  /** Each reference had a value; what is wrong with the others has been said. */
  readonly complete: boolean;
  readonly sole?: string | number | boolean;
}

/** How a substituted value is written into the text around it: a value is data, never a piece of an expression. */
export type Quote = (value: string | number | boolean) => string;

const forms = ['NAME', 'NAME:-default', 'NAME:?message', 'param:name'].map((name) => `\`\${${name}}\``).join(', ');
const reference = /\$\$|\$\{([^}]*)\}|\$\{/g;
const variable = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([\s\S]*))?$/;

/** Substitutes `${ENV}`, `${ENV:-default}`, `${ENV:?message}`, `${param:x}` and, where `secrets` allows it, `${secret:file/x}`; `$$` is a dollar. */
export function interpolate(
  text: string,
  site: Site,
  from: Surroundings,
  report: Report,
  { secrets = false, quote = String }: { secrets?: boolean; quote?: Quote } = {},
): Filled {
  if (!text.includes('$')) return { text, filled: false, complete: true };
  let [filled, complete] = [false, true];
  let sole: string | number | boolean | undefined;
  const result = text.replace(reference, (whole, inner: string | undefined) => {
    if (whole === '$$') return '$';
    filled = true;
    if (inner === undefined) {
      report.add('bad-value', site, `A \`\${\` is not closed with \`}\`.`, {
        hint: 'Close it, or write `$$` for a dollar.',
      });
      complete = false;
      return '';
    }
    const value = lookUp(inner, site, from, report, secrets);
    if (value === undefined) {
      complete = false;
      return '';
    }
    if (whole === text && inner.startsWith('param:')) sole = value;
    return quote(value);
  });
  return { text: result, filled, complete, ...(sole !== undefined && { sole }) };
}

function lookUp(
  inner: string,
  site: Site,
  from: Surroundings,
  report: Report,
  secrets: boolean,
): string | number | boolean | undefined {
  if (inner.startsWith('param:')) return paramValue(inner.slice(6), site, from, report);
  if (inner.startsWith('secret:')) {
    if (secrets) return secretText(inner.slice(7), site, from, report);
    report.add(
      'secret-misplaced',
      site,
      `\`\${${inner}}\` stands in an option that is no secret: it would be printed.`,
      {
        hint: 'Secrets may stand only in options such as `password` or `token`.',
      },
    );
    return undefined;
  }
  return variableValue(inner, site, from, report);
}

function variableValue(inner: string, site: Site, from: Surroundings, report: Report): string | undefined {
  const match = variable.exec(inner);
  if (!match || match[3]?.includes('${')) {
    report.add('bad-value', site, `\`\${${inner}}\` is no variable.`, {
      hint: `Write ${forms}; \`$$\` is a dollar. They do not nest.`,
    });
    return undefined;
  }
  const [, name, mode, rest = ''] = match;
  const value = Object.hasOwn(from.env, name!) ? from.env[name!] : undefined;
  if (value !== undefined && (value !== '' || mode === undefined)) return value;
  if (mode === ':-') return rest;
  const near = didYouMean(name!, Object.keys(from.env));
  const why = mode === ':?' && rest.trim() !== '' ? ` ${rest.trim().replace(/[^.!?]$/, '$&.')}` : '';
  const state = value === '' ? 'is empty' : 'is not set';
  report.add('unset-variable', site, `The variable \`${name}\` ${state}.${why}${near}`, {
    hint: `Set it in the environment, or give it a default: \`\${${name}:-…}\`.`,
  });
  return undefined;
}

function paramValue(name: string, site: Site, from: Surroundings, report: Report): Param['value'] {
  const param = from.params.get(name);
  if (!param) {
    const known = [...from.params.keys()];
    report.add('unknown-param', site, `There is no parameter \`${name}\`.${didYouMean(name, known)}`, {
      hint:
        known.length > 0
          ? `\`params\` declares ${listed(known)}.`
          : `Declare it: \`params: { ${name}: { type: string, default: … } }\`.`,
    });
    return undefined;
  }
  if (param.value === undefined && !param.broken) {
    report.add('unset-variable', site, `The parameter \`${name}\` has no value.`, {
      hint: `Give it one with --set ${name}=…, or a \`default\` under \`params\`.`,
    });
  }
  return param.value;
}

function secretText(where: string, site: Site, from: Surroundings, report: Report): string | undefined {
  if (!where.startsWith('file/') || where === 'file/') {
    report.add('bad-value', site, `\`\${secret:${where}}\` names no store that is known here.`, {
      hint: `Write \`\${secret:file/path}\`: a file relative to the topology, or \`\${secret:file//run/secrets/x}\` for an absolute path.`,
    });
    return undefined;
  }
  const path = where.slice(5);
  try {
    return from.readFile(isAbsolute(path) ? path : resolve(from.folder, path)).replace(/\r?\n$/, '');
  } catch (error) {
    report.add('unreadable-file', site, `The secret's file \`${path}\` cannot be read${reason(error)}.`, {
      hint: 'Check its path and permissions. Relative paths begin at the folder of the topology.',
    });
    return undefined;
  }
}

/** ` (ENOENT)` and the like, for a message about a file. */
export function reason(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  if (code === 'ENOENT') return ': there is no such file';
  if (code === 'EISDIR') return ': it is a folder';
  if (code === 'EACCES') return ': access is denied';
  return typeof code === 'string' ? ` (${code})` : '';
}

/** A parameter's value from text, such as that of `--set name=value`; `undefined` when the text is none of that type. */
export function paramFromText(type: ParamType, text: string): string | number | boolean | undefined {
  if (type === 'number') return isNumber(text) ? Number(text) : undefined;
  if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined;
  if (type === 'duration') return parseDuration(text) === undefined ? undefined : text;
  if (type === 'size') return parseSize(text) === undefined ? undefined : text;
  return text;
}

/** The text is a decimal number as JSON or YAML 1.2 writes it. */
export function isNumber(text: string): boolean {
  return /^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$/.test(text);
}
