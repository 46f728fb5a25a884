import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import pc from 'picocolors';
import { catalogue } from '../../operators/index.ts';
import { definitionOf } from '../engine/graph.ts';
import { readIdleLog } from '../engine/idle-log.ts';
import { Run } from '../engine/run.ts';
import { MemoryStore } from '../engine/store.ts';
import type { IdleStep } from '../engine/task.ts';
import { RunError } from '../errors.ts';
import type { Log, SinkDefinition, SourceDefinition } from '../operator.ts';
import { systemPorts } from '../ports/system.ts';
import { idleFolder, stateFolder } from '../runtime.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import { planHash } from '../topology/plan-json.ts';
import { Exit, exitCodes } from './exit.ts';
import { findTopology, type LoadFlags, loadOrExit, readEnvFiles } from './load.ts';
import { createLog, type Level } from './log.ts';
import { type Difference, diffById, diffByValue, type Published } from './replay-diff.ts';
import {
  type Range,
  type Replayed,
  type ReplayRequest,
  replayPlan,
  sourcesOf,
  type Take,
  unreplayable,
} from './replay-plan.ts';
import { showProgress } from './replay-progress.ts';
import { checkedDuration } from './run.ts';

export interface ReplayFlags extends LoadFlags {
  readonly from?: string;
  readonly to?: string;
  readonly grace: string;
  readonly source: readonly string[];
  readonly sink: string;
  readonly diff?: boolean;
  readonly flush?: boolean;
  readonly withIdleLog?: boolean;
  /** State folder of the live run: what its sources have kept is read there. */
  readonly state?: string;
  readonly json?: boolean;
  readonly logLevel: Level;
}

/**
 * `penstock replay`: reads part of the input again, as a reader of its own and with state of its own, and prints what the sinks would
 * have written. With `--diff` compares that with what they have written, and ends with code 1 when it is not the same.
 */
export async function replayCommand(given: string | undefined, flags: ReplayFlags): Promise<void> {
  readEnvFiles(flags.envFile);
  const plan = await loadOrExit(findTopology(given), flags);
  const range = rangeOf(flags);
  const sources = chosenSources(plan, flags.source);
  const log = createLog(flags.logLevel);
  warnOfDoubt(plan, log);
  const target = flags.diff ? undefined : outputOf(flags.sink);
  const kept: Replayed[] = [];
  const counts: Record<string, number> = {};
  const take: Take = async (replayed) => {
    for (const { sink } of replayed) counts[sink] = (counts[sink] ?? 0) + 1;
    if (flags.diff) kept.push(...replayed);
    else await target!.write(replayed.map((one) => `${JSON.stringify(lineOf(one))}\n`).join(''));
  };
  const live = flags.sink === 'live';
  const request = {
    range,
    sources,
    reader: readerName(plan),
    take: live ? undefined : take,
    flush: flags.flush,
    state: stateFolder(plan, flags),
    withIdleLog: flags.withIdleLog,
  };
  const { read, tookMs } = await replay(plan, request, log);
  await target?.end();
  const differences = flags.diff ? await differencesOf(plan, kept, range, log) : undefined;
  report({ plan, read, tookMs, counts, differences }, flags.json === true);
  if (differences && differences.length > 0) throw new Exit(exitCodes.failed);
}

function rangeOf({ from, to, grace }: ReplayFlags): Range {
  const range = {
    from: from === undefined ? Number.NEGATIVE_INFINITY : momentOf('--from', from),
    to: to === undefined ? Number.POSITIVE_INFINITY : momentOf('--to', to),
    graceMs: checkedDuration('--grace', grace),
  };
  if (range.from < range.to) return range;
  throw new Exit(exitCodes.usage, `--from ${from} is not before --to ${to}: nothing lies between them.`);
}

/** A moment as a flag gives it, in ms; ends the command with exit code 2 when it is none. */
export function momentOf(flag: string, text: string): number {
  const form = /^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d))?$/;
  const ms = form.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new Exit(
    exitCodes.usage,
    `${flag} takes a moment with its zone, such as 2026-11-01T00:00Z, or a day in UTC, but got \`${text}\`.`,
  );
}

