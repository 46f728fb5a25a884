import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Run } from '../../../src/engine/run.ts';
import { RunError, TransactionError } from '../../../src/errors.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import { at, options, planOf, sink, source, step, stream, TestTarget, testSink, until } from './harness.ts';
import { Ledger, ledgerSink, ledgerSource, Member } from './ledger.ts';

const plan = {
  ...planOf([
    stream('readings', [
      source('in', 'kafka', { field: 'ts', unit: 'ms', idle: '5s' }),
      step('key', 'testKeyBy'),
      sink('each', 'ledger'),
      step('latest', 'windowLast', { every: '10s' }),
      sink('out', 'ledger'),
    ]),
  ]),
  state: { store: 'kafka' as const },
};
const reading = (key: string, n: number, ts: number) => ({
  payload: JSON.stringify({ key, n, ts: at(ts) }),
  arrival: at(1_000),
});

interface Instance {
  readonly run: Run;
  readonly member: Member;
  readonly ports: ReturnType<typeof memoryPorts>;
}

async function instance(
  ledger: Ledger,
  more: Parameters<typeof options>[2] = {},
  with_: TestTarget = new TestTarget(),
) {
  const member = new Member(ledger);
  const ports = memoryPorts();
  ports.clock.advance(at(1_000));
  const definitions = [ledgerSource(ledger, member), ledgerSink(), testSink('plain', with_)];
  const { store: _, ...rest } = options(plan, definitions, { ports, ...more });
  const run = await Run.start(rest);
  return { run, member, ports } satisfies Instance;
}

