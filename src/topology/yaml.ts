import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLError,
} from 'yaml';
import type { Place } from '../errors.ts';
import { secretsIn } from './hidden.ts';
import type { Range, Report } from './report.ts';
import { spanOf } from './scalar-span.ts';
import type { Entry, Written, WrittenScalar } from './written.ts';

/** More than this is no topology but an accident or an attack: reading it could take minutes. */
const limits = { bytes: 1024 * 1024, tokens: 100_000, depth: 64, aliases: 200, nodes: 100_000 };

// What the lexer puts between the tokens: byte order mark, begin of document, of flow errors, of a scalar.
const marks = new Set(['\u{feff}', '\u0002', '\u0018', '\u001f']);

/** Finds lines and columns in a file's text. */
export class Lines {
  readonly #file: string;
  readonly #text: string;
  readonly #counter = new LineCounter();

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
    this.#counter.addNewLine(0);
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) this.#counter.addNewLine(at + 1);
  }

  place({ start, end }: Range): Place {
    const { line, col } = this.#counter.linePos(Math.min(start, this.#text.length));
    const lineEnd = this.#text.indexOf('\n', start);
    const last = Math.min(end, lineEnd === -1 ? this.#text.length : lineEnd);
    return { file: this.#file, line, column: col, length: Math.max(0, last - start) };
  }
}

/** Reads YAML 1.2 (core schema, unique keys, one document). Gives `undefined` when it is none; reports why, with the place. */
export function parseYaml(text: string, report: Report): Written | undefined {
  const unfit = checkSize(text) ?? checkSigns(text);
  if (unfit) {
    report.add('yaml-syntax', { at: unfit.at }, unfit.message, { hint: unfit.hint });
    return undefined;
  }
  const twice = /^(?:%YAML.*\r?\n)(?:[%#].*\r?\n|\s*\r?\n)*(%YAML.*)/.exec(text);
  if (twice) report.add('yaml-syntax', { at: { start: 0, end: 5 } }, 'The directive `%YAML` stands twice. Drop it.');
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    // The library compares each key with all before it: minutes for a large file. The tree below checks them in one pass.
    uniqueKeys: false,
    prettyErrors: false,
  });
  const errors = [...document.errors, ...document.warnings];
  // Behind an open quote nothing is what it seems.
  const open = errors.find(({ message }) => message.startsWith('Missing closing'));
  const secrets = errors.length > 0 ? secretsIn(text) : [];
  for (const error of open ? [open] : errors) {
    const at = placeOf(error, text);
    const hidden = secrets.some(({ start, end }) => at.start <= end && at.end >= start);
    report.add('yaml-syntax', { at }, hidden && error !== open ? 'This is not YAML.' : worded(error), {
      hint: hints[error.code] ?? (hidden ? 'Put the value in quotes.' : undefined),
    });
  }
  const tree = new Tree(document, text, report);
  const written = tree.build();
  return errors.length > 0 || twice || tree.torn ? undefined : written;
}

const hints: Partial<Record<YAMLError['code'], string>> = {
  MULTIPLE_DOCS: 'Keep one document in the file: drop the `---` and what follows it, or move it to a file of its own.',
  TAB_AS_INDENT: 'Indent with spaces.',
  BAD_INDENT: 'Indent all entries of one list or mapping alike.',
  TAG_RESOLVE_FAILED: 'Drop the tag: a topology needs none.',
  MISSING_CHAR: 'Close the quote or bracket, or quote the text that holds one.',
  BAD_SCALAR_START: 'Put the text in quotes.',
};

// An open quote is noticed at the end of the file; what helps is where it begins.
function placeOf({ pos, message }: YAMLError, text: string): Range {
  const [start, end] = pos;
  if (!message.startsWith('Missing closing')) return { start, end };
  const quote = message.includes("'") ? "'" : '"';
  let [at, open] = [0, start];
  for (const token of new Lexer().lex(text)) {
    if (token.startsWith(quote)) open = at;
    if (!marks.has(token)) at += token.length;
  }
  return { start: open, end: open + 1 };
}

function worded(error: YAMLError): string {
  if (error.message.startsWith('Missing closing')) return 'This is not YAML: a quote is opened here and never closed.';
  if (error.code === 'MULTIPLE_DOCS') return 'The file holds more than one YAML document.';
  const message = error.message.replace(/\s+/g, ' ').trim();
  return `This is not YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}${/[.!?]$/.test(message) ? '' : '.'}`;
}

interface Unfit {
  readonly at: Range;
  readonly message: string;
  readonly hint?: string;
}

// Signs that YAML has no place for, and what a decoder writes for bytes that are no text. The rest would be read as something else.
function checkSigns(text: string): Unfit | undefined {
  const sign = /[^\P{Cc}\t\n\r\x85]|\ufffd/u.exec(text);
  if (!sign) return undefined;
  const code = sign[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  return {
    at: { start: sign.index, end: sign.index + 1 },
    message: `This is no text in UTF-8: here stands the sign U+${code}.`,
    hint: 'Give the YAML file of a topology, saved as UTF-8. In quotes, such a sign can be written as `\\u…`.',
  };
}

function checkSize(text: string): Unfit | undefined {
  const start = { start: 0, end: 0 };
  const size = Buffer.byteLength(text);
  if (size > limits.bytes) {
    return {
      at: start,
      message: `The file has ${size} bytes; a topology has at most 1 MiB.`,
      hint: 'Check that it is the right file. Large schemas can stand in files of their own.',
    };
  }
  let [tokens, aliases, depth, at] = [0, 0, 0, 0];
  for (const token of new Lexer().lex(text)) {
    tokens++;
    if (token.startsWith('*')) aliases++;
    if (token === '[' || token === '{') depth++;
    else if (token === ']' || token === '}') depth--;
    const place = { start: at, end: at + token.length };
    // The lexer's own marks (begin of document, of a scalar …) take no place in the text.
    if (!marks.has(token)) at += token.length;
    if (depth > limits.depth) return { at: place, message: `Brackets are nested more than ${limits.depth} deep.` };
    if (aliases > limits.aliases)
      return { at: place, message: `The file has more than ${limits.aliases} aliases (\`*name\`).` };
    if (tokens > limits.tokens)
      return { at: place, message: 'The file is too large for a topology: more than 100,000 words and signs.' };
  }
  return blockDepth(text);
}

// `- - - -` and stairs of indentation nest without a bracket.
function blockDepth(text: string): { at: Range; message: string } | undefined {
  const dashes = new RegExp(`^[ ]*(?:[-?:][ ]+){${limits.depth},}`, 'm').exec(text);
  if (!dashes) return undefined;
  const at = { start: dashes.index, end: dashes.index + dashes[0].length };
  return { at, message: `Lists are nested more than ${limits.depth} deep.` };
}

/** Turns a parsed document into the tree that the loader reads; refuses repeated keys, odd keys, and what is too deep or too much. */
class Tree {
  readonly #document: Document;
  readonly #text: string;
  readonly #report: Report;
  readonly #made = new Map<Node, { written: Written; nodes: number }>();
  readonly #open = new Set<Node>();
  #refused = false;
  /** Something in it is no part of a topology, so that the rest cannot be told from it. Repeated keys are no such thing. */
  torn = false;

  constructor(document: Document, text: string, report: Report) {
    this.#document = document;
    this.#text = text;
    this.#report = report;
  }

  build(): Written {
    return this.#node(this.#document.contents as Node | null, { start: 0, end: 0 }, 0).written;
  }

  #node(node: Node | null, missing: Range, depth: number): { written: Written; nodes: number } {
    const empty = (at: Range) => ({ written: { kind: 'scalar', value: null, text: '', at } as const, nodes: 1 });
    if (!node) return empty(missing);
    const known = this.#made.get(node);
    if (known) return known;
    const at = rangeOf(node);
    if (this.#refused) return empty(at);
    if (depth > limits.depth) return this.#refuse(at, `The file is nested more than ${limits.depth} deep.`, empty);
    if (this.#open.has(node)) return this.#refuse(at, 'The alias stands for something that contains itself.', empty);
    this.#open.add(node);
    const made = isAlias(node) ? this.#alias(node, at, depth) : this.#own(node, at, depth);
    this.#open.delete(node);
    if (made.nodes > limits.nodes)
      return this.#refuse(at, 'The aliases in it stand for more than 100,000 values.', empty);
    this.#made.set(node, made);
    return made;
  }

  #refuse<T>(at: Range, message: string, empty: (at: Range) => T): T {
    this.#refused = true;
    this.torn = true;
    this.#report.add('yaml-syntax', { at }, message);
    return empty(at);
  }

  #alias(node: Alias, at: Range, depth: number) {
    return this.#node(node.resolve(this.#document) ?? null, at, depth + 1);
  }

  #own(node: Node, at: Range, depth: number): { written: Written; nodes: number } {
    if (isMap(node)) return this.#map(node.items as Pair<Node, Node | null>[], at, depth);
    if (isSeq(node)) {
      const items = (node.items as Node[]).map((item) => this.#node(item, at, depth + 1));
      return {
        written: { kind: 'list', items: items.map(({ written }) => written), at },
        nodes: items.reduce((sum, { nodes }) => sum + nodes, 1),
      };
    }
    return { written: this.#scalar(node, at), nodes: 1 };
  }

  #map(pairs: readonly Pair<Node, Node | null>[], at: Range, depth: number): { written: Written; nodes: number } {
    const entries = new Map<string, Entry>();
    const repeated: [string, Entry][] = [];
    let nodes = 1;
    for (const pair of pairs) {
      const name = this.#key(pair.key, at);
      if (name === undefined) continue;
      const key = pair.key ? rangeOf(pair.key) : at;
      const first = entries.get(name);
      if (first)
        this.#report.add('duplicate-key', { at: key }, `The key \`${name}\` stands twice in one mapping.`, {
          hint: `The first is in line ${this.#lineOf(first.key.at!)}. Keep one of them.`,
        });
      const value = this.#node(pair.value, key, depth + 1);
      nodes += value.nodes + 1;
      const entry = { key: { at: key }, value: value.written };
      if (first) repeated.push([name, entry]);
      else entries.set(name, entry);
    }
    return { written: { kind: 'map', entries, ...(repeated.length > 0 && { repeated }), at }, nodes };
  }

  #key(key: Node | null, map: Range): string | undefined {
    const node = key && isAlias(key) ? (key.resolve(this.#document) ?? null) : key;
    if (!node) return '';
    if (isScalar(node)) return node.source ?? String(node.value);
    this.torn = true;
    this.#report.add(
      'yaml-syntax',
      { at: key ? rangeOf(key) : map },
      'A key is a word or a text, not a list or a mapping.',
    );
    return undefined;
  }

  #scalar(node: Node, at: Range): WrittenScalar {
    const scalar = node as { value?: unknown; source?: string; type?: string };
    if (typeof scalar.value === 'object' && scalar.value !== null) {
      this.torn = true;
      this.#report.add('yaml-syntax', { at }, 'A tag such as `!!binary` has no meaning in a topology.', {
        hint: hints.TAG_RESOLVE_FAILED,
      });
    }
    const text = scalar.source ?? (scalar.value == null ? '' : String(scalar.value));
    return {
      kind: 'scalar',
      value: typeof scalar.value === 'bigint' ? Number(scalar.value) : scalar.value,
      text,
      quoted: scalar.type !== 'PLAIN' && scalar.type !== undefined,
      at,
      span: (start, end) => spanOf(this.#text.slice(at.start, at.end), text, at.start, start, end),
    };
  }

  #lineOf({ start }: Range): number {
    let line = 1;
    for (let at = this.#text.indexOf('\n'); at !== -1 && at < start; at = this.#text.indexOf('\n', at + 1)) line++;
    return line;
  }
}

function rangeOf(node: Node): Range {
  const [start, end] = node.range ?? [0, 0];
  return { start, end };
}