function chosenSources(plan: Plan, given: readonly string[]): string[] {
  const known = sourcesOf(plan).map(({ id }) => id);
  const listed = (ids: readonly string[]) => ids.map((id) => `\`${id}\``).join(', ');
  const unknown = given.find((id) => !known.includes(id));
  if (unknown !== undefined)
    throw new Exit(exitCodes.usage, `There is no source \`${unknown}\`. The sources are ${listed(known)}.`);
  const sources = given.length > 0 ? [...given] : known;
  const [step] = unreplayable(plan, catalogue, sources);
  if (step === undefined) return sources;
  throw new Exit(
    exitCodes.failed,
    `The source \`${step.id}\` cannot be read again: \`${step.operator}\` keeps nothing for that${canKeep(step) ? ', unless `journal` says for how long to `keep` it' : ''}. ` +
      'Choose others with --source, or replay a topology that reads the topic or file where its records went.',
  );
}

function canKeep({ operator }: PlanStep): boolean {
  const { replays }: SourceDefinition = definitionOf(catalogue, 'source', operator);
  return typeof replays === 'function';
}

function warnOfDoubt(plan: Plan, log: Log): void {
  for (const step of plan.streams.flatMap(({ steps }) => steps)) {
    const { time } = (step.options ?? {}) as { time?: unknown };
    if (step.kind === 'source' && isArrival(time) && !keepsArrival(step))
      log.warn('Records get new arrival times in a replay, so its windows are not those of the live run', {
        source: step.id,
      });
    if (step.kind !== 'step') continue;
    const reason = definitionOf(catalogue, 'step', step.operator).notReplayable?.(step.options as never);
    if (reason !== undefined) log.warn(`A replay may give other results: ${reason}`, { step: step.id });
  }
}

function isArrival(time: unknown): boolean {
  return time === 'arrival' || (time as { from?: unknown } | undefined)?.from === 'arrival';
}

function keepsArrival({ operator }: PlanStep): boolean {
  const definition: SourceDefinition = definitionOf(catalogue, 'source', operator);
  return definition.keepsArrival === true;
}

// Something that no other reader has, also when two replays run at once.
function readerName({ name }: Plan): string {
  return `penstock-replay-${name}-${randomUUID().slice(0, 8)}`;
}

/** Runs a replay to its end. Rejects with what ended it otherwise. */
export async function replay(plan: Plan, request: ReplayRequest, log: Log): Promise<{ read: number; tookMs: number }> {
  const began = performance.now();
  const idleSteps = request.withIdleLog ? await idleStepsOf(request.state!, log) : undefined;
  const replayed = replayPlan(plan, catalogue, request);
  const run = await Run.start({
    ...replayed,
    topologyHash: planHash(plan),
    ports: systemPorts(),
    log,
    store: new MemoryStore(),
    openJournal: () => Promise.reject(new RunError('A replay keeps no journal.')),
    journals: join(request.state ?? stateFolder(plan, {}), 'journal'),
    // Nobody goes on from a replay: state is cut only to hold less of it.
    checkpointMs: 60_000,
    mergeByTime: true,
    ...(idleSteps && { idleSteps }),
    onEnd: request.flush === false ? 'hold' : 'flush',
  });
  const interrupted = () => run.kill(new RunError('The replay was interrupted.'));
  process.once('SIGINT', interrupted);
  const progress = showProgress(run, request.range);
  try {
    await run.done;
  } finally {
    process.off('SIGINT', interrupted);
    progress.end();
  }
  const read = run.status().partitions.reduce((sum, partition) => sum + partition.read, 0);
  return { read, tookMs: performance.now() - began };
}

async function idleStepsOf(state: string, log: Log): Promise<Map<string, IdleStep[]>> {
  const { disk, clock } = systemPorts();
  const found = await readIdleLog(disk, idleFolder(state), clock);
  if (found.size === 0)
    log.warn('The run has kept no steps over silent inputs: the replay takes none. Is this its state folder?', {
      state,
    });
  return found;
}

interface Output {
  write(text: string): Promise<void>;
  end(): Promise<void>;
}

/** Where the results go: standard output, a new file, or, with `live`, nowhere, as the sinks write them. */
function outputOf(sink: string): Output | undefined {
  if (sink === 'live') return undefined;
  // Never over a file that is there: it may be what a live sink writes to.
  const stream = sink === 'print' ? process.stdout : createWriteStream(sink, { flags: 'wx' });
  const failed = new Promise<never>((_, reject) =>
    stream.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new RunError(
          `The results cannot be written to ${sink}: ${error.code === 'EEXIST' ? 'the file is there already. Name a new one' : error.message}.`,
        ),
      ),
    ),
  );
  failed.catch(() => undefined);
  return {
    async write(text) {
      if (!stream.write(text)) await Promise.race([once(stream, 'drain'), failed]);
    },
    async end() {
      if (stream === process.stdout) return;
      await Promise.race([new Promise<void>((resolve) => (stream as WriteStream).end(resolve)), failed]);
    },
  };
}

