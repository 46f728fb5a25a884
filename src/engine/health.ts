import type { Checkpoint } from './checkpoint.ts';

/** Whether a run does its work: what a service answers to who asks if it is alive and ready. */
export interface Health {
  readonly state: 'starting' | 'running' | 'stopping' | 'ended' | 'failed';
  /** All is as it should be. Not so while it starts or stops, and when something is wrong: `reasons` says what. */
  readonly healthy: boolean;
  readonly reasons: readonly string[];
  /** How long ago the last checkpoint was taken, in ms; absent before the first. */
  readonly checkpointAgeMs?: number;
}

/** What health is judged by. */
export interface Signs {
  readonly state: Health['state'];
  readonly failure: unknown;
  readonly now: number;
  /** When all was open, in ms. */
  readonly since: number;
  readonly checkpointMs: number;
  /** Each unit: its last checkpoint, and whether something has happened that the next one has to hold. */
  readonly units: readonly { readonly last: Checkpoint | undefined; readonly due: boolean }[];
  readonly sinks: readonly { readonly id: string; readonly full: boolean }[];
}

// One checkpoint may wait for a slow sink; three in a row do not come by chance.
const missed = 3;

/** Judges the health of a run. */
export function healthOf({ state, failure, now, since, checkpointMs, units, sinks }: Signs): Health {
  const reasons: string[] = [];
  if (failure !== undefined) reasons.push(failure instanceof Error ? failure.message : String(failure));
  const taken = units.flatMap(({ last }) => last?.at ?? []);
  const overdue = units.some(({ last, due }) => due && now - Math.max(since, last?.at ?? 0) > missed * checkpointMs);
  if (overdue && state === 'running') {
    const waits = sinks.filter(({ full }) => full).map(({ id }) => `\`${id}\``);
    const why = waits.length > 0 ? ` ${waits.join(', ')} cannot keep up or cannot be reached.` : '';
    reasons.push(
      `No checkpoint for ${now - Math.max(since, ...taken)} ms, although one is due every ${checkpointMs} ms.${why}`,
    );
  }
  return {
    state,
    healthy: state === 'running' && reasons.length === 0,
    reasons,
    ...(taken.length > 0 && { checkpointAgeMs: now - Math.max(...taken) }),
  };
}
