import { describe, expect, expectTypeOf, test } from 'vitest';
import { catalogue, sinks, sources, steps } from '../../operators/index.ts';
import { window } from '../../operators/window/index.ts';
import { TopologyError } from '../../src/errors.ts';
import { defineAggregate } from '../../src/operator.ts';
import { createBuilder } from '../../src/topology/builder.ts';
import { loadTopology } from '../../src/topology/load.ts';

const fields = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    fuel: { type: 'number' },
    load: { type: ['number', 'null'] },
    at: { type: 'object', properties: { lat: { type: 'number' } } },
  },
  required: ['id', 'fuel', 'load', 'at'],
};
const count = { n: 'count' };

/** What is wrong with a topology that has one window with these options, and, after it, a `map`. */
function problemsOf(options: object, map: object = { x: 'true' }) {
  const steps = [
    { mqtt: { url: 'mqtt://localhost', topics: 't', qos: 0, time: 'arrival' } },
    { validate: { schema: fields } },
    { keyBy: 'id' },
    { id: 'w', window: options },
    { map },
    { print: null },
  ];
  const text = JSON.stringify({ version: 1, name: 'example', streams: { example: steps } });
  const { problems } = loadTopology({ text, file: 'example.yaml' }, { catalogue, env: {}, readFile: () => '' });
  return problems.filter(({ severity }) => severity !== 'warning').map(({ code, message }) => `${code}: ${message}`);
}

