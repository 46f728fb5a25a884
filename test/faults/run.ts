/**
 * `npm run faults [-- --kill-points --damage 1000 --full-disk --rounds 3]`: the fault programs in full, with what they found.
 * Without a flag all of them. Ends with code 1 when anything was lost, wrong or unnamed.
 */
import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { damageState } from './flips.ts';
import { fillDisk } from './full-disk.ts';
import { cycle, killAt } from './kill-points.ts';
import { Workload } from './workload.ts';

const { values: given } = parseArgs({
  options: {
    'kill-points': { type: 'boolean' },
    damage: { type: 'string' },
    'full-disk': { type: 'boolean' },
    rounds: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
  },
});
const all = !given['kill-points'] && given.damage === undefined && !given['full-disk'];
let bad = 0;
if (all || given['kill-points']) await killPoints(Number(given.rounds));
if (all || given.damage !== undefined) await damage(Number(given.damage ?? 1_000), Number(given.seed));
if (all || given['full-disk']) await fullDisk(Number(given.rounds));
process.exitCode = bad === 0 ? 0 : 1;

async function killPoints(rounds: number): Promise<void> {
  const points = await cycle();
  for (const point of points) {
    const problems: string[] = [];
    for (let round = 0; round < rounds; round++) problems.push(...(await killAt(point)));
    tell(
      `${point.call} ${point.nth} on ${point.file}: ${problems.length === 0 ? 'nothing lost' : problems.join('; ')}`,
    );
    bad += problems.length;
  }
  tell(`${points.length} kill points of one checkpoint cycle, ${rounds} times each: ${bad} problems`);
}

async function damage(faults: number, seed: number): Promise<void> {
  const counts = new Map<string, Record<string, number>>();
  for await (const { file, what, outcome, said } of damageState(faults, seed)) {
    const kind = file.startsWith('journal') ? 'journal' : file;
    const of = counts.get(kind) ?? {};
    of[outcome] = (of[outcome] ?? 0) + 1;
    counts.set(kind, of);
    if (outcome !== 'wrong') continue;
    bad++;
    tell(`WRONG: ${file}, ${what}: ${said}`);
  }
  tell(`${faults} bit flips and truncations (seed ${seed}):`);
  for (const [kind, of] of counts) tell(`  ${kind}: ${JSON.stringify(of)}`);
}

async function fullDisk(rounds: number): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    const workload = new Workload();
    const { code, readWhileFull, resumedMs } = await fillDisk(workload);
    const problems = workload.wrong().length + Number(code !== 0) + Number(readWhileFull !== 0);
    tell(`full disk, round ${round}: ${problems} problems, took in ${readWhileFull}, went on after ${resumedMs} ms`);
    bad += problems;
    rmSync(workload.folder, { recursive: true });
  }
}

function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}
