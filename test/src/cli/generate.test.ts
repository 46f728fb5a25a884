import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { editorSchema } from '../../../src/cli/editor-schema.ts';
import { staleFiles } from '../../../src/cli/generate.ts';
import { catalogue } from '../topology/catalogue.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const schemaOf = (schema: object) => new Ajv({ strict: false, allErrors: true, logger: false }).compile(schema);

test('generated files are up to date; if not, run: npm run generate', async () => {
  expect(await staleFiles(root)).toEqual([]);
});

test('the editor schema takes every shipped topology', () => {
  const folder = `${root}topologies/`;
  const valid = schemaOf(JSON.parse(readFileSync(`${folder}topology.schema.json`, 'utf8')));
  for (const file of readdirSync(folder).filter((name) => /\.ya?ml$/.test(name))) {
    const fits = valid(parse(readFileSync(folder + file, 'utf8')));
    expect([file, fits, valid.errors ?? []]).toEqual([file, true, []]);
  }
});

test('the editor schema refuses keys that nobody knows, and takes variables for any scalar', () => {
  const valid = schemaOf(editorSchema(catalogue));
  const fits = (item: unknown) => valid({ version: 1, name: 'a', streams: { a: [item] } });
  const good = [
    { keyBy: 'a' },
    { 'key-by': { field: 'a' } },
    { show: null },
    'show',
    { windowLast: { every: '${EVERY}', late: 'drop' }, id: 'x' },
    { broker: { url: 'a', topics: ['a'], qos: '${QOS:-1}' } },
    { set: { otherwise: 1 } },
    { from: ['a'] },
  ];
  expect(good.filter((item) => !fits(item))).toEqual([]);
  const bad = [
    { keyby: 'a' },
    { keyBy: { feild: 'a' } },
    { windowLast: { every: '10x' } },
    { broker: { url: 'a', topics: 'a' } },
    { broker: { url: 'a', topics: ['a'], qos: 3 } },
  ];
  expect(bad.filter(fits)).toEqual([]);
});
