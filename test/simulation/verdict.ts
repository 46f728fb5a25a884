import { createHash } from 'node:crypto';

/** What came of one seed. */
export interface Verdict {
  /** What went wrong, in words; empty when nothing did. */
  readonly problems: readonly string[];
  /** Of everything that happened, in order: the same seed gives the same. */
  readonly digest: string;
  readonly records: number;
  readonly crashes: number;
  readonly trace: readonly string[];
}

/** Lets everything run that waits neither for the clock nor for the simulation. */
export async function settle(turns = 12): Promise<void> {
  for (let n = 0; n < turns; n++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** A digest of everything that happened, in order. */
export function digestOf(trace: readonly string[]): string {
  return createHash('sha256').update(trace.join('\n')).digest('hex').slice(0, 16);
}
