import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { watchForSecrets } from '../secrets.ts';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;

/** The command line as users have it: a process of its own, from the build. */
export class Penstock {
  readonly args: readonly string[];
  readonly #env: Record<string, string>;
  #child: ChildProcess | undefined;
  stdout = '';
  stderr = '';
  #exit: Promise<number | string> = Promise.resolve(0);

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    if (!existsSync(main)) throw new Error('There is no build: run `npm run build` first.');
    this.args = args;
    this.#env = env;
  }

  start(): this {
    const child = spawn(process.execPath, [main, ...this.args], {
      env: { ...process.env, ...this.#env },
      stdio: 'pipe',
    });
    this.#child = child;
    // A test that fails half-way leaves nothing running.
    process.once('exit', () => child.kill('SIGKILL'));
    child.stdout.on('data', (text) => {
      this.stdout += text;
      watchForSecrets('printed', this.stdout);
    });
    child.stderr.on('data', (text) => {
      this.stderr += text;
      watchForSecrets('printed', this.stderr);
    });
    this.#exit = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal ?? 'gone')));
    return this;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Exit code, or the signal's name. */
  get exit(): Promise<number | string> {
    return this.#exit;
  }

  async signal(signal: NodeJS.Signals): Promise<number | string> {
    this.#child?.kill(signal);
    return this.#exit;
  }
}

/** Waits until something holds; fails with what `explain` says when it takes too long. */
export async function eventually(
  holds: () => boolean | Promise<boolean>,
  ms: number,
  explain: () => string,
): Promise<void> {
  const end = Date.now() + ms;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(explain());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
