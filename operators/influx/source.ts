import {
  type Batch,
  durationMs,
  type OpenSource,
  type Position,
  type PullLimits,
  type RawRecord,
  RunError,
  type Secret,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
} from '../../src/operator.ts';
import { urlProblem } from './answers.ts';
import { Cursor } from './cursor.ts';
import { clamp, firstInstant, formatInstant, type Instant, instantOf, parseInstant, toMs } from './instant.ts';
import { QueryApi } from './query.ts';
import { compareRows, Pivot, type Row } from './rows.ts';

export interface SourceOptions {
  readonly url: string;
  readonly org: string;
  readonly token: Secret;
  readonly bucket: string | readonly string[];
  readonly measurements?: readonly string[];
  readonly mode?: 'timestamp' | 'bulk';
  readonly start?: string;
  readonly poll?: string;
  readonly delay?: string;
  readonly overlap?: string;
  readonly page?: string;
  readonly topicPrefix?: string;
  readonly topicOf?: 'bucket' | 'measurement';
  readonly timeout?: string;
}

const nanos = (text: string): Instant => BigInt(Math.round(durationMs(text) * 1e6));
const firstWidth = nanos('1h');
const widest = nanos('520w');
/** While there is trouble, spans become no shorter than this: then it is not their size. */
const troubledWidth = nanos('1s');

/** Looks for the buckets and begins to read. A server that is away is waited for; a wrong token or bucket is a RunError. */
export async function openSource(options: SourceOptions, context: SourceContext): Promise<OpenSource> {
  const problem = urlProblem(options.url);
  if (problem) throw new RunError(`${problem} Check \`url\` of \`${context.id}\`.`);
  if (/[^\x21-\x7e]/.test(options.token.reveal())) {
    throw new RunError(`The \`token\` of \`${context.id}\` holds a character that no token has, such as a line end.`);
  }
  const api = new QueryApi({ ...options, timeoutMs: durationMs(options.timeout ?? '30s') }, context);
  const { fluxString } = await import('@influxdata/influxdb-client');
  const partition = new InfluxPartition(options, context, api, (text) => fluxString(text).toString());
  await partition.greet();
  context.assign(partition);
  context.complete();
  return { close: async () => {} };
}

/** All buckets of a source as one partition, so that their rows come in the order of time. */
class InfluxPartition implements SourcePartition {
  readonly id = '0';
  caughtUp = false;
  readonly #options: SourceOptions;
  readonly #context: SourceContext;
  readonly #api: QueryApi;
  readonly #quote: (text: string) => string;
  readonly #buckets: readonly string[];
  readonly #pageBytes: number;
  readonly #overlap: Instant;
  readonly #bulk: boolean;
  readonly #start: Instant;
  readonly #cursor: Cursor;
  /** The rows of the page that has been read, and how many of them have been handed out. */
  #rows: Row[] = [];
  #given = 0;
  /** What of this round is still to be read. */
  #round: { at: Instant; readonly until: Instant } | undefined;
  /** Length of the next page in time. */
  #width = firstWidth;

  constructor(options: SourceOptions, context: SourceContext, api: QueryApi, quote: (text: string) => string) {
    const { bucket, mode, overlap = '0s', start, page = '4MiB' } = options;
    const { replay } = context;
    this.#options = options;
    this.#context = context;
    this.#api = api;
    this.#quote = quote;
    this.#buckets = [...new Set([bucket].flat())];
    this.#pageBytes = sizeBytes(page);
    this.#bulk = mode === 'bulk' && !replay;
    this.#overlap = this.#bulk || replay ? 0n : nanos(overlap);
    this.#start = replay ? instantOf(replay.from) : start === undefined ? firstInstant : clamp(parseInstant(start)!);
    this.#cursor = new Cursor(this.#overlap);
    const position = replay ? undefined : context.position(this.id);
    if (position !== undefined) this.#cursor.resume(position, context.id);
  }

