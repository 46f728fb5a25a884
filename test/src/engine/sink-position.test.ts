import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileSink } from '../../../operators/file/index.ts';
import { openDiskStore } from '../../../src/engine/disk-store.ts';
import { Run } from '../../../src/engine/run.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { type Definition, defineSink, type Position, Type } from '../../../src/operator.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import {
  at,
  options,
  planOf,
  runToEnd,
  sink,
  source,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
  until,
} from './harness.ts';

const path = '/out/results.jsonl';
const plan = (layout: object) =>
  planOf([stream('readings', [source('in', 'log'), { ...sink('out', 'file'), options: { path, ...layout } }])]);
const planTo = (...sinks: string[]) =>
  planOf([stream('readings', [source('in', 'log'), ...sinks.map((id) => sink(id, id))])]);
const file = fileSink as unknown as Definition;
const numbered = (count: number) => Array.from({ length: count }, (_, n) => ({ n, ts: at(n) }));

const csv = { columns: ['n', 'ts'] };
const layouts = [
  {},
  { csv },
  { gzip: true },
  { rotate: { size: '100B' } },
  { csv, gzip: true, rotate: { size: '150B' } },
] as const;

test.each(layouts)(
  'wherever the plug is pulled, the output of %j holds each result once and what was there before',
  (layout) =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(14), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        fc.nat(),
        async (crashes, checkpointRecords, existing, seed) => {
          const ports = memoryPorts(seed);
          const store = new MemoryStore();
          const log = new TestLog().add('0', ...numbered(30));
          const before = existing && Object.keys(layout).length === 0 ? '{"n":-1}\n' : '';
          await ports.disk.mkdir('/out');
          if (before !== '') {
            const old = await ports.disk.open(path, 'w');
            await old.write(Buffer.from(before), 0);
            await old.sync();
            await ports.disk.syncDirectory('/out');
          }
          const runOptions = options(plan(layout), [file, testSource('log', log)], { ports, store, checkpointRecords });
          for (const operations of crashes) {
            let left = operations;
            ports.disk.before = () => {
              if (left-- <= 0) throw Object.assign(new Error('the plug is pulled'), { code: 'EIO' });
            };
            const ended = await runToEnd(runOptions).then(
              () => true,
              () => false,
            );
            ports.disk.before = () => {};
            ports.disk.crash(ports.random);
            if (ended) break;
          }
          await runToEnd(runOptions).catch((error: Error) => expect(error.message).toMatch(/has ended/));
          const found: number[] = [];
          for (const name of (await ports.disk.list('/out')).sort()) {
            const bytes = await ports.disk.readFile(`/out/${name}`);
            const text = ('gzip' in layout && bytes.length > 0 ? gunzipSync(bytes) : bytes).toString();
            const lines = text.split('\n').slice(0, -1);
            if ('csv' in layout && lines.length > 0) expect(lines.shift()).toBe('n,ts');
            found.push(...lines.map((line) => Number(/-?\d+/.exec(line)![0])));
          }
          expect(found).toEqual([...(before === '' ? [] : [-1]), ...numbered(30).map(({ n }) => n)]);
        },
      ),
      { numRuns: 40 },
    ),
);

/** A sink whose target can be set back, and which tells what it was given. */
function settable(name: string, opened: (Position | undefined)[], target: { bytes: number }): Definition {
  return defineSink({
    name,
    summary: 'Counts.',
    options: Type.Object({}),
    examples: [],
    delivery: () => ({ level: 'at least once', reason: 'A test.' }),
    async open(_options, { position }) {
      opened.push(position);
      return {
        async write(records) {
          target.bytes += records.length;
          return undefined;
        },
        position: () => target.bytes,
        async close() {},
      };
    },
  }) as unknown as Definition;
}

test('a sink is given where it stood at the last checkpoint, or as it was opened before there was one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-sinks-'));
  const target = { bytes: 7 };
  const opened: (Position | undefined)[] = [];
  const log = new TestLog().add('0');
  log.bounded = false;
  const life = async (...parts: { records: number; until: number }[]) => {
    const store = openDiskStore(folder);
    const run = await Run.start(
      options(planTo('out'), [settable('out', opened, target), testSource('log', log)], { store }),
    );
    for (const [n, part] of parts.entries()) {
      if (n > 0) await run.checkpoint();
      log.add('0', ...numbered(part.records));
      await until(() => target.bytes === part.until);
    }
    run.kill(new Error('killed'));
    await expect(run.done).rejects.toThrow('killed');
    await store.close();
  };
  await life({ records: 2, until: 9 });
  // Reads the two again.
  await life({ records: 3, until: 14 }, { records: 1, until: 15 });
  await life();
  expect(opened).toEqual([undefined, 7, 14]);
  rmSync(folder, { recursive: true });
});

test('a sink that has left the topology is forgotten: when it comes back, nothing is taken back', async () => {
  const target = { bytes: 7 };
  const opened: (Position | undefined)[] = [];
  const log = new TestLog();
  log.bounded = false;
  const store = new MemoryStore();
  const definitions = [settable('out', opened, target), testSink('other', new TestTarget()), testSource('log', log)];
  for (const sinks of [['out', 'other'], ['other'], ['out']]) {
    const run = await Run.start(options(planTo(...sinks), definitions, { store }));
    await run.stop();
  }
  expect(opened).toEqual([undefined, undefined]);
});
