import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { planCommand } from '../../../src/cli/plan.ts';
import { runCommand } from '../../../src/cli/run.ts';
import { compactCommand, exportCommand, inspectCommand, listCommand, resetCommand } from '../../../src/cli/state.ts';
import { readCheckpoint } from '../../../src/engine/checkpoint.ts';
import { encode } from '../../../src/engine/codec.ts';
import { openDiskStore } from '../../../src/engine/disk-store.ts';
import { RunError } from '../../../src/errors.ts';
import { start } from '../../../src/runtime.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { captured } from './captured.ts';

let folder: string;
let state: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-state-'));
  state = join(folder, 'state');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (second: number) => Date.UTC(2026, 0, 1) + second * 1_000;
const lines = (...values: object[]) => `${values.map((value) => JSON.stringify(value)).join('\n')}\n`;

interface Shape {
  readonly key?: string;
  readonly every?: string;
  readonly step?: string;
  readonly source?: string;
  readonly more?: string;
}

/** A topology that counts the readings of a file per key, in windows that a run leaves open: the file is followed. */
function topology({ key = 'id', every = '1h', step = 'latest', source = 'in', more = '' }: Shape = {}): string {
  const file = join(folder, 't.yaml');
  writeFileSync(
    file,
    `version: 1
name: t
streams:
  readings:
    - id: ${source}
      file: { path: ./in.jsonl, time: { field: ts, unit: ms }, follow: true }
    - keyBy: ${key}
    - id: ${step}
      windowLast: { every: ${every} }
${more}    - file: ./out.jsonl
`,
  );
  return file;
}

