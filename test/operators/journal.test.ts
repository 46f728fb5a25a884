import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { journalSink, journalSource } from '../../operators/journal/index.ts';
import { openJournal } from '../../src/engine/journal.ts';
import { type Position, RawRecord, type SourcePartition, StreamRecord } from '../../src/operator.ts';
import { ManualClock, MemoryDisk, memoryPorts, seededRandom } from '../../src/ports/memory.ts';
import { start } from '../../src/runtime.ts';
import { loadTopology } from '../../src/topology/load.ts';
import { settle, sinkContext, sourceContext, until } from './connector-contexts.ts';
import { problemsOf } from './topologies.ts';

const path = '/data/readings.journal';
const record = (n: number, more: Partial<StreamRecord> = {}) =>
  new StreamRecord<unknown>(
    { n },
    more.key ?? 'k',
    more.time ?? 1_700_000_000_000 + n,
    n,
    more.meta,
    undefined,
    undefined,
    'in/0',
  );

interface Disked {
  readonly disk: MemoryDisk;
  readonly clock: ManualClock;
}
const world = (): Disked => ({ disk: new MemoryDisk(), clock: new ManualClock(1_700_000_000_000) });
const portsOf = (given: Disked) => ({ ...memoryPorts(), ...given });

function openSink(given: Disked, position?: Position, options: object = {}) {
  const context = sinkContext(portsOf(given));
  return journalSink.open({ path, ...options }, { ...context, ...(position !== undefined && { position }) });
}
async function openSource(given: Disked, options: object = {}, position?: number, replay?: object) {
  const context = sourceContext(portsOf(given), position === undefined ? {} : { '0': position });
  await journalSource.open({ path, ...options }, { ...context, ...(replay && { replay: replay as never }) });
  return { partition: context.partitions[0]!, context };
}

/** Key, time, id, offset and value of what is there to be read. */
async function readAll(partition: SourcePartition, records = 100) {
  const found: { key: unknown; time: number; id: unknown; offset: number; value: unknown; refused?: string }[] = [];
  for (;;) {
    const batch = await partition.pull({ records, bytes: 1 << 20 });
    if (batch === null) return found;
    for (let index = 0; index < batch.length; index++) {
      const raw = new RawRecord();
      batch.read(index, raw);
      const text = raw.data.toString('utf8', raw.start, raw.end);
      found.push({
        key: raw.key,
        time: raw.timestamp,
        id: raw.meta?.headers?.['penstock-id'],
        offset: raw.offset,
        value: raw.refused ? undefined : JSON.parse(text),
        ...(raw.refused && { refused: raw.refused.code }),
      });
    }
  }
}
const all = async (given: Disked, options: object = {}) =>
  readAll((await openSource(given, { follow: false, ...options })).partition);

