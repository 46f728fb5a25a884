import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadTopology } from '../../src/topology/load.ts';
import { Report } from '../../src/topology/report.ts';
import { plainValue } from '../../src/topology/written.ts';
import { Lines, parseYaml } from '../../src/topology/yaml.ts';
import { cpuMs } from '../cpu.ts';
import { catalogue } from '../src/topology/catalogue.ts';
import { suiteFolder } from './suites.ts';

interface Case {
  readonly id: string;
  readonly name: string;
  readonly fail: boolean;
  readonly yaml: string;
  readonly json: string | null;
}

const folder = suiteFolder('yaml');
const cases: Case[] =
  folder === undefined
    ? []
    : readFileSync(join(folder, 'cases.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Case);

function parse(text: string) {
  const lines = new Lines('case.yaml', text);
  const report = new Report((range) => lines.place(range));
  const written = parseYaml(text, report);
  return { written, problems: report.sorted() };
}

// What a topology does not need, and the loader therefore refuses with a place: several documents, tags and directives of one's own, odd keys.
const refusedOnPurpose =
  /more than one YAML document|tag|directive|YAML version|ambiguous|A key is a word|stands twice/i;

// Any of the bombs takes minutes, or all memory, when it goes off.
const enoughMs = 5_000;

describe.skipIf(folder === undefined)('the YAML suite', () => {
  test('each text that is no YAML is refused, with a place', () => {
    const bad = cases.filter(({ fail }) => fail);
    expect(bad.length).toBe(94);
    for (const { id, yaml } of bad) {
      const { written, problems } = parse(yaml);
      expect([id, written, problems.every(({ place }) => place)]).toEqual([id, undefined, true]);
    }
  });

  test('each good text is read as its JSON says, or is refused for what a topology does not need', () => {
    for (const { id, yaml, json } of cases.filter(({ fail }) => !fail)) {
      const { written, problems } = parse(yaml);
      if (!written)
        expect([id, problems.map(({ message }) => message).join()]).toEqual([
          id,
          expect.stringMatching(refusedOnPurpose),
        ]);
      else if (json) expect([id, plainValue(written)]).toEqual([id, JSON.parse(json)]);
    }
  });

  test('none of them is a topology, and each gets its error soon', () => {
    for (const { id, yaml } of cases) {
      const start = cpuMs();
      const { plan, problems } = loadTopology({ text: yaml, file: 'case.yaml' }, { catalogue });
      expect([id, plan, problems.length > 0]).toEqual([id, undefined, true]);
      expect(cpuMs() - start).toBeLessThan(enoughMs);
    }
  });
});

const laughs = ['a: &a [x, x, x, x, x, x, x, x, x]'];
for (let n = 1; n < 9; n++) {
  const [name, before] = ['abcdefghi'[n], 'abcdefghi'[n - 1]];
  laughs.push(`${name}: &${name} [${Array(9).fill(`*${before}`).join(', ')}]`);
}
const bombs: Record<string, string> = {
  'a billion laughs': laughs.join('\n'),
  'laughs inside a topology': `version: 1\nname: a\nstreams:\n${laughs.map((line) => `  ${line}`).join('\n')}`,
  'an alias to itself': 'a: &a [*a]',
  'open brackets': '['.repeat(200_000),
  'open braces': '{a: '.repeat(100_000),
  'nested dashes': '- '.repeat(100_000),
  stairs: Array.from({ length: 1_400 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
  'a hundred thousand keys': Array.from({ length: 70_000 }, (_, n) => `k${n}: 1`).join('\n'),
  'keys in braces': `{${Array.from({ length: 70_000 }, (_, n) => `k${n}: 1`).join(',')}}`,
  'many anchors': Array.from({ length: 40_000 }, (_, n) => `- &a${n} 1\n- *a${n}`).join('\n'),
  'too many bytes': `a: ${'x'.repeat(1_100_000)}`,
  'quotes that never end': 'a: "\n'.repeat(50_000),
  'many errors': '@ a\n'.repeat(50_000),
  spaces: `a:${' '.repeat(1_000_000)}b`,
};
test.each(Object.entries(bombs))('%s is refused soon', (_, text) => {
  const start = cpuMs();
  const { plan, problems } = loadTopology({ text, file: 'bomb.yaml' }, { catalogue });
  const took = cpuMs() - start;
  expect([plan, problems.length > 0, problems[0]?.place?.file]).toEqual([undefined, true, 'bomb.yaml']);
  expect(took).toBeLessThan(enoughMs);
});
