import {
  type OpenSink,
  type Refused,
  RejectError,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import type { Answer, Server } from './server.ts';

const firstWaitMs = 500;
const longestWaitMs = 30_000;
/** So many answers 500 in a row, and the request itself is under suspicion: a poisoned one looks like an outage. */
const stuckAfter = 10;
/** So many failures in a row while searching for the poison, and it is an outage after all. */
const searchAtMost = 32;
const requestCharacters = 4 << 20;
const remindEvery = 20;

interface Entry {
  readonly index: number;
  readonly line: string;
}

type Verdict = 'confirmed' | 'stuck' | { readonly refused: string };

/** A search for the lines that a server cannot digest. */
interface Search {
  /** A line that got through. */
  good: Entry | undefined;
  /** Requests in a row that did not. */
  failures: number;
  readonly suspects: Entry[];
}

/**
 * Writes lines until each is confirmed or refused, however long it takes. One request is open at a time, so that an old point never
 * lands after a newer one.
 */
export class Writer implements OpenSink {
  readonly maxRecords = 5000;
  readonly #server: Server;
  readonly #toLine: (record: StreamRecord) => string;
  readonly #context: SinkContext;
  #refused: Refused[] = [];

  constructor(server: Server, toLine: (record: StreamRecord) => string, context: SinkContext) {
    this.#server = server;
    this.#toLine = toLine;
    this.#context = context;
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    this.#refused = [];
    for (const entries of this.#requests(records)) await this.#deliver(entries);
    return this.#refused.length > 0 ? this.#refused.sort((a, b) => a.index - b.index) : undefined;
  }

  async close(): Promise<void> {}

  #requests(records: readonly StreamRecord[]): Entry[][] {
    const requests: Entry[][] = [];
    let room = 0;
    for (let index = 0; index < records.length; index++) {
      const line = this.#line(records[index]!, index);
      if (line === undefined) continue;
      if (room <= 0) {
        requests.push([]);
        room = requestCharacters;
      }
      requests.at(-1)!.push({ index, line });
      room -= line.length;
    }
    return requests;
  }

  #line(record: StreamRecord, index: number): string | undefined {
    try {
      return this.#toLine(record);
    } catch (error) {
      if (!(error instanceof RejectError)) throw error;
      this.#refused.push({ index, message: error.message });
      return undefined;
    }
  }

  async #deliver(entries: readonly Entry[]): Promise<void> {
    let left = entries;
    for (;;) {
      const verdict = left.length === 0 ? 'confirmed' : await this.#persist(left, stuckAfter);
      if (verdict === 'confirmed') return;
      if (verdict === 'stuck') {
        // The search sends points twice and out of order: whatever it finds, the rest is sent again.
        const poisoned = await this.#search(left);
        left = left.filter((entry) => !poisoned.has(entry));
      } else if (left.length > 1) {
        for (const half of halves(left)) await this.#deliver(half);
        return;
      } else {
        this.#refused.push({ index: left[0]!.index, message: verdict.refused });
        return;
      }
    }
  }

  /** The lines that the server cannot digest, by now refused; none when it is an outage. */
  async #search(entries: readonly Entry[]): Promise<ReadonlySet<Entry>> {
    const { log } = this.#context;
    log.warn('InfluxDB answers 500 to the same request again and again: looking for a line that it cannot digest.', {
      url: this.#server.address,
      lines: entries.length,
    });
    const search: Search = { good: undefined, failures: 0, suspects: [] };
    await this.#narrow(entries, search);
    const poisoned = new Set<Entry>();
    if (search.good === undefined || search.failures >= searchAtMost) return poisoned;
    for (const entry of search.suspects) {
      if (!(await this.#isPoison(entry, search.good))) continue;
      poisoned.add(entry);
      this.#refused.push({ index: entry.index, message: poisonMessage });
    }
    return poisoned;
  }

  async #narrow(entries: readonly Entry[], search: Search): Promise<void> {
    if (search.failures >= searchAtMost) return;
    const verdict = await this.#persist(entries, 1);
    if (verdict === 'confirmed') {
      search.good = entries[0]!;
      search.failures = 0;
      return;
    }
    if (verdict === 'stuck') search.failures++;
    if (entries.length > 1) for (const half of halves(entries)) await this.#narrow(half, search);
    else if (verdict === 'stuck') search.suspects.push(entries[0]!);
  }

  /** The suspect fails while another line gets through, again and again: no outage comes and goes like that. */
  async #isPoison(suspect: Entry, good: Entry): Promise<boolean> {
    for (let i = 0; i < stuckAfter; i++) {
      if ((await this.#persist([suspect], 1)) !== 'stuck') return false;
      if ((await this.#persist([good], 1)) !== 'confirmed') return false;
    }
    return true;
  }

  /** Sends the same lines until the server takes or refuses them, or has answered 500 so many times in a row. */
  async #persist(entries: readonly Entry[], patience: number): Promise<Verdict> {
    const { ports, signal, log } = this.#context;
    const body = entries.map(({ line }) => line).join('\n');
    let poison = 0;
    let last = 'none';
    for (let tries = 1; ; tries++) {
      if (signal.aborted) throw this.#stopped(entries.length, last);
      const answer = await this.#server.write(body);
      if (answer.kind !== 'again') {
        if (tries > 1) log.info('InfluxDB takes writes again.', { url: this.#server.address, tries });
        return answer.kind === 'confirmed' ? 'confirmed' : { refused: answer.message };
      }
      last = answer.message;
      poison = answer.poison ? poison + 1 : 0;
      if (poison >= patience) return 'stuck';
      if (tries % remindEvery === 1) {
        log.warn('InfluxDB does not take writes: trying again until it does.', {
          url: this.#server.address,
          answer: answer.message,
          tries,
        });
      }
      await ports.clock.sleep(this.#wait(answer, tries), signal);
    }
  }

  // Full jitter, so that many writers do not come back at once.
  #wait({ waitMs }: Answer & { kind: 'again' }, tries: number): number {
    const { random } = this.#context.ports;
    if (waitMs !== undefined) return waitMs + random() * firstWaitMs;
    return random() * Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(tries, 10));
  }

  #stopped(count: number, message: string): RunError {
    return new RunError(
      `Stopped before InfluxDB at ${this.#server.address} had confirmed ${count} points (last answer: ${message}). ` +
        'They are written again when the topology is started again.',
    );
  }
}

const poisonMessage = 'InfluxDB answers 500 whenever this point is in a request, and takes the others.';

function halves(entries: readonly Entry[]): [readonly Entry[], readonly Entry[]] {
  const middle = Math.ceil(entries.length / 2);
  return [entries.slice(0, middle), entries.slice(middle)];
}