  /** One look at each bucket: a wrong token and a bucket that is not there show at once. A server that is away does not. */
  async greet(): Promise<void> {
    for (const bucket of this.#buckets) {
      const flux = `from(bucket: ${this.#quote(bucket)}) |> range(start: -1ns) |> limit(n: 1)`;
      const outcome = await this.#api.once(flux, { add() {} }, this.#pageBytes);
      if (outcome.kind !== 'again') continue;
      this.#context.log.warn('InfluxDB cannot be reached yet: reading will wait for it.', {
        url: this.#api.address,
        answer: outcome.message,
      });
      return;
    }
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    while (!this.#context.signal.aborted) {
      if (this.#given < this.#rows.length) return this.#batch(limits.records);
      this.#round ??= this.#begin();
      if (this.#round.at < this.#round.until) await this.#read(this.#round);
      else if (this.#context.replay) return null;
      else await this.#pause();
    }
    return null;
  }

  #batch(most: number): Batch {
    const rows = this.#rows.slice(this.#given, this.#given + Math.max(1, most));
    const first = this.#cursor.count;
    this.#given += rows.length;
    this.#cursor.deliver(rows);
    return new RowBatch(rows, first, this.#cursor.position, this.#context.ports.clock.now(), this.#options);
  }

  #begin(): { at: Instant; until: Instant } {
    const { replay, ports } = this.#context;
    const { time } = this.#cursor;
    const at = time === undefined ? this.#start : clamp(time - this.#overlap);
    if (replay) return { at, until: instantOf(Math.min(replay.until, ports.clock.now())) };
    if (!this.#bulk) return { at: at < this.#start ? this.#start : at, until: this.#horizon() };
    // A round that a restart has interrupted goes on to where it was to end.
    if (this.#cursor.until === undefined) this.#cursor.rewind(this.#horizon());
    return { at, until: this.#cursor.until! };
  }

  async #pause(): Promise<void> {
    const { ports, signal } = this.#context;
    this.caughtUp = true;
    await ports.clock.sleep(durationMs(this.#options.poll ?? (this.#bulk ? '1h' : '10s')), signal);
    this.#round = undefined;
    if (this.#bulk && !signal.aborted) this.#cursor.rewind(this.#horizon());
  }

  #horizon(): Instant {
    return instantOf(this.#context.ports.clock.now() - durationMs(this.#options.delay ?? '0s'));
  }

  /** Reads the next page of a round: a span of time, made so long that its rows fit into `page`. */
  async #read(round: { at: Instant; readonly until: Instant }): Promise<void> {
    const from = round.at;
    const to = from + this.#width < round.until ? from + this.#width : round.until;
    const page = await this.#page(from, to);
    if (page === undefined) return;
    if (page === 'too-large') {
      if (to - from === 1n) throw this.#tooMany(from);
      this.#width = (to - from) / 4n || 1n;
      return;
    }
    round.at = to;
    const { rows, bytes } = page;
    if (bytes < this.#pageBytes / 8 && to - from === this.#width && this.#width < widest) this.#width *= 4n;
    this.#given = 0;
    this.#rows = rows.filter((row) => !this.#cursor.has(row)).sort(compareRows);
    if (this.#rows.length > 0) this.caughtUp = false;
    if (rows.length === 0 && to < round.until) await this.#skip(round);
  }

  /** The rows of all buckets in a span of time, and how large their answers were. */
  async #page(from: Instant, to: Instant): Promise<{ rows: Row[]; bytes: number } | 'too-large' | undefined> {
    const rows: Row[] = [];
    let bytes = 0;
    for (const bucket of this.#buckets) {
      let pivot = new Pivot(bucket);
      const make = () => {
        pivot = new Pivot(bucket);
        return pivot;
      };
      const flux = `${this.#from(bucket, from, to)} |> drop(columns: ["_start", "_stop"])`;
      const attempts = to - from > troubledWidth ? 5 : Number.POSITIVE_INFINITY;
      const answer = await this.#api.ask(flux, make, this.#pageBytes - bytes, attempts);
      if (typeof answer !== 'number') return answer;
      bytes += answer;
      rows.push(...pivot.rows());
    }
    return { rows, bytes };
  }

  /** Nothing was found: goes on where the next row is, in whichever bucket. */
  async #skip(round: { at: Instant; readonly until: Instant }): Promise<void> {
    let next = round.until;
    for (const bucket of this.#buckets) {
      const flux = `${this.#from(bucket, round.at, next)} |> first() |> keep(columns: ["_time"]) |> group() |> sort(columns: ["_time"]) |> limit(n: 1)`;
      const add = (values: readonly string[], meta: { column(label: string): { index: number } }) => {
        const time = parseInstant(values[meta.column('_time').index]!)!;
        if (time < next) next = time;
      };
      if ((await this.#api.ask(flux, () => ({ add }), this.#pageBytes)) === undefined) return;
      if (next === round.at) break;
    }
    round.at = next;
  }

  #from(bucket: string, from: Instant, to: Instant): string {
    const names = this.#options.measurements?.map((name) => `r._measurement == ${this.#quote(name)}`);
    return (
      `from(bucket: ${this.#quote(bucket)}) |> range(start: ${formatInstant(from)}, stop: ${formatInstant(to)})` +
      (names ? ` |> filter(fn: (r) => ${names.join(' or ')})` : '')
    );
  }

  #tooMany(at: Instant): RunError {
    return new RunError(
      `The rows of ${formatInstant(at)} alone are more than \`page\` of \`${this.#context.id}\` allows (${this.#pageBytes} bytes), and cannot be read in parts. Set a larger \`page\`.`,
    );
  }
}

/** Rows as records. */
class RowBatch implements Batch {
  readonly length: number;
  readonly next: Position;
  readonly #rows: readonly Row[];
  readonly #first: number;
  readonly #arrival: number;
  readonly #options: SourceOptions;

  constructor(rows: readonly Row[], first: number, next: Position, arrival: number, options: SourceOptions) {
    this.length = rows.length;
    this.next = next;
    this.#rows = rows;
    this.#first = first;
    this.#arrival = arrival;
    this.#options = options;
  }

  read(index: number, into: RawRecord): void {
    const { time, bucket, measurement, value } = this.#rows[index]!;
    const { topicPrefix = '', topicOf = 'bucket' } = this.#options;
    into.decoded = true;
    into.value = value;
    into.key = undefined;
    into.timestamp = toMs(time);
    into.arrival = this.#arrival;
    into.offset = this.#first + index;
    into.meta = {
      topic: topicPrefix + (topicOf === 'bucket' ? bucket : measurement),
      headers: { bucket, measurement },
    };
    into.captures = undefined;
    into.refused = undefined;
  }
}
