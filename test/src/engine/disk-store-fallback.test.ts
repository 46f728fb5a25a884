import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Checkpoint, putCheckpoint } from '../../../src/engine/checkpoint.ts';
import { decode, encode } from '../../../src/engine/codec.ts';
import { chunkName, chunkPrefix, parseChunkName, readChunk, valueAt } from '../../../src/engine/delta.ts';
import { openDiskStore } from '../../../src/engine/disk-store.ts';
import { RunError } from '../../../src/errors.ts';
import type { Changes } from '../../../src/operator.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-fallback-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const value = (key: string) => `state\u0000latest\u0000in/0\u0000s:${key}`;
const checkpoint = (id: number): Checkpoint => ({
  format: 1,
  id,
  at: Date.UTC(2026, 0, 1, 0, 0, id),
  topology: 't',
  topologyHash: 'h',
  steps: {},
  watermarks: {},
  partitions: { 'in/0': { position: id * 100 } },
});

function changes(id: number | undefined, puts: Record<string, unknown>, removes: string[] = []): Changes {
  const all: Changes = { puts: [], removes: removes.map(value) };
  for (const [key, of] of Object.entries(puts)) all.puts.push([value(key), encode(value(key), of)]);
  if (id !== undefined) putCheckpoint(all, checkpoint(id));
  return all;
}

const messages: string[] = [];
const log = { debug() {}, info() {}, warn: (text: string) => void messages.push(text), error() {} };
beforeEach(() => {
  messages.length = 0;
});

/** Opens the store, and gives what it holds. */
async function holds(foldBytes?: number): Promise<{ id: number | undefined; state: Record<string, unknown> }> {
  const store = openDiskStore(folder, { log, ...(foldBytes !== undefined && { foldBytes }) });
  const stored = store.get('checkpoint');
  const state: Record<string, unknown> = {};
  for (const [name, bytes] of store.entries('state\u0000')) state[name.slice(value('').length)] = decode(name, bytes);
  await store.close();
  return { id: stored && (decode('checkpoint', stored) as Checkpoint).id, state };
}

/** Changes a stored value behind the store's back. */
async function damage(which: (name: string) => unknown, how: (bytes: Buffer) => Buffer | undefined): Promise<number> {
  const db = open<Buffer, Buffer>({ path: join(folder, 'state.mdb'), encoding: 'binary', keyEncoding: 'binary' });
  const hit = [...db.getRange({})].filter(({ key }) => which(key.toString()));
  for (const { key, value: bytes } of hit) {
    const now = how(Buffer.from(bytes));
    if (now === undefined) await db.remove(key);
    else await db.put(key, now);
  }
  await db.close();
  return hit.length;
}

const flip = (at: number) => (bytes: Buffer) => {
  bytes[at % bytes.length]! ^= 16;
  return bytes;
};
const chunksOf = (id: number) => (name: string) => parseChunkName(name)?.checkpoint === id;

async function fourCheckpoints(foldBytes?: number): Promise<void> {
  const store = openDiskStore(folder, foldBytes === undefined ? {} : { foldBytes });
  await store.commit(changes(1, { a: 1, b: 1 }));
  await store.commit(changes(2, { a: 2, c: 2 }));
  await store.commit(changes(3, { a: 3 }, ['b']));
  await store.commit(changes(4, { b: 4 }, ['c']));
  await store.close();
}

