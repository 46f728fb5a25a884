import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { type Definition, defineStep, RunError, type SourceDefinition, Type } from '../../../src/operator.ts';
import {
  at,
  options,
  planOf,
  runToEnd,
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

/** Numbers the records of a key in the order in which they come, whatever their times. */
const numbering = defineStep<ReturnType<typeof Type.Object>, number>({
  name: 'numbering',
  summary: 'Numbers records.',
  options: Type.Object({}),
  keyed: true,
  examples: [],
  create: () => ({
    onRecord(record, context) {
      context.state = (context.state ?? 0) + 1;
      const { n, boom } = record.value as { n: string; boom?: true };
      if (boom) throw new RunError('Boom.');
      context.emit(record.withValue({ n, place: context.state }));
    },
  }),
}) as unknown as Definition;

/** A source that answers a pull only some turns later. */
function slow(definition: Definition, turns: () => number): Definition {
  const whole = definition as SourceDefinition;
  const slowed: SourceDefinition = {
    ...whole,
    open: (given, context) =>
      whole.open(given, {
        ...context,
        assign: (partition) =>
          context.assign({
            id: partition.id,
            caughtUp: false,
            async pull(limits) {
              for (let turn = turns(); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
              return partition.pull(limits);
            },
          }),
      }),
  };
  return slowed;
}

const both = planOf(
  [
    stream('left', [source('left', 'left', { field: 'ts', unit: 'ms', outOfOrder: '2s' })]),
    stream('right', [source('right', 'right')]),
    stream('both', [step('key', 'testKeyBy'), step('number', 'numbering'), sink('out', 'out')], ['left', 'right']),
    stream(
      'windows',
      [step('last', 'windowLast', { every: '5s' }, { late: 'dead' }), sink('closed', 'closed')],
      ['both'],
    ),
    stream('dead', [sink('dead', 'dead')]),
  ],
  'dead',
);

interface World {
  readonly left: TestLog;
  readonly right: TestLog;
  readonly targets: Record<'out' | 'closed' | 'dead', TestTarget>;
  readonly definitions: Definition[];
}
function world(turns: () => number = () => 0, batchSize: () => number = () => 3): World {
  const [left, right] = [new TestLog(), new TestLog()];
  left.batchSize = right.batchSize = batchSize;
  const targets = { out: new TestTarget(), closed: new TestTarget(), dead: new TestTarget() };
  const sinks = Object.entries(targets).map(([name, target]) => testSink(name, target));
  const sources = [slow(testSource('left', left), turns), slow(testSource('right', right), turns)];
  return { left, right, targets, definitions: [...sources, numbering, ...sinks] };
}

type Input = { readonly partition: 'left/2' | 'left/10' | 'right/0'; readonly ts: number | undefined }[];
function fill({ left, right }: World, input: Input): void {
  for (const partition of ['2', '10']) left.add(partition);
  right.add('0');
  for (const [index, { partition, ts }] of input.entries()) {
    const [log, id] = partition.split('/') as ['left' | 'right', string];
    const value = { key: 'k', n: String(index), ...(ts !== undefined && { ts: at(ts) }) };
    (log === 'left' ? left : right).add(id, value);
  }
}

/** By the definition: always the first of a partition whose time is least. */
function merged(input: Input): string[] {
  const lanes = ['left/2', 'left/10', 'right/0'].map((partition) =>
    input.flatMap((one, index) => (one.partition === partition ? [{ n: String(index), ts: one.ts ?? -1 }] : [])),
  );
  // By length first: `left/2`, then `left/10` and `right/0` by their letters.
  const order: { n: string; ts: number }[] = [];
  while (lanes.some((lane) => lane.length > 0)) {
    const left = lanes.filter((lane) => lane.length > 0);
    const least = left.reduce((a, b) => (b[0]!.ts < a[0]!.ts ? b : a));
    order.push(least.shift()!);
  }
  return order.filter(({ ts }) => ts >= 0).map(({ n }) => n);
}

const inputs: fc.Arbitrary<Input> = fc.array(
  fc.record({
    partition: fc.constantFrom('left/2' as const, 'left/10' as const, 'right/0' as const),
    // Few times, so that many are equal; now and then none.
    ts: fc.oneof({ weight: 12, arbitrary: fc.nat(30) }, { weight: 1, arbitrary: fc.constant(undefined) }),
  }),
  { maxLength: 40 },
);
const pace = fc.record({
  turns: fc.infiniteStream(fc.nat(4)),
  sizes: fc.infiniteStream(fc.integer({ min: 1, max: 8 })),
});

describe('partitions that are merged by event time', () => {
  test('meet in one order, whichever is read faster and in whatever batches', () =>
    fc.assert(
      fc.asyncProperty(inputs, pace, pace, async (input, ...paces) => {
        const results: unknown[] = [];
        for (const { turns, sizes } of paces) {
          const one = world(
            () => turns.next().value,
            () => sizes.next().value,
          );
          fill(one, input);
          await runToEnd(options(both, one.definitions, { mergeByTime: true }));
          const values = (target: TestTarget) =>
            target.written.map(({ id, record }) => [id, record.time, record.value]);
          const { out, closed, dead } = one.targets;
          expect(out.written.map(({ record }) => (record.value as { n: string }).n)).toEqual(merged(input));
          results.push(JSON.stringify([values(out), values(closed), dead.written.map(({ id }) => id)]));
        }
        expect(results[0]).toBe(results[1]);
      }),
      { numRuns: 100 },
    ));

  test('of which one waits for its next record hold up a stop of the run no more than others', async () => {
    const one = world();
    one.left.bounded = false;
    fill(one, [
      { partition: 'right/0', ts: 1 },
      { partition: 'right/0', ts: 2 },
    ]);
    const run = await Run.start(options(both, one.definitions, { mergeByTime: true }));
    await new Promise((resolve) => setImmediate(resolve));
    expect(run.status().partitions.map(({ read }) => read)).toEqual([0, 0, 0]);
    await run.stop();
    expect(one.targets.out.written).toEqual([]);
  });

  test('end the run with the error of a record, once', async () => {
    const one = world();
    fill(one, [{ partition: 'left/2', ts: 1 }]);
    one.right.add('0', { key: 'k', n: 'x', ts: at(2), boom: true } as never);
    await expect(runToEnd(options(both, one.definitions, { mergeByTime: true }))).rejects.toThrow('Boom.');
  });

  test('are waited for until each source has shown all of them', async () => {
    const one = world();
    let show!: () => void;
    one.right.ready = new Promise((resolve) => {
      show = resolve;
    });
    fill(one, [
      { partition: 'left/2', ts: 5 },
      { partition: 'right/0', ts: 1 },
    ]);
    const run = await Run.start(options(both, one.definitions, { mergeByTime: true }));
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(one.targets.out.written).toEqual([]);
    show();
    await run.done;
    await until(() => one.targets.out.written.length === 2);
    expect(one.targets.out.written.map(({ record }) => (record.value as { n: string }).n)).toEqual(['1', '0']);
  });
});
