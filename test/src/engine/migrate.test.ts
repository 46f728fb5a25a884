import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keyBy } from '../../../operators/key-by/index.ts';
import { readCheckpoint, stepIdentities } from '../../../src/engine/checkpoint.ts';
import { decode } from '../../../src/engine/codec.ts';
import { compareState } from '../../../src/engine/compatible.ts';
import type { Stored } from '../../../src/engine/keyed-state.ts';
import { MigratedStore } from '../../../src/engine/migrate.ts';
import { Run } from '../../../src/engine/run.ts';
import { storedEntries } from '../../../src/engine/state-folder.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import {
  type Changes,
  type Definition,
  defineStep,
  type StepDefinition,
  StreamRecord,
  Type,
} from '../../../src/operator.ts';
import {
  at,
  catalogue,
  options,
  planOf,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
  until,
} from './harness.ts';

type Count = number | { n: number };
type Given = Pick<StepDefinition, 'migrate'> & { version: number };

const countOf = (state: Count | undefined) => (typeof state === 'object' ? state.n : (state ?? 0));

/** Counts the records of a key, and tells the count a second after the first. Version 1 keeps a number, later ones an object. */
function counting({ version, migrate }: Given): Definition {
  return defineStep<ReturnType<typeof Type.Object>, Count>({
    name: 'count',
    summary: 'Counts.',
    options: Type.Object({ unit: Type.Optional(Type.String()) }),
    keyed: true,
    stateVersion: version,
    stateDependsOn: ['unit'],
    examples: [],
    ...(migrate && { migrate: migrate as never }),
    create: () => ({
      onRecord(record, context) {
        // What is kept in the shape of another version is a fault of whoever carried it over.
        const state = context.state;
        if (state !== undefined && (typeof state === 'object') !== version > 1)
          throw new TypeError(`It holds ${state}.`);
        const n = countOf(state) + 1;
        context.state = version > 1 ? { n } : n;
        if (n === 1) context.timer(record.time + 1_000);
        context.emit(record.withValue(n));
      },
      onTimer(due, key, context) {
        const record = new StreamRecord<unknown>({ due, n: countOf(context.state) }, key);
        context.emit(record.withWindow({ step: 'count', start: due, end: due + 1, label: due }));
        context.state = undefined;
      },
    }),
  }) as unknown as Definition;
}
const first = counting({ version: 1 });
const boxes: Given = {
  version: 2,
  migrate: (_, { version }) => (version === 1 ? (state) => ({ n: state as number }) : undefined),
};
const second = counting(boxes);
const counted = (given: object = {}) => planOf([stream('s', counts(given))]);
const counts = (given: object) => [
  source('in', 'log'),
  step('key', 'testKeyBy'),
  step('count', 'count', given),
  sink('out', 'target'),
];

class World {
  readonly log = new TestLog();
  readonly target = new TestTarget();
  store = new MemoryStore();
  plan = counted();
  constructor() {
    this.log.bounded = false;
  }

  async start(count: Definition): Promise<Run> {
    const definitions = [testSource('log', this.log), testSink('target', this.target), count];
    return Run.start(options(this.plan, definitions, { store: this.store }));
  }

  /** Runs until so many records have been read, then stops, or ends without a checkpoint. */
  async run(count: Definition, read: number, crash = false): Promise<void> {
    const run = await this.start(count);
    await until(() => run.status().partitions.reduce((sum, one) => sum + one.read, 0) >= read);
    if (crash) run.kill(new Error('A crash.'));
    await (crash ? run.done.catch(() => undefined) : run.stop());
  }

  verdict(count: Definition) {
    const known = catalogue(
      count,
      keyBy as unknown as Definition,
      testSource('log', this.log),
      testSink('target', this.target),
    );
    const checkpoint = readCheckpoint(this.store)!;
    return compareState(checkpoint, this.plan, stepIdentities(this.plan, known), known).find(
      ({ id }) => id === 'count',
    );
  }

  states(): unknown[] {
    return [...storedEntries(this.store, 'count')].map(({ key, task, state }) => [task, key, state]).sort();
  }

  bytes(): unknown {
    return [...this.store.entries('')].map(([name, bytes]) => [name, bytes.toString('hex')]).sort();
  }
}

const entries = fc.array(
  fc.record({ key: fc.constantFrom('a', 'b', 'c'), ts: fc.nat(20).map((step) => at(step / 4)) }),
  { minLength: 1, maxLength: 15 },
);