const turns = async (count = 20) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('where state lives with the source', () => {
  test('nothing is seen before the commit, and then output, state and position together', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0), reading('a', 2, 5));
    const { run, member } = await instance(ledger);
    await member.assign(['0']);
    await until(() => run.status().partitions[0]?.read === 2);
    expect(ledger.committed).toEqual([]);
    expect(ledger.positions.size).toBe(0);
    await run.checkpoint();
    expect(ledger.committed.map(({ value }) => (value as { n: number }).n)).toEqual([1, 2]);
    expect(ledger.positions.get('0')).toBe(2);
    await run.stop();
  });

  test('what another instance takes over goes on in the middle of a window', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0));
    const first = await instance(ledger);
    await first.member.assign(['0']);
    await until(() => first.run.status().partitions[0]?.read === 1);
    await first.run.stop();
    ledger.log.add('0', reading('a', 2, 3), reading('a', 3, 12));
    const second = await instance(ledger);
    await second.member.assign(['0']);
    await until(() => second.run.status().partitions[0]?.read === 2);
    await second.run.stop();
    const results = ledger.committed.filter(({ id }) => id.startsWith('latest/'));
    expect(results.map(({ value }) => (value as { n: number }).n)).toEqual([2]);
  });

  test('an instance that is fenced drops its work, tells its source so, and goes on with its other partitions', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0)).add('1', reading('b', 2, 0));
    const zombie = await instance(ledger);
    await zombie.member.assign(['0', '1']);
    await until(() => zombie.run.status().partitions.reduce((sum, { read }) => sum + read, 0) === 2);
    const other = await instance(ledger);
    await other.member.assign(['0']);
    await until(() => other.run.status().partitions[0]?.read === 1);
    await zombie.run.checkpoint();
    await zombie.member.settled;
    expect(zombie.member.restarted).toEqual([{ partition: '0', fenced: true }]);
    await other.run.checkpoint();
    expect(ledger.committed.map(({ key }) => key).sort()).toEqual(['a', 'b']);
    expect(zombie.run.status().sinks['each']).toEqual({ written: 1, refused: 0, pending: 0 });
    expect(zombie.run.status().partitions.map(({ name }) => name)).toEqual(['in/1']);
    await zombie.run.stop();
    await other.run.stop();
  });

  test('a commit that nobody knows the outcome of is never continued: the partition is claimed again and read from there', async () => {
    for (const done of [true, false]) {
      const ledger = new Ledger();
      ledger.log.add('0', reading('a', 1, 0), reading('a', 2, 5));
      const { run, member } = await instance(ledger);
      await member.assign(['0']);
      await until(() => run.status().partitions[0]?.read === 2);
      let asked = 0;
      ledger.beforeCommit = () =>
        asked++ === 0 ? { error: new TransactionError('No answer.', false), done } : undefined;
      await run.checkpoint();
      await member.settled;
      await until(() => run.status().partitions[0]?.offset === 1);
      await run.stop();
      expect(ledger.committed.map(({ value }) => (value as { n: number }).n)).toEqual([1, 2]);
    }
  });

  test('a write that the transaction refuses ends the unit, not the run', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0));
    let refused = 0;
    ledger.beforeWrite = () => (refused++ === 0 ? new TransactionError('Out of order.', false) : undefined);
    const { run, member } = await instance(ledger);
    await member.assign(['0']);
    await until(() => member.restarted.length === 1);
    await member.settled;
    await until(() => run.status().partitions[0]?.read === 1);
    await run.stop();
    expect(ledger.committed).toHaveLength(1);
  });

  test('what is processed while a commit is under way belongs to the next one', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0));
    const { run, member } = await instance(ledger);
    await member.assign(['0']);
    await until(() => run.status().partitions[0]?.read === 1);
    ledger.commitTurns = 50;
    const committing = run.checkpoint();
    ledger.log.add('0', reading('a', 2, 1));
    await until(() => run.status().partitions[0]?.read === 2);
    expect(ledger.commits).toBe(0);
    await committing;
    expect(ledger.committed.map(({ value }) => (value as { n: number }).n)).toEqual([1]);
    expect(ledger.positions.get('0')).toBe(1);
    await run.checkpoint();
    expect(ledger.committed.map(({ value }) => (value as { n: number }).n)).toEqual([1, 2]);
    expect(ledger.positions.get('0')).toBe(2);
    await run.stop();
  });

  test('silence closes windows without a commit of its own', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0));
    const { run, member, ports } = await instance(ledger, { checkpointMs: 3_600_000 });
    await member.assign(['0']);
    await until(() => run.status().partitions[0]?.read === 1);
    await turns();
    ports.clock.advance(60_000);
    await until(() => run.status().partitions[0]?.idle === true);
    expect(ledger.commits).toBe(0);
    await run.checkpoint();
    expect(ledger.committed.map(({ id }) => id)).toEqual(['in/0/0', `latest/a/${at(0)}`]);
    await run.stop();
  });

  test('a partition that is given back during its commit takes that commit along, and the run goes on', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0)).add('1', reading('b', 2, 0));
    const { run, member } = await instance(ledger);
    await member.assign(['0', '1']);
    await until(() => run.status().sinks['each']?.written === 2);
    ledger.commitTurns = 50;
    const committing = run.checkpoint();
    await member.assign(['1']);
    await committing;
    expect(ledger.committed.map(({ key }) => key)).toEqual(['b']);
    expect(run.health().healthy).toBe(true);
    await run.stop();
  });

  test('a partition that is read again has not ended: a bounded run waits for it', async () => {
    const ledger = new Ledger();
    ledger.log.bounded = true;
    ledger.log.add('0', reading('a', 1, 0), reading('a', 2, 5));
    const { run, member } = await instance(ledger);
    let asked = 0;
    ledger.beforeWrite = () => (asked++ === 0 ? new TransactionError('Out of order.', false) : undefined);
    await member.assign(['0']);
    member.context.complete();
    await run.done;
    expect(ledger.committed.filter(({ id }) => id.startsWith('in/'))).toHaveLength(2);
  });

  test('the status adds up what the sinks of all partitions have written', async () => {
    const ledger = new Ledger();
    ledger.log.add('0', reading('a', 1, 0)).add('1', reading('b', 2, 0), reading('b', 3, 0));
    const { run, member } = await instance(ledger);
    await member.assign(['0', '1']);
    await until(() => run.status().sinks['each']?.written === 3);
    await run.stop();
  });

  test('a step that fails ends the run, as anywhere', async () => {
    const ledger = new Ledger();
    const { run, member } = await instance(ledger);
    await member.assign(['0']);
    member.context.fail(new RunError('The topic is gone.'));
    await expect(run.done).rejects.toThrow('The topic is gone.');
  });

  test('a topology whose source keeps no state is told to use the disk', async () => {
    const other = { ...plan, state: { store: 'kafka' as const }, streams: [stream('a', [source('in', 'elsewhere')])] };
    const ledger = new Ledger();
    const definition = { ...ledgerSource(ledger, new Member(ledger)), name: 'elsewhere' };
    const { store: _, ...rest } = options(other, [definition as never]);
    await expect(Run.start(rest)).rejects.toThrow(
      /`store: kafka`, but the topology has no such source.*Use `store: disk`/,
    );
  });
});

