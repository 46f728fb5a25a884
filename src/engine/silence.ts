import type { Log, Ports } from '../operator.ts';
import { StallWatch, warnOfStall } from './event-time.ts';
import { dueIdleStep, type Silence } from './idle.ts';
import type { SourceHost } from './source-host.ts';
import type { Task } from './task.ts';
import type { Unit } from './unit.ts';

// How often silence is looked at. Finer than any `idle` that makes sense, coarse enough to cost nothing.
const silenceMs = 200;

/** Moves event time on where inputs are silent, and says when it does not move although records come. Ends with the signal. */
export async function watchSilence(run: {
  readonly ports: Ports;
  readonly log: Log;
  readonly units: Iterable<Unit>;
  readonly hosts: readonly SourceHost[];
  readonly signal: AbortSignal;
}): Promise<void> {
  const { clock } = run.ports;
  const stalls = new StallWatch();
  for (;;) {
    await clock.sleep(silenceMs, run.signal);
    if (run.signal.aborted) return;
    for (const { tasks, checkpointer } of run.units) {
      for (const task of tasks.all.values()) {
        const step = dueIdleStep(task, silencesOf(task, run.hosts), clock.now());
        if (step) await checkpointer.takeIdleStep(task, step);
        const stall = stalls.notice(task, clock.now());
        if (stall) warnOfStall(run.log, stall);
      }
    }
  }
}

/** What is known of the silence of a task's partitions. */
export function silencesOf(task: Task, hosts: readonly SourceHost[]): Silence[] {
  return hosts.flatMap((host) =>
    [...host.readers]
      .filter((reader) => reader.task === task)
      .map(({ input, partition, waitingSince }) => ({ input, since: partition.caughtUp ? waitingSince : undefined })),
  );
}