function lineOf({ sink, id, record }: Replayed): unknown {
  const { key, time, window, value } = record;
  return {
    sink,
    id,
    ...(key !== undefined && { key }),
    ...(Number.isFinite(time) && { time }),
    ...(window && { window: { start: window.start, end: window.end } }),
    value: value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
  };
}

/** Reads what each sink has written, and compares. Sinks whose target cannot be read are named and left out. */
async function differencesOf(plan: Plan, replayed: readonly Replayed[], range: Range, log: Log): Promise<Difference[]> {
  const differences: Difference[] = [];
  let compared = 0;
  for (const step of plan.streams.flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'sink'))) {
    const definition: SinkDefinition = definitionOf(catalogue, 'sink', step.operator);
    const back = definition.readBack?.(step.options);
    if (back === undefined) {
      log.warn('This sink is not compared: what it has written cannot be read again', { sink: step.id });
      continue;
    }
    compared++;
    const made = replayed.filter(({ sink }) => sink === step.id);
    const there = await publishedOf(step, back.source, back.options, back.idHeader, range, log);
    const whole = range.from === Number.NEGATIVE_INFINITY && range.to === Number.POSITIVE_INFINITY;
    differences.push(
      ...(back.idHeader === undefined
        ? diffByValue(step.id, made, there, whole)
        : diffById(step.id, made, there, range, plan)),
    );
  }
  if (compared > 0) return differences;
  throw new Exit(
    exitCodes.failed,
    'There is nothing to compare: no sink of the topology has a target that can be read again.',
  );
}

async function publishedOf(
  step: PlanStep,
  operator: string,
  options: unknown,
  idHeader: string | undefined,
  { from }: Range,
  log: Log,
): Promise<Published[]> {
  const source: PlanStep = { kind: 'source', id: `${step.id} read back`, operator, options };
  const sink: PlanStep = { kind: 'sink', id: 'published', operator: step.operator, options: step.options };
  const plan: Plan = {
    version: 1,
    name: 'published',
    streams: [{ name: 'published', from: [], steps: [source, sink] }],
  };
  const published: Published[] = [];
  await replay(
    plan,
    {
      range: { from, to: Number.POSITIVE_INFINITY, graceMs: 0 },
      sources: [source.id],
      reader: readerName(plan),
      take(records) {
        for (const { sink: id, record } of records) {
          if (id !== 'published') continue;
          const { meta, time, value } = record;
          const header = idHeader === undefined ? undefined : meta?.headers?.[idHeader];
          published.push({ id: Array.isArray(header) ? header.at(-1) : (header as string | undefined), time, value });
        }
      },
    },
    log,
  );
  return published;
}

interface Report {
  readonly plan: Plan;
  readonly read: number;
  readonly tookMs: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly differences: readonly Difference[] | undefined;
}

function report({ plan, read, tookMs, counts, differences }: Report, json: boolean): void {
  if (json) {
    const found = differences && { differences, same: differences.length === 0 };
    process.stdout.write(
      `${JSON.stringify({ version: 1, topology: plan.name, read, tookMs, results: counts, ...found })}\n`,
    );
    return;
  }
  for (const { kind, sink, id, replayed, published } of differences ?? []) {
    const color = { missing: pc.red, extra: pc.yellow, different: pc.magenta }[kind];
    const values = [
      replayed !== undefined && `replayed ${JSON.stringify(replayed)}`,
      published !== undefined && `published ${JSON.stringify(published)}`,
    ];
    process.stdout.write(`${color(kind.padEnd(9))} ${sink}  ${id ?? ''}  ${values.filter(Boolean).join(', ')}\n`);
  }
  const lines = [`${plan.name}: ${read} records read again in ${(tookMs / 1_000).toFixed(1)} s`];
  for (const [sink, count] of Object.entries(counts)) lines.push(`  ${sink}: ${count} results`);
  if (differences)
    lines.push(
      differences.length === 0
        ? pc.green('  The same as was published.')
        : pc.red(`  ${differences.length} differences.`),
    );
  process.stderr.write(`${lines.join('\n')}\n`);
}
