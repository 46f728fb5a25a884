import pc from 'picocolors';
import type { EventTime, PartitionTime, StepDue } from '../engine/event-time.ts';
import type { Status } from '../engine/status.ts';
import { Exit, exitCodes } from './exit.ts';
import { folderOf, type StateFlags } from './state.ts';
import { isAlive, readStatusFile, type StatusFile } from './status-file.ts';

/**
 * `penstock why`: says of each task of a running topology where its event time stands, which partition holds it back, what waits for it,
 * and what would make it fire. Reads what the run wrote into its state folder within the last second; of one that has ended, the end.
 */
export async function whyCommand(given: string | undefined, flags: StateFlags): Promise<void> {
  const folder = await folderOf(given, flags);
  const file = readStatusFile(folder);
  if (file === undefined) {
    throw new Exit(
      exitCodes.failed,
      `No run has left its status in ${folder}. Start the topology with \`penstock run\`, or name the folder of its state with --state.`,
    );
  }
  const running = isAlive(file);
  if (flags.json) {
    const { topology, time, partitions } = file.status;
    const lag = Object.fromEntries(partitions.flatMap((one) => (one.lag === undefined ? [] : [[one.name, one.lag]])));
    process.stdout.write(
      `${JSON.stringify({ version: 1, topology, at: file.at, pid: file.pid, running, time, lag })}\n`,
    );
  } else process.stdout.write(`${describe(file, running).join('\n')}\n`);
}

function describe({ status, at, pid }: StatusFile, running: boolean): string[] {
  const { topology, time } = status;
  const who = running ? `process ${pid}` : `process ${pid}, which has ended`;
  const lines = [`${pc.bold(topology)} ${pc.dim(`as of ${iso(at)}, ${who}`)}`];
  lines.push(...unread(status.partitions));
  if (time.length === 0) lines.push('', 'Nothing in it works on event time, or no partition has come yet.');
  for (const task of time) lines.push('', pc.bold(task.task), ...explain(task, at).map((line) => `  ${line}`));
  return lines;
}

/** How far the input is read behind its end, where sources tell: the partitions that are furthest behind. */
function unread(partitions: Status['partitions']): string[] {
  const known = partitions.filter((one): one is typeof one & { lag: number } => one.lag !== undefined);
  if (known.length === 0) return [];
  const behind = known.filter(({ lag }) => lag > 0).sort((a, b) => b.lag - a.lag);
  if (behind.length === 0) return ['', 'All that has come is read.'];
  const total = behind.reduce((sum, { lag }) => sum + lag, 0);
  const most = behind.slice(0, shown).map(({ name, lag }) => `${pc.yellow(name)} ${lag}`);
  const more = behind.length > shown ? ` and ${behind.length - shown} more` : '';
  return ['', `Still to be read: ${total}, of ${most.join(', ')}${more}.`];
}

/** Why what waits in a task has not fired at `now`, in sentences. */
export function explain(task: EventTime, now: number): string[] {
  const { watermark, awaited, partitions, due, heldBy } = task;
  const lines = [watermark === undefined ? 'Event time has not begun.' : `Event time is ${iso(watermark)}.`];
  for (const source of awaited)
    lines.push(`No partition of the source \`${source}\` has come yet: event time waits for it.`);
  const held = partitions.filter(({ name }) => heldBy.includes(name));
  for (const partition of held.slice(0, shown))
    lines.push(`It is held back by ${pc.yellow(partition.name)}: ${standing(partition, now)}`);
  if (held.length > shown) lines.push(`… and by ${held.length - shown} more.`);
  if (held.length === 0 && awaited.length === 0) lines.push(withoutHolder(partitions));
  if (due.length === 0) lines.push('No window is open.');
  for (const step of due) lines.push(waiting(step, watermark));
  const next = Math.min(...due.map(({ at }) => at));
  if (due.length > 0) lines.push(...remedies(partitions, next, now));
  return lines;
}

const shown = 5;

function standing({ newest, outOfOrderMs, idleMs, silentSince }: PartitionTime, now: number): string {
  const record = newest === undefined ? 'it has had no record with a time' : `its newest record is of ${iso(newest)}`;
  const bound = outOfOrderMs > 0 && newest !== undefined ? `, less \`outOfOrder\` ${length(outOfOrderMs)}` : '';
  const silence =
    silentSince === undefined ? 'it is not at its end' : `it has been silent for ${length(now - silentSince)}`;
  const rule = idleMs === undefined ? 'it has no `idle`' : `its \`idle\` is ${length(idleMs)}`;
  return `${record}${bound}; ${silence}; ${rule}.`;
}

function withoutHolder(partitions: readonly PartitionTime[]): string {
  if (partitions.every(({ ended }) => ended)) return 'All its partitions have ended.';
  return 'All its partitions are idle: event time follows the clock, `outOfOrder` and `idle` behind it, as far as something is due.';
}

function waiting({ step, at, keys, times }: StepDue, watermark: number | undefined): string {
  const ahead = watermark === undefined ? '' : `, ${length(at - watermark)} from here`;
  const more = times > 1 ? `; ${times - 1} later times are waited for` : '';
  return `${pc.cyan(step)}: ${keys} ${keys === 1 ? 'key waits' : 'keys wait'} for event time ${iso(at)}${ahead}${more}.`;
}

/** What has to happen before event time can reach `due`: every partition that is behind has to move, fall silent or end. */
function remedies(partitions: readonly PartitionTime[], due: number, now: number): string[] {
  const behind = partitions.filter(({ idle, ended, watermark }) => !idle && !ended && (watermark ?? -Infinity) < due);
  if (behind.length === 0) return [];
  const lines = behind.slice(0, shown).map(({ name, outOfOrderMs, idleMs, silentSince }) => {
    const record = `shows a record of ${iso(due + outOfOrderMs)} or later`;
    if (idleMs === undefined)
      return `- ${name} ${record}. (It has no \`idle\`: with \`idle: 30s\` in its source's \`time\`, silence will do.)`;
    const left = silentSince === undefined ? undefined : Math.max(0, silentSince + idleMs - now);
    return `- ${name} ${record}, or ${left === undefined ? `is silent for ${length(idleMs)}` : `stays silent for ${length(left)} more`}.`;
  });
  if (behind.length > shown) lines.push(`- … and ${behind.length - shown} more do the like.`);
  return ['The next window closes once', ...lines];
}

function iso(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`;
}

/** A length of time as people say it: `850ms`, `12.5s`, `3m20s`, `2h5m`, `4d3h`. */
export function length(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${Math.floor(ms / 100) / 10}s`;
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const;
  const first = units.findIndex(([, unit]) => ms >= unit);
  let rest = ms;
  return units
    .slice(first, first + 2)
    .map(([name, unit]) => {
      const count = Math.floor(rest / unit);
      rest -= count * unit;
      return count > 0 ? `${count}${name}` : '';
    })
    .join('');
}
