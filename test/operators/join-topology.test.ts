import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { from, topology } from '../../src/index.ts';
import { recordId } from '../../src/record.ts';
import { TopologyDriver } from '../../src/testing.ts';
import { planHash } from '../../src/topology/plan-json.ts';
import { toYaml } from '../../src/topology/to-yaml.ts';
import { driven, loaded, mqtt, problemsOf, t0 } from './topologies.ts';

const two = (step: string, more = ', outOfOrder: 3ms') => `
  orders: [${mqtt('o', more)}, { keyBy: id }, { id: j, ${step} }, { print: }]
  payments: [${mqtt('p', more)}, { keyBy: id }]
`;
const joined = 'join: { with: payments, within: 4ms, as: payment, type: outer }';
const looked = 'lookup: { table: payments, as: payment }';

type Action =
  | { readonly stream: 'orders' | 'payments'; readonly id: string; readonly step: number }
  | 'checkpoint'
  | 'crash'
  | 'stop';
const actions = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        stream: fc.constantFrom('orders' as const, 'payments' as const),
        id: fc.constantFrom('a', 'b'),
        step: fc.integer({ min: -3, max: 4 }),
      }),
    },
    { weight: 1, arbitrary: fc.constantFrom('checkpoint' as const, 'crash' as const, 'stop' as const) },
  ),
  { minLength: 4, maxLength: 14 },
);

async function run(driver: TopologyDriver, list: readonly Action[], interrupted: boolean): Promise<string[]> {
  let time = t0;
  for (const [n, action] of list.entries()) {
    if (typeof action === 'object') {
      time += action.step;
      await driver.push(action.stream, { topic: `${action.stream[0]}/${action.id}`, value: { t: time, n } });
    } else if (interrupted && action === 'checkpoint') await driver.checkpoint();
    else if (interrupted) {
      await driver[action]();
      await driver.restore();
    }
  }
  await driver.end();
  return driver.output('orders').map((record) => `${recordId(record)} ${record.time} ${JSON.stringify(record.value)}`);
}

describe('two streams in one task', () => {
  test.each([joined, looked])('%s: gives the same results with crashes, stops and checkpoints anywhere', (step) => {
    const plan = loaded(two(step)).plan!;
    return fc.assert(
      fc.asyncProperty(actions, async (list) => {
        const whole = await run(await TopologyDriver.start(plan, catalogue), list, false);
        const found = await run(await TopologyDriver.start(plan, catalogue), list, true);
        // After a restart the two partitions may be read in another order, and with them what comes at one time.
        expect(found.toSorted()).toEqual(whole.toSorted());
      }),
      { numRuns: 8 },
    );
  });

  test('the slower stream holds both back, and late records of both sides go to `late`', async () => {
    const late = 'join: { with: payments, within: 10ms, as: payment, type: left, late: late }';
    const driver = await driven(`${two(late, '')}  late: [{ print: }]\n`);
    await driver.push('orders', { topic: 'o/a', value: { t: t0 + 100 } }, { topic: 'o/a', value: { t: t0 + 200 } });
    expect(driver.output('orders')).toEqual([]);
    await driver.push('payments', { topic: 'p/a', value: { t: t0 + 110 } });
    expect(driver.output('orders')).toHaveLength(1);
    await driver.push('payments', { topic: 'p/a', value: { t: t0 + 150 } }, { topic: 'p/a', value: { t: t0 + 149 } });
    await driver.push('orders', { topic: 'o/a', value: { t: t0 + 149 } });
    expect(driver.output('late').map(({ value }) => value)).toMatchObject([
      { code: 'late', step: 'j', source: expect.stringMatching(/^payments\./) },
      { code: 'late', step: 'j', source: expect.stringMatching(/^orders\./) },
    ]);
    await driver.end();
    expect(driver.output('orders').map(({ time }) => time - t0)).toEqual([110, 210]);
  });

  test('what a join gives is on time for a window behind it, also the lack of a partner', async () => {
    const windowed = `join: { with: payments, within: 10ms, as: payment, type: left } }, { id: w, window: { tumbling: 1ms, aggregate: { n: count } }`;
    const driver = await driven(two(windowed, ''));
    await driver.push('orders', { topic: 'o/a', value: { t: t0 + 100 } }, { topic: 'o/a', value: { t: t0 + 500 } });
    await driver.push('payments', { topic: 'p/a', value: { t: t0 + 105 } }, { topic: 'p/b', value: { t: t0 + 490 } });
    await driver.end();
    expect(driver.output('deadLetters')).toEqual([]);
    expect(driver.output('orders').map(({ value }) => value)).toEqual([{ n: 1 }, { n: 1 }]);
  });
});

