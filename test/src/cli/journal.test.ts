import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { journalSink } from '../../../operators/journal/index.ts';
import { catCommand, type JournalFlags, listCommand } from '../../../src/cli/journal.ts';
import { openBufferStore } from '../../../src/engine/buffer-store.ts';
import { BufferedSink } from '../../../src/engine/buffered-sink.ts';
import { openJournal } from '../../../src/engine/journal.ts';
import { StreamRecord } from '../../../src/operator.ts';
import { systemPorts } from '../../../src/ports/system.ts';
import { keepingLog, sinkContextForTest } from '../../conformance/harness.ts';
import { captured } from './captured.ts';

const ports = systemPorts();
const start = Date.UTC(2026, 10, 1);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'penstock-journal-'));
});
afterEach(() => rm(folder, { recursive: true }));

const printed = async (command: () => Promise<void>) => (await captured(command)).stdout.split('\n').slice(0, -1);
const cat = async (path: string, flags: JournalFlags = {}) =>
  (await printed(() => catCommand(path, { json: true, ...flags }))).map(
    (line) => JSON.parse(line) as Record<string, unknown>,
  );

test('the journal of a source is printed beside its writer: topics and payloads, text or not, within the moments asked for', async () => {
  const path = join(folder, 'readings.mqtt');
  const journal = await openJournal(ports.disk, path, { log: keepingLog(), clock: ports.clock });
  const payloads = ['{"fuel":499}', 'not \u001b[31mJSON', Buffer.from([0xff, 0])];
  for (const [n, payload] of payloads.entries())
    await journal.append({ topic: `g/${n}`, payload: Buffer.from(payload), arrival: start + n * 1_000 });
  const all = await cat(path);
  expect(all.map(({ topic, value, encoding }) => [topic, value, encoding])).toEqual([
    ['g/0', { fuel: 499 }, undefined],
    ['g/1', 'not \u001b[31mJSON', undefined],
    ['g/2', '/wA=', 'base64'],
  ]);
  expect(all[1]).toMatchObject({ offset: 1, arrival: '2026-11-01T00:00:01.000Z' });
  const some = { from: '2026-11-01T00:00:01Z', to: '2026-11-01T00:00:02Z' };
  expect((await cat(path, some)).map(({ offset }) => offset)).toEqual([1]);
  expect((await cat(path, { limit: '2' })).map(({ offset }) => offset)).toEqual([0, 1]);
  // What a terminal would obey does not reach it.
  expect((await printed(() => catCommand(path, {}))).join()).not.toContain('\u001b[31mJSON');
  await journal.close();
});

test('the journal of a sink is printed with keys, event times and headers', async () => {
  const path = join(folder, 'out.journal');
  const sink = await journalSink.open({ path } as never, sinkContextForTest().context);
  await sink.write([new StreamRecord({ n: 1 }, 'g1', start, 7)]);
  expect(await cat(path)).toEqual([
    expect.objectContaining({ offset: 0, key: 'g1', time: '2026-11-01T00:00:00.000Z', value: { n: 1 } }),
  ]);
  await sink.close();
});

test('what waits in the buffer of a sink is printed record by record, and listed as a buffer', async () => {
  const path = join(folder, 'buffers', 'readings.influx');
  const log = keepingLog();
  const store = await openBufferStore(ports.disk, path, { maxBytes: 1 << 20, blocks: true, log, clock: ports.clock });
  const { signal } = new AbortController();
  const settings = { maxBytes: 1 << 20, whenFull: 'block' } as const;
  const parts = { id: 'readings.influx', settings, store, ports, log, signal, refuse: async () => {}, fail: () => {} };
  // A target that never lets anybody in.
  const sink = await BufferedSink.open({ ...parts, open: () => new Promise(() => {}) } as never);
  await sink.write([new StreamRecord({ n: 1 }, 'a', start, 1), new StreamRecord({ n: 2 }, 'b', start, 2)]);
  expect((await cat(path)).map(({ key, value }) => [key, value])).toEqual([
    ['a', { n: 1 }],
    ['b', { n: 2 }],
  ]);
  const [line] = await printed(() => listCommand(folder, {}));
  expect(line).toMatch(/^buffers\/readings\.influx {2}buffer {2}records 0 to 1 {2}\d+ bytes$/);
  await store.close();
});

test('a folder that holds no journal is told so', async () => {
  await expect(catCommand(folder, {})).rejects.toThrow(/is no journal/);
  await expect(catCommand(join(folder, 'none'), {})).rejects.toThrow(/is no journal/);
  expect(await printed(() => listCommand(folder, {}))).toEqual([`There is no journal in ${folder}.`]);
});