describe('a journal', () => {
  test('gives back value, key, event time, headers and id, and the time only when it is asked for', async () => {
    const given = world();
    const sink = await openSink(given);
    const time = 1_700_000_000_007;
    await sink.write([
      record(1, { key: 5, time, meta: { topic: 't', headers: { unit: 'L' } } }),
      new StreamRecord<unknown>('plain text', undefined, Number.NaN, 2, undefined, undefined, undefined, 'in/0'),
    ]);
    await sink.close();
    const { partition } = await openSource(given, { follow: false, time: 'journal' });
    const batch = (await partition.pull({ records: 9, bytes: 1 << 20 }))!;
    const raw = new RawRecord();
    batch.read(0, raw);
    expect([raw.key, raw.timestamp, raw.meta]).toEqual([
      5,
      time,
      { topic: 'test/readings', headers: { unit: 'L', 'penstock-id': 'in/0/1' } },
    ]);
    expect(raw.data.toString('utf8', raw.start, raw.end)).toBe('{"n":1}');
    batch.read(1, raw);
    expect([raw.key, raw.timestamp, raw.data.toString('utf8', raw.start, raw.end)]).toEqual([
      undefined,
      Number.NaN,
      'plain text',
    ]);
    const untimed = await openSource(given, { follow: false, time: { field: 'ts', unit: 'ms' } });
    (await untimed.partition.pull({ records: 1, bytes: 1 }))!.read(0, raw);
    expect(raw.timestamp).toBe(Number.NaN);
  });

  test('holds each record once, whenever the writer crashes and however far it had come, and takes back nothing that was read', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({ upTo: fc.nat(30), batch: fc.integer({ min: 1, max: 7 }), after: fc.nat(9), seed: fc.nat() }),
          {
            maxLength: 5,
          },
        ),
        async (crashes) => {
          const given = world();
          const input = Array.from({ length: 30 }, (_, n) => record(n));
          // What the checkpoint holds: the sink's mark, and how far the input has been read.
          let mark: Position | undefined;
          let read = 0;
          let seen: unknown[] = [];
          for (const { upTo, batch, after, seed } of [...crashes, { upTo: 30, batch: 4, after: -1, seed: 0 }]) {
            const sink = await openSink(given, mark);
            mark ??= sink.position!();
            let at = read;
            let left = after;
            if (after >= 0) given.disk.before = () => void (left-- === 0 && given.disk.crash(seededRandom(seed)));
            try {
              for (; at < Math.max(read, upTo); at += batch) {
                await sink.write(input.slice(at, at + batch));
                // A checkpoint after every second batch, between writes.
                if ((at / batch) % 2 === 1) {
                  mark = sink.position!();
                  read = Math.min(at + batch, input.length);
                }
              }
            } catch {
              // The disk is gone under it.
            }
            given.disk.before = () => {};
            if (after >= 0) {
              given.disk.crash(seededRandom(seed));
              await sink.close().catch(() => undefined);
              given.disk.life++;
            } else await sink.close();
            const now = await all(given);
            expect(now.slice(0, seen.length)).toEqual(seen);
            seen = now;
          }
          const ids = (await all(given)).map(({ value }) => (value as { n: number }).n);
          expect(ids).toEqual(input.map(({ offset }) => offset));
        },
      ),
      { numRuns: 200 },
    ));

  test('is written by one at a time', async () => {
    const given = world();
    const sink = await openSink(given);
    await expect(openSink(given)).rejects.toThrow(/is in use/);
    await sink.close();
    await (await openSink(given)).close();
  });

  test('takes no value that JSON cannot hold, and says so of that record alone', async () => {
    const given = world();
    const sink = await openSink(given);
    expect(await sink.write([record(1), record(2).withValue(undefined), record(3).withValue(10n)])).toEqual([
      { index: 1, message: expect.stringContaining('undefined') },
      { index: 2, message: expect.stringContaining('JSON') },
    ]);
    expect((await all(given)).map(({ value }) => value)).toEqual([{ n: 1 }]);
  });

  test('lets go of the oldest when room is needed, and of what is too old; a reader is told when its place is gone', async () => {
    const given = world();
    const sink = await openSink(given, undefined, { maxBytes: '8kB', keep: '1h' });
    for (let n = 0; n < 200; n++) await sink.write([record(n)]);
    const held = await all(given);
    expect(held.at(-1)!.offset).toBe(199);
    expect(held[0]!.offset).toBeGreaterThan(100);
    await expect(openSource(given, {}, 3)).rejects.toThrow(
      /goes on at record 3 of the journal .*, which holds records \d+ to 200\. .*`keep`.*--discard readings\.source/,
    );
    await expect(openSource(given, {}, 201)).rejects.toThrow(/not the one that was read before/);
    given.clock.advance(2 * 3_600_000);
    for (let n = 200; n < 260; n++) await sink.write([record(n)]);
    expect((await all(given))[0]!.offset).toBeGreaterThan(held[0]!.offset);
    expect((await all(given)).every(({ offset }) => offset >= 200 || offset > 150)).toBe(true);
  });

  test('is read from the beginning, the end, a moment, or where a checkpoint says', async () => {
    const given = world();
    const sink = await openSink(given);
    for (let n = 0; n < 4; n++) {
      await sink.write([record(n)]);
      given.clock.advance(60_000);
    }
    const from = async (options: object, position?: number) =>
      (await readAll((await openSource(given, { follow: false, ...options }, position)).partition))[0]?.offset;
    const minute = (n: number) => new Date(1_700_000_000_000 + n * 60_000).toISOString();
    expect([
      await from({}),
      await from({ start: 'latest' }),
      await from({ start: minute(2) }),
      await from({ start: minute(1) }, 3),
    ]).toEqual([0, undefined, 2, 3]);
    const replay = await openSource(given, {}, 3, { from: 1_700_000_060_000, until: 1_700_000_180_000, reader: 'r' });
    expect((await readAll(replay.partition)).map(({ offset }) => offset)).toEqual([1, 2]);
  });

  test('is followed by several readers, each at its own pace, beside the writer', async () => {
    const given = world();
    const sink = await openSink(given);
    const readers = await Promise.all([1, 2].map(() => openSource(given)));
    const got = await Promise.all(
      readers.map(async ({ partition, context }, index) => {
        const offsets: number[] = [];
        const reading = (async () => {
          for (let batch = await partition.pull({ records: index + 1, bytes: 1 }); batch; ) {
            for (let n = 0; n < batch.length; n++) offsets.push((batch.next as number) - batch.length + n);
            batch = await partition.pull({ records: index + 1, bytes: 1 });
          }
        })();
        return { offsets, reading, stop: () => context.stop.abort() };
      }),
    );
    for (let n = 0; n < 12; n++) {
      await sink.write([record(n)]);
      given.clock.advance(1_000);
      await settle();
    }
    for (let turn = 0; turn < 100 && got.some(({ offsets }) => offsets.length < 12); turn++) {
      given.clock.advance(1_000);
      await settle();
    }
    for (const { stop } of got) stop();
    await Promise.all(got.map(({ reading }) => reading));
    const expected = Array.from({ length: 12 }, (_, n) => n);
    expect(got.map(({ offsets }) => offsets)).toEqual([expected, expected]);
  });

  test('of an MQTT source gives topic and payload; a head that cannot be read is refused, and so is a large value', async () => {
    const given = world();
    const journal = await openJournal(given.disk, path, { clock: given.clock });
    const put = (payload: Buffer, flags: number) => journal.append({ topic: 'a/b', payload, arrival: 1, flags });
    await put(Buffer.from('{"n":1}'), 1);
    await put(Buffer.from('xx'), 0x100);
    await put(Buffer.from([255, 255, 255, 255, 1]), 0x100);
    await put(Buffer.from([2, 0, 0, 0, 120, 120]), 0x100);
    await put(Buffer.alloc(2_000, 32), 0);
    expect((await all(given, { maxPayload: '1kB' })).map(({ value, refused }) => refused ?? value)).toEqual([
      { n: 1 },
      ...Array(3).fill('payload-malformed'),
      'payload-too-large',
    ]);
  });

  test.each(['soon', '2026-13-01T00:00Z', '2026-01-01'])('cannot start at `%s`', (text) => {
    const problems = problemsOf(`  a:\n    - journal: { path: ./j, start: "${text}" }\n    - print\n`);
    expect(problems.join()).toMatch(/`start` is `.*`; it must be `earliest`, `latest`, or a moment/);
  });
});

