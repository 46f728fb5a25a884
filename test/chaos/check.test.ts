import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  endMark,
  type Fed,
  Judge,
  judgeFolder,
  type Kind,
  type Read,
  readLine,
  startOf,
  table,
  windowMs,
} from './check.ts';
import { input } from './input.ts';

const fed: Fed[] = [...input({ records: 1_000, seed: 7, base: 1_700_000_000_000, partitions: 2 })].map(
  ({ partition: _, ...record }) => record,
);

interface Histories {
  readonly passed: Read[];
  readonly windows: Read[];
  readonly rejected: Read[];
}

/** What a system without a fault would have written: each key has a partition of its own choice, each partition its offsets. */
function faultless(): Histories {
  const next = [0, 0];
  const windowNext = [0, 0];
  const partitionOf = (key: string) => key.length % 2;
  const passed = fed.map(({ id, key, seq, ts, v }): Read => {
    const partition = partitionOf(key);
    const value = JSON.stringify({ id, key, seq, ts, v, doubled: 2 * v });
    return { partition, offset: next[partition]!++, time: ts, key, value };
  });
  const groups = new Map<string, Fed[]>();
  for (const record of fed.filter(({ closing }) => !closing)) {
    const name = `${startOf(record.ts)}/${record.key}`;
    groups.set(name, [...(groups.get(name) ?? []), record]);
  }
  const windows = [...groups.values()]
    .sort((a, b) => a[0]!.ts - b[0]!.ts)
    .map((records): Read => {
      const { key, ts } = records[0]!;
      const partition = partitionOf(key);
      const total = records.reduce((sum, { v }) => sum + v, 0);
      const value = JSON.stringify({ key, n: records.length, total, ids: records.map(({ id }) => id) });
      return { partition, offset: windowNext[partition]!++, time: startOf(ts) + windowMs - 1, key, value };
    });
  return { passed, windows, rejected: [] };
}

function judged({ passed, windows, rejected }: Histories) {
  const judge = new Judge();
  for (const record of fed) judge.fed(record);
  for (const read of passed) judge.passed(read);
  for (const read of windows) judge.window(read);
  for (const read of rejected) judge.rejected(read);
  return judge.verdict();
}

const countsOf = (histories: Histories) => Object.fromEntries(judged(histories).counts);

/** Offsets anew, as if what is in the list had been written in this order. */
function renumbered(reads: readonly Read[]): Read[] {
  const next = new Map<number, number>();
  return reads.map((read) => {
    const offset = next.get(read.partition) ?? 0;
    next.set(read.partition, offset + 1);
    return { ...read, offset };
  });
}

test('histories without a fault have none', () => {
  const verdict = judged(faultless());
  expect(verdict.wrong).toBe(0);
  expect(verdict).toMatchObject({ fed: 1_002, passed: 1_002 });
  expect(verdict.windows).toBeGreaterThan(80);
  expect(table(verdict)).toMatch(/exactly once$/);
});

test('gaps between offsets, as transactions leave them, are none', () => {
  const { passed, windows } = faultless();
  const gappy = (reads: Read[]) => reads.map((read) => ({ ...read, offset: 3 * read.offset + 1 }));
  expect(countsOf({ passed: gappy(passed), windows: gappy(windows), rejected: [] })).toEqual({});
});

type Fault = (histories: Histories, at: number) => Histories;
const ofPassed =
  (change: (reads: Read[], at: number) => Read[]): Fault =>
  (histories, at) => ({
    ...histories,
    passed: renumbered(change([...histories.passed], at % histories.passed.length)),
  });
const ofWindows =
  (change: (reads: Read[], at: number) => Read[]): Fault =>
  (histories, at) => ({
    ...histories,
    windows: renumbered(change([...histories.windows], at % histories.windows.length)),
  });
const edited = (read: Read, edit: object): Read => ({
  ...read,
  value: JSON.stringify({ ...JSON.parse(read.value), ...edit }),
});
const windowOf = (read: Read) => JSON.parse(read.value) as { n: number; total: number; ids: number[] };

