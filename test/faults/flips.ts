import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { seededRandom } from '../../src/ports/memory.ts';
import { type Ended, program, Workload } from './workload.ts';

/** What a fault did: the result was right, with or without a word of it, or the run refused and named the file. */
export type Outcome = 'without effect' | 'recovered' | 'refused' | 'wrong';

/** One fault in one state file, and what came of it. */
export interface Fault {
  readonly file: string;
  readonly what: string;
  readonly outcome: Outcome;
  readonly said: string;
}

/** Damages the state of a run that was killed half-way, once per fault, and lets it go on each time. The same seed gives the same faults. */
export async function* damageState(faults: number, seed = 1): AsyncGenerator<Fault> {
  const random = seededRandom(seed);
  const before = await killedHalfWay();
  const server = new Server();
  const files = stateFiles(before.state);
  // A checkpoint knows its output by its path: each fault happens in the same folder.
  const whole = mkdtempSync(join(tmpdir(), 'penstock-flip-'));
  cpSync(before.folder, whole, { recursive: true });
  const { folder } = before;
  for (let n = 0; n < faults; n++) {
    rmSync(folder, { recursive: true });
    cpSync(whole, folder, { recursive: true });
    const workload = new Workload(3_000, folder);
    // Most of the bytes are in one file: each file gets its share, and the one with the state the most.
    const file = random() < 0.6 ? 'state.mdb' : files[Math.floor(random() * files.length)]!;
    const what = damage(join(workload.state, file), random);
    const ended = await server.run(folder);
    yield { file, what, outcome: judge(workload, ended, file), said: ended.said };
  }
  server.close();
  rmSync(folder, { recursive: true });
  rmSync(whole, { recursive: true });
}

async function killedHalfWay(): Promise<Workload> {
  const workload = new Workload();
  const { signal, said } = await workload.run(['env', 'DIE_AT=2100']);
  if (signal !== 'SIGKILL') throw new Error(`It was to die half-way: ${said}`);
  return workload;
}

function stateFiles(state: string): string[] {
  return readdirSync(state, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(state, join(entry.parentPath, entry.name)))
    .filter((name) => !name.includes('dead-letters') && statSync(join(state, name)).size > 0)
    .sort();
}

function damage(path: string, random: () => number): string {
  const { size } = statSync(path);
  if (random() < 0.1) {
    const length = Math.floor(random() * size);
    truncateSync(path, length);
    return `cut off at byte ${length} of ${size}`;
  }
  const content = readFileSync(path);
  const at = Math.floor(random() * size);
  const bit = Math.floor(random() * 8);
  content[at]! ^= 1 << bit;
  writeFileSync(path, content);
  return `bit ${bit} of byte ${at} of ${size} flipped`;
}

function judge(workload: Workload, { code, said }: Ended, file: string): Outcome {
  if (code === 1) return said.includes(file) ? 'refused' : 'wrong';
  if (code !== 0 || workload.wrong().length > 0) return 'wrong';
  return /damaged|torn/.test(said) ? 'recovered' : 'without effect';
}

/** A process that works in one folder after another. One that crashes is replaced. */
class Server {
  #child: ReturnType<typeof spawn> | undefined;
  #lines: Interface | undefined;

  async run(folder: string): Promise<Ended> {
    if (this.#child === undefined) {
      this.#child = spawn(process.execPath, [program, '--serve'], { stdio: ['pipe', 'pipe', 'ignore'] });
      this.#lines = createInterface({ input: this.#child.stdout! });
    }
    const child = this.#child;
    return new Promise((resolve) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      const crashed = (code: number | null, signal: NodeJS.Signals | null) => {
        clearTimeout(timer);
        this.#child = undefined;
        resolve({ code, signal, said: `crashed or hung: ${code ?? signal}` });
      };
      child.once('exit', crashed);
      this.#lines!.once('line', (line) => {
        clearTimeout(timer);
        child.off('exit', crashed);
        resolve(JSON.parse(line) as Ended);
      });
      child.stdin!.write(`${folder}\n`);
    });
  }

  close(): void {
    this.#child?.stdin?.end();
  }
}
