import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openJournal } from '../../../src/engine/journal.ts';
import { openJournalView } from '../../../src/engine/journal-view.ts';
import { type Journal, type JournalView, RawRecord } from '../../../src/operator.ts';
import { ManualClock, MemoryDisk } from '../../../src/ports/memory.ts';
import { systemPorts } from '../../../src/ports/system.ts';
import { actions, folder, limits, never, readAll, record, Simulation, segment, settle } from './journal-model.ts';

const at = (text: string, arrival: number) => ({ ...record(text), arrival });
const minute = 60_000;

/** Everything that a view shows from an offset on. */
async function shown(view: JournalView, from: number): Promise<string[]> {
  await view.refresh();
  const texts: string[] = [];
  const into = new RawRecord();
  for (let offset = from; offset < view.end; ) {
    const batch = (await view.read(offset, limits, never))!;
    for (let index = 0; index < batch.length; index++) {
      batch.read(index, into);
      texts.push(into.data.toString('utf8', into.start, into.end));
    }
    offset = batch.next;
  }
  return texts;
}

/** A journal beside one that only reads it, and what that one has seen, by offset. */
class Watched extends Simulation {
  readonly seen = new Map<number, string>();
  #view: JournalView | undefined;
  #next = 0;
  #looking: Promise<void> = Promise.resolve();

  override async start(): Promise<void> {
    await super.start();
    // What anybody has seen is there after any crash, under the same offset.
    for (const [offset, text] of this.seen) {
      if (offset >= this.journal.begin) expect([offset, this.acknowledged[offset]]).toEqual([offset, text]);
    }
  }

  override async run(action: Parameters<Simulation['run']>[0]): Promise<void> {
    // In the middle of whatever the writer does.
    this.#looking = this.#looking.then(() => this.#look());
    await super.run(action);
    // A dead process reads no more; a new one goes on where it was.
    if (action.do === 'kill' || action.do === 'crash') this.#view = undefined;
    await this.#looking;
  }

  async #look(): Promise<void> {
    try {
      this.#view ??= await openJournalView(this.disk, folder, this.clock);
      await this.#view.refresh();
      this.#next = Math.max(this.#next, this.#view.begin);
      const from = this.#next;
      const texts = await shown(this.#view, from);
      for (const [index, text] of texts.entries()) this.seen.set(from + index, text);
      this.#next = from + texts.length;
    } catch (error) {
      this.#view = undefined;
      // A crash of the disk comes through as what it is; what is said of the journal itself must be true.
      expect(String(error)).not.toMatch(/damaged|not the one that was read/);
    }
  }
}

test('a reader beside the writer sees whole records alone, and nothing that any crash can take back', async () => {
  let seen = 0;
  let acknowledged = 0;
  await fc.assert(
    fc.asyncProperty(actions, async (sequence) => {
      const simulation = new Watched();
      await simulation.start();
      for (const action of [...sequence, { do: 'restart' } as const, { do: 'settle' } as const]) {
        await simulation.run(action);
      }
      await simulation.run({ do: 'settle' });
      seen += simulation.seen.size;
      acknowledged += simulation.acknowledged.length;
    }),
    { numRuns: Number(process.env['PENSTOCK_RUNS'] ?? 400) },
  );
  // A reader that shows nothing has the property too; it must not pass.
  expect(seen / acknowledged).toBeGreaterThan(0.5);
}, 300_000);

