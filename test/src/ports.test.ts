import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ManualClock, MemoryDisk, seededRandom } from '../../src/ports/memory.ts';
import { systemPorts, writeAll } from '../../src/ports/system.ts';
import type { Disk } from '../../src/ports.ts';

const { clock, disk, network } = systemPorts();
let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'penstock-ports-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** What both disks promise alike. */
const disks: [string, () => { disk: Disk; root: string }][] = [
  ['the real disk', () => ({ disk, root: folder })],
  ['the disk in memory', () => ({ disk: new MemoryDisk(), root: '/state' })],
];
describe.each(disks)('%s', (_name, make) => {
  test('writes at a position, reads back, truncates, renames and removes', async () => {
    const { disk, root } = make();
    const inner = join(root, 'a', 'b');
    await disk.mkdir(inner);
    await disk.mkdir(inner);
    const file = await disk.open(join(inner, 'x'), 'w');
    await file.write(Buffer.from('hello'), 0);
    await file.write(Buffer.from('J'), 0);
    await file.sync();
    await file.close();
    const again = await disk.open(join(inner, 'x'), 'r+');
    const into = Buffer.alloc(8);
    expect(await again.read(into, 1, 7, 0)).toBe(5);
    expect(into.toString('latin1', 1, 6)).toBe('Jello');
    expect(await again.read(into, 0, 8, 5)).toBe(0);
    await again.truncate(2);
    await again.close();
    await disk.syncDirectory(inner);
    expect((await disk.readFile(join(inner, 'x'))).toString()).toBe('Je');
    await disk.rename(join(inner, 'x'), join(inner, 'y'));
    expect(await disk.list(inner)).toEqual(['y']);
    expect(await disk.size(join(inner, 'y'))).toBe(2);
    await disk.remove(join(inner, 'y'));
    expect(await disk.size(join(inner, 'y'))).toBeUndefined();
    await expect(disk.open(join(inner, 'y'), 'r')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

test('a short write is continued where it stopped', async () => {
  const calls: number[][] = [];
  await writeAll(
    async (from, length, position) => {
      calls.push([from, length, position]);
      return { bytesWritten: Math.min(3, length) };
    },
    8,
    100,
  );
  expect(calls).toEqual([
    [0, 8, 100],
    [3, 5, 103],
    [6, 2, 106],
  ]);
});

test('a disk that takes no byte and reports no error counts as full', async () => {
  await expect(writeAll(async () => ({ bytesWritten: 0 }), 8, 0)).rejects.toMatchObject({ code: 'ENOSPC' });
});

test('sleep ends at once when its signal is aborted, before or during', async () => {
  const controller = new AbortController();
  const sleeping = clock.sleep(60_000, controller.signal);
  controller.abort();
  await sleeping;
  await clock.sleep(60_000, controller.signal);
});

test('connect opens a stream to a server', async () => {
  const server = createServer((socket) => socket.end('hi'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stream = network.connect({ host: '127.0.0.1', port: (server.address() as { port: number }).port });
  const [text] = await new Promise<Buffer[]>((resolve, reject) => {
    stream.on('error', reject);
    stream.once('data', (...data) => resolve(data));
  });
  expect(String(text)).toBe('hi');
  stream.destroy();
  server.close();
});

test('a crash keeps what was synced and drops the rest, entries too', async () => {
  const disk = new MemoryDisk();
  await disk.mkdir('/d');
  const file = await disk.open('/d/x', 'w');
  await file.write(Buffer.from('kept'), 0);
  await file.sync();
  await disk.syncDirectory('/d');
  await file.write(Buffer.from('lost'), 4);
  const other = await disk.open('/d/y', 'w');
  await other.sync();
  disk.crash();
  expect((await disk.readFile('/d/x')).toString()).toBe('kept');
  expect(await disk.list('/d')).toEqual(['x']);
  await expect(file.write(Buffer.from('z'), 0)).rejects.toMatchObject({ code: 'EBADF' });
});

test('a crash may keep a later write and drop an earlier one', async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const disk = new MemoryDisk();
    await disk.mkdir('/d');
    const file = await disk.open('/d/x', 'w');
    await disk.syncDirectory('/d');
    await file.write(Buffer.from('a'), 0);
    await file.write(Buffer.from('b'), 1);
    disk.crash(seededRandom(seed));
    seen.add((await disk.readFile('/d/x')).toString());
  }
  // The zero: the file has grown, but the byte that grew it is gone.
  expect([...seen].sort()).toEqual(['', '\0', '\0b', 'a', 'ab']);
});

test('a full disk takes what fits and then says so', async () => {
  const disk = new MemoryDisk();
  disk.capacity = 6;
  await disk.mkdir('/d');
  const file = await disk.open('/d/x', 'w');
  await expect(file.write(Buffer.from('12345678'), 0)).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(await disk.size('/d/x')).toBe(6);
  await file.write(Buffer.from('abcdef'), 0);
});

test('a manual clock wakes sleepers in the order of their times', async () => {
  const clock = new ManualClock(1_000);
  const woken: string[] = [];
  const naps = [clock.sleep(20).then(() => woken.push('b')), clock.sleep(10).then(() => woken.push('a'))];
  clock.advance(9);
  expect(clock.sleeping).toBe(2);
  clock.advance(11);
  await Promise.all(naps);
  expect([woken, clock.now(), clock.sleeping]).toEqual([['a', 'b'], 1_020, 0]);
});
