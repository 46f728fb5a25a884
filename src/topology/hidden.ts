import type { Range } from './report.ts';
import { nearest } from './suggest.ts';

const words = [
  'password',
  'passwd',
  'passphrase',
  'secret',
  'token',
  'credentials',
  'apiKey',
  'accessKey',
  'privateKey',
];
const inNames = /passw(?:or)?d|pass[-_]?phrase|secret|token|credential|(?:api|access|private)[-_]?key/i;
const keyed = /(?<![\w.-]|\$\{)(["']?)([A-Za-z][\w.-]*)\1[ \t]*:[ \t]*/g;
const scalar = /"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?|[^,}\n]*/y;
const block = /^[|>][-+\d]*[ \t]*(#.*)?\r?$|^\r?$/;
const variables = /\$\{(?![^{}]*:-)[^{}]*\}/g;
const onlyVariables = /^[\s"':]*$/;
const word = /[^\s"']+/g;

/**
 * The places of a topology's text that look like secrets: values of keys such as `password`, also misspelt, and credentials in addresses. It
 * asks no schema, as the text may be no YAML.
 */
export function secretsIn(text: string): Range[] {
  const found: Range[] = [];
  let known = 0;
  for (const { index, 0: whole, 2: key = '' } of text.matchAll(keyed)) {
    if (index < known || !isSecretName(key)) continue;
    const value = valueAt(text, index, index + whole.length);
    found.push(value);
    known = value.end;
  }
  for (const { index, 0: whole } of text.matchAll(word)) {
    const end = whole.lastIndexOf('@');
    const scheme = whole.lastIndexOf('://', end);
    const colon = whole.indexOf(':', scheme === -1 ? 0 : scheme + 3);
    if (colon !== -1 && colon < end) found.push({ start: index + colon + 1, end: index + end });
  }
  return found;
}

function valueAt(text: string, key: number, start: number): Range {
  scalar.lastIndex = start;
  const value = scalar.exec(text)?.[0] ?? '';
  if (!block.test(value)) return { start, end: start + value.length };
  // What stands in the lines below, as far as they are indented.
  const column = key - (text.lastIndexOf('\n', key - 1) + 1);
  const below = new RegExp(`(?:\\r?\\n(?:[ \\t]*(?=\\r?\\n|$)|[ \\t]{${column + 1},}[^\\n]*))*`, 'y');
  below.lastIndex = start + value.replace(/\r$/, '').length;
  const lines = below.exec(text)?.[0] ?? '';
  return { start: below.lastIndex - lines.length, end: below.lastIndex };
}

/** Whether an option of this name holds a secret, by all that can be told from a name. */
function isSecretName(name: string): boolean {
  if (inNames.test(name)) return true;
  // Asked for each key of a file that may be large: most names are out at first sight.
  const alike = words.filter(
    (word) => Math.abs(word.length - name.length) <= 2 && (word[0] === name[0] || word.at(-1) === name.at(-1)),
  );
  return alike.length > 0 && nearest(name, alike) !== undefined;
}

/** The text with stars in these places; lines and columns stay, and so does what is only a variable. */
export function masked(text: string, places: readonly Range[]): string {
  let [shown, done] = ['', 0];
  for (const { start, end } of places.toSorted((a, b) => a.start - b.start)) {
    const from = Math.max(start, done);
    if (end <= from || onlyVariables.test(text.slice(start, end).replace(variables, ''))) continue;
    shown += text.slice(done, from) + text.slice(from, end).replace(/\S/g, '*');
    done = end;
  }
  return shown + text.slice(done);
}
