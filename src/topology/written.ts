import { Secret } from '../secret.ts';
import type { Range, Site } from './report.ts';

/**
 * A topology as it was written, in YAML or as TypeScript values: what the loader reads, so that both languages obey one grammar.
 * Aliases of YAML share one node.
 */
export type Written = WrittenMap | WrittenList | WrittenScalar;

export interface WrittenMap extends Site {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, Entry>;
  /** Entries whose key stands further up already, which a problem says. */
  readonly repeated?: readonly (readonly [string, Entry])[];
}
export interface Entry {
  /** Where the key stands. */
  readonly key: Site;
  readonly value: Written;
}
export interface WrittenList extends Site {
  readonly kind: 'list';
  readonly items: readonly Written[];
}
export interface WrittenScalar extends Site {
  readonly kind: 'scalar';
  /** What YAML 1.2 core or TypeScript makes of it: text, number, boolean, null, function, Secret. */
  readonly value: unknown;
  /** YAML: the text that stands in the file, quotes and escapes resolved, nothing coerced. `undefined`: a TypeScript value. */
  readonly text?: string;
  readonly quoted?: boolean;
  /** The characters in the file that stand for characters `[start, end)` of `text`, where that is known. */
  span?(start: number, end: number): Range | undefined;
}

/** All entries of a mapping, those with repeated keys as well. */
export function entriesOf({ entries, repeated = [] }: WrittenMap): readonly (readonly [string, Entry])[] {
  return [...entries, ...repeated];
}

/** Wraps a TypeScript value. `where` goes before the messages about it. */
export function writtenValue(value: unknown, where: string, seen: readonly object[] = []): Written {
  if (typeof value !== 'object' || value === null || value instanceof Secret) return { kind: 'scalar', value, where };
  if (seen.includes(value)) throw new TypeError(`${where}: The value contains itself. Options are plain data.`);
  const inside = [...seen, value];
  if (Array.isArray(value)) {
    return { kind: 'list', items: value.map((item) => writtenValue(item, where, inside)), where };
  }
  const entries = new Map<string, Entry>();
  for (const [name, item] of Object.entries(value)) {
    if (item !== undefined) entries.set(name, { key: { where }, value: writtenValue(item, where, inside) });
  }
  return { kind: 'map', entries, where };
}

/** The node at a path, or the deepest one on the way that exists. `key`: the place of the last key instead of its value. */
export function siteAt(node: Written, path: readonly (string | number)[], target: 'key' | 'value' = 'value'): Site {
  let found: Written = node;
  let key: Site | undefined;
  for (const part of path) {
    const entry: Entry | undefined = found.kind === 'map' ? found.entries.get(String(part)) : undefined;
    const next: Written | undefined = found.kind === 'list' ? found.items[Number(part)] : entry?.value;
    if (!next) return target === 'key' ? (key ?? found) : found;
    key = entry?.key;
    found = next;
  }
  return target === 'key' ? (key ?? found) : found;
}

/** The node at a path; `undefined` when there is none. */
export function nodeAt(node: Written, path: readonly (string | number)[]): Written | undefined {
  let found: Written | undefined = node;
  for (const part of path) {
    if (found?.kind === 'map') found = found.entries.get(String(part))?.value;
    else if (found?.kind === 'list') found = found.items[Number(part)];
    else return undefined;
  }
  return found;
}

/** The plain value of what was written, as YAML 1.2 core reads it. Nothing is substituted. */
export function plainValue(node: Written): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plainValue);
  return objectOf([...node.entries].map(([name, { value }]) => [name, plainValue(value)]));
}

/** Makes an object in which `__proto__` is a key like any other. */
export function objectOf(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const [name, value] of entries) {
    if (name === '__proto__')
      Object.defineProperty(made, name, { value, enumerable: true, configurable: true, writable: true });
    else made[name] = value;
  }
  return made;
}

/** What stands there, in a few words: `the text "5"`, `the number 5`, `a list`. Never the value of a variable or a secret. */
export function described(node: Written): string {
  if (node.kind === 'map') return 'a mapping';
  if (node.kind === 'list') return 'a list';
  const { value, text } = node;
  if (value instanceof Secret) return 'a secret';
  if (typeof value === 'function') return 'a function';
  if (value === null || value === undefined || (text === '' && !node.quoted)) return 'empty';
  if (typeof value === 'string') return `the text ${shortened(text ?? value)}`;
  return `${typeof value === 'boolean' ? '' : 'the number '}${text ?? String(value)}`;
}

function shortened(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}
