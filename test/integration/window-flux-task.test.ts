import fc from 'fast-check';
import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { from, topology } from '../../src/index.ts';
import { TopologyDriver } from '../../src/testing.ts';
import { needs } from './services.ts';
import { runFlux } from './window-flux-engine.ts';

const { describe, FLUXRUN } = needs('FLUXRUN');

interface Reading {
  readonly generatorID: string;
  readonly ts: number;
  readonly fuel: number | null;
  readonly load: number | null;
  readonly power: number | null;
}
const columns = ['fuel', 'load', 'power'] as const;
const iso = (time: number) => new Date(time).toISOString();

/** The task `kafka_downsample` over what its bucket holds, for every minute at once. */
const task = (readings: readonly Reading[]) => `import "array"
import "internal/debug"
array.from(rows: [${readings
  .map((reading) => {
    const cells = columns.map((name) => {
      const value = reading[name];
      return `${name}: ${value === null ? 'debug.null(type: "float")' : `float(v: "${value}")`}`;
    });
    return `{_time: ${iso(reading.ts)}, generatorID: "${reading.generatorID}", ${cells.join(', ')}}`;
  })
  .join(',\n')}])
  |> range(start: 2020-01-01T00:00:00Z, stop: 2030-01-01T00:00:00Z)
  |> window(every: 1m)
  |> group(columns: ["generatorID", "_start"])
  |> last(column: "fuel")
  |> map(fn: (r) => ({r with alarm: if r.fuel < 500.0 then "refuel" else "no action"}))
  |> set(key: "region", value: "US")
  |> yield(name: "kafka_downsampled")`;

/**
 * What the task writes. Of the intended differences two can come up: it stores nulls of other columns as 0 where they stay null here, and it takes the last
 * row of the table, which behind a bucket is that of the latest time.
 */
async function fluxPoints(readings: readonly Reading[]) {
  const rows = await runFlux(FLUXRUN, task(readings));
  return rows
    .map(({ cell }) => [
      ...[cell('generatorID'), iso(Date.parse(cell('_time'))), cell('alarm'), cell('region')],
      ...columns.map((name) => Number(cell(name))),
    ])
    .sort();
}

/** What the topology that replaces the task gives, for readings in the order of their arrival. */
async function ourPoints(arrivals: readonly Reading[]) {
  const plan = topology('generators')
    .stream('readings')
    .from(
      from.mqtt({
        url: 'mqtt://nowhere.example.com',
        topics: 'generators',
        time: { field: 'ts', unit: 'ms', outOfOrder: '52w', maxFuture: '1000w' },
      }),
    )
    .keyBy('generatorID')
    .windowLast({ every: '1m', by: 'fuel' }, { id: 'latest' })
    .map({ alarm: 'fuel < 500.0 ? "refuel" : "no action"' })
    .set({ region: 'US' })
    .plan();
  const driver = await TopologyDriver.start(plan, catalogue);
  await driver.push('readings', ...arrivals.map((value) => ({ topic: 'generators', value })));
  await driver.end();
  expect(driver.output('deadLetters')).toEqual([]);
  return driver
    .output('readings')
    .map(({ key, window, value }) => {
      const point = value as Reading & { alarm: string; region: string };
      return [String(key), iso(window!.label), point.alarm, point.region, ...columns.map((name) => point[name] ?? 0)];
    })
    .sort();
}

const level = fc.oneof(
  fc.integer({ min: 0, max: 8_000 }).map((n) => n / 8),
  fc.constantFrom(null, 500, 499.875, 500.125, 0),
);
// A bucket holds one row of a generator at one time; minutes end between many of them, and some exactly at one.
const readings = fc
  .array(
    fc.record({
      step: fc.constantFrom(1, 999, 1_000, 20_000, 59_999, 60_000, 300_000),
      generatorID: fc.constantFrom('generator1', 'generator2', 'generator3'),
      fuel: level,
      load: level,
      power: level,
    }),
    { minLength: 1, maxLength: 60, size: 'max' },
  )
  .map((all) => {
    let ts = Date.UTC(2026, 0, 1);
    return all.map(({ step, ...reading }): Reading => {
      ts += step;
      return { ...reading, ts };
    });
  });

describe("windowLast beside the case's own task on the real Flux engine", () => {
  test('gives the same points, in whatever order the readings came', async () => {
    let points = 0;
    await fc.assert(
      fc.asyncProperty(
        readings.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        async ([all, arrivals]) => {
          const found = await ourPoints(arrivals);
          points += found.length;
          expect(found).toEqual(await fluxPoints(all));
        },
      ),
      { numRuns: 30 },
    );
    expect(points).toBeGreaterThan(100);
  }, 120_000);
});
