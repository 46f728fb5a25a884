import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keepStatusFile, readStatusFile } from '../../../src/cli/status-file.ts';
import { explain, length, whyCommand } from '../../../src/cli/why.ts';
import type { EventTime, PartitionTime } from '../../../src/engine/event-time.ts';
import type { Status } from '../../../src/engine/status.ts';
import { captured } from './captured.ts';

const noon = Date.UTC(2026, 10, 1, 12);
const partition = (name: string, more: Partial<PartitionTime> = {}): PartitionTime => ({
  name,
  outOfOrderMs: 0,
  idle: false,
  ended: false,
  ...more,
});
const task = (more: Partial<EventTime>): EventTime => ({
  task: 'readings.kafka/0',
  heldBy: [],
  awaited: [],
  partitions: [],
  due: [],
  ...more,
});
const due = { step: 'latest', at: noon + 10_000, keys: 3, times: 5 };
const plain = (lines: readonly string[]) => lines.map((line) => line.replace(/\u001b\[\d+m/g, ''));

describe('why a window has not fired', () => {
  test('is told of a partition that is silent and has no `idle`', () => {
    const slow = partition('slow/0', {
      newest: noon + 5_000,
      watermark: noon + 3_000,
      outOfOrderMs: 2_000,
      silentSince: noon,
    });
    const fast = partition('fast/0', { newest: noon + 60_000, watermark: noon + 60_000 });
    const given = task({ watermark: noon + 3_000, heldBy: ['slow/0'], partitions: [slow, fast], due: [due] });
    expect(plain(explain(given, noon + 42_000))).toEqual([
      'Event time is 2026-11-01T12:00:03.000Z.',
      'It is held back by slow/0: its newest record is of 2026-11-01T12:00:05.000Z, less `outOfOrder` 2s; it has been silent for 42s; it has no `idle`.',
      'latest: 3 keys wait for event time 2026-11-01T12:00:10.000Z, 7s from here; 4 later times are waited for.',
      'The next window closes once',
      "- slow/0 shows a record of 2026-11-01T12:00:12.000Z or later. (It has no `idle`: with `idle: 30s` in its source's `time`, silence will do.)",
    ]);
  });

  test('is told of silence that will be long enough, or has not begun', () => {
    const silent = partition('a/0', { newest: noon, watermark: noon, idleMs: 30_000, silentSince: noon });
    const lines = (more: Partial<PartitionTime>) =>
      plain(
        explain(
          task({ watermark: noon, heldBy: ['a/0'], partitions: [{ ...silent, ...more }], due: [due] }),
          noon + 12_000,
        ),
      ).at(-1);
    expect(lines({})).toMatch(/or later, or stays silent for 18s more\.$/);
    const { silentSince, ...reading } = silent;
    const told = plain(explain(task({ heldBy: ['a/0'], partitions: [reading], due: [due] }), noon));
    expect(told[1]).toMatch(/it is not at its end; its `idle` is 30s\.$/);
    expect(told.at(-1)).toMatch(/or is silent for 30s\.$/);
  });

  test.each([
    [task({ awaited: ['b.mqtt'] }), /No partition of the source `b.mqtt` has come yet/],
    [task({ heldBy: ['a/0'], partitions: [partition('a/0')] }), /a\/0: it has had no record with a time/],
    [
      task({ watermark: noon, partitions: [partition('a/0', { idle: true })] }),
      /partitions are idle: event time follows the clock/,
    ],
    [task({ watermark: noon, partitions: [partition('a/0', { ended: true })] }), /partitions have ended/],
    [task({ watermark: noon, partitions: [partition('a/0')] }), /No window is open/],
  ])('is told in a sentence of its own: %#', (given, told) => {
    expect(plain(explain(given, noon)).join('\n')).toMatch(told);
  });

  test('names five of many partitions, and counts the others', () => {
    const many = Array.from({ length: 9 }, (_, n) => partition(`a/${n}`, { watermark: noon }));
    const lines = plain(explain(task({ heldBy: many.map(({ name }) => name), partitions: many, due: [due] }), noon));
    expect(lines.filter((line) => line.startsWith('- a/'))).toHaveLength(5);
    expect(lines).toContain('… and by 4 more.');
    expect(lines.at(-1)).toBe('- … and 4 more do the like.');
  });

  test.each([
    [0, '0ms'],
    [999, '999ms'],
    [1_000, '1s'],
    [59_999, '59.9s'],
    [60_000, '1m'],
    [200_000, '3m20s'],
    [7_500_000, '2h5m'],
    [86_400_000 * 4 + 3_600_000 * 3, '4d3h'],
  ])('%d ms are told as %s', (ms, told) => expect(length(ms)).toBe(told));
});

describe('penstock why', () => {
  let state: string;
  beforeEach(() => {
    state = mkdtempSync(join(tmpdir(), 'penstock-why-'));
  });
  afterEach(() => rmSync(state, { recursive: true, force: true }));
  const status = { topology: 't', partitions: [], time: [task({ watermark: noon, due: [due] })] } as unknown as Status;

  test('reads what a run keeps in its state folder, as text and as JSON', async () => {
    const kept = keepStatusFile({ status: () => status }, join(state, 'new'));
    await kept.close();
    expect(readdirSync(join(state, 'new'))).toEqual(['status.json']);
    const text = await captured(() => whyCommand(undefined, { state: join(state, 'new') }));
    expect([text.code, text.stderr]).toEqual([0, '']);
    expect(plain([text.stdout])[0]).toMatch(
      new RegExp(`^t as of \\S+, process ${process.pid}\n\nreadings.kafka/0\n  Event time is`),
    );
    const json = await captured(() => whyCommand(undefined, { state: join(state, 'new'), json: true }));
    expect(JSON.parse(json.stdout)).toMatchObject({ version: 1, topology: 't', running: true, time: status.time });
  });

  test.each([
    [[], ''],
    [[{ name: 'a/0' }], ''],
    [[{ name: 'a/0', lag: 0 }], 'All that has come is read.\n'],
    [
      [
        { name: 'a/0', lag: 5 },
        { name: 'a/1', lag: 70 },
        { name: 'a/2', lag: 0 },
      ],
      'Still to be read: 75, of a/1 70, a/0 5.\n',
    ],
    [
      Array.from({ length: 7 }, (_, n) => ({ name: `a/${n}`, lag: 1 })),
      'Still to be read: 7, of a/0 1, a/1 1, a/2 1, a/3 1, a/4 1 and 2 more.\n',
    ],
  ])('says how far the input is behind, where sources tell: %j', async (partitions, told) => {
    const behind = { ...status, partitions };
    writeFileSync(
      join(state, 'status.json'),
      JSON.stringify({ version: 1, pid: 2 ** 22 + 1, at: noon, status: behind }),
    );
    const { stdout } = await captured(() => whyCommand(undefined, { state }));
    expect(plain([stdout])[0]!.split('\n\n')[1]).toContain(told === '' ? 'Event time' : told.trim());
    const json = await captured(() => whyCommand(undefined, { state, json: true }));
    const lags = partitions.flatMap((one) => ('lag' in one ? [[one.name, one.lag]] : []));
    expect(JSON.parse(json.stdout).lag).toEqual(Object.fromEntries(lags));
  });

  test('says of a process that is gone that it has ended', async () => {
    // No process has the largest pid there can be.
    writeFileSync(join(state, 'status.json'), JSON.stringify({ version: 1, pid: 2 ** 22 + 1, at: noon, status }));
    const { stdout } = await captured(() => whyCommand(undefined, { state }));
    expect(stdout).toContain(`process ${2 ** 22 + 1}, which has ended`);
  });

  test.each(['', '{"version":2}', '{'])(
    'without a status that it can read, %j, says what to do, with code 1',
    async (text) => {
      if (text !== '') writeFileSync(join(state, 'status.json'), text);
      expect(readStatusFile(state)).toBeUndefined();
      const { code, stdout, stderr } = await captured(() => whyCommand(undefined, { state }));
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/No run has left its status in .*penstock run/);
    },
  );

  test('a folder that cannot be written does not disturb the run', async () => {
    writeFileSync(join(state, 'file'), '');
    await keepStatusFile({ status: () => status }, join(state, 'file', 'below')).close();
    expect(readdirSync(state)).toEqual(['file']);
  });
});
