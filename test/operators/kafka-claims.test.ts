import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deliveryOf, joins } from '../../operators/kafka/delivery.ts';
import { openSource } from '../../operators/kafka/source.ts';
import { type Clock, RunError, Secret, TransactionError } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { settle, sourceContext, until } from './connector-contexts.ts';
import { FakeDriver, FakeEngine, type Log } from './kafka-fakes.ts';

const full = (count: number): Log => ({ offsets: Array.from({ length: count }, (_, i) => i), low: 0, high: count });

/** A clock that moves only when the test says so. */
class StillClock implements Clock {
  time = 0;
  #waits: { at: number; wake: () => void }[] = [];
  now(): number {
    return this.time;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#waits.push({ at: this.time + ms, wake: resolve });
      signal?.addEventListener('abort', () => resolve());
    });
  }
  get waiting(): number {
    return this.#waits.length;
  }
  async pass(ms: number): Promise<void> {
    this.time += ms;
    const due = this.#waits.filter(({ at }) => at <= this.time);
    this.#waits = this.#waits.filter(({ at }) => at > this.time);
    for (const { wake } of due) wake();
    for (let i = 0; i < 10; i++) await settle();
  }
}

/** A source in a topology that commits in transactions: what is claimed, revoked and assigned is kept in order. */
async function open(logs: Record<number, Log>) {
  const driver = new FakeDriver(logs);
  const engine = new FakeEngine();
  const clock = new StillClock();
  const events: string[] = [];
  /** Where the claimed state stands. */
  const stored = new Map<string, number>();
  const around = {
    /** Called before a claim resolves. */
    claiming: async (_ids: readonly string[]): Promise<void> => {},
  };
  const hooks = engine.hooks();
  const base = sourceContext({ ...systemPorts(), clock });
  const context = {
    ...base,
    ...hooks,
    resumed: true,
    claim: async (ids: readonly string[]) => {
      await around.claiming(ids);
      events.push(`claim ${ids.join(' ')}`);
      for (const id of ids) {
        const position = stored.get(id);
        if (position === undefined) engine.positions.delete(id);
        else engine.positions.set(id, position);
      }
    },
    assign: (partition: Parameters<typeof hooks.assign>[0]) => {
      events.push(`assign ${partition.id}`);
      hooks.assign(partition);
    },
    revoke: async (id: string) => {
      events.push(`revoke ${id}`);
      await hooks.revoke(id);
    },
  };
  const source = await openSource({ brokers: 'b:1', topic: 't', start: 'earliest' }, context, async () => driver);
  const balance = async (...partitions: number[]) => {
    driver.balance(partitions);
    for (let i = 0; i < 20; i++) await settle();
  };
  return { driver, engine, clock, events, stored, around, source, balance, log: base.log, stop: base.stop };
}

