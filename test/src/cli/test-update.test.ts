import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { testFiles, updateFiles } from '../../../src/cli/test-command.ts';
import { updatedText } from '../../../src/cli/test-update.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-update-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const head = `# A topology with   odd spaces, which stay.
version: 1
name: t
streams:
    readings:
    - kafka: { brokers: "x:1",   topic: t, time: arrival }   # the source
    - keyBy: id
    - map: { double: 'n * 2' }
    - print: json
`;
const wrong = `${head}tests:
  - name: wrong in many ways   # and said so
    feed: { readings: [{ id: a, n: 1 }, { id: a, n: 2 }, { id: b, n: 3 }] }
    expect:
      # What comes out.
      readings:
        # the first is right
        - { key: a, value: { id: a, n: 1, double: 2 } } # right
        # the second is not
        - key: a
          like: { double: 5 }
        - { id: c, n: 3, double: 6 }
        - { id: gone, n: 9, double: 18 }
    env:   {  }

  - name: right
    feed: { readings: [{ id: a, n: 1 }] }
    expect: { readings: [{ id: a, n: 1, double: 2 }], readings.print: [{ like: { n: 1 } }] }
  - name: empty
    feed: { readings: [{ id: a, n: 1 }, x] }
    expect: {}
# The end.
`;
const right = wrong
  .replace('like: { double: 5 }', 'like: { double: 4 }')
  .replace('- { id: c, n: 3, double: 6 }', '- { id: b, n: 3, double: 6 }')
  .replace('        - { id: gone, n: 9, double: 18 }\n', '');
const fileOf = (text: string, name = 't.yaml') => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

describe('`--update`', () => {
  test('writes what came out, and leaves every other byte, comments among them', async () => {
    const file = fileOf(wrong);
    const before = await testFiles([file], catalogue);
    expect(before.problems).toEqual([]);
    expect(before.results.map(({ passed }) => passed)).toEqual([false, true, false]);
    expect(updateFiles(before)).toEqual([{ file, tests: ['wrong in many ways', 'empty'] }]);
    const after = await testFiles([file], catalogue);
    expect(after.results.map(({ passed }) => passed)).toEqual([true, true, true]);
    const text = readFileSync(file, 'utf8');
    const [until, rest] = text.split('  - name: empty\n');
    expect(until).toBe(right.split('  - name: empty\n')[0]);
    expect(rest).toMatch(
      /^ {4}feed: .*\n {4}expect: \{.*readings\.print: .*code: payload-malformed.*\}\n# The end\.\n$/,
    );
    expect(updateFiles(after)).toEqual([]);
    expect(readdirSync(folder)).toEqual(['t.yaml']);
  });

  test('a list that was empty, or was not there, is written in the way of what is around it', () => {
    const text = 'tests:\n- name: a\n  expect:\n    x: []\n    y: [1]\n- name: b\n  expect: { x: [1] }\n';
    const came = [{ key: 'k', value: { n: 1 } }, { value: 'text' }, { value: { value: 1 } }];
    const outputs = [
      { name: 'x', expected: [], came },
      { name: 'z', expected: [], came: [{ value: 1 }] },
      { name: 'y', expected: [{ value: 1 }], came: [] },
    ];
    expect(updatedText(text, [{ index: 0, outputs }])).toBe(`tests:
- name: a
  expect:
    x:
      - { key: k, value: { n: 1 } }
      - text
      - { value: { value: 1 } }
    y: []
    z:
      - 1
- name: b
  expect: { x: [1] }
`);
  });

  test('refuses an alias rather than to guess what it may stand for elsewhere', () => {
    const text = 'tests:\n- { name: a, expect: { x: [ &one { n: 1 } ] } }\n- name: b\n  expect: { x: [ *one ] }\n';
    const update = { index: 1, outputs: [{ name: 'y', expected: [], came: [{ value: 1 }] }] };
    expect(() => updatedText(text, [update])).toThrow('by an alias');
  });

  test('is refused where CI is set, and leaves a test that ended with an error as it is', async () => {
    const file = fileOf(wrong, 'ci.yaml');
    const main = join(import.meta.dirname, '../../../src/cli/main.ts');
    const run = (ci: string) =>
      new Promise<{ code: number | null; text: string }>((resolve) => {
        const env = { ...process.env, CI: ci, NO_COLOR: '1' };
        const args = ['--import', 'tsx', main, 'test', '--update', '--json', file];
        const child = execFile(process.execPath, args, { env }, (_error, stdout, stderr) =>
          resolve({ code: child.exitCode, text: stdout + stderr }),
        );
      });
    const refused = await run('true');
    expect([refused.code, readFileSync(file, 'utf8')]).toEqual([2, wrong]);
    expect(refused.text).toContain('`CI` is set');
    const done = await run('');
    expect(done.code).toBe(0);
    expect(JSON.parse(done.text)).toMatchObject({
      passed: 3,
      failed: 0,
      updated: [{ file, tests: ['wrong in many ways', 'empty'] }],
    });
    expect(Object.keys(JSON.parse(done.text).tests[0])).toEqual(['file', 'name', 'place', 'passed', 'differences']);
  });
});