/** Runs the topology until it has read all that is there, and stops it: windows stay open. */
async function runUntil(read: number, shape: Shape = {}, discard: readonly string[] = []): Promise<void> {
  const { plan, problems } = loadTopology(topology(shape), { catalogue });
  expect(problems).toEqual([]);
  const run = await start(plan!, catalogue, { state, discard });
  const all = () => run.status().partitions.reduce((sum, partition) => sum + partition.read, 0);
  for (let turn = 0; all() < read && turn < 2_000; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
  expect(all()).toBe(read);
  await run.stop();
}

const twoKeys = lines({ id: 'a', n: 1, ts: at(1) }, { id: 'b', n: 2, ts: at(2) }, { id: 'a', n: 3, ts: at(3) });
const fill = () => writeFileSync(join(folder, 'in.jsonl'), twoKeys);
const more = () => writeFileSync(join(folder, 'in.jsonl'), twoKeys + lines({ id: 'c', n: 4, ts: at(4) }));

describe('penstock state', () => {
  beforeEach(async () => {
    fill();
    await runUntil(3);
  });

  test('list tells steps with their keys, positions and event time', async () => {
    const { code, stdout } = await captured(() => listCommand(undefined, { state, json: true }));
    expect([code, JSON.parse(stdout)]).toMatchObject([
      0,
      {
        version: 1,
        topology: 't',
        ended: false,
        steps: [{ id: 'latest', operator: 'windowLast', keys: 2 }],
        partitions: { 'in/0': { maxTime: at(3), lastOffset: 2 } },
        watermarks: { 'in/0': at(3) },
      },
    ]);
    const text = await captured(() => listCommand(topology(), { state }));
    expect(text.stdout).toMatch(/latest.*windowLast, 2 keys, \d+ bytes/);
  });

  test('inspect prints the state of one key, and what it waits for', async () => {
    const { stdout } = await captured(() => inspectCommand('latest', 'a', undefined, { state, json: true }));
    const { entries } = JSON.parse(stdout);
    expect(entries).toMatchObject([{ step: 'latest', task: 'in/0', key: 'a', timers: [at(3_600)] }]);
    expect(entries[0].state[0].record.value).toEqual({ id: 'a', n: 3, ts: at(3) });
    const none = await captured(() => inspectCommand('latest', 'z', undefined, { state }));
    expect([none.code, none.stderr]).toEqual([1, 'The step `latest` holds no state of the key `z`.']);
    const wrong = await captured(() => inspectCommand('last', 'a', undefined, { state }));
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('It holds state of `latest`.')]);
  });

  test('export prints the checkpoint and each key in lines of JSON', async () => {
    const { stdout } = await captured(() => exportCommand(undefined, { state, step: [] }));
    const [first, ...entries] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(first.checkpoint).toMatchObject({
      topology: 't',
      steps: { latest: { operator: 'windowLast', key: 'field: id' } },
    });
    expect(entries.map(({ key }) => key).sort()).toEqual(['a', 'b']);
    const wrong = await captured(() => exportCommand(undefined, { state, step: ['nope'] }));
    expect(wrong.code).toBe(2);
  });

  test('reset drops nothing without --yes, and asks what to drop', async () => {
    const asked = await captured(() => resetCommand(undefined, { state, step: ['latest'] }));
    expect([asked.code, asked.stdout]).toEqual([1, 'latest  2 keys\n']);
    expect((await captured(() => resetCommand(undefined, { state, step: [] }))).code).toBe(2);
    expect((await captured(() => resetCommand(undefined, { state, step: ['x'], all: true }))).code).toBe(2);
    const { stdout } = await captured(() => listCommand(undefined, { state, json: true }));
    expect(JSON.parse(stdout).steps[0].keys).toBe(2);
  });

  test('reset drops the state of a step, and the run goes on where it stood with that one empty', async () => {
    const { code } = await captured(() => resetCommand(undefined, { state, step: ['latest'], yes: true }));
    expect(code).toBe(0);
    more();
    await runUntil(1);
    const { stdout } = await captured(() => exportCommand(undefined, { state, step: [] }));
    const keys = stdout
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => JSON.parse(line).key);
    expect(keys).toEqual(['c']);
  });

  test('reset of all begins anew', async () => {
    const { code } = await captured(() => resetCommand(undefined, { state, step: [], all: true, yes: true }));
    expect(code).toBe(0);
    await runUntil(3);
  });

  test('reset of a source alone is refused: what was made of its records would be made twice', async () => {
    const reset = (step: string[]) => captured(() => resetCommand(undefined, { state, step, yes: true }));
    await expect(reset(['in'])).rejects.toThrow(
      /`latest` would keep what was made of records that are then read again/,
    );
    await expect(reset(['nope'])).rejects.toThrow(/holds nothing of `nope`.*It holds `latest`, `in`/);
    expect((await reset(['in', 'latest'])).code).toBe(0);
    await runUntil(3);
  });

  test('compact makes the file smaller, and loses nothing: the run goes on where it stood', async () => {
    // Large state that is dropped again leaves free pages.
    const store = openDiskStore(state, { foldBytes: 0 });
    const names = Array.from({ length: 2_000 }, (_, n) => `state\u0000gone\u0000task\u0000${n}`);
    const checkpoint: [string, Buffer] = ['checkpoint', store.get('checkpoint')!];
    await store.commit({
      puts: [...names.map((name): [string, Buffer] => [name, encode(name, 'x'.repeat(500))]), checkpoint],
      removes: [],
    });
    for (let n = 0; n < 4; n++) await store.commit({ puts: [checkpoint], removes: n === 0 ? names : [] });
    await store.close();
    const { stdout } = await captured(() => compactCommand(undefined, { state, json: true }));
    const { before, after } = JSON.parse(stdout) as { before: number; after: number };
    expect(after).toBeLessThan(before / 4);
    expect(statSync(join(state, 'state.mdb')).size).toBe(after);
    expect(readdirSync(state).filter((name) => name.includes('compact'))).toEqual([]);
    more();
    await runUntil(1);
  });

  test('is refused while a run is at work, with its process', async () => {
    const { plan } = loadTopology(topology(), { catalogue });
    const run = await start(plan!, catalogue, { state });
    for (const command of [
      () => listCommand(undefined, { state }),
      () => compactCommand(undefined, { state }),
      () => resetCommand(undefined, { state, step: [], all: true, yes: true }),
      () => planCommand(topology(), { against: state }),
    ]) {
      await expect(captured(command)).rejects.toThrow(new RegExp(`in use by process ${process.pid}`));
    }
    await run.stop();
  });

  test('says that there is none in a folder that holds none, and makes none', async () => {
    const { code, stderr } = await captured(() => listCommand(undefined, { state: folder }));
    expect([code, stderr]).toEqual([1, expect.stringContaining(`There is no state in ${folder}`)]);
  });
});

