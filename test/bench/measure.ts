import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** One side of a comparison: a command for Node, run as a whole process. */
export interface Side {
  readonly name: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The file with its results, removed before each run. */
  readonly output: string;
  /** More to remove before each run, such as a state folder. */
  readonly clear?: readonly string[];
}

/** What one run of one side took. */
export interface Run {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMb: number;
  /** For how long at a time nothing else could be done, once it had started. */
  readonly pausesMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly results: number;
  readonly digest: string;
}

const preload = pathToFileURL(fileURLToPath(new URL('./report.mjs', import.meta.url))).href;

/** Runs one side once, from the start of its process to its end. Throws with what it said when it fails. */
export async function run(side: Side, folder: string): Promise<Run> {
  const report = `${folder}/report.json`;
  for (const path of [side.output, report, ...(side.clear ?? [])]) rmSync(path, { recursive: true, force: true });
  const begin = process.hrtime.bigint();
  const child = spawn(process.execPath, ['--import', preload, ...side.arguments], {
    env: { ...process.env, ...side.environment, BENCH_REPORT: report },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text) => {
    said = (said + text).slice(-4000);
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  if (code !== 0) throw new Error(`${side.name} ended with code ${code}:\n${said}`);
  return { seconds, ...JSON.parse(readFileSync(report, 'utf8')), ...digest(side.output) };
}

/** Runs the sides in turn, round by round, so that a change in the machine's mood meets all of them. */
export async function interleaved(
  sides: readonly Side[],
  rounds: number,
  folder: string,
  tell: (line: string) => void,
): Promise<Map<string, Run[]>> {
  const runs = new Map<string, Run[]>(sides.map(({ name }) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const side of sides) {
      const one = await run(side, folder);
      runs.get(side.name)!.push(one);
      tell(`round ${round} of ${rounds}, ${side.name}: ${one.seconds.toFixed(2)} s`);
    }
  }
  return runs;
}

/** The same for the same records, in whatever order they and their fields are. */
export function digest(path: string): { results: number; digest: string } {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  const canonical = lines.map((line) =>
    JSON.stringify(Object.entries(JSON.parse(line)).sort(([a], [b]) => (a < b ? -1 : 1))),
  );
  return {
    results: lines.length,
    digest: createHash('sha256').update(canonical.sort().join('\n')).digest('hex').slice(0, 16),
  };
}

/** The middle one; of two middle ones their mean. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
