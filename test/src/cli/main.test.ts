import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const main = new URL('../../../dist/cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'penstock-main-'));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function penstock(args: string): Promise<Ended> {
  const env = { PATH: process.env['PATH'], NO_COLOR: '1' };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args.split(' ')], { cwd: folder, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

const topology = (every: string) => `version: 1
name: t
params:
  every: { type: duration, default: ${every} }
streams:
  a:
    - simulate: { count: 2, realTime: false, every: "\${param:every}", seed: 1 }
    - set: { site: "\${SITE:-north}" }
    - print
`;

beforeAll(() => {
  if (!existsSync(main)) throw new Error('There is no build: run `npm run build` first.');
  mkdirSync(join(folder, 'a-folder'));
  const files: Record<string, string | Buffer> = {
    'sound.yaml': topology('10s'),
    'broken.yaml': topology('10x').replace('- set:', '- sett:'),
    'empty.yaml': '',
    'binary.yaml': Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0xff, 0xfe]),
    'latin1.yaml': Buffer.from(topology('10s').replace('north', 'Zürich'), 'latin1'),
    'large.yaml': `version: 1\n${'a: b\n'.repeat(1_000_000)}`,
    'site.env': '# where\nSITE=south\n',
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Found, expected and what to do, in any order. */
const unusable: readonly [string, readonly string[]][] = [
  ['none.yaml', ['none.yaml:1:1', 'there is no such file', 'Check the path.']],
  ['a-folder', ['it is a folder', 'a-folder/topology.yaml']],
  ['empty.yaml', ['empty.yaml:1:1', 'this is empty', 'A topology is a mapping', 'Begin with `version: 1`']],
  ['binary.yaml', ['binary.yaml:1:1', 'no text in UTF-8', 'Give the YAML file']],
  ['latin1.yaml', ['latin1.yaml:8:', 'U+FFFD', 'saved as UTF-8']],
  ['large.yaml', ['5000011 bytes', 'at most 1 MiB', 'right file']],
  ['sound.yaml --set evry=5s', ['`evry`', 'Did you mean `every`?', 'declares `every`']],
  ['sound.yaml --set every=5x', ['length of time such as 10s', '"5x"', 'Give --set every=']],
  ['broken.yaml', ['broken.yaml:4:', 'the text "10x"', 'no operator `sett`', 'Did you mean `set`?']],
];
const misused: readonly [string, readonly string[]][] = [
  ['lint sound.yaml --set every', ['name=value', '`every`', 'Write it as']],
  ['plan sound.yaml -e none.env', ['`none.env`', 'there is no such file', 'NAME=value']],
  ['plan sound.yaml -e a-folder', ['`a-folder`', 'it is a folder', 'NAME=value']],
  ['lnt sound.yaml', ["'lnt'", 'Did you mean lint?', '--help']],
  ['lint --foramt json sound.yaml', ["'--foramt'", 'Did you mean --format?', '--help']],
  ['lint --format jsn sound.yaml', ["'jsn'", 'pretty, json, github']],
  ['plan sound.yaml broken.yaml', ["'plan'", 'Expected 1 argument but got 2', '--help']],
  ['run', ['no topology.yaml or topology.yml in this folder', 'Write the path']],
  ['run sound.yaml --for 5x', ['--for', '`5x`', 'such as 30s']],
  ['dev sound.yaml --mqtt-port x', ['--mqtt-port', '0 to 65535', '`x`']],
];

describe.concurrent('the command line', { timeout: 60_000 }, () => {
  test.each(unusable)('run refuses %s with code 78, and says what to do', async (given, told) => {
    const { code, stdout, stderr } = await penstock(`run ${given}`);
    expect([code, stdout]).toEqual([78, '']);
    for (const part of told) expect(stderr).toContain(part);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('lint says the same of all files at once on standard output, with code 1; plan is as run', async () => {
    const files = unusable.filter(([given]) => !given.includes(' '));
    const [lint, plan] = await Promise.all([
      penstock(`lint ${files.map(([given]) => given).join(' ')}`),
      penstock('plan broken.yaml'),
    ]);
    expect([lint.code, lint.stderr, plan.code, plan.stdout]).toEqual([1, '', 78, '']);
    for (const part of files.flatMap(([, told]) => told)) expect(lint.stdout).toContain(part);
    expect(lint.stdout).toContain(plan.stderr.trim());
  });

  test.each(misused)('`%s` is wrong usage: code 2, and what would be right', async (args, told) => {
    const { code, stdout, stderr } = await penstock(args);
    expect([code, stdout]).toEqual([2, '']);
    for (const part of told) expect(stderr).toContain(part);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('a page that is not there is a problem like any other', async () => {
    const { code, stdout, stderr } = await penstock('lint none.md sound.yaml --format github');
    expect([code, stderr]).toEqual([1, '']);
    expect(stdout).toMatch(/^::error file=none\.md,.*there is no such file/);
  });

  test('a sound topology ends with 0: silent in lint, data alone on standard output elsewhere', async () => {
    const [lint, plan, run] = await Promise.all(
      [
        'lint sound.yaml',
        'plan sound.yaml --json -e site.env',
        `run sound.yaml --state s --json --log-level error`,
      ].map(penstock),
    );
    expect(lint).toEqual({ code: 0, stdout: '', stderr: '' });
    expect([plan!.code, plan!.stderr, run!.code]).toEqual([0, '', 0]);
    const { streams } = JSON.parse(plan!.stdout) as { streams: { steps: { options: unknown }[] }[] };
    expect(streams[0]!.steps[1]!.options).toEqual({ site: 'south' });
    const lines = run!.stdout.trim().split('\n');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ version: 1, topology: 't' });
  });
});