describe('over any kills, takeovers, silent losses and unknown outcomes', () => {
  type Act =
    | { kind: 'assign'; of: number; partitions: string[] }
    | { kind: 'kill'; of: number }
    | { kind: 'checkpoint'; of: number }
    | { kind: 'trouble'; where: 'commit' | 'write'; done: boolean }
    | { kind: 'feed'; count: number }
    | { kind: 'wait'; turns: number };
  const of = fc.nat({ max: 1 });
  const act: fc.Arbitrary<Act> = fc.oneof(
    fc.record({
      kind: fc.constant('assign' as const),
      of,
      partitions: fc.subarray(['0', '1', '2']),
    }),
    fc.record({ kind: fc.constant('kill' as const), of }),
    { arbitrary: fc.record({ kind: fc.constant('checkpoint' as const), of }), weight: 3 },
    fc.record({
      kind: fc.constant('trouble' as const),
      where: fc.constantFrom('commit' as const, 'write' as const),
      done: fc.boolean(),
    }),
    { arbitrary: fc.record({ kind: fc.constant('feed' as const), count: fc.nat({ max: 9 }) }), weight: 3 },
    { arbitrary: fc.record({ kind: fc.constant('wait' as const), turns: fc.nat({ max: 15 }) }), weight: 3 },
  );

  test('each record and each window comes out once, and the records of a key in order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        const ledger = new Ledger();
        let fed = 0;
        const feed = (count: number) => {
          for (let i = 0; i < count; i++, fed++) {
            ledger.log.add(String(fed % 3), reading(`k${fed % 6}`, fed, Math.floor(fed / 3)));
          }
        };
        let trouble: Extract<Act, { kind: 'trouble' }> | undefined;
        ledger.beforeCommit = () => {
          if (trouble?.where !== 'commit') return undefined;
          const { done } = trouble;
          trouble = undefined;
          return { error: new TransactionError('No answer.', false), done };
        };
        ledger.beforeWrite = () => {
          if (trouble?.where !== 'write') return undefined;
          trouble = undefined;
          return new TransactionError('No answer.', false);
        };
        const instances = [await instance(ledger), await instance(ledger)];
        for (const next of acts) {
          if (next.kind === 'feed') feed(next.count);
          else if (next.kind === 'wait') await turns(next.turns);
          else if (next.kind === 'trouble') trouble = next;
          else if (next.kind === 'assign') void instances[next.of]!.member.assign(next.partitions);
          else if (next.kind === 'checkpoint') void instances[next.of]!.run.checkpoint();
          else {
            instances[next.of]!.run.kill(new RunError('Killed.'));
            instances[next.of] = await instance(ledger);
          }
        }
        trouble = undefined;
        feed(60);
        await instances[1]!.member.assign([]);
        instances[0]!.run.kill(new RunError('Killed.'));
        const last = await instance(ledger);
        await last.member.assign(['0', '1', '2']);
        await until(() => ['0', '1', '2'].every((id) => read(last, id) === ledger.log.partitions.get(id)!.length));
        await last.run.stop();
        await instances[1]!.run.stop();

        const each = ledger.committed.filter(({ id }) => id.startsWith('in/'));
        expect(each.map(({ value }) => (value as { n: number }).n).sort((a, b) => a - b)).toEqual(
          Array.from({ length: fed }, (_, n) => n),
        );
        for (const key of new Set(each.map((record) => record.key))) {
          const ns = each.filter((record) => record.key === key).map(({ value }) => (value as { n: number }).n);
          expect(ns).toEqual([...ns].sort((a, b) => a - b));
        }
        const windows = ledger.committed.filter(({ id }) => id.startsWith('latest/'));
        expect(windows.map(({ id, value }) => [id, (value as { n: number }).n]).sort()).toEqual(closed(fed));
      }),
      { numRuns: 300 },
    );
  });

  function read({ run }: Instance, id: string): number {
    return (run.status().partitions.find(({ name }) => name === `in/${id}`)?.offset ?? -1) + 1;
  }

  // Of each partition the windows that its last record has left behind, with the last record of each key.
  function closed(fed: number): [string, number][] {
    const results = new Map<string, number>();
    const newest = [0, 0, 0];
    for (let n = 0; n < fed; n++) newest[n % 3] = Math.floor(n / 3);
    for (let n = 0; n < fed; n++) {
      const start = Math.floor(Math.floor(n / 3) / 10) * 10;
      if (start + 10 <= newest[n % 3]!) results.set(`latest/k${n % 6}/${at(start)}`, n);
    }
    return [...results].sort();
  }
});
