import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const running = new Set<ChildProcess>();
// What fails half-way leaves nothing running.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A process that can be stopped, woken and killed; says so when it ended by itself. */
export class Instance {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly exit: Promise<number | string>;
  /** The command line has said that it runs: from then on a signal ends it in order. */
  ready = false;
  #log = '';
  #told = false;

  constructor(name: string, command: readonly string[], folder: string) {
    mkdirSync(folder, { recursive: true });
    this.name = name;
    const [program, ...args] = command as [string, ...string[]];
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    running.add(child);
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text) => {
        if (String(text).includes('Running')) this.ready = true;
        this.#log = `${this.#log}${text}`.slice(-20_000);
      });
    this.exit = new Promise((resolve) =>
      child.on('close', (code, signal) => {
        running.delete(child);
        resolve(code ?? signal ?? 'gone');
      }),
    );
  }

  /** The last of what it printed. */
  get log(): string {
    return this.#log;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What it ended with, and the last that it said, when nobody had told it to. */
  get fell(): string | undefined {
    if (this.running || this.#told) return undefined;
    return `${this.name} ended by itself with ${this.#child.exitCode ?? this.#child.signalCode}: ${this.#log.slice(-1_500)}`;
  }

  /** Stops it in its tracks, or lets it go on. */
  pause(stopped: boolean): void {
    this.#child.kill(stopped ? 'SIGSTOP' : 'SIGCONT');
  }

  async kill(): Promise<void> {
    this.#told = this.running;
    this.#child.kill('SIGKILL');
    await this.exit;
  }

  /** Ends it in order; gives its exit code, or says that it had to be killed. */
  async end(limitMs = 60_000): Promise<number | string> {
    this.#told = this.running;
    this.#child.kill('SIGTERM');
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), limitMs);
    const code = await this.exit;
    clearTimeout(limit);
    return code;
  }
}

/** The command line from the build, as users have it. Each instance has a folder of its own. */
export function penstock(name: string, file: string, folder: string, state: string): Instance {
  if (!existsSync(main)) throw new Error('There is no build: run `npm run build` first.');
  return new Instance(name, [process.execPath, main, 'run', file, '--state', join(folder, state)], folder);
}