describe('two topologies in a chain', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'penstock-journal-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const run = (file: string) => {
    const { plan, problems } = loadTopology(file, { catalogue });
    expect(problems).toEqual([]);
    return start(plan!, catalogue, { state: join(folder, `${plan!.name}.state`) });
  };

  test('give what one would have given, with a restart of each in between', async () => {
    const at = (second: number) => Date.UTC(2026, 0, 1) + second * 1_000;
    const lines = Array.from({ length: 60 }, (_, n) => JSON.stringify({ id: `g${n % 3}`, n, ts: at(n) }));
    const input = (count: number) => write('in.jsonl', `${lines.slice(0, count).join('\n')}\n`);
    const first = write(
      'first.yaml',
      `version: 1
name: first
streams:
  readings:
    - file: { path: ./in.jsonl, follow: true, time: { field: ts, unit: ms } }
    - keyBy: id
    - id: ten
      windowLast: { every: 10s }
    - journal: ./tens.journal
`,
    );
    const second = write(
      'second.yaml',
      `version: 1
name: second
streams:
  tens:
    - journal: { path: ./tens.journal, time: journal }
    - keyBy: id
    - id: twenty
      windowLast: { every: 20s }
    - file: ./out.jsonl
`,
    );
    const read = (at: Awaited<ReturnType<typeof run>>) => at.status().partitions[0]?.read ?? 0;
    // The reader is there before the journal is.
    let reader = await run(second);
    input(35);
    let writer = await run(first);
    await until(() => read(writer) === 35 && read(reader) === 9, 'the first half');
    await Promise.all([writer.stop(), reader.stop()]);
    input(60);
    writer = await run(first);
    reader = await run(second);
    await until(() => read(writer) === 25 && read(reader) === 6, 'the second half');
    await Promise.all([writer.stop(), reader.stop()]);
    const out = readFileSync(join(folder, 'out.jsonl'), 'utf8').trim().split('\n');
    // Tens up to 50 are closed; of twenties those up to 40.
    const numbers = out.map((line) => (JSON.parse(line) as { n: number }).n);
    expect([numbers.slice(0, 3).sort(), numbers.slice(3).sort()]).toEqual([
      [17, 18, 19],
      [37, 38, 39],
    ]);
  });
});