describe('a view of a journal', () => {
  const open = (disk: MemoryDisk, more = {}) =>
    openJournal(disk, folder, { segmentBytes: 200, clock: new ManualClock(), ...more });
  const fill = async (journal: Journal, ...texts: string[]) => {
    for (const [n, text] of texts.entries()) await journal.append(at(text, n * minute));
  };

  test('of a folder that is not there is empty, and waits for what comes', async () => {
    const disk = new MemoryDisk();
    const clock = new ManualClock();
    const view = await openJournalView(disk, folder, clock);
    expect([view.begin, view.end]).toEqual([0, 0]);
    const read = view.read(0, limits, never);
    const journal = await open(disk);
    await journal.append(record('one'));
    await settle();
    clock.advance(1_000);
    expect((await read)?.length).toBe(1);
    await journal.close();
    await view.close();
  });

  test('waits at the end until its signal is aborted', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    await fill(journal, 'one');
    const view = await openJournalView(disk, folder, new ManualClock());
    const stop = new AbortController();
    const read = view.read(1, limits, stop.signal);
    await settle();
    stop.abort();
    expect(await read).toBeNull();
  });

  test('makes durable what it shows: a record that waits for its sync is shown with it, not before', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    await fill(journal, 'one');
    let failing = true;
    disk.before = (operation) => {
      if (operation === 'sync' && failing) throw new Error('no sync');
    };
    journal.append(record('two')).catch(() => {});
    await settle();
    const view = openJournalView(disk, folder, new ManualClock());
    await expect(view).rejects.toThrow('no sync');
    failing = false;
    expect(await shown(await openJournalView(disk, folder, new ManualClock()), 0)).toEqual(['one', 'two']);
    disk.before = () => {};
    disk.crash(() => 0);
    expect(await readAll(await open(disk))).toEqual(['one', 'two']);
  });

  test('reads across files as they are begun and removed, and says plainly when its place is gone', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    const texts = Array.from({ length: 12 }, (_, n) => `record ${n}`.padEnd(60, '.'));
    const view = await openJournalView(disk, folder, new ManualClock());
    await fill(journal, ...texts.slice(0, 5));
    expect(await shown(view, 0)).toEqual(texts.slice(0, 5));
    await fill(journal, ...texts.slice(5));
    expect(await shown(view, 5)).toEqual(texts.slice(5));
    await journal.trim(6);
    await expect(view.read(0, limits, never)).rejects.toThrow(
      /^Record 0 of the journal in .* has been removed: the journal now holds records 6 to 12, .*--discard/,
    );
    expect(view.begin).toBe(6);
    await expect(view.read(5, limits, never)).rejects.toThrow(/^Record 5 of the journal .* has been removed/);
    expect(await shown(view, 6)).toEqual(texts.slice(6));
  });

  test('finds the first record that came at a time or later', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    await fill(journal, ...Array.from({ length: 9 }, (_, n) => `${n}`.padEnd(60, '.')));
    const view = await openJournalView(disk, folder, new ManualClock());
    const found = [];
    for (const time of [
      -Infinity,
      -1,
      0,
      1,
      minute,
      4 * minute - 1,
      4 * minute,
      8 * minute,
      8 * minute + 1,
      Infinity,
    ]) {
      found.push(await view.offsetAt(time));
    }
    expect(found).toEqual([0, 0, 0, 1, 1, 4, 4, 8, 9, 9]);
  });

  test('finds the first of several that came at one time, though they lie in several files', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    for (const n of [0, 1, 1, 1, 2]) await journal.append(at(`${n}`.padEnd(60, '.'), n * minute));
    expect(await (await openJournalView(disk, folder, new ManualClock())).offsetAt(minute)).toBe(1);
  });

  test('shows no record before all of it is there, wherever a write has come to', async () => {
    const whole = new MemoryDisk();
    const journal = await openJournal(whole, folder, { segmentBytes: 1 << 20 });
    const texts = ['one', 'two, which is longer', ''];
    for (const text of texts) await journal.append(record(text));
    const bytes = await whole.readFile(segment(0));
    const ends = texts.map((_, n) => texts.slice(0, n + 1).reduce((sum, text) => sum + 32 + 13 + text.length, 8));
    expect(ends.at(-1)).toBe(bytes.length);
    const disk = new MemoryDisk();
    await disk.mkdir(folder);
    const file = await disk.open(segment(0), 'w');
    const view = await openJournalView(disk, folder, new ManualClock());
    for (let length = 0; length <= bytes.length; length++) {
      // What is not written yet may be anything: a file grows with zeros first, or has what lay there.
      const torn = Buffer.concat([bytes.subarray(0, length), Buffer.alloc(length % 3 === 0 ? 40 : 0, length % 2)]);
      if (length > 8) await file.write(torn.subarray(0, bytes.length), 0);
      else await file.write(bytes.subarray(0, length), 0);
      await view.refresh();
      expect([length, view.end]).toEqual([length, ends.filter((end) => end <= length).length]);
    }
    expect(await shown(view, 0)).toEqual(texts);
  });

  test('of a journal that was deleted and made anew says so instead of reading something else', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    await fill(journal, 'one', 'two');
    const view = await openJournalView(disk, folder, new ManualClock());
    await journal.close();
    await disk.remove(segment(0));
    await fill(await open(disk), 'other');
    await expect(view.refresh()).rejects.toThrow(/is not the one that was read before/);
  });

  test('stops at damage in a file that is complete', async () => {
    const disk = new MemoryDisk();
    const journal = await open(disk);
    await fill(journal, ...Array.from({ length: 6 }, (_, n) => `${n}`.padEnd(80, '.')));
    const file = await disk.open(segment(0), 'r+');
    await file.write(Buffer.from([0xff]), 50);
    const view = await openJournalView(disk, folder, new ManualClock());
    await expect(shown(view, 0)).rejects.toThrow(/is damaged: it holds a bad record 0/);
  });
});

