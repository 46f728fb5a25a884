/**
 * `npm run bench [-- --only w1|state --rounds 3 --events 2040000 --json]`: the engine against the same work written by hand.
 * Whole processes, in turn, medians. Only the ratio says much: figures of one machine mean little on another.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { cpus, loadavg, tmpdir, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { interleaved, median, type Run, type Side } from './measure.ts';
import { type CheckpointCost, measureState, type StateCost } from './state.ts';
import { generate } from './w1/generate.ts';

interface Row {
  readonly name: string;
  readonly eventsPerSecond: number;
  readonly slowest: number;
  readonly fastest: number;
  readonly cpuSecondsPerMillion: number;
  readonly peakMb: number;
  readonly results: number;
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const { values: given } = parseArgs({
  options: {
    only: { type: 'string', default: 'w1' },
    rounds: { type: 'string', default: '3' },
    events: { type: 'string', default: '2040000' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = count('rounds', given.rounds);
const events = count('events', given.events);
if (!['w1', 'state'].includes(given.only)) stop(`There is no benchmark \`${given.only}\`. There are: w1, state.`);

const main = here('../../dist/cli/main.js');
if (!existsSync(main)) stop('There is no build to measure. Run `npm run build` first.');
const folder = `${tmpdir()}/penstock-bench`;
mkdirSync(folder, { recursive: true });
if (given.only === 'state') {
  const cost = await measureState(main, folder, { events, rounds }, tell);
  if (given.json)
    process.stdout.write(`${JSON.stringify({ benchmark: 'state', machine: machine(), rounds, ...cost })}\n`);
  else printState(cost);
  process.exit(0);
}
const input = `${folder}/w1-${events}.jsonl`;
if (!existsSync(input)) {
  tell(`making ${events} events in ${input}`);
  generate(input, events);
}

const runs = await interleaved(sides(), rounds, folder, tell);
const all = [...runs.values()].flat();
if (new Set(all.map(({ digest }) => digest)).size !== 1) {
  stop(
    `The sides do not agree on the results: ${all.map(({ digest, results }) => `${digest} (${results})`).join(', ')}.`,
  );
}
if (all[0]!.results === 0) stop('There are no results: the comparison would be void.');
const rows = [...runs].map(([name, of]) => row(name, of));
const ratio = rows[1]!.eventsPerSecond / rows[0]!.eventsPerSecond;
if (given.json)
  process.stdout.write(`${JSON.stringify({ benchmark: 'w1', machine: machine(), events, rounds, rows, ratio })}\n`);
else print();

function sides(): Side[] {
  const bare = `${folder}/w1-bare.jsonl`;
  const penstock = `${folder}/w1-penstock.jsonl`;
  const state = `${folder}/w1-state`;
  return [
    { name: 'bare Node', arguments: [here('w1/bare.mjs'), input, bare], environment: {}, output: bare },
    {
      name: 'penstock',
      arguments: [main, 'run', here('w1/w1.yaml'), '--state', state],
      environment: { W1_INPUT: input, W1_OUTPUT: penstock },
      output: penstock,
      clear: [state],
    },
  ];
}

function row(name: string, of: readonly Run[]): Row {
  const speeds = of.map(({ seconds }) => Math.round(events / seconds));
  return {
    name,
    eventsPerSecond: Math.round(median(speeds)),
    slowest: Math.min(...speeds),
    fastest: Math.max(...speeds),
    cpuSecondsPerMillion: Number(((median(of.map(({ cpuSeconds }) => cpuSeconds)) / events) * 1e6).toFixed(2)),
    peakMb: Math.round(median(of.map(({ peakMb }) => peakMb))),
    results: of[0]!.results,
  };
}

function print(): void {
  const { model, cores, memoryGb, node, load } = machine();
  const table = [
    ['', 'events/s', '(slowest – fastest)', 'CPU s per million', 'peak MB'],
    ...rows.map((r) => [
      r.name,
      r.eventsPerSecond.toLocaleString('en'),
      `${r.slowest.toLocaleString('en')} – ${r.fastest.toLocaleString('en')}`,
      String(r.cpuSecondsPerMillion),
      String(r.peakMb),
    ]),
  ];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((line) => line[i]!.length)));
  const text = table.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
  );
  process.stdout.write(
    `W1: ${events.toLocaleString('en')} readings, file to file, 1-minute windows; whole processes, median of ${rounds}, in turn\n` +
      `${model}, ${cores} cores, ${memoryGb} GB, load ${load}, Node ${node}\n\n${text.join('\n')}\n\n` +
      `Both gave the same ${rows[0]!.results.toLocaleString('en')} results. penstock runs at ${ratio.toFixed(2)} of the speed of bare Node.\n`,
  );
}

function printState(cost: StateCost): void {
  const { model, cores, load, node } = machine();
  const figure = (n: number) => n.toLocaleString('en');
  process.stdout.write(
    `${figure(cost.events)} readings of ${figure(cost.keys)} live keys, a checkpoint every second and none; whole processes, median of ${rounds}, in turn\n` +
      `${model}, ${cores} cores, load ${load}, Node ${node}\n\n` +
      cost.checkpoints.map((one) => `${mixOf(one)}\n`).join('\n') +
      `ready after ${figure(cost.restartMs)} ms with that state, ${figure(cost.startMs)} ms without any\n`,
  );
}

function mixOf({ mix, pausesMsWith, pausesMsWithout, ...speeds }: CheckpointCost): string {
  const share = (a: number, b: number) => `${((100 * a) / b).toFixed(1)} %`;
  const figure = (n: number) => n.toLocaleString('en');
  const pause = ({ p50, p99, max }: typeof pausesMsWith) => `${p50} / ${p99} / ${max} ms`;
  return (
    `${mix === 'all' ? 'Most keys' : 'About a tenth of the keys'} changed from checkpoint to checkpoint:\n` +
    `  throughput ${figure(speeds.with)}/s with checkpoints, ${figure(speeds.without)}/s without: ${share(speeds.with, speeds.without)}\n` +
    `  per second of processor time ${figure(speeds.cpuWith)} with, ${figure(speeds.cpuWithout)} without: ${share(speeds.cpuWith, speeds.cpuWithout)}\n` +
    `  pauses, median / 99 % / longest: ${pause(pausesMsWith)} with, ${pause(pausesMsWithout)} without\n`
  );
}

function machine() {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  return { model, cores: cpus().length, memoryGb, node: process.versions.node, load: loadavg()[0]!.toFixed(1) };
}

function count(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    stop(`\`--${name}\` is \`${text}\`; expected a whole number above 0.`);
  return number;
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

function stop(message: string): never {
  tell(message);
  process.exit(1);
}
