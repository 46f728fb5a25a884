import type {
  Admin,
  Driver,
  Fetched,
  FetchedRecord,
  Outgoing,
  Reader,
  ReaderEvents,
  TopicPartition,
} from '../../operators/kafka/driver.ts';
import type { RawRecord, SourceContext, SourcePartition } from '../../src/operator.ts';
import { RawRecord as Raw } from '../../src/operator.ts';

/** One partition as a broker holds it: offsets may have gaps. */
export interface Log {
  readonly offsets: readonly number[];
  readonly low: number;
  readonly high: number;
}

/** Text that says where a record came from, so that a swapped or repeated one shows. */
export const valueAt = (partition: number, offset: number) => `${partition}:${offset}`;

export function fetchedRecord(partition: number, offset: number, more: Partial<FetchedRecord> = {}): FetchedRecord {
  return {
    offset: String(offset),
    key: Buffer.from(`k${offset}`),
    value: Buffer.from(valueAt(partition, offset)),
    timestamp: String(1_000 + offset),
    ...more,
  };
}

/** A broker with one topic `t`, and a group whose assignments the test makes. It fetches only when told to. */
export class FakeDriver implements Driver, Admin, Reader {
  readonly address = 'fake:9092';
  readonly logs: Map<number, Log>;
  live = true;
  /** Failures to answer the next admin calls with. */
  readonly adminFailures: Error[] = [];
  readonly groupOffsets = new Map<number, number>();
  readonly commits: (TopicPartition & { offset: number })[][] = [];
  readonly created: string[] = [];
  readonly forgotten: string[] = [];
  /** What the brokers list. */
  names: string[] = ['t'];
  events: ReaderEvents | undefined;
  readonly places = new Map<number, number>();
  readonly paused = new Set<number>();
  assignment: readonly number[] = [];
  closed = false;

  constructor(logs: Record<number, Log>) {
    this.logs = new Map(Object.entries(logs).map(([partition, log]) => [Number(partition), log]));
  }

  async admin<T>(use: (admin: Admin) => Promise<T>): Promise<T> {
    const failure = this.adminFailures.shift();
    if (failure) throw failure;
    return use(this);
  }
  /** Records are of the time 1,000 and their offset. */
  async offsetsAt(_topic: string, time: number): Promise<Map<number, number>> {
    return new Map(
      [...this.logs].map(([partition, { offsets, high }]) => [
        partition,
        offsets.find((offset) => 1_000 + offset >= time) ?? high,
      ]),
    );
  }
  async forget(group: string): Promise<void> {
    this.forgotten.push(group);
  }
  async topics(): Promise<string[]> {
    return this.names;
  }
  async offsets(): Promise<Map<number, { low: number; high: number }>> {
    return new Map([...this.logs].map(([partition, { low, high }]) => [partition, { low, high }]));
  }
  async committed(): Promise<Map<number, number>> {
    return this.groupOffsets;
  }
  async create(topic: string): Promise<void> {
    this.created.push(topic);
  }

  async read(_options: unknown, events: ReaderEvents): Promise<Reader> {
    this.events = events;
    return this;
  }
  seek({ partition }: TopicPartition, offset: number): void {
    this.places.set(partition, offset);
  }
  resume({ partition }: TopicPartition): void {
    this.paused.delete(partition);
  }
  async commit(offsets: readonly (TopicPartition & { offset: number })[]): Promise<void> {
    this.commits.push([...offsets]);
  }
  async close(): Promise<void> {
    this.closed = true;
  }
  async setting(): Promise<string | undefined> {
    return undefined;
  }
  write(): Promise<never> {
    throw new Error('not a writer');
  }
  transact(): Promise<never> {
    throw new Error('no transactions here');
  }
  scan(): Promise<never> {
    throw new Error('nothing to scan here');
  }

  /** Balances the group: all places are lost, all partitions paused. */
  balance(partitions: readonly number[]): void {
    this.assignment = partitions;
    this.places.clear();
    this.paused.clear();
    for (const partition of partitions) this.paused.add(partition);
    this.events!.assigned(partitions.map((partition) => ({ topic: 't', partition })));
  }

