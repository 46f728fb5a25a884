import { describe, expect, test } from 'vitest';
import { type Batch, type Position, RawRecord, RunError, type SourcePartition } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { FaultyNetwork } from './faulty-network.ts';
import { journalFolder, outageMs, type SourceRun, type SourceSetup, until } from './harness.ts';

/** One source behind an input of its own. */
export interface SourceUnderTest {
  /** Opens it, with a password or token that the system does not know if asked to. */
  open(setup: SourceSetup, secret?: string): Promise<SourceRun>;
  /** Puts records in, as `{"key":…,"n":…}`; resolves once they are the system's. */
  produce(records: readonly Numbered[]): Promise<void>;
  close?(): Promise<void>;
}
export interface Numbered {
  readonly key: string;
  readonly n: number;
}

export interface SourceTraits {
  readonly make: () => Promise<SourceUnderTest>;
  /** The system asks who comes: how the address stands in what the source says when it is not let in. */
  readonly secured?: string;
  /** It is filled by whoever comes to it, so only while it is open. */
  readonly serves?: boolean;
  /** It goes over a network, through the port of the run. */
  readonly remote?: boolean;
  /** It holds no more than this of what nobody has pulled, in bytes: the rest stays where it was, or on disk. */
  readonly holds?: number;
}

const keys = ['a', 'b', 'c'] as const;
const secret = 'a-secret-that-nobody-may-see';
const numbered = (from: number, count: number): Numbered[] =>
  Array.from({ length: count }, (_, i) => ({ key: keys[(from + i) % keys.length]!, n: from + i }));

/** Pulls all partitions, as an engine does, and remembers where each stands behind each record. */
class Reader {
  readonly seen: Numbered[] = [];
  readonly positions: Record<string, Position> = {};
  readonly #run: SourceRun;
  readonly #pulling = new Map<SourcePartition, Promise<Batch | null>>();
  readonly #most: number;
  /** Pulls again as soon as it can, also while nobody waits. */
  eager = false;

  constructor(run: SourceRun, positions: Readonly<Record<string, Position>> = {}, most = 100) {
    this.#run = run;
    this.#most = most;
    Object.assign(this.positions, positions);
  }

