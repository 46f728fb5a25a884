import { describe, expect, expectTypeOf, test } from 'vitest';
import { catalogue, sinks, sources, steps } from '../../operators/index.ts';
import { window } from '../../operators/window/index.ts';
import { TopologyError } from '../../src/errors.ts';
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
  const typeOf = (aggregate: Record<string, unknown>, keep?: string[]) => {
    const problem = () => expect.unreachable();
    const at = (path: readonly (string | number)[]) => {
      let found: unknown = { keep, aggregate };
      for (const part of path) found = (found as Record<string, unknown>)[part];
      return fields.properties[found as keyof typeof fields.properties];
    };
    return window.type!({ tumbling: '1m', aggregate, ...(keep && { keep }) } as never, {
      input: fields,
      expression: at,
      problem,
    });
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

  test('steps after it know the results, and no longer the fields of the records', () => {
    const options = { tumbling: '1m', aggregate: { avg: { mean: 'fuel' } }, keep: ['id'] };
    expect(problemsOf(options, { low: 'avg < 500.0', who: 'id' })).toEqual([]);
    expect(problemsOf(options, { low: 'fuel < 500.0' })[0]).toContain('unknown-field');
  });

  test('is known in TypeScript too', () => {
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
          },
        },
        { id: 'w' },
      )
      .filter((result) => {
        expectTypeOf(result.id).toEqualTypeOf<string>();
        expectTypeOf(result.n).toEqualTypeOf<number>();
        expectTypeOf(result.values).toEqualTypeOf<number>();
        expectTypeOf(result.avg).toEqualTypeOf<number | null>();
        expectTypeOf(result.opening).toEqualTypeOf<number | null>();
        expectTypeOf(result.whole).toEqualTypeOf<{ id: string; fuel: number }>();
        expectTypeOf(result.list).toEqualTypeOf<number[]>();
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