describe('a source whose state lives with it', () => {
  test('claims all partitions it is given before it asks where they stand', async () => {
    const { driver, stored, events, balance } = await open({ 0: full(9), 1: full(9) });
    stored.set('t/0', 4);
    await balance(0, 1);
    expect(events).toEqual(['claim t/0 t/1', 'assign t/0', 'assign t/1']);
    expect([driver.places.get(0), driver.places.get(1)]).toEqual([4, 0]);
  });

  test('claims only what it did not have', async () => {
    const { events, balance } = await open({ 0: full(9), 1: full(9) });
    await balance(0);
    await balance(0, 1);
    expect(events).toEqual(['claim t/0', 'assign t/0', 'claim t/1', 'assign t/1']);
  });

  test('does not take over what has moved away while it was claimed', async () => {
    const { engine, events, around, stored, balance } = await open({ 0: full(9), 1: full(9) });
    // Where another instance has read on to by now: not to be judged here.
    stored.set('t/0', 99);
    let claimed = () => {};
    around.claiming = () => new Promise((resolve) => (claimed = resolve));
    await balance(0);
    await balance(1);
    around.claiming = async () => {};
    claimed();
    await until(() => engine.partitions.size > 0);
    expect(events).toEqual(['claim t/0', 'claim t/1', 'assign t/1']);
    expect(engine.failures).toEqual([]);
  });

  test('claims again, with growing pauses, when a transaction fails as it begins', async () => {
    const { events, around, clock, balance, log } = await open({ 0: full(9) });
    let failures = 2;
    around.claiming = async () => {
      if (failures-- > 0) throw new TransactionError('Not committed.', false);
    };
    await balance(0);
    // The other one waits to look at the ends of partitions.
    expect(clock.waiting).toBe(2);
    await clock.pass(200);
    expect(events).toEqual([]);
    await clock.pass(400);
    expect(events).toEqual(['claim t/0', 'assign t/0']);
    expect(log.lines.map(({ message }) => message)).toEqual([
      'Not committed. Trying again.',
      'Not committed. Trying again.',
    ]);
  });

  test('ends the run when a claim says so, but not when the run ends anyway', async () => {
    const one = await open({ 0: full(9) });
    one.around.claiming = () => Promise.reject(new RunError('No such right.'));
    await one.balance(0);
    expect(one.engine.failures.map(({ message }) => message)).toEqual(['No such right.']);
    const two = await open({ 0: full(9) });
    two.around.claiming = async () => {
      two.stop.abort();
      throw new RunError('Stopped.');
    };
    await two.balance(0);
    expect(two.engine.failures).toEqual([]);
  });
});