const faults: readonly [string, Kind, Fault][] = [
  ['a record is lost', 'lost', ofPassed((reads, at) => reads.toSpliced(at, 1))],
  ['a record comes twice, at once', 'duplicated', ofPassed((reads, at) => reads.toSpliced(at, 0, reads[at]!))],
  ['a record comes twice, at the end', 'duplicated', ofPassed((reads, at) => [...reads, reads[at]!])],
  [
    'a value is not doubled right',
    'changed',
    ofPassed((reads, at) => reads.with(at, edited(reads[at]!, { doubled: -1 }))),
  ],
  ['a field is added', 'changed', ofPassed((reads, at) => reads.with(at, edited(reads[at]!, { more: 1 })))],
  ['a message has the key of another', 'changed', ofPassed((reads, at) => reads.with(at, { ...reads[at]!, key: 'x' }))],
  [
    'a record comes that was never fed',
    'invented',
    ofPassed((reads, at) => reads.toSpliced(at, 0, edited(reads[at]!, { id: 1_000_000 }))),
  ],
  [
    'a record comes that is no JSON',
    'invented',
    ofPassed((reads, at) => reads.toSpliced(at, 0, { ...reads[at]!, value: '{' })),
  ],
  ['a window is missing', 'window missing', ofWindows((reads, at) => reads.toSpliced(at, 1))],
  ['a window comes twice', 'window twice', ofWindows((reads, at) => [...reads, reads[at]!])],
  [
    'the time of a window is off by one',
    'window early',
    ofWindows((reads, at) => [...reads, { ...reads[at]!, time: reads[at]!.time + 1 }]),
  ],
  [
    'a sum is wrong by one',
    'window wrong',
    ofWindows((reads, at) => reads.with(at, edited(reads[at]!, { total: windowOf(reads[at]!).total + 1 }))),
  ],
  [
    'a window has lost a record',
    'window wrong',
    ofWindows((reads, at) => reads.with(at, edited(reads[at]!, { ids: windowOf(reads[at]!).ids.slice(1) }))),
  ],
  [
    'a window has counted a record twice',
    'window wrong',
    ofWindows((reads, at) => reads.with(at, edited(reads[at]!, { n: windowOf(reads[at]!).n + 1 }))),
  ],
  [
    'a window closes that is still open',
    'window early',
    (histories) => {
      const { key, ts } = fed.at(-1)!;
      const read = { partition: 0, offset: 100_000, time: startOf(ts) + windowMs - 1, key, value: '{}' };
      return { ...histories, windows: [...histories.windows, read] };
    },
  ],
  [
    'a window comes of a time without records',
    'window early',
    ofWindows((reads, at) => [...reads, { ...reads[at]!, time: 0 }]),
  ],
  [
    'a record is refused',
    'rejected',
    (histories, at) => ({ ...histories, rejected: [histories.passed[at % histories.passed.length]!] }),
  ],
];

test.each(faults)('when %s, just that is said: %s', (_, kind, fault) => {
  fc.assert(
    fc.property(fc.nat(1_000_000), (at) => {
      expect(countsOf(fault(faultless(), at))).toEqual({ [kind]: 1 });
    }),
    { numRuns: 25 },
  );
});

/** Moves what stands at `at` behind the next one of the same key; `undefined` when there is none. */
function swapped(reads: readonly Read[], at: number): Read[] | undefined {
  const later = reads.findIndex((read, index) => index > at && read.key === reads[at]!.key);
  if (later === -1) return undefined;
  return renumbered(reads.toSpliced(later + 1, 0, reads[at]!).toSpliced(at, 1));
}

test('two records of a key that change places are out of order; two of different keys are not', () => {
  fc.assert(
    fc.property(fc.nat(900), (at) => {
      const histories = faultless();
      const passed = swapped(histories.passed, at);
      fc.pre(passed !== undefined);
      expect(countsOf({ ...histories, passed })).toEqual({ reordered: 1 });
    }),
    { numRuns: 25 },
  );
  const histories = faultless();
  const other = histories.passed.findIndex(({ key }, index) => index > 0 && key !== histories.passed[index - 1]!.key);
  const [a, b] = histories.passed.slice(other - 1, other + 1) as [Read, Read];
  const passed = renumbered(histories.passed.with(other - 1, b).with(other, a));
  expect(countsOf({ ...histories, passed })).toEqual({});
});

