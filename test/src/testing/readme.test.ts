import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as operators from '../../../operators/index.ts';
import * as penstock from '../../../src/index.ts';
import * as laws from '../../../src/testing/laws.ts';
import * as testing from '../../../src/testing.ts';

const page = readFileSync(new URL('../../../src/testing/README.md', import.meta.url), 'utf8');
const modules: Record<string, unknown> = {
  penstock,
  'penstock/operators': operators,
  'penstock/testing': testing,
  'penstock/testing/laws': laws,
};

/** Runs a block of the page; its imports are the modules above. */
async function run(code: string): Promise<void> {
  const body = code
    .replace("import fc from 'fast-check';\n", '')
    .replace(/import (\{[^}]*\}) from '([^']+)';/g, (_, names, from) => `const ${names} = modules['${from}'];`);
  expect(body).not.toContain('import ');
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
    ...given: string[]
  ) => (...given: unknown[]) => Promise<void>;
  await new AsyncFunction('modules', 'assert', 'fc', body)(modules, assert, fc);
}

const blocks = [...page.matchAll(/^## (.*)$[\s\S]*?(?=^## |$(?![\s\S]))/gm)].flatMap(([section, title]) =>
  [...section.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, code]) => ({ title: title!, code: code! })),
);

test('the page on testing has an example in each part', () => {
  expect(blocks.map(({ title }) => title)).toEqual(['One step', 'Marbles', 'A topology', 'Laws', 'Laws of a topology']);
});
test.each(blocks)('its example of `$title` runs', ({ code }) => run(code));

test('`penstock/testing` can be used without fast-check', () => {
  const files = [
    'testing.ts',
    ...['collector', 'compare', 'feed', 'law-text', 'marbles', 'run-test', 'topology-driver'].map(
      (name) => `testing/${name}.ts`,
    ),
  ];
  for (const file of files) {
    const text = readFileSync(new URL(`../../../src/${file}`, import.meta.url), 'utf8');
    const imported = [...text.matchAll(/^(?:import|export) (?!type )[^;]*? from '([^']+)'/gm)].map(([, from]) => from);
    expect(imported).not.toContain('fast-check');
    // What these files import of their own folder is looked at here as well.
    for (const from of imported.filter((one) => /testing\/|^\.\/[a-z-]+\.ts$/.test(one!)))
      if (file.startsWith('testing/') || from!.includes('testing/'))
        expect(files).toContain(from!.replace(/^\.\//, file.startsWith('testing/') ? 'testing/' : ''));
  }
});