describe('state of an older form of a step', () => {
  test('goes on as if it had always been of the new one, whenever the change comes and however often the run crashes after it', () =>
    fc.assert(
      fc.asyncProperty(entries, fc.nat(), fc.array(fc.nat(), { maxLength: 3 }), async (all, cut, crashes) => {
        const whole = new World();
        whole.log.add('0', ...all);
        await whole.run(second, all.length);
        const world = new World();
        const before = 1 + (cut % all.length);
        world.log.add('0', ...all.slice(0, before));
        await world.run(first, before);
        world.log.add('0', ...all.slice(before));
        const old = world.bytes();
        for (const crash of crashes) await world.run(second, crash % (all.length - before + 1), true);
        // Nothing of the new form is there before its first checkpoint, and all of it with that.
        expect(world.bytes()).toEqual(old);
        await world.run(second, all.length - before);
        const distinct = (target: TestTarget) =>
          [...new Set(target.written.map(({ id, record }) => JSON.stringify([id, record.value])))].sort();
        expect(distinct(world.target)).toEqual(distinct(whole.target));
        expect(world.states()).toEqual(whole.states());
      }),
      { numRuns: 60 },
    ));

  test('is carried over once for all partitions, also for those that are not at work', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) }).add('1', { key: 'b', ts: at(1) }, { key: 'b', ts: at(1) });
    await world.run(first, 3);
    const there = world.log.partitions.get('1')!;
    world.log.partitions.delete('1');
    world.log.add('0', { key: 'a', ts: at(1) });
    await world.run(second, 1);
    expect(world.states()).toEqual([
      ['in/0', 'a', { n: 2 }],
      ['in/1', 'b', { n: 2 }],
    ]);
    world.log.partitions.set('1', there);
    world.log.add('1', { key: 'b', ts: at(1) });
    await world.run(second, 1);
    expect(world.states()[1]).toEqual(['in/1', 'b', { n: 3 }]);
  });

  test('is told apart by `compareState`: carried over, kept, or in the way', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) });
    await world.run(first, 1);
    expect(world.verdict(first)).toMatchObject({ verdict: 'keep' });
    expect(world.verdict(second)).toEqual({
      id: 'count',
      kind: 'step',
      verdict: 'migrate',
      reason:
        'Its state was made by `count` (state version 1, unit: null), and is carried over to `count` (state version 2, unit: null).',
    });
    expect(world.verdict(counting({ version: 2 }))).toMatchObject({ verdict: 'discard' });
    expect(world.verdict(counting({ version: 2, migrate: () => undefined }))).toMatchObject({ verdict: 'discard' });
    await expect(world.start(counting({ version: 2 }))).rejects.toThrow(/--discard count/);
    await world.run(second, 0);
    expect(world.verdict(second)).toMatchObject({ verdict: 'keep' });
    // An older program has no say about state of a newer one.
    expect(world.verdict(counting({ version: 1, migrate: () => (state) => state as never }))).toMatchObject({
      verdict: 'discard',
    });
  });

  test('is asked for with the options it was made by, and not when its key has changed', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) });
    await world.run(first, 1);
    const asked: unknown[] = [];
    world.plan = counted({ unit: 'x' });
    const scaled = counting({
      version: 1,
      migrate: (given, from) => {
        asked.push([given, from]);
        return (state) => (state as number) * 10;
      },
    });
    await world.run(scaled, 0);
    expect(asked).toContainEqual([{ unit: 'x' }, { version: 1, options: { unit: null } }]);
    expect(world.states()).toEqual([['in/0', 'a', 10]]);
    const steps = counts({ unit: 'y' });
    world.plan = planOf([stream('s', steps)]);
    expect(world.verdict(scaled)).toMatchObject({ verdict: 'migrate' });
    world.plan = planOf([stream('s', steps.with(1, step('key', 'keyBy', { field: 'ts' })))]);
    expect(world.verdict(scaled)).toMatchObject({ verdict: 'discard', reason: expect.stringContaining('by the key') });
  });

  test('that cannot be carried over for one key refuses the run and stays as it was', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) }, { key: 'bad', ts: at(1) }, { key: 'bad', ts: at(1) });
    await world.run(first, 3);
    const before = world.bytes();
    const failing = counting({
      version: 2,
      migrate: () => (state) => {
        if (state === 2) throw new Error('two is not allowed');
        return { n: state as number };
      },
    });
    await expect(world.start(failing)).rejects.toThrow(
      /step `count` for the key "bad" cannot be carried over: two is not allowed\. Nothing was changed/,
    );
    expect(world.bytes()).toEqual(before);
  });

  test('may be forgotten key by key; a key that waits for a time is still called then', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) }, { key: 'b', ts: at(1) });
    await world.run(first, 2);
    await world.run(counting({ version: 2, migrate: () => () => undefined }), 0);
    expect(world.states()).toEqual([
      ['in/0', 'a', undefined],
      ['in/0', 'b', undefined],
    ]);
    world.log.add('0', { key: 'c', ts: at(3) });
    await world.run(second, 1);
    expect(world.target.written.map(({ record }) => record.value).slice(2)).toEqual([
      1,
      { due: at(2), n: 0 },
      { due: at(2), n: 0 },
    ]);
  });

  test('is not written with a recorded idle step, but with the first checkpoint, once', async () => {
    const world = new World();
    world.log.add('0', { key: 'a', ts: at(1) });
    await world.run(first, 1);
    const migrated = new MigratedStore(world.store, new Map([['count', (state: unknown) => ({ n: state })]]));
    const idle: Changes = { puts: [['idle\u0000in/0\u00000', Buffer.from('x')]], removes: [] };
    await migrated.commit(idle);
    expect(world.states()).toEqual([['in/0', 'a', 1]]);
    const read = () => [...migrated.entries('state\u0000')].map(([name, bytes]) => (decode(name, bytes) as Stored)[1]);
    expect(read()).toEqual([{ n: 1 }]);
    for (let checkpoint = 0; checkpoint < 2; checkpoint++) {
      await migrated.commit({ puts: [['checkpoint', world.store.get('checkpoint')!]], removes: [] });
      expect([world.states(), read()]).toEqual([[['in/0', 'a', { n: 1 }]], [{ n: 1 }]]);
    }
  });
});