describe('window: its options', () => {
  test.each([
    [{ tumbling: '1m' }],
    [{ hopping: { size: '1m', every: '1m' } }],
    [{ hopping: { size: '1s', every: '1ms' } }],
    [{ session: { gap: '1ms' } }],
    [{ session: { gap: '5s', max: '1h' }, offset: '1m' }],
    [{ count: 1 }],
    [{ rolling: { size: '10m' }, lateness: '1m', label: 'lastEvent' }],
    [{ tumbling: '1m', emit: 'onUpdate', lateness: '1h', label: 'start' }],
    [{ calendar: { every: '1d', timeZone: 'UTC' }, emit: { early: '1h' } }],
    [{ tumbling: '1m', fill: null, fillFor: '1h' }],
    [{ tumbling: '1m', fill: 'previous', fillFor: '10000m' }],
    [{ hopping: { size: '1m', every: '10s' }, fill: { value: 0 }, fillFor: '1ms' }],
    [
      {
        tumbling: '1m',
        aggregate: {
          half: { median: 'fuel' },
          most: { percentile: { field: 'fuel', p: 99.9 } },
          ids: { countDistinct: 'id' },
          top: { topK: { field: 'load', k: 3 } },
        },
      },
    ],
    [{ calendar: { every: '1mo', timeZone: 'Europe/Berlin' }, lateness: '1h' }],
    [{ tumbling: '1m', keep: ['id'], label: 'lastEvent', outOfOrder: '1s', lateness: '0s', late: 'drop' }],
  ])('takes %j', (options) => {
    expect(problemsOf({ ...options, aggregate: count })).toEqual([]);
  });

  test.each([
    [
      {},
      'bad-value: `window` needs exactly one of `tumbling`, `hopping`, `rolling`, `session`, `count`, `calendar`, but has none of them.',
    ],
    [
      { tumbling: '1m', count: 3 },
      'bad-value: `window` needs exactly one of `tumbling`, `hopping`, `rolling`, `session`, `count`, `calendar`, but has `tumbling` and `count`.',
    ],
    [{ tumbling: '0s' }, 'bad-value: `tumbling` is 0s; expected a whole number of milliseconds, at least 1ms.'],
    [{ tumbling: '1.5ms' }, 'bad-value: `tumbling` is 1.5ms; expected a whole number of milliseconds, at least 1ms.'],
    [
      { hopping: { size: '0ms', every: '0ms' } },
      'bad-value: `size` is 0ms; expected a whole number of milliseconds, at least 1ms.',
    ],
    [{ session: { gap: '1us' } }, 'bad-value: `gap` is 1us; expected a whole number of milliseconds, at least 1ms.'],
    [
      { session: { gap: '1s', max: '0s' } },
      'bad-value: `max` is 0s; expected a whole number of milliseconds, at least 1ms.',
    ],
    [{ tumbling: '1s', lateness: '1us' }, 'bad-value: `lateness` is 1us; expected a whole number of milliseconds.'],
    [
      { hopping: { size: '1s', every: '1001ms' } },
      'bad-value: `every` is 1001ms, more than `size`, 1s: records between two windows would be in none.',
    ],
    [
      { hopping: { size: '1001ms', every: '1ms' } },
      'bad-value: Every record would be in 1001 windows; at most 1000 may overlap.',
    ],
    [{ calendar: { every: '1d', timeZone: 'Mars/Base' } }, 'bad-value: `Mars/Base` is no time zone known here.'],
    [
      { calendar: { every: '1d', timeZone: 'UTC' }, offset: '1h' },
      'bad-value: `offset` has no meaning for `calendar` windows.',
    ],
    [{ session: { gap: '1s' }, offset: '1h' }, 'bad-value: `offset` has no meaning for `session` windows.'],
    [{ count: 3, lateness: '1h' }, 'bad-value: `lateness` has no meaning for `count` windows.'],
    [{ count: 3, outOfOrder: '1h' }, 'bad-value: `outOfOrder` has no meaning for `count` windows.'],
    [{ rolling: { size: '0s' } }, 'bad-value: `size` is 0s; expected a whole number of milliseconds, at least 1ms.'],
    [{ rolling: { size: '1s' }, offset: '1s' }, 'bad-value: `offset` has no meaning for `rolling` windows.'],
    [
      { rolling: { size: '1s' }, emit: 'onUpdate' },
      'bad-value: A `rolling` window gives one result, as the watermark passes its record: there is nothing to update.',
    ],
    ...(['session', 'count'] as const).map((kind): [object, string] => [
      { [kind]: kind === 'count' ? 2 : { gap: '1s' }, emit: 'onUpdate' },
      `bad-value: The start of a \`${kind}\` window moves as records come: an update could not take the place of the result before.`,
    ]),
    [
      { tumbling: '1m', emit: { early: '0s' } },
      'bad-value: `early` is 0s; expected a whole number of milliseconds, at least 1ms.',
    ],
    [
      { tumbling: '1m', emit: { early: '1s' }, label: 'lastEvent' },
      'bad-value: `label` is lastEvent: the time of the result would change from one update to the next',
    ],
    [
      { tumbling: '1m', emit: 'onUpdate', fill: null, fillFor: '1h' },
      'bad-value: `fill` is for windows that give one result; with `emit`, there are several.',
    ],
    [{ tumbling: '1m', emit: 'sometimes' }, '`emit` must be'],
    [{ tumbling: '1m', fill: null }, 'bad-value: `fill` is given without `fillFor`.'],
    [{ tumbling: '1m', fillFor: '1h' }, 'bad-value: `fillFor` is given without `fill`.'],
    [
      { tumbling: '1m', fill: 'previous', fillFor: '1h', label: 'lastEvent' },
      'bad-value: `label` is lastEvent, but a window that is filled has no event.',
    ],
    [
      { tumbling: '1m', fill: null, fillFor: '10001m' },
      'bad-value: `fillFor` is 10001m: 10001 windows of a key that is silent would be filled; at most 10000 may be.',
    ],
    [{ session: { gap: '1s' }, fill: null, fillFor: '1h' }, 'bad-value: `fill` has no meaning for `session` windows.'],
    [{ count: 1, fill: null, fillFor: '1h' }, 'bad-value: `fill` has no meaning for `count` windows.'],
    [{ tumbling: '1m', fill: 'next', fillFor: '1h' }, '`fill` must be'],
    [{ tumbling: '1m', aggregate: { x: { median: 'id' } } }, 'type-mismatch: `id` is string; `median` takes numbers.'],
    [{ tumbling: '1m', aggregate: { x: { percentile: { field: 'fuel', p: 101 } } } }, '`aggregate.x.percentile.p`'],
    [{ tumbling: '1m', aggregate: { x: { topK: { field: 'feul', k: 1 } } } }, 'unknown-field'],
    [
      { tumbling: '1m', aggregate: { x: { own: { create: 'a', add: 'b', merge: 'c', result: 'd' } } } },
      'wrong-type: `create` is no function.',
    ],
    [{ tumbling: '1mo' }, '`tumbling` must be a length of time'],
    [{ count: 0 }, '`count` must be at least 1'],
    [
      { tumbling: '1m', keep: ['at.lat'] },
      'bad-value: `at.lat` is a nested field; `keep` takes fields of the record itself.',
    ],
    [{ tumbling: '1m', keep: ['nothing'] }, 'unknown-field'],
    [
      { tumbling: '1m', keep: ['fuel'], aggregate: { fuel: 'count' } },
      'bad-value: `fuel` stands under `keep` and under `aggregate`; the result has one field of that name.',
    ],
    [{ tumbling: '1m', aggregate: {} }, '`aggregate` must be a mapping that is not empty'],
    [{ tumbling: '1m', aggregate: { x: { mean: 'feul' } } }, 'unknown-field'],
    [{ tumbling: '1m', aggregate: { x: { collect: { field: 'feul', max: 1 } } } }, 'unknown-field'],
    [{ tumbling: '1m', aggregate: { x: { mean: 'id' } } }, 'type-mismatch: `id` is string; `mean` takes numbers.'],
    [{ tumbling: '1m', aggregate: { x: 'mean' } }, 'aggregate.x'],
    [{ tumbling: '1m', aggregate: { x: { mean: 'fuel', max: 'fuel' } } }, 'aggregate.x'],
  ])('refuses %j', (options, expected) => {
    const found = problemsOf({ aggregate: count, ...options });
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toContain(expected);
  });

  test('refuses a field of the result that is called `__proto__`', () => {
    const aggregate = JSON.parse('{"__proto__": "count"}');
    const told: string[] = [];
    window.type!(
      { tumbling: '1m', aggregate },
      {
        input: undefined,
        expression: () => undefined,
        problem: (_path, message) => void told.push(message),
      },
    );
    expect(told).toEqual(['`__proto__` cannot be the name of a field.']);
  });

  test('cannot be made without one kind of window', () => {
    expect(() => window.create({ aggregate: { n: 'count' } }, 'w')).toThrow(TopologyError);
    expect(() => window.create({ aggregate: { n: 'count' }, count: 1, tumbling: '1s' }, 'w')).toThrow(TopologyError);
  });
});

