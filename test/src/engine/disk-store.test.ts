import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decode, encode } from '../../../src/engine/codec.ts';
import { Delta } from '../../../src/engine/delta.ts';
import { openDiskStore } from '../../../src/engine/disk-store.ts';
import { KeyedState } from '../../../src/engine/keyed-state.ts';
import { secure } from '../../../src/engine/lmdb-file.ts';
import { RunError } from '../../../src/errors.ts';
import { StreamRecord } from '../../../src/record.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-store-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (name: string, value: unknown): [string, Buffer] => [name, encode(name, value)];

describe('the disk store', () => {
  test('gives back what was committed, after it was opened again', async () => {
    const first = openDiskStore(folder);
    await first.commit({ puts: [put('a', 1), put('b\u0000x', { n: null }), put('b\u0000y', [1n])], removes: [] });
    await first.commit({ puts: [put('a', 2)], removes: ['b\u0000x'] });
    await first.close();
    const second = openDiskStore(folder);
    expect(decode('a', second.get('a')!)).toBe(2);
    expect([...second.entries('b\u0000')].map(([name]) => name)).toEqual(['b\u0000y']);
    expect(second.get('nothing')).toBeUndefined();
    await second.close();
  });

  test('keeps keys of any length and any characters apart', async () => {
    const keys = [
      '',
      'x'.repeat(5_000),
      `${'x'.repeat(4_999)}y`,
      '🚀'.repeat(400),
      '__proto__',
      'a\u0000b',
      '\uffff',
      'a',
    ];
    const state = new KeyedState<string>('state\u0000s\u0000t\u0000');
    for (const key of keys) state.touch(key).state = `of ${key}`;
    const store = openDiskStore(folder);
    const changes = new Delta();
    state.snapshot(changes);
    await store.commit(changes);
    const back = new KeyedState<string>('state\u0000s\u0000t\u0000');
    back.restore(store.entries('state\u0000s\u0000t\u0000'));
    expect(back.size).toBe(keys.length);
    for (const key of keys) expect(back.touch(key).state).toBe(`of ${key}`);
    await store.close();
  });

  test('refuses a second process and names the first, and takes over from one that is gone', async () => {
    const store = openDiskStore(folder);
    expect(() => openDiskStore(folder)).toThrow(new RegExp(`in use by process ${process.pid}\\..*--state`));
    await store.close();
    writeFileSync(join(folder, 'lock'), '999999999 1');
    await openDiskStore(folder).close();
    // The pid lives, but it is another process than the one that took the lock.
    writeFileSync(join(folder, 'lock'), `${process.pid} 1`);
    await openDiskStore(folder).close();
    expect(readdirSync(folder)).not.toContain('lock');
  });
});

describe('stored bytes', () => {
  test('keep what JSON loses, and records', () => {
    const value = {
      nan: Number.NaN,
      inf: -Infinity,
      big: 2n ** 60n,
      at: new Date(5),
      none: undefined,
      r: new StreamRecord({ a: 1 }, 'k', 5),
    };
    const back = decode('n', encode('n', value)) as typeof value;
    expect(back).toEqual(value);
    expect(back.r).toBeInstanceOf(StreamRecord);
    expect(back.r.withKey('x').key).toBe('x');
  });

  test('name the value when any single bit has changed, or when it stands under another name', () => {
    const bytes = encode('the name', { fuel: 499.5, list: [1, 2, 3] });
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => decode('the name', damaged)).toThrow(RunError);
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decode('the name', bytes.subarray(0, length))).toThrow(/`the name`/);
    }
    expect(() => decode('other', bytes)).toThrow(/`other` does not match its checksum/);
  });

  test('are found damaged on disk too: no bit flip in the file gives a wrong value', async () => {
    const store = openDiskStore(folder);
    await store.commit({
      puts: Array.from({ length: 50 }, (_, i) => put(`k${i}`, { i, text: 'v'.repeat(40) })),
      removes: [],
    });
    await store.close();
    const file = join(folder, 'state.mdb');
    const whole = readFileSync(file);
    const places = Array.from({ length: 40 }, (_, i) => whole.indexOf(`k${i}`) + 30).filter((at) => at > 30);
    expect(places.length).toBeGreaterThan(20);
    let noticed = 0;
    for (const place of places) {
      const damaged = Buffer.from(whole);
      damaged[place]! ^= 4;
      writeFileSync(file, damaged);
      try {
        const again = openDiskStore(folder);
        for (let i = 0; i < 50; i++) expect(decode(`k${i}`, again.get(`k${i}`)!)).toEqual({ i, text: 'v'.repeat(40) });
        await again.close();
      } catch (error) {
        expect(error).toBeInstanceOf(RunError);
        noticed++;
      }
    }
    expect(noticed).toBeGreaterThan(10);
  });

  test('are not looked for in a page that says it is of a transaction to come: LMDB would die of it', async () => {
    const store = openDiskStore(folder);
    for (let n = 0; n < 3; n++) await store.commit({ puts: [put('a', n)], removes: [] });
    await store.close();
    const file = join(folder, 'state.mdb');
    const whole = readFileSync(file);
    let noticed = 0;
    for (let page = 2 * 4_096; page < whole.length; page += 4_096) {
      const damaged = Buffer.from(whole);
      damaged[page + 14]! ^= 32;
      writeFileSync(file, damaged);
      try {
        if (secure(file) !== undefined) noticed++;
      } catch {
        noticed++;
      }
    }
    expect(noticed).toBeGreaterThan(0);
  });
});
