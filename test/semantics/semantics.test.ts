import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type Row, rows, settled } from './rows.ts';

const all: [string, Row][] = [...Object.entries(settled), ...Object.entries(rows)];
const files = new Map<string, string[]>();

/** The titles of the tests in a file: the first text after `test(`, `test.each(…)(` and the like. */
function titlesOf(text: string): string[] {
  const literal = /'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/.source;
  // After a table of cases the title stands behind its last bracket, which may be lines further down.
  const begins =
    /^ *test(?:\.(?:runIf|skipIf)\([^\n]*?\))?\(\s*|^ *test\.each\([^\n]*\)\(\s*|^ *\](?: as const)?\)\(\s*/.source;
  return [...text.matchAll(new RegExp(`(?:${begins})(${literal})`, 'gm'))].map(([, title]) =>
    title!.slice(1, -1).replace(/\\(['"`\\])/g, '$1'),
  );
}

function titlesIn(file: string): string[] {
  const known = files.get(file) ?? titlesOf(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'));
  files.set(file, known);
  return known;
}

/** What is amiss with the name of a test; `undefined` when it is there. */
function amiss(named: string): string | undefined {
  const [file = '', title] = named.split(' › ');
  if (title === undefined)
    return existsSync(new URL(`../${file}`, import.meta.url)) ? undefined : `there is no file test/${file}`;
  const begins = title.endsWith('…') ? title.slice(0, -1) : undefined;
  const found = titlesIn(file).some((one) => (begins === undefined ? one === title : one.startsWith(begins)));
  return found ? undefined : `test/${file} has no test named: ${title}`;
}

/** The page for readers: what is decided, and where that is held. */
function page(): string {
  const list = (of: Row) => [...new Set([...of.within, ...of.beyond].map((named) => named.split(' › ')[0]!))];
  const entry = ([name, row]: [string, Row]) => {
    const held = list(row).map((file) => `[${file.split('/').at(-1)}](../../test/${file})`);
    return `${name}**${row.title}.** ${row.decision} (${held.join(', ')})\n`;
  };
  return [
    '# What is decided',
    '',
    'How time, windows, keys, checkpoints and delivery behave, each with the tests that hold the engine to it. Made from `test/semantics/rows.ts`; after a change: `npx vitest run test/semantics -u`.',
    '',
    '## Everywhere',
    '',
    ...Object.values(settled).map((row) => entry(['- ', row])),
    '## By number',
    '',
    ...Object.entries(rows).map(([number, row]) => entry([`${number}. `, row])),
  ].join('\n');
}

describe('each decision', () => {
  test('from 1 to 36 is there', () => {
    expect(Object.keys(rows).map(Number)).toEqual(Array.from({ length: 36 }, (_, n) => n + 1));
  });

  test.each(all)('%s has a test on either side of its boundary', (_, { within, beyond }) => {
    expect([within.length > 0, beyond.length > 0, new Set([...within, ...beyond]).size > 1]).toEqual([
      true,
      true,
      true,
    ]);
    expect([...within, ...beyond].flatMap((named) => amiss(named) ?? [])).toEqual([]);
  });

  test('stands on the page', async () => {
    await expect(page()).toMatchFileSnapshot('../../src/engine/SEMANTICS.md');
  });
});

test('a title is found where it names a test that runs, and nowhere else', () => {
  const text = [
    "test('one', () => {});",
    "  test('it\\'s two', async () => {});",
    'test.each([1])(\n  "three %i", () => {});',
    "test.each([\n  ['no'],\n])('four', () => {});",
    'test.skipIf(x)(`five`, () => {});',
    "test.skip('never', () => {});",
    "// test('gone', () => {});",
    "expect(f('none'));",
  ].join('\n');
  expect(titlesOf(text)).toEqual(['one', "it's two", 'three %i', 'four', 'five']);
});
