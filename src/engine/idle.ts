import type { InputPartition } from './partition.ts';
import type { IdleStep, Task } from './task.ts';

/** What the run knows of a partition's silence. */
export interface Silence {
  readonly input: InputPartition;
  /** Since when its open pull has waited at the end of the partition, in ms; `undefined` when it is not waiting there. */
  readonly since: number | undefined;
}

/**
 * The step of event time that silence allows now, or `undefined` when there is none or nothing would fire by it.
 * A partition is idle when its pull has found nothing at the partition's end for its `idle` time; it then no longer holds
 * the watermark back. When all are idle, event time follows the clock, `outOfOrder + idle` behind.
 */
export function dueIdleStep(task: Task, silences: readonly Silence[], now: number): IdleStep | undefined {
  const due = task.nextTimer;
  if (due === Number.POSITIVE_INFINITY || task.awaited.size > 0) return undefined;
  const timed = silences.filter(({ input }) => input.time !== undefined && !input.ended);
  if (timed.length === 0) return undefined;
  const idle = timed.filter(
    ({ input, since }) => input.idle || (since !== undefined && now - since >= input.time!.idleMs),
  );
  if (idle.length === 0) return undefined;
  const holding = timed.filter((silence) => !idle.includes(silence));
  const watermark =
    holding.length > 0
      ? Math.min(...holding.map(({ input }) => input.watermark))
      : Math.min(...idle.map(({ input }) => now - input.time!.outOfOrderMs - input.time!.idleMs));
  if (watermark < due || watermark <= task.watermark) return undefined;
  return {
    idle: idle.map(({ input }) => input.name),
    offsets: Object.fromEntries(task.partitions.map(({ name, lastOffset }) => [name, lastOffset])),
    watermark,
  };
}