describe('a damaged checkpoint', () => {
  test('gives way to the one before it, and the log names the file, the step and the key', async () => {
    await fourCheckpoints();
    await damage(chunksOf(4), (bytes) => flip(bytes.indexOf('s:b') + 4)(bytes));
    expect(await holds()).toEqual({ id: 3, state: { a: 3, c: 2 } });
    expect(messages).toEqual([
      `The state file ${join(folder, 'state.mdb')} is damaged in checkpoint 4: step \`latest\`, key \`b\` of \`in/0\`. ` +
        'The run goes on from checkpoint 3, taken at 2026-01-01T00:00:03.000Z: what came in since then is read again. Check the disk.',
    ]);
  });

  test('with the one before it damaged too gives way to the third, and no further', async () => {
    for (const foldBytes of [1, 1 << 20]) {
      await fourCheckpoints(foldBytes);
      expect(await damage(chunksOf(3), flip(9))).toBeGreaterThan(0);
      expect(await holds(foldBytes)).toEqual({ id: 2, state: { a: 2, b: 1, c: 2 } });
      expect(messages.at(-1)).toMatch(/checkpoint 3.* goes on from checkpoint 2/);
      const hit = await damage(chunksOf(2), flip(40));
      expect(hit).toBeGreaterThan(0);
      await expect(holds(foldBytes)).rejects.toThrow(/state\.mdb is damaged.*--fresh/);
      rmSync(folder, { recursive: true });
    }
  });

  test('is written anew by the run that went on from the one before, and is then gone', async () => {
    await fourCheckpoints();
    await damage(chunksOf(4), flip(60));
    const store = openDiskStore(folder);
    await store.commit(changes(4, { d: 5 }));
    await store.close();
    expect(await holds()).toEqual({ id: 4, state: { a: 3, c: 2, d: 5 } });
    expect(messages).toEqual([]);
  });

  test('is the only one there is: the store refuses, and does not begin anew', async () => {
    const store = openDiskStore(folder);
    await store.commit(changes(1, { a: 1 }));
    await store.close();
    await damage(chunksOf(1), flip(30));
    await expect(holds()).rejects.toThrow(RunError);
    await expect(holds()).rejects.toThrow(/damaged in checkpoint 1/);
  });

  test('with a part that is missing is damaged', async () => {
    const store = openDiskStore(folder);
    await store.commit(changes(1, { a: 1 }));
    await store.commit(
      changes(2, Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`k${i}`, 'x'.repeat(30_000)]))),
    );
    await store.close();
    const parts = await damage(
      (name) => chunksOf(2)(name) && parseChunkName(name)!.index === 1,
      () => undefined,
    );
    expect(parts).toBe(1);
    expect(await holds()).toEqual({ id: 1, state: { a: 1 } });
    expect(messages[0]).toMatch(/checkpoint 2: a part is missing/);
  });
});

/** Writes the oldest checkpoint that nobody goes back behind as earlier releases did: value by value, each under its name. */
async function asEarlierReleases(): Promise<void> {
  const db = open<Buffer, Buffer>({ path: join(folder, 'state.mdb'), encoding: 'binary', keyEncoding: 'binary' });
  const chunks = [...db.getRange({})].map(({ key, value: bytes }) => ({
    place: parseChunkName(key.toString()),
    bytes,
  }));
  const ids = chunks.flatMap(({ place }) => place?.checkpoint ?? []);
  const oldest = Math.min(...ids);
  if (oldest <= Math.max(...ids) - 2) {
    for (const { place, bytes } of chunks) {
      if (place?.checkpoint !== oldest) continue;
      await db.remove(Buffer.from(chunkName(oldest, place.index)));
      const values: [string, Buffer | null][] = [];
      readChunk(bytes, (name, at) => values.push([name, valueAt(bytes, at)]));
      for (const [name, now] of values)
        await (now === null ? db.remove(Buffer.from(name)) : db.put(Buffer.from(name), now));
    }
  }
  await db.close();
}

describe('the state of an earlier release', () => {
  test('is read, and a damaged value is refused by its step and key unless newer ones have replaced it', async () => {
    await fourCheckpoints();
    for (let n = 0; n < 2; n++) await asEarlierReleases();
    const whole = { id: 4, state: { a: 3, b: 4 } };
    expect(await holds()).toEqual(whole);
    expect(await damage((name) => name === value('c'), flip(6))).toBe(1);
    expect(await holds()).toEqual(whole);
    expect(messages).toEqual([expect.stringMatching(/key `c` .* Newer values have replaced it/)]);
    await damage(chunksOf(4), flip(6));
    await expect(holds()).rejects.toThrow(/step `latest`, key `c` of `in\/0` does not match its checksum/);
  });

  test('is replaced value by value as checkpoints are put together, and none comes back', async () => {
    await fourCheckpoints();
    for (let n = 0; n < 2; n++) await asEarlierReleases();
    const store = openDiskStore(folder, { foldBytes: 1 });
    for (const id of [5, 6, 7, 8, 9]) await store.commit(changes(id, id === 5 ? { a: 5 } : {}, id === 5 ? ['b'] : []));
    await store.close();
    expect(
      await damage(
        (name) => name.startsWith(value('')),
        (bytes) => bytes,
      ),
    ).toBe(0);
    expect(await holds()).toEqual({ id: 9, state: { a: 5 } });
  });
});

test('a checkpoint that has gone with those before it into one is refused when it is damaged, by its step and key', async () => {
  const store = openDiskStore(folder, { foldBytes: 1 });
  for (const id of [1, 2, 3, 4, 5, 6]) await store.commit(changes(id, { a: id, [`only${id}`]: id }));
  await store.close();
  expect(await damage(chunksOf(1), (bytes) => bytes)).toBe(0);
  expect((await holds()).state).toMatchObject({ a: 6, only1: 1, only6: 6 });
  const first = (bytes: Buffer) => bytes.indexOf('s:only1');
  expect(
    await damage(parseChunkName, (bytes) => (first(bytes) < 0 ? bytes : flip(first(bytes) + 8)(bytes))),
  ).toBeGreaterThan(1);
  await expect(holds()).rejects.toThrow(
    /damaged in checkpoint [2-4]: step `latest`, key `only1` of `in\/0`, and no checkpoint that is kept can do without it/,
  );
});

