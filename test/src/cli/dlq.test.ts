import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { type DlqFlags, listCommand, redriveCommand, showCommand } from '../../../src/cli/dlq.ts';
import type { DeadLetter } from '../../../src/operator.ts';
import { start } from '../../../src/runtime.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { captured } from './captured.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-dlq-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const topology = (more = '', out = 'file: ./out.jsonl') => {
  const file = join(folder, 't.yaml');
  writeFileSync(
    file,
    `version: 1\nname: t\n${more}streams:\n  readings:\n    - id: in\n      file: ./in.jsonl\n    - id: check\n      validate: { schema: { type: object, required: [fuel] } }\n    - ${out}\n`,
  );
  return file;
};

const lines = ['{"fuel":1}', '{"fule":1}', '{', '{"fule":2}', '\u001b[31m{'];

/** Runs the topology over the lines and gives what the commands take. */
async function run(file: string): Promise<DlqFlags> {
  writeFileSync(join(folder, 'in.jsonl'), `${lines.join('\n')}\n`);
  const { plan, problems } = await loadTopology(file, { catalogue, env: process.env });
  expect(problems).toEqual([]);
  const state = join(folder, 'state');
  await (await start(plan!, catalogue, { state })).done;
  return { state };
}

describe('penstock dlq', () => {
  test('lists dead letters by step and code, with counts and times, from the file that takes them by itself', async () => {
    const file = topology();
    const flags = await run(file);
    const { code, stdout } = await captured(() => listCommand(file, { ...flags, json: true }));
    const moment = expect.stringMatching(/^\d{4}-\d\d-\d\dT/);
    expect([code, JSON.parse(stdout)]).toEqual([
      0,
      {
        version: 1,
        topology: 't',
        groups: [
          { stream: 'deadLetters', step: 'check', code: 'schema-violation', count: 2, first: moment, last: moment },
          { stream: 'deadLetters', step: 'in', code: 'payload-malformed', count: 2, first: moment, last: moment },
        ],
      },
    ]);
    const told = stripVTControlCharacters((await captured(() => listCommand(file, flags))).stdout);
    expect(told).toMatch(/^ +2 {2}check {2}schema-violation {2}20/);
  });

  test('says that there are none before any was made', async () => {
    const file = topology();
    expect(await captured(() => listCommand(file, { state: join(folder, 'none') }))).toEqual({
      code: 0,
      stdout: 'There are no dead letters.\n',
      stderr: '',
    });
  });

  test('shows those that `--where` asks for, whole, and lets no payload touch the terminal', async () => {
    const file = topology();
    const flags = await run(file);
    const where = `step == 'in' && payload.contains('[31m')`;
    const shown = await captured(() => showCommand(file, { ...flags, where }));
    expect(shown.stdout).toContain('\\x1b[31m{');
    expect(shown.stdout.replace(/\u001b\[\d+m/g, '')).not.toContain('\u001b');
    const json = await captured(() => showCommand(file, { ...flags, where, json: true, limit: '5' }));
    const [letter, ...rest] = json.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as DeadLetter);
    expect(rest).toEqual([]);
    expect(letter).toMatchObject({ stream: 'deadLetters', step: 'in', offset: expect.any(Number), payload: lines[4] });
  });

  test('refuses what it does not understand, in words of the command line', async () => {
    const file = topology();
    const flags = await run(file);
    const errors = [];
    for (const wrong of [{ where: 'stepp == 1' }, { limit: '0' }, { stream: 'nowhere' }]) {
      const { code, stderr } = await captured(() => listCommand(file, { ...flags, ...wrong }));
      errors.push([code, stderr]);
    }
    expect(errors).toEqual([
      [2, expect.stringMatching(/^--where `stepp == 1`: .*stepp/)],
      [2, '--limit takes a whole number from 1, but got `0`.'],
      [2, 'There is no stream `nowhere`. Dead letters go to `deadLetters`.'],
    ]);
  });

  test('puts the payloads as they came into a file, as many as asked for, and prints only what it would do with --dry-run', async () => {
    const file = topology();
    const flags = { ...(await run(file)), to: join(folder, 'again.jsonl') };
    const dry = await captured(() => redriveCommand(file, { ...flags, dryRun: true, json: true }));
    expect(dry.stdout.trim().split('\n')).toHaveLength(5);
    expect(() => readFileSync(flags.to)).toThrow('ENOENT');
    await captured(() => redriveCommand(file, { ...flags, where: `code == 'schema-violation'`, limit: '1' }));
    expect(readFileSync(flags.to, 'utf8')).toBe(`${lines[1]}\n`);
    await captured(() => redriveCommand(file, { ...flags, where: `code != 'schema-violation'` }));
    expect(readFileSync(flags.to, 'utf8')).toBe(`${[lines[1], lines[2], lines[4]].join('\n')}\n`);
  });

  test('passes over what it cannot put back, and says why', async () => {
    const file = topology();
    const flags = await run(file);
    const { code, stderr } = await captured(() => redriveCommand(file, flags));
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining('4 passed over: `file` takes nothing back; name a file with --to'),
    ]);
  });

  test('says when dead letters go where nobody can read them', async () => {
    const file = topology('otherwise: bad\n', 'file: ./out.jsonl\n  bad:\n    - print');
    const { code, stderr } = await captured(() => listCommand(file, { state: join(folder, 'state') }));
    expect([code, stderr]).toEqual([1, expect.stringContaining('The dead letters of `t` go nowhere')]);
  });
});
