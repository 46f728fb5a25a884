import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { catalogue } from '../operators/index.ts';
import { lintFiles } from '../src/cli/lint.ts';

const root = new URL('..', import.meta.url).pathname;
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'penstock-examples-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs an example as a reader would, in an empty folder. `penstock` is the build of this package. */
async function run(example: string): Promise<string> {
  if (!existsSync(join(root, 'dist/src/index.js'))) throw new Error('There is no build: run `npm run build` first.');
  const tsx = join(root, 'node_modules/tsx/dist/loader.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', tsx, join(root, 'examples', example)], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: '1' },
  });
  return stdout;
}

describe('an example', () => {
  test('01-embed prints the alarms of three generators', async () => {
    const output = await run('01-embed/alarms.ts');
    for (const generator of ['generator1', 'generator2', 'generator3'])
      expect(output).toContain(`generatorID: '${generator}'`);
    expect(output).toContain("alarm: 'refuel'");
    expect(output).toContain("alarm: 'no action'");
  });

  test('02-own-operator turns Fahrenheit into Celsius', async () => {
    const lines = (await run('02-own-operator/celsius.ts')).trim().split('\n');
    const readings = lines.map((line) => JSON.parse(line) as { temperature: number });
    expect(readings.length).toBe(3);
    // The simulated engines run at 60 to 95 °F.
    for (const { temperature } of readings) expect(temperature).toBeGreaterThan(10);
    for (const { temperature } of readings) expect(temperature).toBeLessThan(40);
  });

  test('03-keyed-process tells of tanks that have been low for five seconds', async () => {
    const lines = (await run('03-keyed-process/low-fuel.ts')).trim().split('\n');
    const found = lines.map((line) => JSON.parse(line) as { generatorID: string; lowForMs: number; lowest: number });
    expect(found.length).toBeGreaterThan(0);
    for (const { generatorID, lowForMs, lowest } of found) {
      expect(generatorID).toMatch(/^generator[123]$/);
      expect(lowForMs).toBe(5_000);
      expect(lowest).toBeLessThan(500);
    }
  });

  test('04-service runs two topologies, tells of their health, and drains one of them', async () => {
    const output = await run('04-service/service.ts');
    expect(output).toContain('hot { generatorID:');
    expect(output).toContain("health 200 [ 'running', 'running' ]");
    expect(output).toMatch(/drained [123] drained/);
  });

  test('every folder of examples has its test here', () => {
    const tested = readFileSync(new URL(import.meta.url).pathname, 'utf8');
    for (const name of readdirSync(join(root, 'examples'))) expect(tested).toContain(`${name}/`);
  });
});

describe('the README', () => {
  test('holds only topologies that are right', () => {
    expect(lintFiles([join(root, 'README.md')], { catalogue, env: {} }).problems).toEqual([]);
    expect(readme.match(/^```yaml/gm)?.length).toBeGreaterThan(0);
  });

  test('shows the embedding example as it runs', () => {
    expect(readme).toContain(readFileSync(join(root, 'examples/01-embed/alarms.ts'), 'utf8').trim());
  });

  test('names only commands and flags that there are', async () => {
    const commands = [...readme.matchAll(/(?:penstock|npx penstock) ([a-z-]+)((?: [^\n`]*)?)/g)];
    const { stdout: help } = await promisify(execFile)(process.execPath, [join(root, 'dist/cli/main.js'), '--help']);
    for (const [, command, rest] of commands) {
      expect(help).toMatch(new RegExp(`^ +${command} `, 'm'));
      const { stdout } = await promisify(execFile)(process.execPath, [
        join(root, 'dist/cli/main.js'),
        command!,
        '--help',
      ]);
      for (const [flag] of rest!.matchAll(/--[a-z-]+/g)) expect(stdout).toContain(flag);
    }
    expect(commands.length).toBeGreaterThan(3);
  });
});