test('of a checkpoint that was given up nothing is left after the next one, however many parts it had', async () => {
  const store = openDiskStore(folder);
  await store.commit(changes(1, { a: 1 }));
  const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`k${i}`, 'x'.repeat(30_000)]));
  await store.commit(changes(2, many));
  await store.close();
  await damage((name) => chunksOf(2)(name) && parseChunkName(name)!.index === 0, flip(90));
  const again = openDiskStore(folder);
  await again.commit(changes(2, { b: 2 }));
  await again.close();
  expect(await holds()).toEqual({ id: 2, state: { a: 1, b: 2 } });
});

test('an idle step belongs to the checkpoint before it: it counts as none of the three', async () => {
  const store = openDiskStore(folder, { foldBytes: 1 });
  const idle = (n: number) => `idle\u0000in/0\u0000${n}`;
  for (const id of [1, 2, 3]) {
    await store.commit(changes(id, { a: id }));
    for (const n of [1, 2, 3]) {
      const name = idle(id * 10 + n);
      await store.commit({ puts: [[name, encode(name, n)]], removes: [] });
    }
  }
  expect([...store.entries('idle')]).toHaveLength(9);
  await store.close();
  await damage(chunksOf(3), flip(20));
  await damage(chunksOf(2), flip(20));
  expect(await holds(1)).toEqual({ id: 1, state: { a: 1 } });
});

test('whatever is committed, opened again and damaged: the store holds one of its last three checkpoints, exactly, or refuses', async () => {
  const key = fc.constantFrom('a', 'b', 'c', 'dd', 'ünï', 'k'.repeat(40));
  const commit = fc.record({
    puts: fc.dictionary(key, fc.integer()),
    removes: fc.uniqueArray(key),
    idle: fc.boolean(),
    reopen: fc.constantFrom('no', 'yes', 'by an earlier release'),
  });
  const fault = fc.option(fc.record({ back: fc.integer({ min: 0, max: 2 }), at: fc.nat(5_000) }), { nil: undefined });
  let fellBack = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(commit, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(1, 300, 1 << 20),
      fault,
      async (commits, foldBytes, broken) => {
        folder = mkdtempSync(join(tmpdir(), 'penstock-fallback-'));
        const models: Record<string, unknown>[] = [{}];
        let store = openDiskStore(folder, { foldBytes });
        for (const [index, { puts, removes, idle, reopen }] of commits.entries()) {
          const gone = removes.filter((name) => !(name in puts));
          await store.commit(changes(index + 1, puts, gone));
          const now = { ...models.at(-1)!, ...puts };
          for (const name of gone) delete now[name];
          models.push(now);
          const name = `idle\u0000in/0\u0000${index}`;
          if (idle) await store.commit({ puts: [[name, encode(name, index)]], removes: [] });
          if (reopen === 'no') continue;
          await store.close();
          if (reopen !== 'yes') await asEarlierReleases();
          store = openDiskStore(folder, { foldBytes });
        }
        await store.close();
        const id = commits.length - (broken?.back ?? 0);
        const hit = broken && id > 0 ? await damage(chunksOf(id), flip(broken.at)) : 0;
        messages.length = 0;
        if (hit === 0 || id > 1) {
          const expected = hit === 0 ? commits.length : id - 1;
          if (hit > 0 && commits.length - expected >= 3) {
            await expect(holds(foldBytes)).rejects.toThrow(RunError);
          } else {
            expect(await holds(foldBytes)).toEqual({ id: expected, state: models[expected] });
            expect(messages).toHaveLength(hit > 0 ? 1 : 0);
            fellBack += Number(hit > 0);
          }
        } else await expect(holds(foldBytes)).rejects.toThrow(RunError);
        rmSync(folder, { recursive: true });
      },
    ),
    { numRuns: 60 },
  );
  expect(fellBack).toBeGreaterThan(5);
}, 120_000);

test('chunks are not among what is read by name', async () => {
  await fourCheckpoints();
  const store = openDiskStore(folder);
  expect([...store.entries('')].map(([name]) => name.startsWith(chunkPrefix))).toEqual([false, false, false]);
  await store.close();
});