test('a record that comes again in another partition, at the same offset, is there twice', () => {
  const histories = faultless();
  const first = histories.passed[0]!;
  const partition = 1 - first.partition;
  // Nothing else is in that partition, so that its offsets tell nothing.
  const passed = [first, { ...first, partition }];
  expect(judged({ ...histories, passed }).counts.get('duplicated')).toBe(1);
});

test('two windows of a key that change places are out of order', () => {
  const histories = faultless();
  const windows = swapped(histories.windows, 0);
  expect(countsOf({ ...histories, windows: windows! })).toEqual({ 'window reordered': 1 });
});

test('a key that goes on in another partition is said', () => {
  const histories = faultless();
  const { key } = histories.passed[0]!;
  const last = histories.passed.findLastIndex((read) => read.key === key);
  const partition = 1 - histories.passed[last]!.partition;
  const passed = histories.passed.with(last, { ...histories.passed[last]!, partition, offset: 1_000_000 });
  // Moved away, it leaves the rest of that partition behind an offset that is higher.
  const rest = passed.filter((read, index) => index <= last || read.partition !== partition);
  expect(countsOf({ ...histories, passed: rest })).toMatchObject({ moved: 1 });
});

test('a reader that loses its own place and reads a record again is no fault; another record at that offset is one', () => {
  const { passed, windows } = faultless();
  const again = [...passed, ...passed.slice(-10)];
  expect(countsOf({ passed: again, windows: [...windows, ...windows.slice(-3)], rejected: [] })).toEqual({});
  const other = edited(passed.at(-1)!, { id: passed.at(-1)!.value === passed[0]!.value ? 1 : 0 });
  expect(judged({ passed: [...passed, other], windows, rejected: [] }).counts.get('offset twice')).toBe(1);
  const { partition, offset } = passed[0]!;
  const last = passed.length - 1;
  const replaced = passed.with(last, { ...passed[last]!, partition, offset });
  expect(judged({ passed: replaced, windows, rejected: [] }).counts.get('offset twice')).toBe(1);
});

test('the history of what was fed has to be whole', () => {
  const judge = new Judge();
  judge.fed(fed[0]!);
  expect(() => judge.fed(fed[2]!)).toThrow('id 2 where 1 was expected');
});

test("a line of Kafka's console consumer is read, also with tabs in the value; a log line is none", () => {
  expect(readLine('CreateTime:12\tPartition:3\tOffset:45\ta:b,c:d\tk1\t{"v":"a\tb"}')).toEqual({
    time: 12,
    partition: 3,
    offset: 45,
    key: 'k1',
    value: '{"v":"a\tb"}',
  });
  expect(readLine('[main] WARN something')).toBeUndefined();
});

test('histories in files are judged like those in memory; end marks are passed over, a cut line is not', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-check-'));
  try {
    const { passed, windows } = faultless();
    const line = ({ partition, offset, time, key, value }: Read) =>
      `CreateTime:${time}\tPartition:${partition}\tOffset:${offset}\tNO_HEADERS\t${key}\t${value}\n`;
    const end = line({ partition: 0, offset: 1_000_000, time: 0, key: 'null', value: endMark });
    const write = (file: string, reads: Read[]) => writeFileSync(join(folder, file), reads.map(line).join('') + end);
    writeFileSync(join(folder, 'fed.jsonl'), fed.map((record) => `${JSON.stringify(record)}\n`).join(''));
    write('passed.txt', passed.toSpliced(5, 1));
    write('windows.txt', windows);
    write('rejected.txt', []);
    const verdict = await judgeFolder(folder);
    expect(Object.fromEntries(verdict.counts)).toEqual({ lost: 1 });
    expect(table(verdict)).toMatch(/NOT exactly once: 1 wrong$/);
    writeFileSync(join(folder, 'rejected.txt'), 'CreateTime:1\tPart');
    await expect(judgeFolder(folder)).rejects.toThrow('rejected.txt holds a line that is no record');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
