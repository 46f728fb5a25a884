import { openBufferStore } from '../../../src/engine/buffer-store.ts';
import { BufferedSink } from '../../../src/engine/buffered-sink.ts';
import { type Log, type OpenSink, type Refused, RunError, StreamRecord } from '../../../src/operator.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import type { BufferSettings } from '../../../src/topology/plan.ts';

/** A value that tells its key and its place among those of the key. */
export interface Item {
  readonly n: number;
  readonly pad?: string;
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A target that may be away, behind a buffer on a disk in memory that may crash. */
export class BufferedWorld {
  readonly ports = memoryPorts();
  readonly settings: BufferSettings;
  /** All that has reached the target, repetitions too, as `key/n`. */
  readonly reached: string[] = [];
  readonly letters: { record: StreamRecord; why: Omit<Refused, 'index'> }[] = [];
  readonly failures: unknown[] = [];
  /** How many writes the target has been asked for, and how many records in the largest. */
  readonly asked = { writes: 0, most: 0 };
  up = true;
  refuses: (record: StreamRecord) => string | undefined = () => undefined;
  sink!: BufferedSink;
  #ended = new AbortController();

  constructor(settings: Partial<BufferSettings> = {}) {
    this.settings = { maxBytes: 1 << 20, whenFull: 'block', ...settings };
  }

  async start(): Promise<this> {
    const { ports, settings } = this;
    const { maxBytes, whenFull } = settings;
    this.#ended = new AbortController();
    const parts = { maxBytes, blocks: whenFull === 'block', log: silent, clock: ports.clock };
    this.sink = await BufferedSink.open({
      id: 'out',
      settings,
      store: await openBufferStore(ports.disk, '/state/buffer/out', parts),
      ports,
      log: silent,
      signal: this.#ended.signal,
      open: async (ending) => {
        if (!this.up) throw new RunError('The target is away.');
        return this.#target(ending);
      },
      refuse: async (refused) => void this.letters.push(...refused),
      fail: (error) => this.failures.push(error),
    });
    return this;
  }

  /** The power goes: what was not synced may be there or not. */
  crash(random?: () => number): void {
    this.ports.disk.crash(random);
    this.#ended.abort();
  }

  #target(ending: AbortSignal): OpenSink {
    return {
      maxRecords: 700,
      write: async (records) => {
        this.asked.writes++;
        this.asked.most = Math.max(this.asked.most, records.length);
        while (!this.up && !ending.aborted) await this.ports.clock.sleep(1_000, ending);
        if (ending.aborted) throw new RunError('Stopped.');
        return records.flatMap((record, index) => {
          const message = this.refuses(record);
          if (message === undefined) this.reached.push(`${record.key}/${(record.value as Item).n}`);
          return message === undefined ? [] : [{ index, message }];
        });
      },
      close: async () => undefined,
    };
  }

  /** Lets everything happen that can, time included, until `done` or for so many turns. */
  async settle(done: () => boolean = () => false, turns = 200): Promise<void> {
    for (let turn = 0; turn < turns && !done(); turn++) {
      this.ports.clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** Makes records with a count for each key. */
export class Maker {
  readonly #counts = new Map<string, number>();
  readonly #pad: string;
  constructor(padBytes = 0) {
    this.#pad = 'x'.repeat(padBytes);
  }
  make(keys: readonly string[]): StreamRecord<Item>[] {
    return keys.map((key) => {
      const n = this.#counts.get(key) ?? 0;
      this.#counts.set(key, n + 1);
      return new StreamRecord({ n, ...(this.#pad !== '' && { pad: this.#pad }) }, key);
    });
  }
}

/** Names of records, as the target tells them. */
export const names = (records: readonly StreamRecord[]): string[] =>
  records.map(({ key, value }) => `${key}/${(value as Item).n}`);

/** What stands out of order: a record whose first or last arrival is before that of one that came earlier with the same key. */
export function outOfOrder(reached: readonly string[]): string[] {
  const wrong: string[] = [];
  for (const arrivals of [reached, [...reached].reverse()]) {
    const direction = arrivals === reached ? 1 : -1;
    const seen = new Set<string>();
    const last = new Map<string, number>();
    for (const name of arrivals) {
      if (seen.has(name)) continue;
      seen.add(name);
      const [key, n] = name.split('/') as [string, string];
      const before = last.get(key);
      if (before !== undefined && (Number(n) - before) * direction < 0) wrong.push(name);
      last.set(key, Number(n));
    }
  }
  return wrong;
}
