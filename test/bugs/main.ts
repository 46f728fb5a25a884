/**
 * Are the judges awake? Puts one bug after another into a copy of the code and runs the tests that have to catch it:
 * `npm run bugs`, or `npm run bugs -- journal` for those whose name has that word. Ends with code 1 when a bug lives.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bugs, type SeededBug } from './list.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const limitMs = 300_000;
const words = process.argv.slice(2);
const chosen = bugs.filter(({ name }) => words.every((word) => name.includes(word)));

const parent = mkdtempSync(join(tmpdir(), 'penstock-bugs-'));
const copy = join(parent, 'main');
let alive = 0;
try {
  for (const part of [
    'src',
    'operators',
    'topologies',
    'examples',
    'test',
    'package.json',
    'tsconfig.json',
    'vitest.config.ts',
  ]) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  symlinkSync(join(root, '../shared'), join(parent, 'shared'));
  for (const bug of chosen) {
    const began = performance.now();
    const caught = isCaught(bug);
    if (!caught) alive++;
    const took = ((performance.now() - began) / 1_000).toFixed(0);
    process.stdout.write(`${caught ? 'caught' : 'ALIVE '} ${bug.name} (${bug.caughtBy.join(', ')}, ${took} s)\n`);
  }
} finally {
  rmSync(parent, { recursive: true, force: true });
}
process.stdout.write(`${chosen.length} seeded bugs, ${chosen.length - alive} caught\n`);
process.exitCode = alive === 0 && chosen.length > 0 ? 0 : 1;

function isCaught({ name, file, find, replace, caughtBy }: SeededBug): boolean {
  const path = join(copy, file);
  const sound = readFileSync(path, 'utf8');
  const places = sound.split(find).length - 1;
  if (places !== 1) throw new Error(`The code for "${name}" stands ${places} times in ${file}; expected once.`);
  writeFileSync(
    path,
    sound.replace(find, () => replace),
  );
  try {
    const { status, error } = spawnSync('npx', ['vitest', 'run', '--bail', '1', ...caughtBy], {
      cwd: copy,
      stdio: 'ignore',
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    // Tests have limits of their own: one that goes on for ever has not caught it.
    return error === undefined && status !== 0;
  } finally {
    writeFileSync(path, sound);
  }
}
