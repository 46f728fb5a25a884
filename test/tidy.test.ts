import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { catalogue } from '../operators/index.ts';
import { problemCodes, rejectCodes } from '../src/errors.ts';
import { kebabCase } from '../src/topology/lookup.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = (folder: string, ends = '.ts'): string[] =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith(ends) && !entry.parentPath.includes('node_modules'))
        .map((entry) => relative(root, join(entry.parentPath, entry.name)))
        .sort()
    : [];
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const code = [...files('src'), ...files('operators')];
const tests = files('test').filter((file) => file.endsWith('.test.ts'));

/** Every import of a file: its line, and what it leads to, from the root for files of ours. */
function imports(file: string): { line: number; to: string }[] {
  return read(file)
    .split('\n')
    .flatMap((text, index) => {
      const match = /(?:from|import)\s*\(?\s*'([^']+)'/.exec(text);
      if (!match) return [];
      const [, to] = match as unknown as [string, string];
      return [{ line: index + 1, to: to.startsWith('.') ? relative(root, resolve(root, dirname(file), to)) : to }];
    });
}
const complaints = (list: readonly string[]) => expect(list.join('\n')).toBe('');

/** `[from, to, why]`: files that match the first must not import what matches the second. */
const walls: readonly [RegExp, RegExp, string][] = [
  [/^src\/(?!cli\/|index\.ts$)/, /^operators\//, 'the core knows no operator; take it from the catalogue'],
  [/^src\/(?!cli\/)/, /^src\/cli\//, 'only the command line imports the command line'],
  [/^src\/topology\//, /^src\/engine\//, 'the topology does not know the engine'],
  [/^src\/engine\//, /^src\/topology\/(?!plan)/, 'the engine knows the plan and nothing else of the topology'],
  [/^src\/expression\//, /^src\/(engine|topology|cli)\//, 'expressions stand below topology and engine'],
  [/^operators\/[^/]+\//, /^src\/(?!operator\.ts$)/, 'an operator imports only src/operator.ts'],
  [/^examples\//, /^(src|operators)\//, 'examples use the public names: penstock, penstock/operators'],
];

test('imports go one way only', () => {
  const wrong = [...code, ...files('examples')].flatMap((file) =>
    imports(file).flatMap(({ line, to }) => {
      const wall = walls.find(([from, into]) => from.test(file) && into.test(to));
      if (wall) return [`${file}:${line}  imports ${to}  ${wall[2]}`];
      const [, own] = /^operators\/([^/]+)\//.exec(file) ?? [];
      const [, other] = /^operators\/([^/]+)\//.exec(to) ?? [];
      return own && other && own !== other ? [`${file}:${line}  imports ${to}  an operator never imports another`] : [];
    }),
  );
  complaints(wrong);
});

test('folder, name and export of an operator are one name, and it has a test and an example', () => {
  const wrong = catalogue.flatMap((definition) => {
    const { name, kind, examples, summary } = definition;
    const folder = `operators/${kebabCase(name)}`;
    const text = existsSync(join(root, folder, 'index.ts')) ? read(`${folder}/index.ts`) : '';
    const exported = kind === 'step' ? name : `${name}${kind === 'source' ? 'Source' : 'Sink'}`;
    const tested = tests.some(
      (file) =>
        file.startsWith(`test/operators/${kebabCase(name)}`) || file.startsWith(`test/integration/${kebabCase(name)}`),
    );
    return [
      !text && `${folder}  is missing  the folder of \`${name}\` is its name in kebab-case`,
      text &&
        !new RegExp(`export const ${exported}\\b`).test(text) &&
        `${folder}/index.ts  does not export ${exported}  a ${kind} \`${name}\` is exported under that name`,
      !tested && `${folder}  has no test  write test/operators/${kebabCase(name)}.test.ts`,
      examples.length === 0 && `${folder}/index.ts  has no example  give \`${name}\` at least one`,
      kind === 'step' &&
        !examples.some(({ input }) => input) &&
        `${folder}/index.ts  has no example with input  it is to run as a test`,
      !/^[A-Z].*\.$/.test(summary) && `${folder}/index.ts  summary  write one sentence with a full stop`,
    ].filter((complaint) => typeof complaint === 'string' && complaint !== '') as string[];
  });
  complaints(wrong);
});

test('no file is far longer than a reader can hold', () => {
  const limit = (file: string) => (file.startsWith('test/') ? 400 : 300) * 1.3;
  const long = [...code, ...tests].filter((file) => file !== 'src/operator.ts' && file !== 'operators/index.ts');
  complaints(
    long.flatMap((file) => {
      const lines = read(file).split('\n').length;
      return lines > limit(file) ? [`${file}  has ${lines} lines  split it: at most ${limit(file) / 1.3}`] : [];
    }),
  );
});

/** Functions and methods of a formatted file: each ends at the brace that stands as far in as its first line. */
function functions(file: string): { name: string; line: number; length: number }[] {
  const lines = read(file).split('\n');
  return lines.flatMap((text, index) => {
    const begins =
      /^(\s*)(?:export |default |async |static |get |set |override |private )*(?:function\*? )?(?!(?:if|for|while|switch|catch|else|do|try|return)\b)(?:const )?\*?(#?[\w$]+)(?: = (?:async )?)?(?:<.*>)?\(.*\{$/.exec(
        text,
      ) ??
      // Parameters in lines of their own.
      /^(\s*)\)(?:: .*)? (?:=> )?\{$/.exec(text);
    if (!begins) return [];
    const [, indent = '', name] = begins;
    const end = lines.findIndex(
      (other, at) => at > index && other.startsWith(`${indent}}`) && other[indent.length] === '}',
    );
    return end === -1 ? [] : [{ name: name ?? 'a function', line: index + 1, length: end - index + 1 }];
  });
}

test('no function is far longer than a reader can hold', () => {
  const all = code.map((file) => ({ file, found: functions(file) }));
  // Were the pattern to miss functions, nothing would ever be too long.
  expect(all.reduce((sum, { found }) => sum + found.length, 0)).toBeGreaterThan(code.length * 3);
  const limit = 80;
  complaints(
    all.flatMap(({ file, found }) =>
      found
        .filter(({ length }) => length > limit)
        .map(({ name, line, length }) => `${file}:${line}  ${name} has ${length} lines  split it: at most 60`),
    ),
  );
});

test('nothing in the repository tells of the machine that it was written on', () => {
  const listed = spawnSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' });
  const inFolders = ['src', 'operators', 'test', 'topologies', 'examples'].flatMap((folder) => files(folder, ''));
  const all = listed.status === 0 ? listed.stdout.split('\0').filter(Boolean) : inFolders;
  expect(all.length).toBeGreaterThan(100);
  // Written apart, as this file is looked at too.
  const home = new RegExp(`(?<![\\w.-])/(?:${['work', 'root', 'tmp', 'home', 'Users'].join('|')})/[\\w.-]`);
  const told = new RegExp([`helper ${'session'}`, `sub${'agent'}`].join('|'), 'i');
  const wrong = all
    .filter((file) => file !== 'package-lock.json' && statSync(join(root, file), { throwIfNoEntry: false })?.isFile())
    .flatMap((file) =>
      read(file)
        .split('\n')
        .flatMap((text, index) =>
          [
            home.test(text) && `${file}:${index + 1}  names a path of one machine  use os.tmpdir() or a relative path`,
            told.test(text) && `${file}:${index + 1}  tells who wrote it  say what it does instead`,
          ].filter((complaint) => typeof complaint === 'string'),
        ),
    );
  complaints(wrong);
});

test('files and types are named after what they are', () => {
  const banned = /(^|[/-])(utils?|helpers?|common|misc|manager)\b/;
  const names = [...code, ...files('test')].filter(
    (file) => banned.test(file) || /[A-Z]/.test(file.replace('README', '')),
  );
  const types = code.flatMap((file) =>
    [
      ...read(file).matchAll(
        /^export (?:abstract )?(?:class|interface|type) (I[A-Z]\w*|\w*(?:Manager|Helper|Util|Impl))\b/gm,
      ),
    ].map(([, name]) => `${file}  ${name}  name what it does`),
  );
  complaints([...names.map((file) => `${file}  name it after what is in it, in kebab-case`), ...types]);
});

test('every export of the core and of operators says what it is', () => {
  const wrong = code
    .filter((file) => file !== 'operators/index.ts')
    .flatMap((file) => {
      const lines = read(file).split('\n');
      return lines.flatMap((text, index) => {
        if (!/^export (async )?(function|class|abstract class)\b/.test(text)) return [];
        let above = index - 1;
        while (/^\/\/ biome-ignore|^@/.test(lines[above] ?? '')) above--;
        return /\*\/\s*$/.test(lines[above] ?? '')
          ? []
          : [`${file}:${index + 1}  has no docstring  say what it does, and what happens at the edges`];
      });
    });
  complaints(wrong);
});

test('no reject code and no problem code is dead', () => {
  const source = code
    .filter((file) => file !== 'src/errors.ts')
    .map(read)
    .join('\n');
  const tested = [...files('test'), ...files('test', '.txt')].map(read).join('\n');
  const dead = [...rejectCodes, ...problemCodes].flatMap((name) => {
    const used = source.includes(`'${name}'`);
    return [
      !used && `${name}  is never used  drop it from src/errors.ts`,
      !tested.includes(name) && `${name}  is in no test  write one that produces it`,
    ].filter((complaint) => typeof complaint === 'string');
  });
  complaints(dead);
});

test('a page has one title, and no work is left in comments', () => {
  const pages = ['README.md', ...files('operators', '.md'), ...files('src', '.md')].filter((page) =>
    existsSync(join(root, page)),
  );
  const titles = pages.flatMap((page) => {
    const text = read(page).replace(/^```[\s\S]*?^```/gm, '');
    const count = [...text.matchAll(/^# /gm)].length;
    return count === 1 ? [] : [`${page}  has ${count} titles (#)  a page has one`];
  });
  const todo = code.flatMap((file) =>
    /\b(TODO|FIXME|XXX|HACK)\b/.test(read(file)) ? [`${file}  leaves work in a comment  do it, or open an issue`] : [],
  );
  complaints([...titles, ...todo]);
});
