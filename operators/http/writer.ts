import {
  murmur2,
  type OpenSink,
  type Refused,
  RejectError,
  RunError,
  type SinkContext,
  type StreamRecord,
} from '../../src/operator.ts';
import type { HttpOptions } from './options.ts';
import type { Answer, Server } from './server.ts';
import { hashOf, type Item } from './target.ts';

const firstWaitMs = 500;
const longestWaitMs = 30_000;
const remindEvery = 20;
/** A request of several records is not longer than this. */
const requestCharacters = 4 << 20;

/** Sends records until each is written or refused, however long it takes. What belongs to one key goes one request after the other. */
export class Writer implements OpenSink {
  readonly maxRecords = 5_000;
  readonly #options: HttpOptions;
  readonly #make: (record: StreamRecord, index: number) => Item;
  readonly #server: Server;
  readonly #context: SinkContext;

  constructor(
    options: HttpOptions,
    make: (record: StreamRecord, index: number) => Item,
    server: Server,
    context: SinkContext,
  ) {
    this.#options = options;
    this.#make = make;
    this.#server = server;
    this.#context = context;
  }

  async write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined> {
    const refused: Refused[] = [];
    const lanes: Item[][] = Array.from({ length: this.#options.concurrency ?? 1 }, () => []);
    for (const [index, record] of records.entries()) {
      try {
        lanes[laneOf(record.key, index, lanes.length)]!.push(this.#make(record, index));
      } catch (error) {
        if (!(error instanceof RejectError)) throw error;
        refused.push({ index, message: error.message });
      }
    }
    await Promise.all(lanes.map((items) => this.#lane(items, refused)));
    return refused.length > 0 ? refused : undefined;
  }

  async close(): Promise<void> {}

  async #lane(items: readonly Item[], refused: Refused[]): Promise<void> {
    for (const together of this.#requests(items)) await this.#deliver(together, refused);
  }

  /** Items that go in one request: neighbours with the same address and headers. */
  #requests(items: readonly Item[]): Item[][] {
    const most = this.#options.batch?.records ?? 1;
    const requests: Item[][] = [];
    let target = '';
    let characters = 0;
    for (const item of items) {
      const last = requests.at(-1);
      const next = JSON.stringify([item.url, item.headers]);
      const length = item.body?.length ?? 0;
      if (last && last.length < most && next === target && characters + length <= requestCharacters) {
        last.push(item);
        characters += length;
      } else {
        requests.push([item]);
        target = next;
        characters = length;
      }
    }
    return requests;
  }

  /** A request that the server refuses is halved until the records at fault are alone. */
  async #deliver(items: readonly Item[], refused: Refused[]): Promise<void> {
    const answer = await this.#persist(items);
    if (answer.kind !== 'refused') return;
    if (items.length === 1) {
      refused.push({ index: items[0]!.index, message: answer.message });
      return;
    }
    const middle = Math.ceil(items.length / 2);
    await this.#deliver(items.slice(0, middle), refused);
    await this.#deliver(items.slice(middle), refused);
  }

  /** Sends the same request until the server takes or refuses it. */
  async #persist(items: readonly Item[]): Promise<Answer> {
    const { ports, signal, log } = this.#context;
    const { url, headers, type } = items[0]!;
    const { batch } = this.#options;
    const id = batch ? hashOf(items.map((item) => item.id)) : items[0]!.id;
    const request = { url, headers, type, id, body: this.#body(items) };
    for (let tries = 1, last = 'none'; ; tries++) {
      if (signal.aborted) throw this.#stopped(items.length, last);
      const answer = await this.#server.send(request);
      if (answer.kind !== 'again') {
        if (tries > 1) log.info('The server takes requests again.', { url: this.#server.address, tries });
        return answer;
      }
      last = answer.message;
      if (tries % remindEvery === 1 && !signal.aborted) {
        const fields = { url: this.#server.address, answer: last, tries };
        log.warn('The server does not take requests: trying again until it does.', fields);
      }
      await ports.clock.sleep(this.#wait(answer, tries), signal);
    }
  }

  #body(items: readonly Item[]): string | Buffer | undefined {
    const { batch } = this.#options;
    if (!batch) return items[0]!.body;
    if (batch.format === 'ndjson') return items.map(({ body }) => `${body}\n`).join('');
    return `[${items.map(({ body }) => body).join(',')}]`;
  }

  // Full jitter, so that many senders do not come back at once.
  #wait({ waitMs }: Answer & { kind: 'again' }, tries: number): number {
    const { random } = this.#context.ports;
    if (waitMs !== undefined) return waitMs + random() * firstWaitMs;
    return random() * Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(tries, 10));
  }

  #stopped(count: number, answer: string): RunError {
    return new RunError(
      `Stopped before ${this.#server.address} had taken ${count} records (last answer: ${answer}). ` +
        'They are sent again when the topology is started again.',
    );
  }
}

function laneOf(key: unknown, index: number, lanes: number): number {
  if (lanes === 1) return 0;
  return key === undefined ? index % lanes : (murmur2(`${typeof key} ${key}`) >>> 0) % lanes;
}
