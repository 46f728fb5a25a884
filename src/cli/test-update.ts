import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isSeq,
  type Node,
  parseDocument,
  type YAMLMap,
  Document as YamlDocument,
} from 'yaml';
import { type ActualRecord, agrees } from '../testing/compare.ts';
import type { ExpectedRecord } from '../topology/tests.ts';

/** One test of a file whose expected output is to become what came out. */
export interface TestUpdate {
  /** Its place among the tests of the file, from 0. */
  readonly index: number;
  readonly outputs: readonly UpdatedOutput[];
}
export interface UpdatedOutput {
  /** A stream or sink. */
  readonly name: string;
  readonly expected: readonly ExpectedRecord[];
  readonly came: readonly ActualRecord[];
}

/**
 * The text of a topology with other expected output. Only the `expect` of these tests is written anew, with its comments and with the
 * items that agree; every other byte stays. Throws an Error that says what to do where that cannot be done, as with aliases.
 */
export function updatedText(text: string, updates: readonly TestUpdate[]): string {
  const document = parseDocument(text, { version: '1.2', schema: 'core', merge: false });
  const tests = document.get('tests', true);
  const places = updates.map(({ index, outputs }) => {
    const test = isSeq(tests) ? tests.items[index] : undefined;
    const expect = isMap(test) ? test.get('expect', true) : undefined;
    if (!isMap(expect) || !expect.range) throw new Error(aliases);
    const [start, end] = expect.range;
    for (const output of outputs) change(document, expect, output);
    return { start, end, now: written(expect) };
  });
  let result = text;
  // From the end, so that what stands before keeps its place.
  for (const { start, end, now } of places.sort((a, b) => b.start - a.start)) {
    const indent = ' '.repeat(start - text.lastIndexOf('\n', start - 1) - 1);
    const old = text.slice(start, end);
    const space = old.slice(old.trimEnd().length);
    const block = now.replaceAll('\n', `\n${indent}`).replace(/[ \t]+$/gm, '');
    result = result.slice(0, start) + block + space + result.slice(end);
  }
  return result;
}

const aliases =
  'An `expect` that comes by an alias, or has one in it, is not updated: write it out, or change it by hand.';

function written(expect: YAMLMap): string {
  const alone = new YamlDocument(null, { version: '1.2', schema: 'core' });
  // What stands above it is not in its range, and stays.
  expect.commentBefore = null;
  alone.contents = expect as never;
  try {
    return alone.toString({ lineWidth: 0 }).trimEnd();
  } catch (error) {
    if (/alias/i.test((error as Error).message)) throw new Error(aliases, { cause: error });
    throw error;
  }
}

/** Makes the list of one output say what came out. */
function change(document: Document, expect: YAMLMap, { name, expected, came }: UpdatedOutput): void {
  const list = expect.get(name, true);
  const old = isSeq(list) ? list.items : [];
  const free = new Set(expected.keys());
  const take = (fits: (wanted: ExpectedRecord) => boolean): number | undefined => {
    const found = [...free].find((n) => fits(expected[n]!));
    if (found !== undefined) free.delete(found);
    return found;
  };
  const kept = came.map((record) => take((wanted) => agrees(record, wanted)));
  const items = came.map((record, n) => {
    if (kept[n] !== undefined) return old[kept[n]];
    const before = take(({ key }) => key === undefined || key === record.key);
    const item = itemFor(document, record, before === undefined ? undefined : expected[before]);
    const comment = before === undefined ? undefined : old[before];
    if (isNode(comment) && isNode(item)) copyComments(comment, item);
    if (isMap(comment) && !comment.flow && isMap(item)) inLines(item);
    return item;
  });
  const next = document.createNode([]);
  next.items = items as never[];
  next.flow =
    expect.flow === true || items.length === 0 || (isSeq(list) && list.items.length > 0 && list.flow === true);
  if (isSeq(list)) copyComments(list, next);
  expect.set(expect.has(name) ? name : document.createNode(name), next);
}

function copyComments(from: Node, to: Node): void {
  to.commentBefore = from.commentBefore ?? null;
  to.comment = from.comment ?? null;
}

// One field a line, as the item that stood there was written.
function inLines(item: YAMLMap): void {
  for (const { value } of item.items) if (isCollection(value)) value.flow = item.flow === true;
  item.flow = false;
}

const longestInline = 100;

/** In the form of the item that stood there: with or without a key, all of the value or some of its fields. */
function itemFor(document: Document, { key, value }: ActualRecord, before: ExpectedRecord | undefined) {
  const named =
    before !== undefined && 'like' in before && isObject(before.like) && isObject(value) ? before.like : undefined;
  const some = named && Object.entries(value as object).filter(([name]) => Object.hasOwn(named, name));
  const withKey = key !== undefined && (before === undefined || before.key !== undefined);
  const bare = !withKey && !some && !(isObject(value) && ('value' in value || 'like' in value));
  const item = bare ? value : { ...(withKey && { key }), ...(some ? { like: Object.fromEntries(some) } : { value }) };
  return document.createNode(item, { flow: (JSON.stringify(item) ?? '').length <= longestInline });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
