import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openBufferStore } from '../../../src/engine/buffer-store.ts';
import { deadLetter } from '../../../src/engine/dead-letter.ts';
import { deadLetterOf, StreamRecord } from '../../../src/operator.ts';
import { seededRandom } from '../../../src/ports/memory.ts';
import { BufferedWorld, Maker, names, outOfOrder } from './buffered-world.ts';

const keys = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 30 });
const act = fc.oneof(
  { weight: 4, arbitrary: fc.record({ write: keys }) },
  { weight: 2, arbitrary: fc.record({ up: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ turns: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ crashIn: fc.integer({ min: 0, max: 25 }), seed: fc.integer() }) },
);

describe('a buffered sink', () => {
  test('loses nothing that it has confirmed and keeps the order of each key, whatever crashes and however long the target is away', () =>
    fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 25 }), async (acts) => {
        const world = await new BufferedWorld({ maxBytes: 24_000 }).start();
        const maker = new Maker(200);
        const confirmed: string[] = [];
        let waiting: StreamRecord[] = [];
        let writing: Promise<void> | undefined;
        let crashed = false;
        const begin = () => {
          const records = waiting;
          writing = world.sink.write(records).then(
            (refused) => {
              expect(refused).toBe(undefined);
              confirmed.push(...names(records));
              waiting = [];
              writing = undefined;
            },
            () => {
              writing = undefined;
            },
          );
        };
        // What crashes begins anew: an engine then writes again what was not confirmed.
        const restart = async () => {
          crashed = false;
          world.ports.disk.before = () => {};
          await world.sink.close().catch(() => undefined);
          await writing;
          await world.start();
          if (waiting.length > 0) begin();
        };
        for (const one of acts) {
          if ('write' in one && writing === undefined) {
            waiting = maker.make(one.write);
            begin();
            await world.settle(() => writing === undefined, 20);
          } else if ('up' in one) world.up = one.up;
          else if ('turns' in one) await world.settle(() => false, one.turns);
          else if ('crashIn' in one) {
            let left = one.crashIn;
            world.ports.disk.before = () => {
              if (crashed || left-- > 0) return;
              crashed = true;
              world.crash(seededRandom(one.seed));
            };
          }
          if (crashed) await restart();
        }
        world.ports.disk.before = () => {};
        if (crashed) await restart();
        world.up = true;
        await world.settle(() => writing === undefined && world.sink.counts.waiting === 0, 2_000);
        expect([writing, world.sink.counts.waiting]).toEqual([undefined, 0]);
        await world.sink.drained();
        expect(confirmed.filter((name) => !world.reached.includes(name))).toEqual([]);
        expect(outOfOrder(world.reached)).toEqual([]);
        await world.sink.close();
      }),
      { numRuns: 150 },
    ));

  test('goes on after a restart where it stood, and repeats nothing that was forwarded before it', async () => {
    const world = await new BufferedWorld().start();
    const records = new Maker().make(Array.from({ length: 1_500 }, (_, n) => `k${n % 7}`));
    await world.sink.write(records.slice(0, 1_000));
    await world.settle(() => world.reached.length === 1_000);
    await world.settle(() => world.sink.counts.waiting === 0);
    world.up = false;
    await world.sink.write(records.slice(1_000));
    await world.settle(() => world.asked.writes > 2, 20);
    const closing = world.sink.close();
    await world.settle(() => false, 60);
    await closing;
    await world.start();
    expect(world.sink.counts).toMatchObject({ waiting: 500, forwarded: 0 });
    world.up = true;
    await world.settle(() => world.reached.length >= 1_500, 2_000);
    expect(world.reached).toEqual(names(records));
    expect(world.failures).toEqual([]);
  });

  test('confirms while the target is away, from the start too, and then reads nothing more into memory', async () => {
    const world = new BufferedWorld();
    world.up = false;
    await world.start();
    const maker = new Maker();
    await world.sink.write(maker.make(Array.from({ length: 900 }, () => 'a')));
    world.up = true;
    await world.settle(() => world.asked.writes > 0, 1_000);
    world.up = false;
    await world.sink.write(maker.make(Array.from({ length: 2_000 }, () => 'a')));
    await world.settle(() => false, 50);
    let reads = 0;
    world.ports.disk.before = (operation) => {
      if (operation === 'read') reads++;
    };
    for (let n = 0; n < 20; n++) await world.sink.write(maker.make(Array.from({ length: 500 }, () => 'a')));
    await world.settle(() => false, 50);
    expect(reads).toBe(0);
    world.up = true;
    await world.settle(() => world.sink.counts.waiting === 0, 3_000);
    expect([world.reached.length, world.asked.most, outOfOrder(world.reached)]).toEqual([12_900, 700, []]);
  });

  test('lets no more than `rate` records a second go', async () => {
    const world = await new BufferedWorld({ rate: 40 }).start();
    await world.sink.write(new Maker().make(Array.from({ length: 400 }, () => 'a')));
    const began = world.ports.clock.now();
    const counted: number[] = [];
    for (let second = 1; second <= 11; second++) {
      while (world.ports.clock.now() < began + second * 1_000) await world.settle(() => false, 1);
      counted.push(world.reached.length);
    }
    // The first slice goes at once, the rest follows in its own time.
    for (const [index, reached] of counted.entries()) expect(reached).toBeLessThanOrEqual((index + 1) * 40 + 10);
    expect(counted.at(-1)).toBe(400);
    expect(world.asked.most).toBe(10);
  });

  test('tells what the target refuses, as it was, and moves on only then', async () => {
    const world = new BufferedWorld();
    world.refuses = ({ value }) => ((value as { n: number }).n === 1 ? 'Not that.' : undefined);
    await world.start();
    const at = {
      topology: 't',
      topologyHash: 'h',
      step: 's',
      operator: 'o',
      stage: 'step' as const,
      source: 'in/0',
      at: 0,
    };
    const rejection = { code: 'late' as const, message: 'No.', reasons: undefined };
    const letter = deadLetter({ record: new StreamRecord({ n: 1 }, 'b'), ...rejection }, at, undefined);
    const dead = new StreamRecord({ ...letter.value, n: 1 }, 'b');
    await world.sink.write([...new Maker().make(['a', 'a', 'a']), dead, letter]);
    await world.settle(() => world.sink.counts.waiting === 0);
    expect(world.letters.map(({ record, why }) => [record.key, (record.value as { n: number }).n, why])).toEqual([
      ['a', 1, { message: 'Not that.' }],
      ['b', 1, { message: 'Not that.' }],
    ]);
    expect([deadLetterOf(world.letters[1]!.record), world.reached.length]).toEqual([undefined, 3]);
  });

  test('still knows a dead letter for one when it comes out again', async () => {
    const world = new BufferedWorld();
    let found: unknown;
    world.refuses = (record) => {
      found = deadLetterOf(record);
      return undefined;
    };
    await world.start();
    const at = {
      topology: 't',
      topologyHash: 'h',
      step: 's',
      operator: 'o',
      stage: 'step' as const,
      source: 'in/0',
      at: 0,
    };
    const rejection = { code: 'late' as const, message: 'No.', reasons: undefined };
    await world.sink.write([deadLetter({ record: new StreamRecord({ n: 1 }, 'b'), ...rejection }, at, undefined)]);
    await world.settle(() => found !== undefined);
    expect(found).toMatchObject({ code: 'late', step: 's' });
  });
});