describe('plan --against', () => {
  beforeEach(async () => {
    fill();
    await runUntil(3);
  });
  const against = (shape: Shape) => captured(() => planCommand(topology(shape), { against: state, json: true }));
  const verdicts = (stdout: string) =>
    Object.fromEntries(
      (JSON.parse(stdout) as { state: { id: string; verdict: string }[] }).state.map(({ id, verdict }) => [
        id,
        verdict,
      ]),
    );

  test.each<[string, Shape, Record<string, string>]>([
    ['nothing', {}, { latest: 'keep', in: 'keep' }],
    ['a step without state', { more: '    - set: { x: 1 }\n' }, { latest: 'keep', in: 'keep' }],
    ['the length of the window', { every: '2h' }, { latest: 'discard', in: 'keep' }],
    ['the key', { key: 'n' }, { latest: 'discard', in: 'keep' }],
    ['the id of the step', { step: 'newest' }, { latest: 'discard', newest: 'new', in: 'keep' }],
    ['the id of the source', { source: 'input' }, { latest: 'discard', in: 'discard' }],
    [
      'one more step with state',
      { more: '    - id: second\n      windowLast: { every: 1h }\n' },
      { latest: 'keep', second: 'new', in: 'keep' },
    ],
  ])('says what becomes of the state when %s changes, and a run keeps to it', async (_, shape, told) => {
    const { code, stdout } = await against(shape);
    const lost = Object.keys(told).filter((id) => told[id] === 'discard');
    expect([code, verdicts(stdout)]).toEqual([lost.length > 0 ? 1 : 0, told]);
    more();
    if (lost.length === 0) return runUntil(1, shape);
    await expect(runUntil(1, shape)).rejects.toThrow(new RegExp(lost.map((id) => `--discard ${id}`).join(' ')));
    // Half a decision drops nothing.
    if (lost.length > 1) await expect(runUntil(1, shape, lost.slice(1))).rejects.toThrow(RunError);
    await expect(runUntil(1, shape, ['nope'])).rejects.toThrow(/nothing to discard/);
    expect(verdicts((await against({})).stdout)).toEqual({ latest: 'keep', in: 'keep' });
    await runUntil(lost.includes('in') ? 4 : 1, shape, lost);
    expect((await against(shape)).code).toBe(0);
  });

  test('as text, each thing has a line with the reason and the way out', async () => {
    const { code, stdout } = await captured(() => planCommand(topology({ every: '2h' }), { against: state }));
    const text = stdout.replace(/\u001b\[\d+m/g, '');
    expect(code).toBe(1);
    expect(text).toMatch(
      /^discard {2}latest {2}.*every: "1h".*every: "2h".* Change it back, or run with --discard latest\.$/m,
    );
    expect(text).toMatch(/^keep {5}in {2}It goes on in 1 partition\.$/m);
  });

  test('says what is carried over to other options, and a run does it', async () => {
    const withLag = (given: string) => ({ more: `    - id: before\n      lag: ${given}\n`, every: '1s' });
    rmSync(state, { recursive: true });
    await runUntil(3, withLag('{ as: was, by: 2 }'));
    more();
    const one = withLag('{ as: was, fields: n }');
    const text = (await captured(() => planCommand(topology(one), { against: state }))).stdout;
    expect(text.replace(/\u001b\[\d+m/g, '')).toMatch(
      /^migrate {2}before {2}Its state was made by `lag` .*fields: null, by: 2.* is carried over to .*fields: "n", by: null/m,
    );
    expect(verdicts((await against(one)).stdout)).toEqual({ latest: 'keep', before: 'migrate', in: 'keep' });
    await runUntil(1, one);
    expect(verdicts((await against(one)).stdout)).toEqual({ latest: 'keep', before: 'keep', in: 'keep' });
  });

  test('of a topology of another name, says whose state it is', async () => {
    writeFileSync(
      join(folder, 'u.yaml'),
      'version: 1\nname: u\nstreams:\n  a:\n    - simulate: { count: 1 }\n    - print\n',
    );
    const { code, stderr } = await captured(() => planCommand(join(folder, 'u.yaml'), { against: state }));
    expect([code, stderr]).toEqual([1, `${state} holds state of the topology \`t\`, not of \`u\`.`]);
  });

  test('takes state of a checkpoint that did not note the key yet', async () => {
    const store = openDiskStore(state);
    const checkpoint = readCheckpoint(store)!;
    const { key, ...before } = checkpoint.steps['latest']!;
    expect(key).toBe('field: id');
    const { putCheckpoint } = await import('../../../src/engine/checkpoint.ts');
    const changes = { puts: [], removes: [] };
    putCheckpoint(changes, { ...checkpoint, id: checkpoint.id + 1, steps: { latest: before } });
    await store.commit(changes);
    await store.close();
    expect(verdicts((await against({})).stdout)).toEqual({ latest: 'keep', in: 'keep' });
  });
});

test('`run --discard` on the command line drops before it runs, and refuses what is not there', async () => {
  fill();
  await runUntil(3);
  const run = (discard: string[]) =>
    captured(() =>
      runCommand(topology({ every: '2h' }), { state, discard, for: '100ms', shutdownTimeout: '5s', logLevel: 'error' }),
    );
  expect(await run([])).toMatchObject({ code: 1, stderr: expect.stringContaining('--discard latest') });
  expect((await run(['latest'])).code).toBe(0);
});
