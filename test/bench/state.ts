import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../src/ports/memory.ts';
import { interleaved, median, type Run, type Side } from './measure.ts';

const keys = 100_000;
const topology = fileURLToPath(new URL('./state.yaml', import.meta.url));

/** Which keys come how often. */
type Mix = 'all' | 'tenth';

/** What checkpoints cost when records come in one mix of keys. Speeds are events per second, of time and of processor time in all threads. */
export interface CheckpointCost {
  readonly mix: Mix;
  readonly with: number;
  readonly without: number;
  readonly cpuWith: number;
  readonly cpuWithout: number;
  /** How long nothing else could be done: half of the times, 99 % of them and all of them were shorter. */
  readonly pausesMsWith: Run['pausesMs'];
  readonly pausesMsWithout: Run['pausesMs'];
}

/** What checkpoints of a state of 100,000 keys cost, and how long a restart with it takes. */
export interface StateCost {
  readonly keys: number;
  readonly events: number;
  readonly checkpoints: readonly CheckpointCost[];
  /** From the start of a process to the moment when it reads on, with and without that state, in ms. */
  readonly restartMs: number;
  readonly startMs: number;
}

/**
 * Measures with whole processes, in turn; all keys are live. In one mix any key may come next, so that a checkpoint finds most of them changed;
 * in the other most records are of a few keys, which change slowly, so that it finds about a tenth.
 */
export async function measureState(
  main: string,
  folder: string,
  { events, rounds }: { events: number; rounds: number },
  tell: (line: string) => void,
): Promise<StateCost> {
  const checkpoints: CheckpointCost[] = [];
  const inputs = (['all', 'tenth'] as const).map((mix) => ({ mix, input: `${folder}/state-${mix}-${events}.jsonl` }));
  for (const { mix, input } of inputs) {
    if (!existsSync(input)) {
      tell(`making ${events} events of ${keys} keys in ${input}`);
      generate(input, events, mix);
    }
    tell(`keys that change from checkpoint to checkpoint: ${mix}`);
    const sides = ['1s', '1h'].map((every) => side(main, folder, input, every));
    const [having, lacking] = [...(await interleaved(sides, rounds, folder, tell)).values()];
    if (new Set([...having!, ...lacking!].map(({ digest }) => digest)).size !== 1)
      throw new Error('The results differ.');
    checkpoints.push({
      mix,
      with: speed(events, having!, 'seconds'),
      without: speed(events, lacking!, 'seconds'),
      cpuWith: speed(events, having!, 'cpuSeconds'),
      cpuWithout: speed(events, lacking!, 'cpuSeconds'),
      pausesMsWith: pauses(having!),
      pausesMsWithout: pauses(lacking!),
    });
  }
  return { keys, events, checkpoints, ...(await restart(main, folder, inputs[0]!.input)) };
}

function generate(path: string, events: number, mix: Mix): void {
  const random = seededRandom(1);
  const file = openSync(path, 'w');
  for (let n = 0; n < events; ) {
    const lines: string[] = [];
    for (const end = Math.min(events, n + 10_000); n < end; n++) {
      const id = `device-${n < keys ? n : Math.floor(mix === 'all' ? random() * keys : busy(random, n))}`;
      lines.push(`{"id":"${id}","ts":${1_700_000_000_000 + n},"value":${Math.floor(random() * 1e6) / 100}}\n`);
    }
    writeSync(file, lines.join(''));
  }
  closeSync(file);
}

// Of 20 records 19 are of 6,000 keys, which are others after some time.
function busy(random: () => number, n: number): number {
  if (random() < 0.05) return random() * keys;
  return (Math.floor(n / 20) + random() * 6_000) % keys;
}

function pauses(runs: readonly Run[]): Run['pausesMs'] {
  const of = (name: keyof Run['pausesMs']) => Number(median(runs.map(({ pausesMs }) => pausesMs[name])).toFixed(1));
  return { p50: of('p50'), p99: of('p99'), max: of('max') };
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
