import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { momentOf, type ReplayFlags, replayCommand } from '../../../src/cli/replay.ts';
import { diffById, diffByValue } from '../../../src/cli/replay-diff.ts';
import { type Replayed, replayPlan } from '../../../src/cli/replay-plan.ts';
import { progressLine, showProgress } from '../../../src/cli/replay-progress.ts';
import { Run } from '../../../src/engine/run.ts';
import type { Status } from '../../../src/engine/status.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import { StreamRecord } from '../../../src/operator.ts';
import { start } from '../../../src/runtime.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import {
  options,
  planOf,
  sink,
  source,
  step,
  stream,
  TestLog,
  catalogue as testCatalogue,
  testSource,
} from '../engine/harness.ts';
import { captured } from './captured.ts';

const day = Date.UTC(2026, 10, 1);
const at = (second: number) => day + second * 1_000;
const iso = (second: number) => new Date(at(second)).toISOString();

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-replay-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const topology = (more = '') => {
  const file = join(folder, 't.yaml');
  writeFileSync(
    file,
    `version: 1
name: t
streams:
  readings:
    - id: in
      file: { path: ./in.jsonl, follow: true, time: { field: ts, unit: ms } }
    - keyBy: id
    - id: latest
      windowLast: { every: 10s }
    - id: out
      file: ./out.jsonl
${more}`,
  );
  return file;
};
const readings = (count: number) => Array.from({ length: count }, (_, n) => ({ id: `g${n % 2}`, n, ts: at(n) }));
const write = (name: string, values: readonly object[]) =>
  writeFileSync(join(folder, name), values.map((value) => `${JSON.stringify(value)}\n`).join(''));
const read = (name: string) =>
  readFileSync(join(folder, name), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const flags = (more: Partial<ReplayFlags> = {}): ReplayFlags => ({
  grace: '1h',
  source: [],
  sink: 'print',
  logLevel: 'error',
  ...more,
});
const replay = (more: Partial<ReplayFlags> = {}, file = topology()) => captured(() => replayCommand(file, flags(more)));
const linesOf = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

/** Runs the topology live over all its input, to the end of event time. */
async function runLive(): Promise<void> {
  const { plan } = loadTopology(topology(), { catalogue });
  const bounded = JSON.parse(JSON.stringify(plan).replace('"follow":true', '"follow":false'));
  await (await start(bounded, catalogue, { state: join(folder, 'state') })).done;
}

describe('penstock replay', () => {
  beforeEach(() => write('in.jsonl', readings(40)));

  test('prints what the sinks would have written, and leaves them, the state and the working folder alone', async () => {
    const file = topology();
    const before = readdirSync(folder);
    const { code, stdout } = await replay({}, file);
    const lines = linesOf(stdout);
    expect([code, lines.length, readdirSync(folder)]).toEqual([0, 8, before]);
    expect(lines[0]).toEqual({
      sink: 'out',
      id: `latest/g0/${at(0)}`,
      key: 'g0',
      time: at(10) - 1,
      window: { start: at(0), end: at(10) },
      value: { id: 'g0', n: 8, ts: at(8) },
    });
  });

  test.each([
    [10, 30, [10, 20]],
    [10.001, 29.999, [10, 20]],
    [9.999, 30.001, [10, 20, 30]],
    [0, 0.001, [0]],
  ])('reads [%d s, %d s) of event time: both bounds to the millisecond', async (from, to, starts) => {
    const { stdout } = await replay({ from: iso(from), to: iso(to) });
    const lines = linesOf(stdout);
    expect([...new Set(lines.map(({ window }) => (window.start - day) / 1_000))]).toEqual(starts);
    for (const { value } of lines) expect(value.ts >= at(from) && value.ts < at(to)).toBe(true);
  });

  test('leaves out with `--no-flush` what the end of the range alone has closed', async () => {
    write('in.jsonl', readings(25));
    const starts = async (more: Partial<ReplayFlags>) =>
      linesOf((await replay({ to: iso(25), ...more })).stdout).map(({ window }) => (window.start - day) / 1_000);
    expect([...new Set(await starts({}))]).toEqual([0, 10, 20]);
    expect([...new Set(await starts({ flush: false }))]).toEqual([0, 10]);
  });

  test('writes into a new file, and never over one that is there', async () => {
    const path = join(folder, 'results.jsonl');
    expect((await replay({ sink: path })).stdout).toBe('');
    expect(read('results.jsonl')).toHaveLength(8);
    await expect(replay({ sink: path })).rejects.toThrow(/is there already. Name a new one/);
    expect(existsSync(join(folder, 'out.jsonl'))).toBe(false);
  });

  test('writes to the sinks of the topology only when told so', async () => {
    await replay({ sink: 'live' });
    expect(read('out.jsonl')).toHaveLength(8);
  });

  test('shows dead letters beside the results', async () => {
    write('in.jsonl', [{ id: 'g0', n: 1 }, ...readings(2)]);
    const { stdout } = await replay();
    expect(
      linesOf(stdout)
        .map((line) => line.sink)
        .sort(),
    ).toEqual(['deadLetters', 'out', 'out']);
  });

  test('ends with a summary as JSON', async () => {
    const { stdout } = await replay({ json: true });
    expect(linesOf(stdout).at(-1)).toMatchObject({ version: 1, topology: 't', read: 40, results: { out: 8 } });
  });

  test.each<[Partial<ReplayFlags>, RegExp]>([
    [{ from: '2026-11-01T00:00' }, /--from takes a moment with its zone, such as 2026-11-01T00:00Z/],
    [{ to: 'yesterday' }, /--to takes a moment.*`yesterday`/],
    [{ from: iso(5), to: iso(5) }, /nothing lies between/],
    [{ grace: '5' }, /--grace takes a length of time/],
    [{ source: ['inn'] }, /no source `inn`. The sources are `in`/],
  ])('is used wrongly with %j: code 2, and what would be right', async (more, told) => {
    const { code, stdout, stderr } = await replay(more);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(told);
  });

  test('a source that keeps nothing cannot be read again, and may be left out', async () => {
    const more = '  others:\n    - id: sim\n      simulate: { count: 3, realTime: false }\n    - print\n';
    const refused = await replay({}, topology(more));
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/`sim` cannot be read again.*--source/)]);
    const { code, stdout } = await replay({ source: ['in'] }, topology(more));
    expect([code, linesOf(stdout).length]).toEqual([0, 8]);
  });
});

