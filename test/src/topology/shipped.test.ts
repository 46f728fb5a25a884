import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { catalogue, sinks, sources, steps } from '../../../operators/index.ts';
import { createBuilder } from '../../../src/topology/builder.ts';
import { loadTopology } from '../../../src/topology/load.ts';
import { planHash } from '../../../src/topology/plan-json.ts';

const folder = fileURLToPath(new URL('../../../topologies/', import.meta.url));
const builder = createBuilder({ sources, steps, sinks });
const { topology } = builder;
const brokers = '127.0.0.1:9092';

const load = (file: string) =>
  loadTopology(`${folder}${file}`, { catalogue, env: { INFLUX_TOKEN: 't0ken', MQTT_URL: 'mqtt://127.0.0.1:1883' } });

const inTypeScript = {
  'generators.yaml': () =>
    topology('generators', { folder, otherwise: 'rejected' })
      .stream('readings')
      .from(
        builder.mqtt({
          url: 'mqtt://127.0.0.1:1883',
          topics: 'emergency_generators/{generatorID}',
          qos: 1,
          time: { field: 'ts', unit: 'ms', outOfOrder: '5s', idle: '30s' },
        }),
      )
      .validate('./generator.schema.json' as never)
      .keyBy('generatorID')
      .partition(6)
      .windowLast({ every: '1m', by: 'fuel', lateness: '30s' }, { id: 'latest' })
      .map({ alarm: 'fuel < 500 ? "refuel" : "no action"' })
      .set({ region: 'US' })
      .kafka({ brokers, topic: 'kafka_downsampled', key: 'generatorID', createTopic: { partitions: 6 } })
      .influx({
        url: 'http://127.0.0.1:8086',
        org: 'penstock',
        bucket: 'kafka_downsampled',
        token: 't0ken',
        measurement: 'genData',
        tags: ['generatorID', 'region'],
        fields: ['alarm', 'fuel', 'lat', 'lon', 'power', 'load', 'temperature', 'pressure'],
      })
      .stream('rejected')
      .kafka({ brokers, topic: 'generators.rejected', createTopic: { partitions: 1 } })
      .plan(),
  'bridge.yaml': () =>
    topology('bridge', { folder, otherwise: 'rejected' })
      .stream('sensors')
      .from(builder.mqtt({ url: 'mqtt://127.0.0.1:1883', topics: 'sensors/#', qos: 1 }))
      .kafka({ brokers, topic: '{meta.topic.replace("/", ".")}' })
      .stream('rejected')
      .kafka({ brokers, topic: 'sensors.rejected' })
      .plan(),
};

describe('the shipped topologies', () => {
  test.each(readdirSync(folder).filter((name) => name.endsWith('.yaml')))('%s has no problem at all', (file) => {
    expect(load(file).problems).toEqual([]);
  });
  test.each(Object.entries(inTypeScript))('%s gives the same plan in TypeScript', (file, plan) => {
    const { description: _, ...yaml } = load(file).plan!;
    expect(plan()).toEqual(yaml);
    expect(planHash(plan())).toBe(planHash(load(file).plan!));
  });
});
