import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../src/ports/memory.ts';

/** The workload as a program. */
export const program = fileURLToPath(new URL('./workload.mjs', import.meta.url));
const build = fileURLToPath(new URL('../../dist/src/index.js', import.meta.url));

/** How a process of the workload ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}

/** One folder with an input, in which the workload may be started, killed and started again. */
export class Workload {
  readonly folder: string;
  readonly expected: ReadonlySet<string>;

  /** The input is the same for the same count. */
  constructor(records = 3_000, folder = mkdtempSync(join(tmpdir(), 'penstock-faults-'))) {
    if (!existsSync(build)) throw new Error('There is no build: run `npm run build` first.');
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    const random = seededRandom(7);
    const input = Array.from({ length: records }, (_, n) => ({
      id: `g${Math.floor(random() * 20)}`,
      ts: 1_700_000_000_000 + n * 100 - Math.floor(random() * 4_000),
      value: Math.floor(random() * 1_000),
    }));
    writeFileSync(join(folder, 'input.jsonl'), input.map((record) => `${JSON.stringify(record)}\n`).join(''));
    this.expected = evaluate(input);
  }

  get state(): string {
    return join(this.folder, 'state');
  }

  /** Runs it to its end, or to `limitMs`; `wrap` is a command that starts it, such as strace with its arguments. */
  run(wrap: readonly string[] = [], limitMs = 60_000): Promise<Ended> {
    const [command, ...args] = [...wrap, process.execPath, program, this.folder];
    return new Promise((resolve, reject) => {
      const child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
      let said = '';
      child.stderr.on('data', (text) => {
        said += text;
      });
      child.once('error', reject);
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, said });
      });
    });
  }

  /** What is wrong with the output of a run that came to its end; nothing when all results are there and no other. */
  wrong(): string[] {
    const path = join(this.folder, 'out.jsonl');
    const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
    const there = new Set(lines.map(canonical));
    return [
      ...[...this.expected].filter((line) => !there.has(line)).map((line) => `missing: ${line}`),
      ...[...there].filter((line) => !this.expected.has(line)).map((line) => `wrong: ${line}`),
      // The file is cut back to the checkpoint before results are written again.
      ...(lines.length > there.size ? [`${lines.length - there.size} lines stand there twice`] : []),
    ];
  }
}

/** The results as a plain reading of the input gives them: no code of the engine. */
function evaluate(input: readonly { id: string; ts: number; value: number }[]): Set<string> {
  const windows = new Map<string, { id: string; n: number; from: number; to: number; total: number }>();
  for (const { id, ts, value } of input) {
    const name = `${id}/${Math.floor(ts / 10_000)}`;
    const window = windows.get(name) ?? { id, n: 0, from: ts, to: ts, total: 0 };
    windows.set(name, {
      id,
      n: window.n + 1,
      from: Math.min(window.from, ts),
      to: Math.max(window.to, ts),
      total: window.total + value,
    });
  }
  return new Set([...windows.values()].map((window) => canonical(JSON.stringify(window))));
}

function canonical(line: string): string {
  try {
    return JSON.stringify(Object.entries(JSON.parse(line)).sort(([a], [b]) => (a < b ? -1 : 1)));
  } catch {
    return line;
  }
}