const typed = (step: string, more = '', key = '{ keyBy: id }') => `
  readings: [${mqtt('r')}, { validate: ./reading.json }, { keyBy: id }, { id: j, ${step} }, ${more}{ print: }]
  prices: [${mqtt('p')}, { validate: ./price.json }, ${key}]
`;

describe('the plan of a join or lookup', () => {
  test.each([
    'join: { with: prices, within: 1s, as: price }',
    'join: { with: prices, within: 1s, as: price, type: left }',
    'join: { with: prices, within: 1s, as: price, type: outer }',
    'lookup: { table: prices, as: price }',
    'lookup: { table: prices, as: price, type: inner }',
  ])('%s: knows the fields of both streams', (step) => {
    expect(problemsOf(typed(step, '{ filter: temperature > 1 && price.euro > 1 }, '))).toEqual([]);
    expect(problemsOf(typed(step, '{ filter: temperature > 1 && price.eur > 1 }, '))[0]).toMatch(
      /^unknown-field .*eur/,
    );
    expect(problemsOf(typed(step, '{ filter: temprature > 1 }, '))[0]).toMatch(/^unknown-field .*temprature/);
    expect(loaded(typed(step)).plan!.streams[0]!.steps[3]).toMatchObject({ inputs: ['prices'] });
  });

  test('says what is always there', () => {
    const required = (step: string) =>
      (loaded(typed(step)).plan!.streams[0]!.steps[3]!.type as { required: string[] }).required;
    expect(required('join: { with: prices, within: 1s, as: price, type: left }')).toEqual([
      'id',
      'temperature',
      'price',
    ]);
    expect(required('join: { with: prices, within: 1s, as: price, type: outer }')).toEqual(['price']);
  });

  test('needs a key and a time on both sides, and warns of a field that is hidden', () => {
    const step = 'join: { with: prices, within: 1s, as: price }';
    expect(problemsOf(typed(step, '', '{ set: { a: 1 } }'))).toEqual([
      expect.stringMatching(/^missing-key-by .*no `keyBy` in the stream `prices`/),
    ]);
    const timeless = typed(step).replace(
      '{ mqtt: { url: "mqtt://nowhere.example.com", topics: "p/{id}", time: { field: t, unit: ms } } }',
      '{ mqtt: { url: "mqtt://nowhere.example.com", topics: "p/{id}" } }',
    );
    expect(problemsOf(timeless)[0]).toMatch(/^missing-time .*`join` works on event time/);
    const latest = timeless.replace(
      'join: { with: prices, within: 1s, as: price }',
      'lookup: { table: prices, as: price, asOf: latest }',
    );
    expect(problemsOf(latest)).toEqual([]);
    expect(problemsOf(typed('join: { with: prices, within: 1s, as: temperature }'))[0]).toMatch(
      /^bad-value .*`temperature` already/,
    );
  });

  test('is the same from YAML, from TypeScript and through YAML again; TypeScript knows the added field', () => {
    const plan = topology('t')
      .stream('readings')
      .from<{ id: string; temperature: number }>(
        from.mqtt({ url: 'mqtt://nowhere.example.com', topics: 'r/{id}', time: 'arrival' }),
      )
      .keyBy('id')
      .sort({}, { id: 's' })
      .lag({ fields: 'temperature', as: 'before' }, { id: 'l' })
      .join({ with: 'prices', within: '1s', as: 'price' }, { id: 'j' })
      .map((value) => {
        expectTypeOf(value.before).toEqualTypeOf<number | null>();
        expectTypeOf(value.price).toEqualTypeOf<unknown>();
        return { temperature: value.temperature };
      })
      .branch({ cold: ({ temperature }) => temperature < 5, else: 'prices.cold' })
      .stream('prices')
      .from(from.mqtt({ url: 'mqtt://nowhere.example.com', topics: 'p/{id}', time: 'arrival' }))
      .keyBy('id')
      .stream('cold')
      .print()
      .stream('prices.cold')
      .merge('prices')
      .print()
      .plan();
    expect(plan.streams[0]!.steps.map(({ inputs, routes }) => inputs ?? routes)).toEqual([
      ...Array(4).fill(undefined),
      ['prices'],
      undefined,
      ['cold', 'prices.cold'],
    ]);
    const yaml = loaded(
      typed('lookup: { table: prices, as: price }', '{ branch: { a: temperature < 1, b: "true" } }, ') +
        '  a: [{ print: }]\n  b: [{ print: }]\n',
    ).plan!;
    const again = loaded(toYaml(yaml, catalogue).replace(/^[\s\S]*?streams:\n/, ''));
    expect(again.problems).toEqual([]);
    expect(planHash(again.plan!)).toBe(planHash(yaml));
  });
});