describe('a partition whose work was dropped', () => {
  test('is given back, claimed and read again from its last commit', async () => {
    const { driver, engine, events, stored, source, balance } = await open({ 0: full(9), 1: full(9) });
    stored.set('t/0', 2);
    await balance(0, 1);
    driver.fetch(0, 3);
    expect(await engine.pull('t/0')).toEqual([2, 3, 4]);
    const pull = engine.pull('t/0');
    stored.set('t/0', 3);
    events.length = 0;
    source.restart!('t/0', false);
    expect(await pull).toBeNull();
    await until(() => events.includes('assign t/0'));
    expect(events).toEqual(['revoke t/0', 'claim t/0', 'assign t/0']);
    expect(driver.fetch(0, 2)).toBe(true);
    expect(await engine.pull('t/0')).toEqual([3, 4]);
  });

  test('what was fetched before it is claimed again is not handed over', async () => {
    const { driver, engine, around, source, balance } = await open({ 0: full(9) });
    await balance(0);
    let claimed = () => {};
    around.claiming = () => new Promise((resolve) => (claimed = resolve));
    source.restart!('t/0', false);
    driver.places.set(0, 5);
    driver.paused.clear();
    driver.fetch(0, 3);
    for (let i = 0; i < 5; i++) await settle();
    claimed();
    await until(() => engine.partitions.has('t/0') && driver.places.get(0) === 0);
    driver.fetch(0, 2);
    expect(await engine.pull('t/0')).toEqual([0, 1]);
  });

  test('fenced: is claimed with the next assignment that holds it, not before', async () => {
    const { events, clock, source, balance } = await open({ 0: full(9) });
    await balance(0);
    events.length = 0;
    source.restart!('t/0', true);
    await clock.pass(14_999);
    expect(events).toEqual(['revoke t/0']);
    await balance(0);
    expect(events).toEqual(['revoke t/0', 'claim t/0', 'assign t/0']);
    await clock.pass(60_000);
    expect(events).toHaveLength(3);
  });

  test('fenced: is never claimed when the next assignment does not hold it', async () => {
    const { events, clock, source, balance } = await open({ 0: full(9), 1: full(9) });
    await balance(0, 1);
    events.length = 0;
    source.restart!('t/0', true);
    await balance(1);
    await clock.pass(60_000);
    expect(events).toEqual(['revoke t/0']);
  });

  test('fenced: is claimed after 15 s when the group still says that it is ours', async () => {
    const { events, clock, source, balance } = await open({ 0: full(9), 1: full(9) });
    await balance(0, 1);
    events.length = 0;
    source.restart!('t/0', true);
    await clock.pass(15_000);
    expect(events).toEqual(['revoke t/0', 'claim t/0', 'assign t/0']);
  });

  test('fenced: the end of the run ends the wait', async () => {
    const { events, clock, source, balance, stop } = await open({ 0: full(9) });
    await balance(0);
    source.restart!('t/0', true);
    stop.abort();
    await clock.pass(20_000);
    expect(events).toEqual(['claim t/0', 'assign t/0', 'revoke t/0']);
  });

  test('is left alone when it is not ours any more, or the source is closed', async () => {
    const { events, source, balance } = await open({ 0: full(9) });
    await balance(0);
    await balance();
    source.restart!('t/0', false);
    await balance(0);
    await source.close();
    source.restart!('t/0', false);
    for (let i = 0; i < 10; i++) await settle();
    expect(events).toEqual(['claim t/0', 'assign t/0', 'revoke t/0', 'claim t/0', 'assign t/0']);
  });

  test('however assignments, failures and time fall together: no partition is read without a claim of its own', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({ do: fc.constant('balance' as const), partitions: fc.uniqueArray(fc.nat(1)) }),
            fc.record({ do: fc.constant('restart' as const), partition: fc.nat(1), fenced: fc.boolean() }),
            fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 14_999, 15_000) }),
            fc.record({ do: fc.constant('settle' as const) }),
          ),
          { maxLength: 30 },
        ),
        async (script) => {
          const { driver, engine, events, clock, source, balance } = await open({ 0: full(9), 1: full(9) });
          for (const step of script) {
            if (step.do === 'balance') driver.balance(step.partitions);
            else if (step.do === 'restart') source.restart!(`t/${step.partition}`, step.fenced);
            else if (step.do === 'pass') await clock.pass(step.ms);
            else await settle();
          }
          await balance(0, 1);
          expect(engine.failures).toEqual([]);
          expect([...engine.partitions.keys()].sort()).toEqual(['t/0', 't/1']);
          const claimed = new Set<string>();
          for (const event of events) {
            const [what, ...ids] = event.split(' ');
            if (what === 'claim') for (const id of ids) claimed.add(id);
            else if (what === 'assign') expect(claimed.delete(ids[0]!)).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    ));
});

describe('a sink in the transactions of a source', () => {
  const access = (more: object = {}) => ({ brokers: 'a:1, b:2', ...more });
  const sasl = (password: string) => ({
    sasl: { mechanism: 'plain' as const, username: 'u', password: new Secret(password) },
  });
  const within = (options: object, operator = 'kafka') => ({ operator, options });

  test.each([
    ['the same brokers in another order', access({ brokers: ['b:2', 'a:1'], ssl: false }), within(access()), true],
    ['another client id', access({ clientId: 'x' }), within(access()), true],
    ['the same login', access(sasl('s')), within(access(sasl('s'))), true],
    ['another password', access(sasl('s')), within(access(sasl('t'))), false],
    ['no login', access(), within(access(sasl('t'))), false],
    ['other brokers', access({ brokers: 'a:1' }), within(access()), false],
    ['TLS on one side', access({ ssl: true }), within(access()), false],
    ['other certificates', access({ ssl: { ca: 'a' } }), within(access({ ssl: { ca: 'b' } })), false],
    ['another source', access(), within(access(), 'mqtt'), false],
  ])('%s', (_, options, source, expected) => {
    expect(joins(options, source)).toBe(expected);
    const { level, reason } = deliveryOf(options, source);
    expect(level).toBe(expected ? 'exactly once' : 'at least once');
    expect(reason).toMatch(expected ? /one Kafka transaction/ : /another cluster, or logs in differently/);
  });
});
