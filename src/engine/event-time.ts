import type { Log } from '../operator.ts';
import type { Silence } from './idle.ts';
import type { Task } from './task.ts';

/** Where the event time of one task stands, what holds it back, and what waits for it. Times are in ms since the epoch. */
export interface EventTime {
  readonly task: string;
  /** Event time up to which the input is complete; absent before the first record with a time, and after the end of all input. */
  readonly watermark?: number;
  /** Partitions whose next record, silence or end would move it: the slowest of those that are not idle. */
  readonly heldBy: readonly string[];
  /** Sources that have shown no partition yet: event time does not begin without them. */
  readonly awaited: readonly string[];
  readonly partitions: readonly PartitionTime[];
  /** The steps in which something is due. */
  readonly due: readonly StepDue[];
}

/** How far one partition is in event time. */
export interface PartitionTime {
  readonly name: string;
  /** Its newest record. */
  readonly newest?: number;
  /** `newest` less the source's `outOfOrder`; absent when it holds nothing back. */
  readonly watermark?: number;
  readonly outOfOrderMs: number;
  /** Silence after which it no longer holds event time back; absent for never. */
  readonly idleMs?: number;
  /** Since when it has been read to its end without a new record; absent while there is something to read. */
  readonly silentSince?: number;
  readonly idle: boolean;
  readonly ended: boolean;
}

/** What waits for event time in one step: windows to close, above all. */
export interface StepDue {
  readonly step: string;
  /** The earliest time that anything waits for. */
  readonly at: number;
  /** How many keys wait for just that. */
  readonly keys: number;
  /** How many different times are waited for. */
  readonly times: number;
}

/** Says where the event time of a task stands; `undefined` when none of its sources has a time. */
export function eventTimeOf(task: Task, silences: readonly Silence[]): EventTime | undefined {
  const timed = task.partitions.filter(({ time }) => time !== undefined);
  if (timed.length === 0 && (task.awaited.size === 0 || task.partitions.length > 0)) return undefined;
  const least = Math.min(...timed.map(({ watermark }) => watermark));
  return {
    task: task.id,
    ...finite('watermark', task.watermark),
    heldBy: timed.filter(({ watermark }) => watermark === least && least < Infinity).map(({ name }) => name),
    awaited: [...task.awaited],
    partitions: timed.map((input) => ({
      name: input.name,
      ...finite('newest', input.maxTime),
      ...finite('watermark', input.watermark),
      outOfOrderMs: input.time!.outOfOrderMs,
      ...finite('idleMs', input.time!.idleMs),
      ...finite('silentSince', silences.find((silence) => silence.input === input)?.since ?? Number.NaN),
      idle: input.idle,
      ended: input.ended,
    })),
    due: task.keyed
      .filter(({ keyed }) => keyed.timers.next < Number.POSITIVE_INFINITY)
      .map(({ id, keyed: { timers } }) => ({ step: id, at: timers.next, keys: timers.waiting, times: timers.size })),
  };
}

function finite<const N extends string>(name: N, value: number): { readonly [name in N]?: number } {
  return Number.isFinite(value) ? ({ [name]: value } as { [name in N]: number }) : {};
}

// Long enough for a broker to be restarted, and for the devices of one partition to pause.
const patienceMs = 30_000;

/** Notices that the event time of a task stands still while records come: one partition holds back all the others. */
export class StallWatch {
  readonly #seen = new Map<string, { watermark: number; since: number; read: Map<string, number>; told: boolean }>();

  /**
   * What to tell of a task, once for each time that it stands still: the partition that holds it back, and for how long. `undefined`
   * when time moves, nothing waits for it, no other partition has had a record since, or silence will be over by itself.
   */
  notice({ id, watermark, nextTimer, partitions, awaited }: Task, now: number): Stall | undefined {
    const seen = this.#seen.get(id);
    if (seen?.watermark !== watermark) {
      const read = new Map(partitions.map(({ name, counts }) => [name, counts.in]));
      this.#seen.set(id, { watermark, since: now, read, told: false });
      return undefined;
    }
    const stoodMs = now - seen.since;
    if (seen.told || stoodMs < patienceMs || nextTimer === Number.POSITIVE_INFINITY || awaited.size > 0)
      return undefined;
    const holding = partitions.filter((one) => one.watermark < nextTimer).sort((a, b) => a.watermark - b.watermark);
    const [holder] = holding;
    const idleMs = holder?.time?.idleMs ?? Number.POSITIVE_INFINITY;
    const moving = partitions.some((one) => one !== holder && one.counts.in > (seen.read.get(one.name) ?? 0));
    if (!holder || !moving || (idleMs < Number.POSITIVE_INFINITY && stoodMs < patienceMs + idleMs)) return undefined;
    seen.told = true;
    return { partition: holder.name, stoodMs, ...finite('newest', holder.maxTime), ...finite('idleMs', idleMs) };
  }
}

/** A partition that holds back the event time of others that go on. */
export interface Stall {
  readonly partition: string;
  readonly stoodMs: number;
  readonly newest?: number;
  readonly idleMs?: number;
}

/** Says in the log which partition holds event time back, and what to do. */
export function warnOfStall(log: Log, { partition, stoodMs, newest, idleMs }: Stall): void {
  const remedy =
    idleMs === undefined
      ? 'Write `idle: 30s` into the `time` of its source if it may be silent.'
      : 'It is not silent: it has a backlog, or its records are old or have no time.';
  log.warn(`No window closes: one partition holds event time back while records of others come. ${remedy}`, {
    partition,
    stoodMs,
    newest: newest === undefined ? 'no record with a time yet' : new Date(newest).toISOString(),
  });
}