  /** Fetches up to `most` records, as a broker would: from the place on, or from a little before it. */
  fetch(partition: number, most: number, before = 0): boolean {
    const place = this.places.get(partition);
    if (place === undefined || this.paused.has(partition)) return false;
    const { offsets, high } = this.logs.get(partition)!;
    const from = Math.max(0, place - before);
    const chosen = offsets.filter((offset) => offset >= from).slice(0, most + before);
    const last = chosen.at(-1);
    const batch: Fetched = {
      topic: 't',
      partition,
      from,
      records: chosen.map((offset) => fetchedRecord(partition, offset)),
      next: last === undefined ? high : last + 1,
      end: high,
    };
    this.places.set(partition, Math.max(place, batch.next));
    if (!this.events!.fetched(batch)) this.paused.add(partition);
    return true;
  }
}

/** The engine's side of a source: pulls each partition, keeps what came, checkpoints a partition when it is revoked. */
export class FakeEngine {
  readonly read = new Map<string, number[]>();
  readonly positions = new Map<string, number>();
  readonly partitions = new Map<string, SourcePartition>();
  readonly failures: Error[] = [];
  completed = false;
  /** Revocations wait for this. */
  finishing: Promise<void> = Promise.resolve();

  hooks(): Pick<SourceContext, 'assign' | 'revoke' | 'fail' | 'complete' | 'position'> {
    return {
      assign: (partition) => {
        if (this.partitions.has(partition.id)) throw new Error(`${partition.id} is assigned twice`);
        this.partitions.set(partition.id, partition);
      },
      revoke: async (id) => {
        await this.finishing;
        this.partitions.delete(id);
      },
      fail: (error) => void this.failures.push(error),
      complete: () => {
        this.completed = true;
      },
      position: (id) => this.positions.get(id),
    };
  }

  /** Pulls once; gives the offsets read, `null` at the end. */
  async pull(id: string, records = 1_000, bytes = 1 << 20): Promise<number[] | null> {
    const batch = await this.partitions.get(id)!.pull({ records, bytes });
    if (batch === null) return null;
    const raw: RawRecord = new Raw();
    const offsets: number[] = [];
    for (let i = 0; i < batch.length; i++) {
      batch.read(i, raw);
      const partition = Number(id.split('/')[1]);
      const text = raw.data.toString('utf8', raw.start, raw.end);
      if (text !== valueAt(partition, raw.offset)) throw new Error(`${id} gave ${text} at offset ${raw.offset}`);
      offsets.push(raw.offset);
    }
    this.read.set(id, [...(this.read.get(id) ?? []), ...offsets]);
    this.positions.set(id, batch.next as number);
    return offsets;
  }
}

/** A topic that takes what it is sent, in the order in which sends begin, unless told to do otherwise. */
export class FakeTopic {
  readonly stored = new Map<string, Outgoing[]>();
  readonly inFlight = new Set<string>();
  readonly sizes: number[] = [];
  sends = 0;
  /** Called before records are stored; it may throw. */
  before: (target: TopicPartition, records: readonly Outgoing[]) => void = () => undefined;
  /** Called after they are stored: throwing here is an answer that got lost. */
  after: (target: TopicPartition, records: readonly Outgoing[]) => void = () => undefined;
  counts: (topic: string) => number = () => 3;
  #last = new Map<string, readonly Outgoing[]>();

  driver(): Driver {
    const writer = {
      partitions: async (topic: string) => this.counts(topic),
      send: (target: TopicPartition, records: readonly Outgoing[]) => this.#send(target, records),
      close: async () => undefined,
    };
    return {
      address: 'fake:9092',
      admin: () => Promise.reject(new Error('no admin here')),
      read: () => Promise.reject(new Error('no reader here')),
      write: async () => writer,
      transact: () => Promise.reject(new Error('no transactions here')),
      scan: () => Promise.reject(new Error('nothing to scan here')),
    };
  }

  async #send(target: TopicPartition, records: readonly Outgoing[]): Promise<void> {
    const name = `${target.topic}/${target.partition}`;
    if (this.inFlight.has(name)) throw new Error(`two sends at once to ${name}`);
    this.inFlight.add(name);
    this.sends++;
    await new Promise<void>((resolve) => setImmediate(resolve));
    try {
      this.before(target, records);
      // The idempotent producer: the same records again add nothing; anything else in their place would be lost.
      const last = this.#last.get(name);
      const same =
        last !== undefined && last.length === records.length && last.every((entry, i) => entry === records[i]);
      if (last !== undefined && !same)
        throw new Error('records were sent in the place of others whose fate is not known');
      if (!same) this.stored.set(name, [...(this.stored.get(name) ?? []), ...records]);
      this.#last.set(name, records);
      this.after(target, records);
      this.#last.delete(name);
    } finally {
      this.inFlight.delete(name);
    }
  }
}
