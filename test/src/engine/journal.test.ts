import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openJournal } from '../../../src/engine/journal.ts';
import { RawRecord, RunError } from '../../../src/operator.ts';
import { ManualClock, MemoryDisk, seededRandom } from '../../../src/ports/memory.ts';
import { systemPorts } from '../../../src/ports/system.ts';
import { folder, limits, never, readAll, record, segment, settle } from './journal-model.ts';

function logged() {
  const lines: string[] = [];
  const line = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  return { lines, log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') } };
}

describe('a journal', () => {
  test('gives back topic, payload, arrival and flags, also after a restart', async () => {
    const disk = new MemoryDisk();
    const first = await openJournal(disk, folder);
    expect([first.begin, first.end]).toEqual([0, 0]);
    expect(await first.append(record('{"a":1}', 'generators/é/🌊', 0xffff_ffff))).toBe(0);
    expect(await first.append(record('', ''))).toBe(1);
    await first.close();
    const journal = await openJournal(disk, folder);
    const batch = (await journal.read(0, limits, never))!;
    const into = new RawRecord();
    expect([batch.length, batch.next]).toEqual([2, 2]);
    expect({ ...batch.read(0, into) }).toEqual({ topic: 'generators/é/🌊', flags: 0xffff_ffff });
    const payload = into.data.toString('utf8', into.start, into.end);
    expect([into.arrival, into.offset, payload]).toEqual([1_700_000_000_123.5, 0, '{"a":1}']);
    expect({ ...batch.read(1, into) }).toEqual({ topic: '', flags: 0 });
    expect([into.offset, into.end - into.start]).toEqual([1, 0]);
    expect(await journal.append(record('c'))).toBe(2);
  });

  test('collects appends while a sync runs, and makes them durable in one more', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder);
    let syncs = 0;
    disk.before = (operation) => void (operation === 'sync' && syncs++);
    const order: number[] = [];
    const texts = Array.from({ length: 100 }, (_, n) => `${n}`);
    const appends = texts.map((text) => journal.append(record(text)).then((offset) => order.push(offset)));
    expect(journal.pendingBytes).toBeGreaterThan(100 * 40);
    await Promise.all(appends);
    expect([syncs, journal.pendingBytes, order]).toEqual([1, 0, texts.map(Number)]);
  });

  test('serves a record only once it is durable', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder);
    let seen = -1;
    let read = false;
    disk.before = (operation) => {
      if (operation === 'sync') seen = read ? -2 : journal.end;
    };
    const reading = journal.read(0, limits, never).then((batch) => {
      read = true;
      return batch;
    });
    await journal.append(record('a'));
    expect([seen, (await reading)!.length]).toEqual([0, 1]);
  });

  test('read keeps to its limits, but gives at least one record', async () => {
    const journal = await openJournal(new MemoryDisk(), folder);
    await Promise.all(['a'.repeat(5_000), 'b', 'c', 'd'].map((text) => journal.append(record(text))));
    expect((await journal.read(0, { records: 10, bytes: 64 }, never))!.length).toBe(1);
    expect((await journal.read(1, { records: 2, bytes: 1 << 20 }, never))!.length).toBe(2);
    // A record of one byte takes 32 + 13 + 1.
    expect((await journal.read(1, { records: 10, bytes: 92 }, never))!.length).toBe(2);
    expect((await journal.read(1, { records: 10, bytes: 91 }, never))!.length).toBe(1);
  });

  test('an open read ends with null when its signal is aborted or the journal closes', async () => {
    const journal = await openJournal(new MemoryDisk(), folder);
    const controller = new AbortController();
    const aborted = journal.read(0, limits, controller.signal);
    const closed = journal.read(0, limits, never);
    controller.abort();
    expect(await aborted).toBeNull();
    await journal.close();
    expect(await closed).toBeNull();
    await expect(journal.append(record('a'))).rejects.toThrow(/is closed/);
  });

  test('trim removes whole files below the offset, and offsets go on after a restart', async () => {
    const disk = new MemoryDisk();
    const options = { segmentBytes: 200 };
    const first = await openJournal(disk, folder, options);
    for (let n = 0; n < 12; n++) await first.append(record(`${n}`.padStart(20, '.')));
    const files = (await disk.list(folder)).length;
    await first.trim(7);
    expect(first.begin).toBeLessThanOrEqual(7);
    expect(first.begin).toBeGreaterThan(3);
    expect((await disk.list(folder)).length).toBeLessThan(files);
    await first.close();
    const journal = await openJournal(disk, folder, options);
    expect([journal.begin, journal.end]).toEqual([first.begin, 12]);
    await journal.trim(12);
    expect(await journal.append(record('x'))).toBe(12);
    await expect(journal.read(0, limits, never)).rejects.toThrow(/begins at \d+/);
  });

  test('keeps what the last trims but two have not given up yet: a reader may go back so far', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder, { segmentBytes: 200, trimsKept: 2 });
    for (let n = 0; n < 12; n++) await journal.append(record(`${n}`.padStart(150, '.')));
    const begins: number[] = [];
    for (const offset of [4, 6, 8, 10, 10]) {
      await journal.trim(offset);
      begins.push(journal.begin);
    }
    expect(begins).toEqual([0, 0, 4, 6, 8]);
    expect(await readAll(journal, 8)).toHaveLength(4);
  });

  test('at its limit gives up what only older trims have kept: appends wait for no more than the last one', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder, { maxBytes: 1_000, trimsKept: 2 });
    for (let n = 0; n < 4; n++) await journal.append(record('x'.repeat(150)));
    await journal.trim(4);
    expect(journal.begin).toBe(0);
    expect(await journal.append(record('y'.repeat(600)))).toBe(4);
    expect(journal.begin).toBeGreaterThan(0);
  });
});

