import { type Position, RunError } from '../../src/operator.ts';
import { formatInstant, type Instant, parseInstant } from './instant.ts';
import { fingerprint, type Row } from './rows.ts';

/** Beyond so many rows in the overlap, the oldest of them are forgotten and would be delivered again. */
const seenMax = 100_000;

/**
 * How far reading has come: the newest time of a delivered row, and which rows have been delivered from `overlap` before it on. Those are told
 * from new ones by what they hold.
 */
export class Cursor {
  /** The newest time of a row; `undefined` before the first. */
  time: Instant | undefined;
  /** How many rows have been delivered: the offset of the next one. */
  count = 0;
  /** `bulk`: where the round ends that has begun. */
  until: Instant | undefined;
  readonly #overlap: Instant;
  #seen = new Map<Instant, Set<string>>();
  #held = 0;

  constructor(overlap: Instant) {
    this.#overlap = overlap;
  }

  /** Goes on from a checkpoint. Throws a RunError when the position is none of this source. */
  resume(position: Position, id: string): void {
    const { time, seen, count, until } = position as Record<string, unknown>;
    const instants = [time, until].map((text) => (text === undefined ? undefined : parseInstant(String(text))));
    const known = Object.entries(seen ?? {}).map(([text, marks]) => [parseInstant(text), marks] as const);
    const sound = (text: unknown, at: unknown) => text === undefined || at !== undefined;
    if (
      !sound(time, instants[0]) ||
      !sound(until, instants[1]) ||
      !Number.isSafeInteger(count) ||
      !known.every(([at, marks]) => at !== undefined && Array.isArray(marks))
    ) {
      throw new RunError(
        `The checkpoint holds a position of \`${id}\` that is not one of InfluxDB. Was it another source before?`,
      );
    }
    [this.time, this.until] = instants;
    this.count = count as number;
    for (const [at, marks] of known) for (const mark of marks as string[]) this.#mark(at!, mark);
  }

  /** Whether the row has been delivered already. */
  has(row: Row): boolean {
    return this.#seen.get(row.time)?.has(fingerprint(row)) === true;
  }

  /** These rows are delivered now, in order. */
  deliver(rows: readonly Row[]): void {
    for (const { time } of rows) if (this.time === undefined || time > this.time) this.time = time;
    const oldest = this.time! - this.#overlap;
    for (const row of rows) if (row.time >= oldest) this.#mark(row.time, fingerprint(row));
    this.count += rows.length;
    this.#forget(oldest);
  }

  /** `bulk`: everything is to be read anew. */
  rewind(until: Instant): void {
    this.time = undefined;
    this.until = until;
    this.#seen.clear();
    this.#held = 0;
  }

  get position(): Position {
    const { time, until, count } = this;
    const seen = Array.from(this.#seen, ([at, marks]) => [formatInstant(at), [...marks]] as const);
    return {
      ...(time !== undefined && { time: formatInstant(time) }),
      seen: Object.fromEntries(seen),
      count,
      ...(until !== undefined && { until: formatInstant(until) }),
    };
  }

  #mark(at: Instant, mark: string): void {
    const marks = this.#seen.get(at) ?? new Set();
    this.#seen.set(at, marks);
    if (!marks.has(mark)) this.#held++;
    marks.add(mark);
  }

  #forget(oldest: Instant): void {
    for (const at of this.#seen.keys()) if (at < oldest) this.#drop(at);
    if (this.#held <= seenMax) return;
    // The newest time is kept whole: rows of one time are told apart by nothing else.
    const times = [...this.#seen.keys()].sort((a, b) => (a < b ? -1 : 1));
    for (const at of times) if (this.#held > seenMax && at !== this.time) this.#drop(at);
  }

  #drop(at: Instant): void {
    this.#held -= this.#seen.get(at)!.size;
    this.#seen.delete(at);
  }
}