describe('replay --diff', () => {
  beforeEach(async () => {
    write('in.jsonl', readings(40));
    await runLive();
  });

  test('of what is the same finds nothing, with code 0', async () => {
    const { code, stdout } = await replay({ diff: true, json: true });
    expect([code, linesOf(stdout)]).toMatchObject([0, [{ same: true, differences: [] }]]);
  });

  test('finds what is missing, extra and different, with code 1', async () => {
    const [first, second, ...rest] = read('out.jsonl');
    write('out.jsonl', [{ ...first, n: -1 }, ...rest]);
    const { code, stdout } = await replay({ diff: true, json: true });
    const [{ differences, same }] = linesOf(stdout);
    expect([code, same]).toEqual([1, false]);
    expect(differences).toEqual([
      { kind: 'missing', sink: 'out', id: `latest/g0/${at(0)}`, replayed: first },
      { kind: 'missing', sink: 'out', id: `latest/g1/${at(0)}`, replayed: second },
      { kind: 'extra', sink: 'out', published: { ...first, n: -1 } },
    ]);
  });

  test('of a part does not take for extra what lies outside of it', async () => {
    const { code } = await replay({ diff: true, from: iso(10), to: iso(30) });
    expect(code).toBe(0);
  });
});

const results = (...given: [start: number, value: unknown][]): Replayed[] =>
  given.map(([start, value]) => ({
    sink: 'out',
    id: `latest/a/b/${at(start)}`,
    record: new StreamRecord(value, 'a/b', at(start + 10) - 1, 0, undefined, {
      step: 'latest',
      start: at(start),
      end: at(start + 10),
      label: at(start),
      seq: 0,
      pane: 'final',
    } as never),
  }));
const there = (...given: [start: number, value: unknown][]) =>
  given.map(([start, value]) => ({ id: `latest/a/b/${at(start)}`, time: at(start + 10) - 1, value }));
const plan = planOf([stream('readings', [source('in', 'log'), step('latest', 'windowLast'), sink('out', 'target')])]);
const kinds = (replayed: Replayed[], published: ReturnType<typeof there>, from = 10, to = 40) =>
  diffById('out', replayed, published, { from: at(from), to: at(to), graceMs: 0 }, plan).map(({ kind, id }) => [
    kind,
    (Number(id!.split('/')[3]) - day) / 1_000,
  ]);