describe('a journal that keeps what was trimmed', () => {
  const texts = Array.from({ length: 12 }, (_, n) => `record ${n}`.padEnd(60, '.'));
  async function kept(keepMs: number, maxBytes = 1 << 20) {
    const disk = new MemoryDisk();
    const clock = new ManualClock();
    const journal = await openJournal(disk, folder, { segmentBytes: 200, maxBytes, keepMs, clock });
    for (const [n, text] of texts.entries()) await journal.append(at(text, n * minute));
    return { disk, clock, journal };
  }

  test('lets go of a file once all in it is older than that, and trimmed', async () => {
    const { clock, journal } = await kept(10 * minute);
    await journal.trim(4);
    expect(journal.begin).toBe(0);
    // The next file begins at minute 1: nothing before it is younger.
    clock.advance(11 * minute - 1);
    await journal.trim(4);
    expect(journal.begin).toBe(0);
    clock.advance(1);
    await journal.trim(4);
    expect(journal.begin).toBe(1);
    clock.advance(60 * minute);
    await journal.trim(4);
    expect(journal.begin).toBe(4);
  });

  test('gives up the oldest of it when an append needs the room, and what is not trimmed never', async () => {
    const { journal } = await kept(Number.POSITIVE_INFINITY, 1_600);
    await journal.trim(12);
    expect(journal.begin).toBe(0);
    await journal.append(at('more'.padEnd(400, '.'), 13 * minute));
    expect(journal.begin).toBe(2);
    let done = false;
    const waiting = journal.append(at('x'.padEnd(1_200, '.'), 14 * minute)).then(() => {
      done = true;
    });
    await settle();
    expect([done, journal.begin]).toEqual([false, 12]);
    await journal.trim(13);
    await waiting;
    expect(await readAll(journal)).toEqual(['x'.padEnd(1_200, '.')]);
  });
});

test('on the real disk two views follow one writer', async () => {
  const path = mkdtempSync(join(tmpdir(), 'penstock-view-'));
  const { disk, clock } = systemPorts();
  try {
    const journal = await openJournal(disk, path, { segmentBytes: 300 });
    const views = await Promise.all([1, 2].map(() => openJournalView(disk, path, clock)));
    const texts = Array.from({ length: 20 }, (_, n) => `${n}`.padEnd(40, '.'));
    const follow = async (view: JournalView) => {
      const got: string[] = [];
      while (got.length < texts.length) got.push(...(await shown(view, got.length)));
      return got;
    };
    const following = views.map(follow);
    for (const text of texts) await journal.append(record(text));
    expect(await Promise.all(following)).toEqual([texts, texts]);
    await Promise.all([...views, journal].map((one) => one.close()));
  } finally {
    rmSync(path, { recursive: true });
  }
});