describe('trouble with the disk', () => {
  test('an error of sync is final: nothing pending is acknowledged, and nothing more is taken', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder);
    await journal.append(record('kept'));
    let syncs = 0;
    disk.before = (operation) => {
      if (operation === 'sync' && syncs++ === 0) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
    };
    const results = await Promise.allSettled([journal.append(record('a')), journal.append(record('b'))]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(journal.append(record('c'))).rejects.toThrow(RunError);
    expect([syncs, journal.end, await readAll(journal)]).toEqual([1, 1, ['kept']]);
    await expect(journal.read(1, limits, never)).rejects.toThrow(/could not be written: EIO/);
  });

  test('even an error of sync that speaks of a full disk is final', async () => {
    const disk = new MemoryDisk();
    const clock = new ManualClock();
    const journal = await openJournal(disk, folder, { clock });
    disk.before = (operation) => {
      if (operation === 'sync') throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    };
    await expect(journal.append(record('a'))).rejects.toThrow(RunError);
    expect(clock.sleeping).toBe(0);
  });

  test('a full disk makes appends wait, says so once, and is over by itself', async () => {
    const disk = new MemoryDisk();
    const clock = new ManualClock();
    const { lines, log } = logged();
    const journal = await openJournal(disk, folder, { clock, log });
    disk.capacity = 60;
    const appended = [journal.append(record('a'.repeat(30))), journal.append(record('b'))];
    for (let n = 0; n < 5; n++) {
      await settle();
      expect(clock.sleeping).toBe(1);
      clock.advance(1_000);
    }
    await settle();
    disk.capacity = 1_000;
    clock.advance(1_000);
    expect(await Promise.all(appended)).toEqual([0, 1]);
    expect(lines).toEqual([expect.stringMatching(/^error The disk is full/), expect.stringMatching(/^info .*room/)]);
    await journal.close();
    expect(await readAll(await openJournal(disk, folder))).toEqual(['a'.repeat(30), 'b']);
  });

  test('at its limit appends wait until something is trimmed, even if all of it lies in one file', async () => {
    const disk = new MemoryDisk();
    const { lines, log } = logged();
    const journal = await openJournal(disk, folder, { maxBytes: 1_000, log });
    for (let n = 0; n < 4; n++) await journal.append(record('x'.repeat(150)));
    let offset: number | undefined;
    const waiting = journal.append(record('y'.repeat(600))).then((at) => {
      offset = at;
    });
    await settle();
    expect([offset, lines.length]).toEqual([undefined, 1]);
    await journal.trim(1);
    await settle();
    expect([offset, journal.begin]).toEqual([undefined, 1]);
    await journal.trim(4);
    await waiting;
    expect([offset, journal.begin, lines.length]).toEqual([4, 3, 2]);
    // Larger than the limit by itself: it goes in as soon as it is alone.
    const huge = journal.append(record('z'.repeat(5_000)));
    await settle();
    expect(journal.end).toBe(5);
    await journal.trim(5);
    expect(await huge).toBe(5);
    expect(await readAll(journal)).toEqual(['z'.repeat(5_000)]);
  });

  test('closing a journal that waits for room rejects what waits', async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder, { clock: new ManualClock() });
    disk.capacity = 20;
    const waiting = expect(journal.append(record('a'))).rejects.toThrow(/closed/);
    await settle();
    await journal.close();
    await waiting;
    disk.capacity = 1_000;
    const again = await openJournal(disk, folder);
    expect([again.begin, again.end]).toEqual([0, 0]);
  });
});

describe('a crash', () => {
  test('in the middle of trimming never brings back a file whose follower is gone', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const disk = new MemoryDisk();
      const journal = await openJournal(disk, folder, { segmentBytes: 100 });
      for (let n = 0; n < 5; n++) await journal.append(record(`payload ${n}`.padEnd(60)));
      let removals = 0;
      disk.before = (operation) => {
        if (operation === 'remove' && ++removals === 1 + (seed % 4)) disk.crash(seededRandom(seed));
      };
      await journal.trim(5).catch(() => {});
      if (seed % 2) disk.crash(seededRandom(seed));
      const again = await openJournal(disk, folder);
      expect(await readAll(again)).toHaveLength(5 - again.begin);
    }
  });

  test('of the process while a file is made, and of the power later, loses nothing acknowledged', async () => {
    const disk = new MemoryDisk();
    await (await openJournal(disk, folder, { segmentBytes: 100 })).append(record('a'.repeat(80)));
    const journal = await openJournal(disk, folder, { segmentBytes: 100 });
    disk.before = (operation) => void (operation === 'syncDirectory' && disk.life++);
    await expect(journal.append(record('b'.repeat(80)))).rejects.toThrow(RunError);
    disk.before = () => {};
    expect(await (await openJournal(disk, folder)).append(record('c'))).toBe(1);
    disk.crash();
    expect(await readAll(await openJournal(disk, folder))).toEqual(['a'.repeat(80), 'c']);
  });
});

