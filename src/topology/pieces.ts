import type { Route } from './draft.ts';
import type { Report, Site } from './report.ts';
import { found } from './values.ts';
import type { Written } from './written.ts';

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

/** Reports a name that could not be part of a file's or a consumer group's name. */
export function checkName(name: string, what: string, site: Site, report: Report): void {
  if (namePattern.test(name)) return;
  report.add(
    'bad-value',
    site,
    `\`${name}\` cannot be the ${what}: it must begin with a letter or digit and hold only letters, digits, \`-\`, \`_\` and \`.\`, at most 100.`,
    {
      hint: `For example: \`${
        name
          .replace(/[^A-Za-z0-9_.-]+/g, '-')
          .replace(/^[^A-Za-z0-9]+|-+$/g, '')
          .slice(0, 100) || 'generators'
      }\`.`,
    },
  );
}

/** The text of a scalar as it stands in the file; reports anything else. */
export function textOf(node: Written, name: string, report: Report): string {
  if (node.kind === 'scalar' && node.value !== null) {
    if (node.text !== undefined) return node.text;
    if (typeof node.value === 'string') return node.value;
  }
  report.add('wrong-type', node, `\`${name}\` must be a text, but is ${found(node)}.`);
  return '';
}

/** `otherwise: rejected`, or `{ to: rejected }`. */
export function routeOf(node: Written | undefined, report: Report, name = 'otherwise'): Route | undefined {
  if (!node) return undefined;
  const inner = node.kind === 'map' && node.entries.size === 1 ? node.entries.get('to')?.value : node;
  if (inner?.kind === 'scalar' && typeof (inner.text ?? inner.value) === 'string' && inner.value !== null) {
    return { to: String(inner.text ?? inner.value), site: inner };
  }
  report.add('wrong-type', node, `\`${name}\` must be the name of a stream or \`drop\`, but is ${found(node)}.`, {
    hint: `Write \`${name}: rejected\`, and a stream \`rejected\` under \`streams\`.`,
  });
  return undefined;
}
