import { RunError } from '../errors.ts';
import type { OpenSink, Ports, Position, Refused, StreamRecord } from '../operator.ts';
import type { ErrorPolicy } from '../topology/plan.ts';

const longestWaitMs = 60_000;

/**
 * Writes what the target refuses again, `attempts` times in all, and only then says that it is refused. Nothing else is written meanwhile;
 * what came behind a refused record in the same write is at the target before it. Rejects when the run is forced to end during a pause.
 */
export class RetryingSink implements OpenSink {
  readonly maxRecords?: number;
  readonly position?: () => Position;
  readonly #sink: OpenSink;
  readonly #retry: NonNullable<ErrorPolicy['retry']>;
  readonly #ports: Ports;
  readonly #signal: AbortSignal;

  constructor(sink: OpenSink, retry: NonNullable<ErrorPolicy['retry']>, ports: Ports, signal: AbortSignal) {
    if (sink.maxRecords !== undefined) this.maxRecords = sink.maxRecords;
    if (sink.position) this.position = () => sink.position!();
    this.#sink = sink;
    this.#retry = retry;
    this.#ports = ports;
    this.#signal = signal;
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    let refused = (await this.#sink.write(records)) ?? [];
    let attempts = 1;
    for (; refused.length > 0 && attempts < this.#retry.attempts; attempts++) {
      await this.#pause(attempts);
      const places = refused.map(({ index }) => index);
      const again = (await this.#sink.write(places.map((place) => records[place]!))) ?? [];
      refused = again.map((one) => ({ ...one, index: places[one.index]! }));
    }
    return refused.length === 0 ? undefined : refused.map((one) => ({ ...one, attempts }));
  }

  close(): Promise<void> {
    return this.#sink.close();
  }

  async #pause(attempts: number): Promise<void> {
    const { clock, random } = this.#ports;
    const ms = Math.min(this.#retry.backoffMs * 2 ** (attempts - 1), longestWaitMs);
    await clock.sleep(ms * (0.5 + random() / 2), this.#signal);
    if (this.#signal.aborted)
      throw new RunError('Stopped while records that the target refused waited to be tried again.');
  }
}