describe('a full buffer', () => {
  const fill = async (world: BufferedWorld, maker: Maker, writes: number) => {
    const refused: number[] = [];
    const written: string[] = [];
    for (let n = 0; n < writes; n++) {
      const records = maker.make(Array.from({ length: 10 }, () => 'a'));
      refused.push(((await world.sink.write(records)) ?? []).length);
      written.push(...names(records));
    }
    return { refused, written };
  };

  test('holds the writer back with `block`, and goes on when there is room again', async () => {
    const world = await new BufferedWorld({ maxBytes: 24_000 }).start();
    world.up = false;
    let done = false;
    const filling = fill(world, new Maker(300), 30).then((result) => {
      done = true;
      return result;
    });
    await world.settle(() => done, 300);
    expect([done, world.sink.counts.dropped]).toEqual([false, 0]);
    expect(world.sink.counts.bytes).toBeLessThanOrEqual(24_000);
    world.up = true;
    await world.settle(() => done && world.sink.counts.waiting === 0, 3_000);
    expect(world.reached).toEqual((await filling).written);
  });

  test('drops what waits longest with `dropOldest`, and counts it to the last record', () =>
    fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 0, max: 400 }), async (writes, pad) => {
        const world = await new BufferedWorld({ maxBytes: 24_000, whenFull: 'dropOldest' }).start();
        world.up = false;
        const { written, refused } = await fill(world, new Maker(pad), writes);
        expect(refused.every((count) => count === 0)).toBe(true);
        expect(world.sink.counts.bytes).toBeLessThanOrEqual(24_000 + 8_192);
        const { dropped } = world.sink.counts;
        world.up = true;
        await world.settle(() => world.sink.counts.waiting === 0, 3_000);
        // One write was under way when the target went away: it may hold what was dropped behind it.
        expect(new Set(world.reached).size).toBeGreaterThanOrEqual(written.length - dropped);
        expect(world.reached.slice(-(written.length - dropped))).toEqual(written.slice(dropped));
        expect(outOfOrder(world.reached)).toEqual([]);
        if (written.length * pad > 30_000) expect(dropped).toBeGreaterThan(0);
        await world.sink.close();
      }),
      { numRuns: 40 },
    ));

  test('refuses what comes with `dropNewest`, as `buffer-full`, and keeps what it has', async () => {
    const world = await new BufferedWorld({ maxBytes: 24_000, whenFull: 'dropNewest' }).start();
    world.up = false;
    const { written, refused } = await fill(world, new Maker(300), 30);
    const taken = refused.findIndex((count) => count > 0);
    expect(refused.slice(taken)).toEqual(refused.slice(taken).map(() => 10));
    const more = await world.sink.write(new Maker(6_000).make(['z', 'z']));
    const message = 'The buffer of `out` is full.';
    expect(more).toEqual([0, 1].map((index) => ({ index, code: 'buffer-full', message })));
    world.up = true;
    await world.settle(() => world.sink.counts.waiting === 0, 3_000);
    expect(world.reached).toEqual(written.slice(0, taken * 10));
  });

  test('passes over what is older than `maxAge`, and counts it', async () => {
    const world = await new BufferedWorld({ maxAgeMs: 60_000 }).start();
    world.up = false;
    const maker = new Maker();
    await world.sink.write(maker.make(['a']));
    await world.settle(() => world.asked.writes === 1, 20);
    await world.sink.write(maker.make(['a', 'a', 'b']));
    world.ports.clock.advance(61_000);
    await world.sink.write(maker.make(['b']));
    world.up = true;
    await world.settle(() => world.sink.counts.waiting === 0);
    // The first was under way already.
    expect([world.reached, world.sink.counts.expired]).toEqual([['a/0', 'b/1'], 3]);
  });
});

test('a buffer whose files do not belong together is not used', async () => {
  const world = await new BufferedWorld().start();
  await world.sink.write(new Maker().make(['a', 'b']));
  await world.settle(() => world.sink.counts.waiting === 0);
  await world.sink.close();
  const { disk, clock } = world.ports;
  const [file] = (await disk.list('/state/buffer/out')).filter((name) => name.endsWith('.log'));
  disk.damage(`/state/buffer/out/${file}`, (content) => content.subarray(0, 8));
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  await expect(
    openBufferStore(disk, '/state/buffer/out', { maxBytes: 1 << 20, blocks: true, log, clock }),
  ).rejects.toThrow(/was forwarded up to entry 1, but ends at 0\. Its files do not belong together/);
});
