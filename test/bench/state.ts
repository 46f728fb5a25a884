import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../src/ports/memory.ts';
import { interleaved, median, type Run, type Side } from './measure.ts';

const keys = 100_000;
const topology = fileURLToPath(new URL('./state.yaml', import.meta.url));

/** What checkpoints of a state of 100,000 keys cost, and how long a restart with it takes. */
export interface StateCost {
  readonly keys: number;
  readonly events: number;
  /** Events per second with a checkpoint each second, and without one before the end. */
  readonly with: number;
  readonly without: number;
  /** The same in events per second of processor time, of all threads. */
  readonly cpuWith: number;
  readonly cpuWithout: number;
  /** From the start of a process to the moment when it reads on, with and without that state, in ms. */
  readonly restartMs: number;
  readonly startMs: number;
}

/** Measures with whole processes, in turn; all keys are live, and a checkpoint finds most of them changed. */
export async function measureState(
  main: string,
  folder: string,
  { events, rounds }: { events: number; rounds: number },
  tell: (line: string) => void,
): Promise<StateCost> {
  const input = `${folder}/state-${events}.jsonl`;
  if (!existsSync(input)) {
    tell(`making ${events} events of ${keys} keys in ${input}`);
    generate(input, events);
  }
  const sides = ['1s', '1h'].map((every) => side(main, folder, input, every));
  const runs = await interleaved(sides, rounds, folder, tell);
  const [having, lacking] = [...runs.values()];
  if (new Set([...having!, ...lacking!].map(({ digest }) => digest)).size !== 1) throw new Error('The results differ.');
  return {
    keys,
    events,
    with: speed(events, having!, 'seconds'),
    without: speed(events, lacking!, 'seconds'),
    cpuWith: speed(events, having!, 'cpuSeconds'),
    cpuWithout: speed(events, lacking!, 'cpuSeconds'),
    ...(await restart(main, folder, input)),
  };
}

function generate(path: string, events: number): void {
  const random = seededRandom(1);
  const file = openSync(path, 'w');
  for (let n = 0; n < events; ) {
    const lines: string[] = [];
    for (const end = Math.min(events, n + 10_000); n < end; n++) {
      const id = `device-${n < keys ? n : Math.floor(random() * keys)}`;
      lines.push(`{"id":"${id}","ts":${1_700_000_000_000 + n},"value":${Math.floor(random() * 1e6) / 100}}\n`);
    }
    writeSync(file, lines.join(''));
  }
  closeSync(file);
}

function side(main: string, folder: string, input: string, every: string): Side {
  const output = `${folder}/state-${every}.jsonl`;
  const state = `${folder}/state-${every}`;
  return {
    name: `a checkpoint every ${every}`,
    arguments: [main, 'run', topology, '--state', state, '--checkpoint', every],
    environment: { STATE_INPUT: input, STATE_OUTPUT: output },
    output,
    clear: [state],
  };
}

function speed(events: number, runs: readonly Run[], of: 'seconds' | 'cpuSeconds'): number {
  return Math.round(events / median(runs.map((run) => run[of])));
}

/** A run is killed half-way and started again; the first start of all has no state. */
async function restart(main: string, folder: string, input: string): Promise<{ restartMs: number; startMs: number }> {
  const { arguments: args, environment, output, clear } = side(main, folder, input, '1s');
  for (const path of [output, ...clear!]) rmSync(path, { recursive: true, force: true });
  const starts: number[] = [];
  for (const lastsMs of [6_000, 0, 0, 0]) {
    const begin = performance.now();
    const child = spawn(process.execPath, [...args], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    const running = new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (text) => {
        said += text;
        if (said.includes('Running')) resolve();
      });
      child.once('exit', () => reject(new Error(`It ended before it ran: ${said}`)));
    });
    await running;
    starts.push(performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, lastsMs));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
  }
  return { startMs: Math.round(starts[0]!), restartMs: Math.round(median(starts.slice(1))) };
}
