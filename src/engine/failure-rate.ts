import { RunError } from '../errors.ts';
import type { Clock } from '../operator.ts';
import type { ErrorPolicy, Plan } from '../topology/plan.ts';
import type { Target } from './node.ts';

type Threshold = NonNullable<ErrorPolicy['stopAt']>;

// The past is counted in so many slots: what lies further back than `over` goes slot by slot.
const slots = 10;

interface Slot {
  readonly begins: number;
  seen: number;
  failed: number;
}

/** The share of one step's records of the last while that it rejects. Begins anew with each start. */
export class FailureRate {
  readonly #step: string;
  readonly #threshold: Threshold;
  readonly #clock: Clock;
  readonly #slots: Slot[] = [];
  readonly #codes = new Map<string, number>();

  constructor(step: string, threshold: Threshold, clock: Clock) {
    this.#step = step;
    this.#threshold = threshold;
    this.#clock = clock;
  }

  /** A record has come to the step. */
  count(): void {
    this.#slot().seen++;
  }

  /** The same, on the way to what takes it. */
  counting(target: Target): Target {
    return {
      push: (record) => {
        this.count();
        target.push(record);
      },
    };
  }

  /** The step has rejected a record. Throws a RunError when that is one too many. */
  failed(code: string): void {
    const { share, overMs, atLeast } = this.#threshold;
    this.#slot().failed++;
    this.#codes.set(code, (this.#codes.get(code) ?? 0) + 1);
    const failed = this.#slots.reduce((sum, slot) => sum + slot.failed, 0);
    // A sink's records may have come so long before they are refused that they are forgotten.
    const seen = this.#slots.reduce((sum, slot) => sum + slot.seen, 0);
    if (Math.max(seen, failed) < atLeast || failed < share * seen) return;
    const [most] = [...this.#codes].sort(([, a], [, b]) => b - a)[0]!;
    throw new RunError(
      `\`${this.#step}\` has rejected ${failed} of the ${Math.max(seen, failed)} records of the last ${overMs / 1_000} s, most of them with \`${most}\`: ` +
        `\`stopAt\` ends the run at a share of ${share}. Nothing is lost: what was not committed is read again. Look at what comes in ` +
        'and at the dead letters (`penstock dlq list`), then start again.',
      { where: this.#step },
    );
  }

  // The slot of this moment, once what is too old is forgotten.
  #slot(): Slot {
    const { overMs } = this.#threshold;
    const now = this.#clock.now();
    while (this.#slots.length > 0 && this.#slots[0]!.begins <= now - overMs) this.#slots.shift();
    if (this.#slots.length === 0) this.#codes.clear();
    const newest = this.#slots.at(-1);
    if (newest !== undefined && newest.begins > now - overMs / slots) return newest;
    const slot = { begins: now, seen: 0, failed: 0 };
    this.#slots.push(slot);
    return slot;
  }
}

/** The failure rates of a plan's steps, shared by all tasks of a unit. */
export class FailureRates {
  readonly #rates = new Map<string, FailureRate>();

  constructor({ streams, onError }: Plan, clock: Clock) {
    for (const step of streams.flatMap(({ steps }) => steps)) {
      const threshold = step.onError?.stopAt ?? onError?.stopAt;
      if (threshold) this.#rates.set(step.id, new FailureRate(step.id, threshold, clock));
    }
  }

  /** `undefined` when nothing bounds the failures of this step. */
  of(step: string): FailureRate | undefined {
    return this.#rates.get(step);
  }
}