describe('window: the type of its results', () => {
  const typeOf = (aggregate: Record<string, unknown>, keep?: string[], fill?: unknown) => {
    const problem = () => expect.unreachable();
    const at = (path: readonly (string | number)[]) => {
      let found: unknown = { keep, aggregate };
      for (const part of path) found = (found as Record<string, unknown>)[part];
      return fields.properties[found as keyof typeof fields.properties];
    };
    return window.type!(
      { tumbling: '1m', aggregate, ...(keep && { keep }), ...(fill !== undefined && { fill, fillFor: '1h' }) } as never,
      {
        input: fields,
        expression: at,
        problem,
      },
    );
  };

  test('is that of the kept fields and the aggregates; null where a window may have no value', () => {
    const number = { type: 'number' };
    const maybe = { type: ['number', 'null'] };
    expect(
      typeOf(
        {
          n: 'count',
          values: { count: 'load' },
          mean: { mean: 'fuel' },
          sum: { sum: 'load' },
          deviation: { stddev: 'fuel' },
          opening: { first: 'id' },
          unsure: { last: 'load' },
          list: { collect: { field: 'fuel', max: 3 } },
          whole: 'last',
        },
        ['id'],
      ),
    ).toEqual({
      type: 'object',
      properties: {
        id: { type: 'string' },
        n: { type: 'integer' },
        values: { type: 'integer' },
        mean: number,
        sum: maybe,
        deviation: maybe,
        opening: { type: 'string' },
        unsure: true,
        list: { type: 'array', items: number },
        whole: fields,
      },
      required: ['id', 'n', 'values', 'mean', 'sum', 'deviation', 'opening', 'unsure', 'list', 'whole'],
    });
  });

  test('lists and counts of the new kinds are never null; a filled window adds what it is filled with', () => {
    const wanted = {
      half: { median: 'fuel' },
      kinds: { countDistinct: 'id' },
      top: { topK: { field: 'fuel', k: 2 } },
      deviation: { stddev: 'fuel' },
      opening: { first: 'id' },
    };
    const list = { type: 'array', items: { type: 'number' } };
    const maybe = { type: ['number', 'null'] };
    const properties = (fill?: unknown) =>
      (typeOf(wanted, undefined, fill) as { properties: Record<string, unknown> }).properties;
    expect(properties()).toMatchObject({ half: { type: 'number' }, kinds: { type: 'integer' }, top: list });
    expect(properties('previous')).toEqual(properties());
    expect(properties(null)).toEqual({
      ...{ half: maybe, kinds: { type: 'integer' }, top: list, deviation: maybe, opening: true },
    });
    expect(properties({ value: 0 })).toMatchObject({ half: { type: ['number'] }, top: true, opening: true });
  });

  test('steps after it know the results, and no longer the fields of the records', () => {
    const options = { tumbling: '1m', aggregate: { avg: { mean: 'fuel' } }, keep: ['id'] };
    expect(problemsOf(options, { low: 'avg < 500.0', who: 'id' })).toEqual([]);
    expect(problemsOf(options, { low: 'fuel < 500.0' })[0]).toContain('unknown-field');
  });

  test('is known in TypeScript too', () => {
    const thirsty = defineAggregate({
      create: () => 0,
      add: (n: number, { fuel }: { fuel: number }) => (fuel < 500 ? n + 1 : n),
      merge: (a, b) => a + b,
      result: (n) => n > 0,
    });
    const { topology, mqtt } = createBuilder({ sources, steps, sinks });
    const source = mqtt({ url: 'mqtt://localhost', topics: 't', qos: 0, time: 'arrival' });
    const plan = topology('example')
      .stream('example')
      .from<{ id: string; fuel: number }>(source)
      .keyBy('id')
      .window(
        {
          tumbling: '1m',
          keep: ['id'],
          aggregate: {
            n: 'count',
            values: { count: 'fuel' },
            avg: { mean: 'fuel' },
            opening: { first: 'fuel' },
            whole: 'last',
            list: { collect: { field: 'fuel', max: 2 } },
            kinds: { countDistinct: 'id' },
            half: { median: 'fuel' },
            top: { topK: { field: 'fuel', k: 2 } },
            thirsty: { own: thirsty },
          },
          fill: { value: 'none' },
          fillFor: '1h',
        },
        { id: 'w' },
      )
      .filter((result) => {
        expectTypeOf(result.id).toEqualTypeOf<string>();
        expectTypeOf(result.n).toEqualTypeOf<number | 'none'>();
        expectTypeOf(result.values).toEqualTypeOf<number | 'none'>();
        expectTypeOf(result.avg).toEqualTypeOf<number | null | 'none'>();
        expectTypeOf(result.opening).toEqualTypeOf<number | null | 'none'>();
        expectTypeOf(result.whole).toEqualTypeOf<{ id: string; fuel: number } | 'none'>();
        expectTypeOf(result.list).toEqualTypeOf<number[] | 'none'>();
        expectTypeOf(result.kinds).toEqualTypeOf<number | 'none'>();
        expectTypeOf(result.half).toEqualTypeOf<number | null | 'none'>();
        expectTypeOf(result.top).toEqualTypeOf<number[] | 'none'>();
        expectTypeOf(result.thirsty).toEqualTypeOf<boolean | 'none'>();
        // @ts-expect-error the fields of the records are gone
        return result.fuel > 0;
      })
      .print()
      .plan();
    expect(plan.streams[0]!.steps.map(({ operator }) => operator)).toEqual([
      'mqtt',
      'keyBy',
      'window',
      'filter',
      'print',
    ]);
  });
});
