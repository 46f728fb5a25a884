import { describe, expect, test } from 'vitest';
import { type OpenSink, RunError, type SinkContext, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { FaultyNetwork } from './faulty-network.ts';
import { outageMs, sinkContextForTest, until } from './harness.ts';

/** One sink before a target of its own. */
export interface SinkUnderTest {
  /** Opens it, with a password or token that the target does not know if asked to. */
  open(context: SinkContext, secret?: string): Promise<OpenSink>;
  /** The numbers that the target holds of each key, in the order in which whoever reads them gets them. */
  contents(): Promise<Map<string, number[]>>;
  close?(): Promise<void>;
}

export interface SinkTraits {
  /** Makes the target. */
  readonly make: () => Promise<SinkUnderTest>;
  /** The target asks who comes: how the address stands in what the sink says when it is not let in. */
  readonly secured?: string;
  /** It goes over a network. */
  readonly remote?: boolean;
  /** A value that the target never takes. */
  readonly poison?: (n: number) => unknown;
}

const keys = ['a', 'b', 'c'] as const;
const start = Date.UTC(2026, 10, 1);
const secret = 'a-secret-that-nobody-may-see';

function records(from: number, count: number, value: (n: number) => unknown = () => undefined): StreamRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const n = from + i;
    const key = keys[n % keys.length]!;
    return new StreamRecord(
      value(n) ?? { key, n },
      key,
      start + n,
      n,
      undefined,
      undefined,
      undefined,
      'readings.in/0',
    );
  });
}

/** The first time that each number comes, in order: what is left when repetitions are taken away. */
function firsts(numbers: readonly number[] = []): number[] {
  return [...new Set(numbers)];
}

function expectAll(found: ReadonlyMap<string, readonly number[]>, count: number, without?: number): void {
  for (const [place, key] of keys.entries()) {
    const wanted = Array.from({ length: count }, (_, n) => n).filter((n) => n % keys.length === place && n !== without);
    expect(firsts(found.get(key)), `of the key ${key}`).toEqual(wanted);
  }
}

/** What every sink holds to. A connector passes by a target that can be opened and read. */
export function sinkSuite(name: string, { make, secured, remote, poison }: SinkTraits): void {
  const withTarget = (run: (target: SinkUnderTest, network: FaultyNetwork) => Promise<void>) => async () => {
    const target = await make();
    try {
      await run(target, new FaultyNetwork(systemPorts().network));
    } finally {
      await target.close?.();
    }
  };
  const context = (network: FaultyNetwork) => sinkContextForTest({ network });

  describe(`the sink ${name}`, () => {
    test(
      'opens and closes, with nothing written',
      withTarget(async (target, network) => {
        const sink = await target.open(context(network).context);
        await sink.close();
        await until('its connections are closed', () => network.open === 0);
        expect(await target.contents()).toEqual(new Map());
      }),
    );

    test(
      'has written what it has confirmed, in order for each key, and goes on behind it after a restart',
      withTarget(async (target, network) => {
        let written = 0;
        for (const sizes of [
          [1, 2, 500],
          [0, 7],
        ]) {
          const sink = await target.open(context(network).context);
          for (const size of sizes) {
            expect((await sink.write(records(written, size))) ?? []).toEqual([]);
            written += size;
          }
          expectAll(await target.contents(), written);
          await sink.close();
        }
      }),
    );

    if (poison)
      test(
        'refuses what the target never takes, and writes all others',
        withTarget(async (target, network) => {
          const { context: given } = context(network);
          const sink = await target.open(given);
          const batch = records(0, 50, (n) => (n === 17 ? poison(n) : undefined));
          const refused = await sink.write(batch);
          expect(refused?.map(({ index }) => index)).toEqual([17]);
          expect(refused![0]!.message).toMatch(/\w+ \w+/);
          expect((await sink.write(records(50, 10))) ?? []).toEqual([]);
          expectAll(await target.contents(), 60, 17);
          await sink.close();
        }),
      );

    if (secured)
      test(
        'says plainly that it is not let in, and shows no secret',
        withTarget(async (target, network) => {
          const { context: given, log } = context(network);
          const trying = target
            .open(given, secret)
            .then((sink) => sink.write(records(0, 1)).finally(() => sink.close()));
          const error = await trying.then(
            () => undefined,
            (reason: Error) => reason,
          );
          expect(error).toBeInstanceOf(RunError);
          expect(error!.message).toContain(secured);
          expect(`${error!.message}${error!.stack}${log.lines.join()}`).not.toContain(secret);
        }),
      );

    if (remote) describeFaults(withTarget, context);
  });
}

type WithTarget = (run: (target: SinkUnderTest, network: FaultyNetwork) => Promise<void>) => () => Promise<void>;

function describeFaults(
  withTarget: WithTarget,
  context: (network: FaultyNetwork) => { context: SinkContext; abort: AbortController },
) {
  test(
    'loses nothing and keeps the order when its connections are cut, again and again',
    withTarget(async (target, network) => {
      const sink = await target.open(context(network).context);
      // Before a request has left, behind it, and before or behind its answer.
      for (let n = 0; n < 80; n += 20) {
        network.cutAfter(n / 20);
        expect((await sink.write(records(n, 20))) ?? []).toEqual([]);
      }
      expectAll(await target.contents(), 80);
      await sink.close();
    }),
    60_000 + 2 * outageMs,
  );

  test(
    'waits while the target is away, and for lines that are silent, slow and narrow',
    withTarget(async (target, network) => {
      const sink = await target.open(context(network).context);
      await sink.write(records(0, 10));
      network.away();
      const before = network.attempts;
      const first = sink.write(records(10, 10));
      await until('it has tried again', () => network.attempts > before + 1);
      await new Promise((resolve) => setTimeout(resolve, outageMs));
      network.back();
      await first;
      network.hush();
      const second = sink.write(records(20, 10));
      // A turn of the event loop later the request is under way, and no answer comes.
      await new Promise(setImmediate);
      network.cut();
      network.speak();
      await second;
      network.latencyMs = 5;
      network.bytesPerSecond = 100_000;
      await sink.write(records(30, 100));
      expectAll(await target.contents(), 130);
      await sink.close();
    }),
    60_000 + 2 * outageMs,
  );

  test(
    'gives up at once when the run is ended by force while the target is away',
    withTarget(async (target, network) => {
      const { context: given, abort } = context(network);
      const sink = await target.open(given);
      await sink.write(records(0, 3));
      network.away();
      const writing = sink.write(records(3, 3)).then(
        () => 'written',
        () => 'given up',
      );
      const before = network.attempts;
      await until('it has tried again', () => network.attempts > before);
      abort.abort();
      expect(await writing).toBe('given up');
      await sink.close();
    }),
    60_000 + 2 * outageMs,
  );
}
