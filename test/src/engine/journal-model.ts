import fc from 'fast-check';
import { expect } from 'vitest';
import { openJournal } from '../../../src/engine/journal.ts';
import { type Journal, type JournalRecord, RawRecord } from '../../../src/operator.ts';
import { ManualClock, MemoryDisk, seededRandom } from '../../../src/ports/memory.ts';

export const folder = '/state/journal';
export const limits = { records: 1_000, bytes: 1 << 20 };
export const never: AbortSignal = new AbortController().signal;
export const segment = (base: number) => `${folder}/${String(base).padStart(16, '0')}.log`;

export const record = (text: string, topic = 'generators/g1', flags = 0): JournalRecord => ({
  topic,
  payload: Buffer.from(text),
  arrival: 1_700_000_000_123.5,
  flags,
});

/** Payloads of all records from an offset on. */
export async function readAll(journal: Journal, from = journal.begin, batchLimits = limits): Promise<string[]> {
  const texts: string[] = [];
  const into = new RawRecord();
  for (let offset = from; offset < journal.end; ) {
    const batch = (await journal.read(offset, batchLimits, never))!;
    expect(batch.length).toBeGreaterThan(0);
    for (let index = 0; index < batch.length; index++) {
      batch.read(index, into);
      expect(into.offset).toBe(offset + index);
      texts.push(into.data.toString('utf8', into.start, into.end));
    }
    offset = batch.next;
  }
  return texts;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Lets everything run that waits neither for the clock nor for the test. */
export async function settle(): Promise<void> {
  for (let n = 0; n < 3; n++) await turn();
}

export type Action =
  | { do: 'append'; sizes: number[] }
  | { do: 'settle' | 'space' | 'syncFails' | 'restart' | 'kill' }
  | { do: 'read'; from: number; records: number; bytes: number }
  | { do: 'trim'; part: number }
  | { do: 'full'; free: number }
  | { do: 'crash'; seed: number; after: number };

const kind = <K extends Action['do']>(name: K) => fc.constant(name);
export const actions: fc.Arbitrary<Action[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        do: kind('append'),
        // Few sizes, so that what is left of an old write often lies where a new record ends.
        sizes: fc.array(fc.constantFrom(0, 5, 40, 120, 350), { minLength: 1, maxLength: 6 }),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: kind('settle') }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: kind('read'),
        from: fc.nat(100),
        records: fc.integer({ min: 1, max: 9 }),
        bytes: fc.nat(400),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: kind('trim'), part: fc.nat(100) }) },
    { weight: 1, arbitrary: fc.record({ do: kind('full'), free: fc.nat(200) }) },
    { weight: 2, arbitrary: fc.record({ do: kind('space') }) },
    { weight: 1, arbitrary: fc.record({ do: kind('syncFails') }) },
    { weight: 2, arbitrary: fc.record({ do: kind('crash'), seed: fc.nat(), after: fc.nat(12) }) },
    { weight: 1, arbitrary: fc.record({ do: kind('restart') }) },
    { weight: 1, arbitrary: fc.record({ do: kind('kill') }) },
  ),
  { maxLength: 60 },
);

/** A journal on a disk in memory beside a plain list of what it must hold. */
export class Simulation {
  readonly disk = new MemoryDisk();
  readonly clock = new ManualClock();
  journal!: Journal;
  /** Text of each acknowledged record by offset. */
  readonly acknowledged: string[] = [];
  /** Appended after those; their fate is open. */
  open: string[] = [];
  made = 0;
  /** A wrong acknowledgement, kept until somebody can be told. */
  wrong: unknown;
  #trimmed = 0;

  async start(): Promise<void> {
    this.disk.before = () => {};
    this.disk.capacity = Number.POSITIVE_INFINITY;
    this.journal = await openJournal(this.disk, folder, { segmentBytes: 400, maxBytes: 3_000, clock: this.clock });
    const { begin, end } = this.journal;
    expect(begin).toBeLessThanOrEqual(this.#trimmed);
    expect(end).toBeGreaterThanOrEqual(this.acknowledged.length);
    // Beyond the acknowledged there may be only the first of those whose fate was open.
    expect(end - this.acknowledged.length).toBeLessThanOrEqual(this.open.length);
    this.acknowledged.push(...this.open.slice(0, end - this.acknowledged.length));
    this.open = [];
    expect(await readAll(this.journal)).toEqual(this.acknowledged.slice(begin));
  }

  async run(action: Action): Promise<void> {
    if (action.do === 'append') this.#append(action.sizes);
    else if (action.do === 'settle') await this.#settle();
    else if (action.do === 'read') await this.#read(action);
    else if (action.do === 'trim') {
      this.#trimmed = Math.max(this.#trimmed, Math.floor((this.acknowledged.length * action.part) / 100));
      await this.journal.trim(this.#trimmed);
    } else if (action.do === 'full') this.disk.capacity = (await this.#used()) + action.free;
    else if (action.do === 'space') {
      this.disk.capacity = Number.POSITIVE_INFINITY;
      await this.#settle();
    } else if (action.do === 'syncFails') {
      this.disk.before = (operation) => {
        if (operation === 'sync') throw Object.assign(new Error('EIO'), { code: 'EIO' });
      };
    } else if (action.do === 'crash') await this.#crash(action.after, action.seed);
    else {
      if (action.do === 'kill') this.disk.life++;
      await this.journal.close();
      await this.start();
    }
    if (this.wrong !== undefined) throw this.wrong;
  }

  #append(sizes: number[]): void {
    for (const size of sizes) {
      const text = `${this.made++}:`.padEnd(size, 'x');
      this.open.push(text);
      this.journal.append(record(text)).then(
        (offset) => {
          if (offset === this.acknowledged.length && text === this.open[0]) this.open.shift();
          else this.wrong ??= new Error(`\`${text}\` was acknowledged as ${offset}`);
          this.acknowledged.push(text);
        },
        () => {},
      );
    }
  }

  async #read({ from, ...batch }: { from: number; records: number; bytes: number }): Promise<void> {
    const { begin, end } = this.journal;
    const start = begin + Math.floor(((end - begin) * from) / 101);
    const texts = await readAll(this.journal, start, batch);
    expect(texts).toEqual(this.acknowledged.slice(start, start + texts.length));
  }

  async #settle(): Promise<void> {
    for (let n = 0; n < 3; n++) {
      await turn();
      this.clock.advance(1_000);
    }
    await turn();
  }

  /** The power goes before the n-th operation from now. */
  async #crash(after: number, seed: number): Promise<void> {
    let left = after;
    const pull = () => {
      this.disk.before = () => {};
      this.disk.crash(seededRandom(seed));
    };
    this.disk.before = () => void (left-- === 0 && pull());
    await this.#settle();
    if (left >= 0) pull();
    await this.journal.close();
    await this.start();
  }

  async #used(): Promise<number> {
    this.disk.capacity = Number.POSITIVE_INFINITY;
    let used = 0;
    for (const name of await this.disk.list(folder)) used += (await this.disk.size(`${folder}/${name}`)) ?? 0;
    return used;
  }
}
