import { seededRandom } from '../../src/ports/memory.ts';

/** All that a simulation leaves to chance comes from here, and so from its seed. */
export class Chance {
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** True with this probability. */
  of(probability: number): boolean {
    return this.random() < probability;
  }

  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1));
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!;
  }

  /** Zero in half of the cases, else a number up to `most`: each seed has its own mix of faults. */
  rate(most: number): number {
    return this.of(0.5) ? 0 : this.random() * most;
  }
}
