import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Trouble } from '../../operators/kafka/driver.ts';
import { Intake, type KeyFormat } from '../../operators/kafka/intake.ts';
import { openSource, type SourceOptions } from '../../operators/kafka/source.ts';
import { RawRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { settle, sourceContext, until } from './connector-contexts.ts';
import { FakeDriver, FakeEngine, fetchedRecord, type Log } from './kafka-fakes.ts';

const full = (count: number): Log => ({ offsets: Array.from({ length: count }, (_, i) => i), low: 0, high: count });

async function open(
  driver: FakeDriver,
  options: Partial<SourceOptions> = {},
  engine = new FakeEngine(),
  { resumed = engine.positions.size > 0 } = {},
) {
  const context = { ...sourceContext(systemPorts()), ...engine.hooks(), resumed };
  const source = await openSource({ brokers: 'b:1', topic: 't', ...options }, context, async () => driver);
  return { source, engine, context };
}

/** Opens and hands out partitions. */
async function started(
  driver: FakeDriver,
  partitions: number[],
  ...rest: Parameters<typeof open> extends [unknown, ...infer R] ? R : never
) {
  const opened = await open(driver, ...rest);
  driver.balance(partitions);
  await until(() => opened.engine.partitions.size === partitions.length || opened.engine.failures.length > 0);
  return opened;
}

describe('where reading begins', () => {
  test('without a checkpoint and without `start` the run ends, and says what to write', async () => {
    await expect(open(new FakeDriver({ 0: full(3) }))).rejects.toThrow(
      /no checkpoint.*`start: earliest`.*`start: latest`/s,
    );
  });

  test.each([
    ['earliest', 2],
    ['latest', 9],
    ['group', 5],
  ] as const)('start: %s', async (start, offset) => {
    const driver = new FakeDriver({ 0: { offsets: [2, 4, 8], low: 2, high: 9 } });
    driver.groupOffsets.set(0, 5);
    const { engine } = await started(driver, [0], { start });
    expect(driver.places.get(0)).toBe(offset);
    // The engine knows the start before any record came, so that a restart does not choose anew.
    expect(await engine.pull('t/0')).toEqual([]);
    expect(engine.positions.get('t/0')).toBe(offset);
  });

  test('the checkpoint wins over `start`', async () => {
    const engine = new FakeEngine();
    engine.positions.set('t/0', 4);
    const driver = new FakeDriver({ 0: full(9) });
    await started(driver, [0], { start: 'latest' }, engine);
    driver.fetch(0, 2);
    expect(await engine.pull('t/0')).toEqual([4, 5]);
  });

  test('a partition that the checkpoint does not hold ends the run unless `start` is given', async () => {
    const engine = new FakeEngine();
    engine.positions.set('t/0', 0);
    const { engine: after } = await started(new FakeDriver({ 0: full(1), 1: full(1) }), [0, 1], {}, engine);
    expect(after.failures[0]?.message).toMatch(/no position for topic `t`, partition 1.*`start: earliest`/s);
    expect(after.partitions.size).toBe(0);
  });

  test('`start: group` without an offset of the group ends the run', async () => {
    const { engine } = await started(new FakeDriver({ 0: full(1) }), [0], { start: 'group', group: 'g' });
    expect(engine.failures[0]?.message).toMatch(/Group `g` has committed nothing for topic `t`, partition 0/);
  });

  test('`start` at a time begins at the first record of that time or later', async () => {
    const driver = new FakeDriver({ 0: { offsets: [2, 4, 8], low: 2, high: 9 }, 1: full(2) });
    await started(driver, [0, 1], { start: { timestamp: '1970-01-01T00:00:01.003Z' } });
    // Records are of the time 1,000 and their offset; partition 1 has none so late.
    expect([driver.places.get(0), driver.places.get(1)]).toEqual([4, 2]);
  });

  test('`start` at offsets begins there, and a partition that it does not name ends the run', async () => {
    const driver = new FakeDriver({ 0: full(9), 1: full(9) });
    const { engine } = await started(driver, [0], { start: { offsets: { 't/0': 7 } } });
    expect(driver.places.get(0)).toBe(7);
    driver.balance([0, 1]);
    await until(() => engine.failures.length > 0);
    expect(engine.failures[0]?.message).toMatch(/`start.offsets` says nothing of topic `t`, partition 1/);
  });

  test('`start` at an offset that is not there ends the run', async () => {
    const driver = new FakeDriver({ 0: { offsets: [4], low: 4, high: 5 } });
    const { engine } = await started(driver, [0], { start: { offsets: { 't/0': 3 } } });
    expect(engine.failures[0]?.message).toMatch(/is to be read from offset 3, but begins at 4/);
  });

  test.each([
    [1, /partition 0, is to be read from offset 1, but begins at 2/],
    [10, /partition 0, is to be read from offset 10, but ends at 9/],
  ])('a checkpoint at offset %i, outside of what is there, ends the run', async (position, message) => {
    const engine = new FakeEngine();
    engine.positions.set('t/0', position);
    await started(new FakeDriver({ 0: { offsets: [2], low: 2, high: 9 } }), [0], {}, engine);
    expect(engine.failures[0]?.message).toMatch(message);
  });

  test.each([2, 9])('a checkpoint at the edge, %i, is fine', async (position) => {
    const engine = new FakeEngine();
    engine.positions.set('t/0', position);
    await started(new FakeDriver({ 0: { offsets: [2], low: 2, high: 9 } }), [0], {}, engine);
    expect(engine.failures).toEqual([]);
    expect(driverPlace(engine)).toBe(true);
  });
  const driverPlace = (engine: FakeEngine) => engine.partitions.has('t/0');

  test('brokers that are away during a rebalance are waited for', async () => {
    const driver = new FakeDriver({ 0: full(1) });
    const { engine, context } = await open(driver, { start: 'earliest' });
    driver.adminFailures.push(new Trouble('passing', 'Nothing listens at b:1.'));
    driver.balance([0]);
    await until(() => engine.partitions.size === 1);
    expect(context.log.lines.map(({ message }) => message)).toEqual(['Nothing listens at b:1. Trying again.']);
  });
});

describe('what is handed over', () => {
  type Step =
    | { do: 'fetch'; partition: number; most: number; before: number }
    | { do: 'pull'; partition: number; records: number; bytes: number }
    | { do: 'balance'; partitions: number[] }
    | { do: 'settle' };
  const partitions = fc.nat(2);
  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant('fetch' as const),
          partition: partitions,
          most: fc.integer({ min: 1, max: 4 }),
          before: fc.nat(3),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant('pull' as const),
          partition: partitions,
          records: fc.integer({ min: 1, max: 3 }),
          bytes: fc.constantFrom(1, 8, 1_000),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant('balance' as const), partitions: fc.uniqueArray(partitions) }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
    ),
    { maxLength: 60 },
  );
  // Gaps, as compaction and transactions leave them, also at the end.
  const logs = fc
    .array(fc.tuple(fc.uniqueArray(fc.nat(20), { maxLength: 12 }), fc.nat(3)), { minLength: 3, maxLength: 3 })
    .map((all) =>
      Object.fromEntries(
        all.map(([offsets, rest], partition) => {
          const sorted = offsets.sort((a, b) => a - b);
          return [partition, { offsets: sorted, low: 0, high: (sorted.at(-1) ?? -1) + 1 + rest } satisfies Log];
        }),
      ),
    );

  test('every record comes once and in order, however fetches, pulls and rebalances fall together', () =>
    fc.assert(
      fc.asyncProperty(logs, steps, async (content, script) => {
        const driver = new FakeDriver(content);
        const { engine } = await open(driver, { start: 'earliest' });
        const pulls = new Map<string, Promise<unknown>>();
        const pull = (partition: number, records: number, bytes: number) => {
          const id = `t/${partition}`;
          if (pulls.has(id) || !engine.partitions.has(id)) return;
          pulls.set(
            id,
            engine.pull(id, records, bytes).finally(() => pulls.delete(id)),
          );
        };
        for (const step of script) {
          if (step.do === 'fetch') driver.fetch(step.partition, step.most, step.before);
          else if (step.do === 'pull') pull(step.partition, step.records, step.bytes);
          else if (step.do === 'balance') driver.balance(step.partitions);
          else for (let i = 0; i < 3; i++) await settle();
        }
        driver.balance([0, 1, 2]);
        await until(() => engine.partitions.size === 3);
        const done = (partition: number) => (engine.positions.get(`t/${partition}`) ?? 0) >= content[partition]!.high;
        for (let rounds = 0; ![0, 1, 2].every(done) && rounds < 200; rounds++) {
          for (const partition of [0, 1, 2]) {
            driver.fetch(partition, 3);
            pull(partition, 5, 1_000);
          }
          await settle();
        }
        expect(engine.failures).toEqual([]);
        for (const partition of [0, 1, 2]) {
          expect(engine.read.get(`t/${partition}`) ?? []).toEqual(content[partition]!.offsets);
        }
      }),
      { numRuns: 300 },
    ));

  test('a fetch from behind the expected offset ends the run, and nothing of it is handed over', async () => {
    const driver = new FakeDriver({ 0: full(9) });
    const { engine } = await started(driver, [0], { start: 'earliest' });
    driver.places.set(0, 3);
    driver.fetch(0, 2);
    expect(engine.failures[0]?.message).toMatch(/Topic `t`, partition 0, is to be read from offset 0, but begins at 3/);
    expect(await engine.pull('t/0')).toEqual([]);
    expect(engine.positions.get('t/0')).toBe(0);
  });

  test('two fetches wait at most; the partition is resumed when one has been pulled', async () => {
    const driver = new FakeDriver({ 0: full(9) });
    const { engine } = await started(driver, [0], { start: 'earliest' });
    await engine.pull('t/0');
    expect([driver.fetch(0, 2), driver.fetch(0, 2), driver.fetch(0, 2)]).toEqual([true, true, false]);
    // Half a fetch pulled makes no room.
    expect(await engine.pull('t/0', 1)).toEqual([0]);
    expect(driver.fetch(0, 2)).toBe(false);
    expect(await engine.pull('t/0', 1)).toEqual([1]);
    expect(driver.fetch(0, 2)).toBe(true);
  });

  test('a lost partition is given back only when its work is done, and then read on from the checkpoint', async () => {
    const driver = new FakeDriver({ 0: full(9), 1: full(9) });
    const { engine } = await started(driver, [0, 1], { start: 'earliest' });
    driver.fetch(0, 4);
    expect(await engine.pull('t/0', 2)).toEqual([0, 1]);
    let finish = () => {};
    engine.finishing = new Promise((resolve) => {
      finish = resolve;
    });
    driver.balance([1]);
    driver.balance([0, 1]);
    await settle();
    // Still the old one: the engine has not finished with it.
    expect(engine.partitions.has('t/0')).toBe(true);
    expect(driver.fetch(0, 1)).toBe(false);
    finish();
    await until(() => driver.places.get(0) === 2);
    driver.fetch(0, 2);
    expect(await engine.pull('t/0')).toEqual([2, 3]);
  });

  test('a partition that leaves while its place is looked up is not taken over', async () => {
    const driver = new FakeDriver({ 0: full(3) });
    const { engine } = await open(driver, { start: 'earliest' });
    let answer = () => {};
    const asked = new Promise<void>((resolve) => {
      answer = resolve;
    });
    let looking = false;
    const offsets = driver.offsets.bind(driver);
    driver.offsets = async () => {
      looking = true;
      await asked;
      return offsets();
    };
    driver.balance([0]);
    await until(() => looking);
    driver.balance([]);
    answer();
    for (let i = 0; i < 5; i++) await settle();
    expect(engine.partitions.size).toBe(0);
  });

  test('an open pull of a lost partition ends', async () => {
    const driver = new FakeDriver({ 0: full(0) });
    const { engine } = await started(driver, [0], { start: 'earliest' });
    await engine.pull('t/0');
    const open = engine.pull('t/0');
    driver.balance([]);
    expect(await open).toBeNull();
  });

  test('`until: end` is not over while the group has assigned nothing yet', async () => {
    const driver = new FakeDriver({ 0: full(3) });
    const { engine } = await open(driver, { start: 'earliest', until: 'end' });
    for (let i = 0; i < 5; i++) await settle();
    expect(engine.completed).toBe(false);
    driver.balance([0]);
    await until(() => engine.completed);
    expect([...engine.partitions.keys()]).toEqual(['t/0']);
  });

  test('`until: end` stops before what was appended after the start', async () => {
    const driver = new FakeDriver({ 0: full(3), 1: full(0) });
    const { engine } = await started(driver, [0, 1], { start: 'earliest', until: 'end' });
    await until(() => engine.completed);
    driver.logs.set(0, full(6));
    driver.fetch(0, 10);
    expect([await engine.pull('t/0'), await engine.pull('t/0')]).toEqual([[0, 1, 2], null]);
    expect([await engine.pull('t/1'), await engine.pull('t/1')]).toEqual([[], null]);
  });
});