describe('damage', () => {
  /** Several files of several writes each; every record was acknowledged. */
  async function filled() {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, folder, { segmentBytes: 300 });
    for (let n = 0; n < 18; n++) await journal.append(record(`payload ${n}`));
    await journal.close();
    return disk;
  }
  const flip = (at: number) => (content: Buffer) => {
    content[at]! ^= 0x10;
    return content;
  };

  test("of one bit in any file but the last stops the reader with the file's name", async () => {
    const size = (await (await filled()).readFile(segment(0))).length;
    for (let at = 8; at < size; at++) {
      const disk = await filled();
      disk.damage(segment(0), flip(at));
      const journal = await openJournal(disk, folder);
      await expect(readAll(journal)).rejects.toThrow(segment(0));
    }
  });

  test('of an acknowledged record in the last file is not taken for a torn write', async () => {
    const disk = await filled();
    const path = `${folder}/${(await disk.list(folder)).sort().at(-1)}`;
    const size = (await disk.readFile(path)).length;
    const recordBytes = 32 + 13 + 'payload 17'.length;
    for (let at = 8; at < size - recordBytes; at++) {
      const copy = await filled();
      copy.damage(path, flip(at));
      await expect(openJournal(copy, folder)).rejects.toThrow(path);
    }
  });

  test('that cuts a file short, or removes one, stops the reader', async () => {
    const cut = await filled();
    cut.damage(segment(0), (content) => content.subarray(0, content.length - 5));
    await expect(openJournal(cut, folder).then((journal) => readAll(journal))).rejects.toThrow(segment(0));
    const gone = await filled();
    await gone.remove(`${folder}/${(await gone.list(folder)).sort()[1]}`);
    await expect(openJournal(gone, folder).then((journal) => readAll(journal))).rejects.toThrow(segment(0));
  });

  test('a torn tail is cut off wherever it is torn, and said', async () => {
    const whole = new MemoryDisk();
    const writer = await openJournal(whole, folder);
    await writer.append(record('first'));
    const kept = (await whole.readFile(segment(0))).length;
    await Promise.all([writer.append(record('second')), writer.append(record('third'))]);
    const full = await whole.readFile(segment(0));
    const second = kept + 32 + 13 + 'second'.length;
    for (let length = 0; length < full.length; length++) {
      const disk = new MemoryDisk();
      await disk.mkdir(folder);
      await (await disk.open(segment(0), 'w')).write(full.subarray(0, length), 0);
      const { lines, log } = logged();
      const journal = await openJournal(disk, folder, { log });
      expect(journal.end).toBe(length < kept ? 0 : length < second ? 1 : 2);
      const torn = ![kept, second].includes(length) && length > 8;
      expect(lines).toEqual(torn ? [expect.stringMatching(/torn by a crash/)] : []);
      const offset = await journal.append(record('new'));
      expect(await readAll(journal)).toEqual([...['first', 'second'].slice(0, offset), 'new']);
    }
  });

  test('a file of a later format is refused by name', async () => {
    const disk = await filled();
    const last = `${folder}/${(await disk.list(folder)).sort().at(-1)}`;
    disk.damage(last, (content) => {
      content[4] = 2;
      return content;
    });
    await expect(openJournal(disk, folder)).rejects.toThrow(/format version 2/);
  });
});

test('appends to the real disk', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'penstock-journal-'));
  try {
    const journal = await openJournal(systemPorts().disk, join(directory, 'journal'));
    const total = 100_000;
    const payload = Buffer.alloc(180, 'x');
    const started = performance.now();
    let inFlight = 0;
    for (let n = 0; n < total; n++) {
      const appended = journal.append({ topic: `generators/g${n % 100}`, payload, arrival: n }).then(() => inFlight--);
      if (++inFlight >= 1_000) await appended;
    }
    while (journal.end < total) await settle();
    const wrote = performance.now();
    let read = 0;
    const into = new RawRecord();
    for (let offset = 0; offset < total; ) {
      const batch = (await journal.read(offset, { records: 5_000, bytes: 1 << 20 }, never))!;
      for (let index = 0; index < batch.length; index++) batch.read(index, into);
      read += batch.length;
      offset = batch.next;
    }
    expect(read).toBe(total);
    const rate = (ms: number) => Math.round(total / (ms / 1_000)).toLocaleString('en');
    console.log(`journal: ${rate(wrote - started)} synced appends/s, ${rate(performance.now() - wrote)} reads/s`);
    await journal.close();
  } finally {
    await rm(directory, { recursive: true });
  }
});
