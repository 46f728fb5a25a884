import type { Clock, Log } from '../../src/operator.ts';

const reportMs = 60_000;

/** Counts what was refused and tells of it: the first at once, and then once a minute how many there were of each kind. */
export class Refusals {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #counts = new Map<string, number>();
  #reporting = false;

  constructor(log: Log, clock: Clock, signal: AbortSignal) {
    this.#log = log;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** `kind` is one of few: a status, or `connections`. */
  count(kind: string, reason: string): void {
    if (this.#reporting) {
      this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
      return;
    }
    this.#reporting = true;
    this.#log.warn('A request has been refused; further ones are counted for a minute.', { status: kind, reason });
    void this.#report();
  }

  async #report(): Promise<void> {
    do {
      await this.#clock.sleep(reportMs, this.#signal);
      if (this.#counts.size === 0) break;
      this.#log.warn('More requests have been refused in the last minute.', Object.fromEntries(this.#counts));
      this.#counts.clear();
    } while (!this.#signal.aborted);
    this.#reporting = false;
  }
}