describe('one partition', () => {
  const host = (keyFormat: KeyFormat = 'text') => ({
    live: true,
    onRoom: () => {},
    now: () => 7,
    asError: (error: unknown) => error,
    keyFormat,
  });
  const read = async (record: ReturnType<typeof fetchedRecord>, keyFormat?: KeyFormat) => {
    const intake = new Intake({ topic: 't', partition: 0 }, { start: 0, end: 1, known: true }, host(keyFormat));
    intake.offer({ topic: 't', partition: 0, from: 0, records: [record], next: 1, end: 1 }, 77);
    const raw = new RawRecord();
    (await intake.pull({ records: 1, bytes: 1 }))!.read(0, raw);
    return raw;
  };

  test('key, timestamp, headers and arrival are read', async () => {
    const headers = {
      one: Buffer.from('1'),
      many: [Buffer.from('a'), Buffer.from('b')],
      trace: Buffer.from([0xff, 1]),
    };
    const raw = await read(fetchedRecord(0, 0, { key: Buffer.from('größe'), headers }));
    expect(raw).toMatchObject({ key: 'größe', timestamp: 1_000, arrival: 77, offset: 0, decoded: false });
    expect(raw.meta).toEqual({ topic: 't', headers: { one: '1', many: ['a', 'b'], trace: 'base64:/wE=' } });
  });

  test('a tombstone is a value, not poison; without key and timestamp there are none', async () => {
    const raw = await read(fetchedRecord(0, 0, { value: null, key: null, timestamp: '-1', headers: {} }));
    expect(raw).toMatchObject({ decoded: true, value: null, key: undefined, refused: undefined, meta: { topic: 't' } });
    expect(raw.timestamp).toBeNaN();
  });

  test('a key that is not UTF-8 is refused, unless it is read otherwise', async () => {
    const record = fetchedRecord(0, 0, { key: Buffer.from([0xff, 0xfe]) });
    expect((await read(record)).refused?.code).toBe('key-invalid');
    expect(await read(record, 'base64')).toMatchObject({ key: '//4=', refused: undefined });
    expect(await read(record, 'ignore')).toMatchObject({ key: undefined, refused: undefined });
  });

  test.each([
    ['7', 7],
    ['"a"', 'a'],
    ['true', true],
    ['{"b":1,"a":[2]}', '{"b":1,"a":[2]}'],
  ])('a JSON key %s is the key %o', async (text, key) => {
    expect(await read(fetchedRecord(0, 0, { key: Buffer.from(text) }), 'json')).toMatchObject({
      key,
      refused: undefined,
    });
  });

  test('a key that is not JSON is refused as `json`', async () => {
    expect((await read(fetchedRecord(0, 0), 'json')).refused).toMatchObject({ code: 'key-invalid' });
  });

  test('it is caught up when all is pulled, the end is reached, and the broker answers', async () => {
    const around = { ...host(), live: true };
    const intake = new Intake({ topic: 't', partition: 0 }, { start: 0, end: 2, known: true }, around);
    expect(intake.caughtUp).toBe(false);
    intake.offer({ topic: 't', partition: 0, from: 0, records: [fetchedRecord(0, 0)], next: 1, end: 2 }, 0);
    await intake.pull({ records: 9, bytes: 9 });
    expect(intake.caughtUp).toBe(false);
    // The marker of a transaction: an offset without a record.
    intake.offer({ topic: 't', partition: 0, from: undefined, records: [], next: 2, end: 2 }, 0);
    expect(intake.caughtUp).toBe(true);
    around.live = false;
    expect(intake.caughtUp).toBe(false);
  });

  test('its lag is what was not handed over yet, up to the end as last heard', async () => {
    const intake = new Intake({ topic: 't', partition: 0 }, { start: 3, end: 9, known: true }, host());
    expect(intake.lag).toBe(6);
    const records = [3, 4, 7].map((offset) => fetchedRecord(0, offset));
    intake.offer({ topic: 't', partition: 0, from: 3, records, next: 8, end: 12 }, 0);
    expect(intake.lag).toBe(9);
    await intake.pull({ records: 2, bytes: 1_000 });
    expect(intake.lag).toBe(7);
    await intake.pull({ records: 2, bytes: 1_000 });
    expect(intake.lag).toBe(4);
    intake.heard(20);
    expect(intake.lag).toBe(12);
    intake.heard(7);
    expect(intake.lag).toBe(12);
  });

  test('the lag of a bounded read ends where the read does', () => {
    expect(new Intake({ topic: 't', partition: 0 }, { start: 3, end: 9, known: true }, host(), 5).lag).toBe(2);
  });

  test('the end of a partition that is full is asked for, so that its lag stays true', async () => {
    const driver = new FakeDriver({ 0: full(9) });
    const ticks: (() => void)[] = [];
    const clock = { now: () => 0, sleep: () => new Promise<void>((resolve) => void ticks.push(resolve)) };
    const engine = new FakeEngine();
    const context = { ...sourceContext({ ...systemPorts(), clock }), ...engine.hooks(), resumed: false };
    await openSource({ brokers: 'b:1', topic: 't', start: 'earliest' }, context, async () => driver);
    driver.balance([0]);
    await until(() => engine.partitions.size === 1);
    await engine.pull('t/0');
    driver.fetch(0, 2);
    driver.fetch(0, 2);
    driver.logs.set(0, full(100));
    expect(engine.partitions.get('t/0')?.lag).toBe(9);
    ticks.shift()!();
    await until(() => engine.partitions.get('t/0')?.lag === 100);
  });

  test('a fetch of what was taken before changes nothing', async () => {
    const intake = new Intake({ topic: 't', partition: 0 }, { start: 5, end: 9, known: true }, host());
    const old = {
      topic: 't',
      partition: 0,
      from: 2,
      records: [fetchedRecord(0, 2), fetchedRecord(0, 3)],
      next: 4,
      end: 9,
    };
    expect(intake.offer(old, 0)).toBe('room');
    expect(intake.expected).toBe(5);
  });

  test('offsets are committed for partitions that are ours, and a failure is only logged', async () => {
    const driver = new FakeDriver({ 0: full(3), 1: full(3) });
    const { source, context } = await started(driver, [0], { start: 'earliest' });
    await source.committed!(
      new Map([
        ['t/0', 2],
        ['t/1', 3],
      ]),
    );
    expect(driver.commits).toEqual([[{ topic: 't', partition: 0, offset: 2 }]]);
    driver.commit = () => Promise.reject(new Error('rebalancing'));
    await source.committed!(new Map([['t/0', 2]]));
    expect(context.log.lines.at(-1)).toMatchObject({ level: 'warn', message: expect.stringContaining('rebalancing') });
  });
});