describe('a comparison by id', () => {
  test('tells missing, extra and different apart, and lets the last of several with one id count', () => {
    expect(kinds(results([10, 1], [20, 2]), there([20, 3], [30, 4]))).toEqual([
      ['missing', 10],
      ['different', 20],
      ['extra', 30],
    ]);
    expect(kinds(results([10, 1]), there([10, 0], [10, 1]))).toEqual([]);
    expect(kinds(results([10, { a: 1, b: 2 }]), there([10, { b: 2, a: 1 }]))).toEqual([['different', 10]]);
  });
  test('leaves out windows that the replay has not seen whole, and what was published outside its range', () => {
    expect(kinds(results([5, 1], [35, 1]), there([5, 2], [0, 1], [35, 2], [40, 1]))).toEqual([]);
    // Begun before the range, ended in it, and all its records lie before.
    expect(kinds([], there([4, 1]))).toEqual([]);
    expect(kinds(results([10, 1], [30, 1]), [])).toEqual([
      ['missing', 10],
      ['missing', 30],
    ]);
  });
  test('knows records that are no results of windows by their place in the input', () => {
    const published = [{ id: 'in/0/7', time: at(11), value: 1 }];
    const found = diffById(
      'out',
      [],
      published,
      { from: at(10), to: at(40), graceMs: 0 },
      planOf([stream('s', [source('in', 'log')])]),
    );
    expect(found.map(({ kind, id }) => [kind, id])).toEqual([['extra', 'in/0/7']]);
  });
});

test('a comparison by value counts each as often as it is there', () => {
  const one = { id: undefined, time: Number.NaN, value: 1 };
  expect(diffByValue('out', results([0, 1], [10, 1]), [one], true).map(({ kind }) => kind)).toEqual(['missing']);
  expect(diffByValue('out', results([0, 1]), [one, one], true).map(({ kind }) => kind)).toEqual(['extra']);
  expect(diffByValue('out', results([0, 1]), [one, one], false)).toEqual([]);
});

test('the same input gives byte for byte the same results, whatever the batches and the bounds', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 30 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
      fc.integer({ min: 0, max: 30 }),
      async (times, sizes, from) => {
        const live = planOf([
          stream('readings', [
            source('in', 'log', { field: 'ts', unit: 'ms', outOfOrder: '5s' }),
            step('key', 'testKeyBy'),
            step('latest', 'windowLast', { every: '10s' }, { late: 'drop' }),
            sink('out', 'target'),
          ]),
        ]);
        const once = async (batchSize: () => number) => {
          const log = new TestLog();
          log.batchSize = batchSize;
          for (const [n, time] of times.entries()) log.add('0', { key: `k${n % 3}`, n, ts: at(time) });
          const got: string[] = [];
          const replayed = replayPlan(live, testCatalogue({ ...testSource('log', log), replays: true } as never), {
            range: { from: at(from), to: at(50), graceMs: 0 },
            sources: ['in'],
            reader: 'r',
            take: (all) =>
              void got.push(...all.map(({ id, record }) => JSON.stringify([id, record.time, record.value]))),
          });
          const run = await Run.start({ ...options(replayed.plan, []), ...replayed, store: new MemoryStore() });
          await run.done;
          return got.join('\n');
        };
        const whole = await once(() => 1_000);
        expect(await once(() => sizes.next().value)).toBe(whole);
        expect(await once(() => 1)).toBe(whole);
      },
    ),
    { numRuns: 40 },
  ));

test.each([
  ['2026-11-01', day],
  ['2026-11-01T00:00Z', day],
  ['2026-11-01 01:00:00.250+01:00', day + 250],
])('%s is a moment', (text, ms) => expect(momentOf('--from', text)).toBe(ms));

describe('the progress of a replay', () => {
  const status = (watermark?: number) =>
    ({
      partitions: [{ read: 4_000 }, { read: 1_000 }],
      time: [{ ...(watermark !== undefined && { watermark }) }],
    }) as unknown as Status;
  test('tells records, their rate, and how far event time is in the range', () => {
    const range = { from: at(0), to: at(100), graceMs: 0 };
    expect(progressLine(status(at(50)), range, 2_000)).toBe(
      `${'█'.repeat(12)}${'░'.repeat(12)} 50 %  5,000 records, 2,500/s`,
    );
    expect(progressLine(status(at(500)), range, 0)).toMatch(/100 % {2}5,000 records, 0\/s/);
    expect(progressLine(status(), range, 1_000)).toBe('5,000 records, 5,000/s');
    expect(progressLine(status(at(1)), { ...range, to: Number.POSITIVE_INFINITY }, 1_000)).toBe(
      '5,000 records, 5,000/s',
    );
  });
  test('is shown on a terminal only', () => {
    const shown: string[] = [];
    const write = (text: string) => shown.push(text) > 0;
    showProgress({ status }, { from: 0, to: 1, graceMs: 0 }, { isTTY: false, write } as never).end();
    expect(shown).toEqual([]);
    showProgress({ status }, { from: 0, to: 1, graceMs: 0 }, { isTTY: true, write } as never).end();
    expect(shown).toEqual(['\r\x1b[2K']);
  });
});
