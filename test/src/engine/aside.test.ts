import { expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { type Definition, defineSource, Type } from '../../../src/operator.ts';
import {
  at,
  options,
  partition,
  planOf,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  until,
} from './harness.ts';

/** A source some of whose records are for another stream: those that say so. */
function partedSource(log: TestLog): Definition {
  return defineSource({
    name: 'parted',
    summary: 'Reads a list.',
    options: Type.Object({}),
    times: ['arrival'],
    examples: [],
    async open(_options, context) {
      const inner = partition('0', log.partitions.get('0')!, log, context);
      context.assign({
        id: '0',
        get caughtUp() {
          return inner.caughtUp;
        },
        async pull(limits) {
          const batch = await inner.pull(limits);
          if (!batch) return null;
          return {
            length: batch.length,
            next: batch.next,
            read(index, into) {
              batch.read(index, into);
              const value = JSON.parse(into.data.toString('utf8', into.start, into.end)) as { to?: string };
              if (value.to === undefined) return;
              into.value = value;
              into.decoded = true;
              into.stream = value.to;
            },
          };
        },
      });
      context.complete();
      return { counters: () => ({ clients: 3 }), async close() {} };
    },
  }) as unknown as Definition;
}

test('a record for another stream goes there with its arrival as its time, and moves no event time', async () => {
  const log = new TestLog();
  log.bounded = false;
  const entry = (value: object, arrival: number) => ({ payload: JSON.stringify(value), arrival });
  log.add('0');
  log.add(
    '0',
    entry({ key: 'a', n: 1, ts: at(1) }, at(100)),
    entry({ to: 'aside', n: 2 }, at(101)),
    entry({ to: 'drop', n: 3 }, at(102)),
    // Had the record before moved event time to its arrival, the window of this one would have closed.
    entry({ key: 'a', n: 4, ts: at(2) }, at(103)),
    entry({ key: 'a', n: 5, ts: at(11) }, at(104)),
  );
  const [target, aside] = [new TestTarget(), new TestTarget()];
  const plan = planOf([
    stream('readings', [
      { ...source('in', 'parted'), routes: ['aside'] },
      step('key', 'testKeyBy'),
      step('latest', 'windowLast', { every: '10s' }),
      sink('out', 'target'),
    ]),
    stream('aside', [sink('other', 'aside')]),
  ]);
  const run = await Run.start(options(plan, [partedSource(log), testSink('target', target), testSink('aside', aside)]));
  await until(() => target.written.length === 1 && aside.written.length === 1);
  const status = run.status();
  await run.stop();
  expect(target.written.map(({ record }) => record.value)).toEqual([{ key: 'a', n: 4, ts: at(2) }]);
  expect(aside.written.map(({ record }) => [record.value, record.time])).toEqual([[{ to: 'aside', n: 2 }, at(101)]]);
  expect(status.partitions[0]).toMatchObject({ read: 5, rejected: 0, watermark: at(11) });
  expect(status.sources).toEqual({ in: { clients: 3 } });
  expect(status.steps['latest']).toMatchObject({ in: 3, late: 0 });
});