  /** Reads until the condition holds. */
  async until(holds: (seen: readonly Numbered[]) => boolean): Promise<void> {
    await until(
      'the records are there',
      async () => {
        if (this.#run.failures.length > 0) throw this.#run.failures[0];
        if (holds(this.seen)) return true;
        for (const partition of this.#run.partitions.values()) if (!this.#pulling.has(partition)) this.#pull(partition);
        await Promise.race([...this.#pulling.values(), new Promise((resolve) => setTimeout(resolve, 20))]);
        return holds(this.seen);
      },
      60_000,
    );
  }

  #pull(partition: SourcePartition): void {
    const pulling = partition.pull({ records: this.#most, bytes: 1 << 20 });
    this.#pulling.set(partition, pulling);
    void pulling.then((batch) => {
      this.#pulling.delete(partition);
      if (batch === null) return;
      const raw = new RawRecord();
      for (let i = 0; i < batch.length; i++) {
        batch.read(i, raw);
        const value = raw.decoded ? raw.value : JSON.parse(raw.data.toString('utf8', raw.start, raw.end));
        this.seen.push({ key: String((value as Numbered).key), n: Number((value as Numbered).n) });
      }
      this.positions[partition.id] = batch.next;
      if (this.eager) this.#pull(partition);
    });
  }
}

/** Each record is there, and those of a key came in order, repetitions aside. */
function expectAll(seen: readonly Numbered[], from: number, count: number): void {
  for (const key of keys) {
    const found = [...new Set(seen.filter((one) => one.key === key).map(({ n }) => n))];
    expect(found, `of the key ${key}`).toEqual(
      numbered(from, count)
        .filter((one) => one.key === key)
        .map(({ n }) => n),
    );
  }
}

const different = (seen: readonly Numbered[]) => new Set(seen.map(({ n }) => n)).size;

/** What every source holds to. A connector passes by an input that can be opened and filled. */
export function sourceSuite(name: string, { make, secured, serves, remote, holds }: SourceTraits): void {
  type Open = (positions?: Readonly<Record<string, Position>>, secret?: string) => Promise<SourceRun>;
  const withInput =
    (run: (input: SourceUnderTest, open: Open, network: FaultyNetwork) => Promise<void>) => async () => {
      const input = await make();
      const folder = await journalFolder();
      const network = new FaultyNetwork(systemPorts().network);
      const runs: SourceRun[] = [];
      const open: Open = async (positions, given) => {
        const setup = { directory: folder.path, ports: { network }, ...(positions && { positions }) };
        const opened = await input.open(setup, given);
        runs.push(opened);
        return opened;
      };
      try {
        await run(input, open, network);
      } finally {
        await Promise.all(runs.map((one) => one.stop().catch(() => {})));
        await input.close?.();
        await folder.remove();
      }
    };

  describe(`the source ${name}`, () => {
    test(
      'opens and closes, with nothing read',
      withInput(async (_input, open, network) => {
        const run = await open();
        await run.stop();
        await until('its connections are closed', () => network.open === 0);
      }),
    );

    test(
      'gives all that was put in, in order for each key',
      withInput(async (input, open) => {
        const run = await open();
        await input.produce(numbered(0, 300));
        const reader = new Reader(run);
        await reader.until((seen) => different(seen) >= 300);
        await input.produce(numbered(300, 30));
        await reader.until((seen) => different(seen) >= 330);
        expectAll(reader.seen, 0, 330);
      }),
    );

    test(
      'goes on behind the position that a checkpoint holds: nothing is left out, and nothing before it comes again',
      withInput(async (input, open) => {
        const first = await open();
        await input.produce(numbered(0, 20));
        const before = new Reader(first, {}, 3);
        await before.until((seen) => seen.length >= 9);
        const positions = { ...before.positions };
        const kept = [...before.seen];
        // Read on, but not in the checkpoint: it has to come again.
        await before.until((seen) => seen.length >= 15);
        await first.stop();
        if (!serves) await input.produce(numbered(20, 5));
        const after = new Reader(await open(positions), positions);
        if (serves) await input.produce(numbered(20, 5));
        await after.until((seen) => different([...kept, ...seen]) >= 25);
        expect([...kept, ...after.seen].map(({ n }) => n).sort((a, b) => a - b)).toEqual(
          numbered(0, 25).map(({ n }) => n),
        );
      }),
    );

    if (holds !== undefined)
      test(
        'takes in only so much as long as nobody pulls, and has all of it later',
        withInput(async (input, open, network) => {
          const run = await open();
          await until('a partition is there', () => run.partitions.size > 0);
          const pad = 'x'.repeat(1_000);
          const count = 30_000;
          for (let n = 0; n < count; n += 1_000)
            await input.produce(numbered(n, 1_000).map((one) => ({ ...one, pad })) as readonly Numbered[]);
          // What keeps a connection alive is no more than this.
          const little = 64 << 10;
          let [last, steady] = [0, 0];
          await until('hardly anything more comes in', () => {
            steady = network.received - last < little ? steady + 1 : 0;
            if (steady === 0) last = network.received;
            return steady > 100;
          });
          expect(network.received).toBeLessThan(holds);
          const reader = new Reader(run, {}, 5_000);
          await reader.until((seen) => different(seen) >= count);
          expectAll(reader.seen, 0, count);
        }),
        120_000,
      );

    if (secured)
      test(
        'says plainly that it is not let in, and shows no secret',
        withInput(async (_input, open) => {
          let run: SourceRun | undefined;
          const error = await open(undefined, secret).then(
            async (opened) => {
              run = opened;
              await until('it has failed', () => opened.failures.length > 0);
              return opened.failures[0]!;
            },
            (reason: Error) => reason,
          );
          expect(error).toBeInstanceOf(RunError);
          expect(error.message).toContain(secured);
          expect(`${error.message}${error.stack}${run?.log.lines.join()}`).not.toContain(secret);
        }),
      );

    if (remote)
      test(
        'loses nothing and keeps the order when its connections are cut, silent, slow, and refused for a while',
        withInput(async (input, open, network) => {
          const reader = new Reader(await open());
          reader.eager = true;
          await input.produce(numbered(0, 30));
          await reader.until((seen) => different(seen) >= 10);
          for (let n = 30; n < 150; n += 30) {
            network.cut();
            await input.produce(numbered(n, 30));
            await reader.until((seen) => different(seen) >= n + 15);
          }
          network.away();
          await input.produce(numbered(150, 30));
          const before = network.attempts;
          await until('it has tried again', () => network.attempts > before);
          await new Promise((resolve) => setTimeout(resolve, outageMs));
          network.back();
          await reader.until((seen) => different(seen) >= 180);
          network.hush();
          await input.produce(numbered(180, 30));
          network.cut();
          network.speak();
          network.latencyMs = 3;
          network.bytesPerSecond = 300_000;
          await reader.until((seen) => different(seen) >= 210);
          expectAll(reader.seen, 0, 210);
        }),
        120_000 + 2 * outageMs,
      );
  });
}
