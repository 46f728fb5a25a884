import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { from, type JsonSchema, type Plan, topology } from '../../src/index.ts';
import { loadTopology } from '../../src/topology/load.ts';
import { planHash, planToJson } from '../../src/topology/plan-json.ts';

const folder = new URL('../../topologies', import.meta.url).pathname;
const kafka = '127.0.0.1:9092';
const schema = { schema: JSON.parse(readFileSync(`${folder}/generator.schema.json`, 'utf8')) as JsonSchema };
const alarm = { alarm: 'fuel < 500 ? "refuel" : "no action"' };
const env = { MQTT_URL: 'mqtt://127.0.0.1:1883', INFLUX_TOKEN: 'a-token' };

const raw = 'emergency_generators';
const downsampled = { url: 'http://127.0.0.1:8086', org: 'penstock', bucket: 'kafka_downsampled', token: 'a-token' };

// The topologies that ship, written in TypeScript.
const written: Record<string, () => Plan> = {
  'generators.yaml': () =>
    topology('generators', { folder, otherwise: 'rejected' })
      .stream('readings')
      .from(
        from.mqtt({
          url: 'mqtt://127.0.0.1:1883',
          topics: 'emergency_generators/{generatorID}',
          qos: 1,
          time: { field: 'ts', unit: 'ms', outOfOrder: '5s', idle: '30s' },
        }),
      )
      .validate(schema)
      .keyBy('generatorID')
      .partition(6)
      .windowLast({ every: '1m', by: 'fuel', lateness: '30s' }, { id: 'latest' })
      .map(alarm)
      .set({ region: 'US' })
      .kafka({ brokers: kafka, topic: 'kafka_downsampled', key: 'generatorID', createTopic: { partitions: 6 } })
      .influx({
        url: 'http://127.0.0.1:8086',
        org: 'penstock',
        bucket: 'kafka_downsampled',
        token: 'a-token',
        measurement: 'genData',
        tags: ['generatorID', 'region'],
        fields: ['alarm', 'fuel', 'lat', 'lon', 'power', 'load', 'temperature', 'pressure'],
      })
      .stream('rejected')
      .kafka({ brokers: kafka, topic: 'generators.rejected', createTopic: { partitions: 1 } })
      .plan(),
  'generators-local.yaml': () =>
    topology('generators-local', { folder, otherwise: 'rejected' })
      .stream('fleet')
      .from(from.simulate({ generators: 3, every: '1s', badPayloads: 0.02, format: 'bytes' }))
      .mqtt({ url: env.MQTT_URL, topic: 'emergency_generators/{key}', qos: 1 })
      .stream('readings')
      .from(
        from.mqtt({
          url: env.MQTT_URL,
          topics: 'emergency_generators/{generatorID}',
          qos: 1,
          time: { field: 'ts', unit: 'ms', outOfOrder: '500ms', idle: '5s' },
        }),
      )
      .validate(schema)
      .keyBy('generatorID')
      .partition(6)
      .windowLast({ every: '1m', by: 'fuel' }, { id: 'latest' })
      .map(alarm)
      .set({ region: 'US' })
      .file('../generators.jsonl')
      .print({
        format: 'table',
        columns: ['fuel', 'load', 'power', 'temperature', 'alarm'],
        title: 'Emergency generators',
      })
      .stream('rejected')
      .file('../generators.rejected.jsonl')
      .plan(),
  'bridge.yaml': () =>
    topology('bridge', { folder, otherwise: 'rejected' })
      .stream('sensors')
      .from(from.mqtt({ url: env.MQTT_URL, topics: 'sensors/#', qos: 1 }))
      .kafka({ brokers: kafka, topic: '{meta.topic.replace("/", ".")}' })
      .stream('rejected')
      .kafka({ brokers: kafka, topic: 'sensors.rejected' })
      .plan(),
  'exactly-once.yaml': () =>
    topology('exactly-once', {
      folder,
      description:
        'Downsamples readings from one Kafka topic to another, each result exactly once: output, state and offsets are committed in one ' +
        'transaction. Start it several times, each with a --state folder of its own, and the instances share the partitions.',
      delivery: 'exactlyOnce',
      state: { store: 'kafka', every: '1s' },
      otherwise: 'rejected',
    })
      .stream('readings')
      .from(
        from.kafka({
          brokers: kafka,
          topic: 'emergency_generators',
          start: 'earliest',
          keyedBy: 'generatorID',
          time: { field: 'ts', unit: 'ms', outOfOrder: '5s', idle: '1m' },
        }),
      )
      .validate(schema)
      .keyBy('generatorID')
      .windowLast({ every: '1m', by: 'fuel' }, { id: 'latest' })
      .map(alarm)
      .set({ region: 'US' })
      .kafka({ brokers: kafka, topic: 'kafka_downsampled', key: 'generatorID', createTopic: { partitions: 6 } })
      .stream('rejected')
      .kafka({ brokers: kafka, topic: 'generators.rejected', createTopic: { partitions: 1 } })
      .plan(),
  'downlink.yaml': () =>
    topology('downlink', { folder, otherwise: 'rejected' })
      .stream('commands')
      .from(
        from.kafka({
          brokers: kafka,
          topic: 'generators.commands',
          start: 'earliest',
          keyedBy: 'requestId',
          time: { from: 'kafka', outOfOrder: '5s', idle: '5s' },
        }),
      )
      .validate({
        schema: {
          type: 'object',
          required: ['requestId', 'generatorID', 'command'],
          properties: {
            requestId: { type: 'string' },
            generatorID: { type: 'string' },
            command: { type: 'string' },
          },
        },
      })
      .keyBy('requestId')
      .mqtt({
        url: env.MQTT_URL,
        protocolVersion: 5,
        topic: 'generators/{generatorID}/cmd',
        responseTopic: 'generators/{generatorID}/reply',
        correlationData: '{requestId}',
        expiry: '1m',
      })
      .stream('replies')
      .from(
        from.mqtt({
          url: env.MQTT_URL,
          protocolVersion: 5,
          topics: 'generators/{generatorID}/reply',
          qos: 1,
          time: { from: 'arrival', idle: '5s' },
        }),
      )
      .map({ requestId: 'coalesce(meta.headers.correlationData, event.requestId)' })
      .keyBy('requestId')
      .stream('answered')
      .from('commands')
      .join({ with: 'replies', within: '1m', as: 'reply', type: 'left' }, { id: 'answers' })
      .kafka({ brokers: kafka, topic: 'generators.replies', key: 'requestId' })
      .stream('rejected')
      .kafka({ brokers: kafka, topic: 'generators.rejected' })
      .plan(),
  'front-door.yaml': () =>
    topology('front-door', { folder, otherwise: 'rejected' })
      .stream('devices')
      .from(
        from.mqttServer({
          listen: 'mqtt://127.0.0.1:1883',
          topics: 'emergency_generators/{generatorID}',
          passOn: 'commands/#',
          presence: 'presence',
          time: 'arrival',
        }),
      )
      .kafka({ brokers: kafka, topic: raw, key: 'generatorID', createTopic: { partitions: 6 } })
      .stream('presence')
      .kafka({ brokers: kafka, topic: `${raw}.presence`, createTopic: { partitions: 1 } })
      .stream('readings')
      .from(
        from.kafka({
          brokers: kafka,
          topic: raw,
          group: `${raw}-readings`,
          start: 'earliest',
          keyedBy: 'generatorID',
          time: { field: 'ts', unit: 'ms', outOfOrder: '5s', idle: '30s' },
        }),
      )
      .validate(schema)
      .keyBy('generatorID')
      .windowLast({ every: '1m', by: 'fuel', lateness: '30s' }, { id: 'latest' })
      .map(alarm)
      .set({ region: 'US' })
      .influx({
        ...downsampled,
        measurement: 'genData',
        tags: ['generatorID', 'region'],
        fields: ['alarm', 'fuel', 'lat', 'lon', 'power', 'load', 'temperature', 'pressure'],
      })
      .stream('commands')
      .from('readings')
      .filter('alarm == "refuel"')
      .mqtt({ url: env.MQTT_URL, topic: 'commands/{generatorID}', retain: true })
      .stream('exported')
      .from(from.influx({ ...downsampled, topicPrefix: 'EG', poll: '5s', overlap: '1h' }))
      .kafka({
        brokers: kafka,
        topic: 'EGkafka_downsampled',
        key: 'generatorID',
        createTopic: { partitions: 6 },
      })
      .stream('rejected')
      .kafka({ brokers: kafka, topic: `${raw}.rejected`, createTopic: { partitions: 1 } })
      .plan(),
  'high-temperature.yaml': () =>
    topology('high-temperature', { folder })
      .stream('temperatures')
      .from(from.kafka({ brokers: kafka, topic: 'sensors.temperature', start: 'earliest' }))
      .validate({
        schema: {
          type: 'object',
          required: ['temperature'],
          properties: { device_id: { type: 'string' }, temperature: { type: 'number' } },
        },
      })
      .map({ level: 'temperature > 24 ? "ALERT" : "normal"' })
      .print({ format: 'table', columns: ['device_id', 'temperature', 'level'] })
      .plan(),
};

describe('a topology that ships', () => {
  test('has a twin in TypeScript, each of them', () => {
    expect(Object.keys(written).sort()).toEqual(
      readdirSync(folder)
        .filter((name) => name.endsWith('.yaml'))
        .sort(),
    );
  });

  test.each(Object.keys(written))('%s is the same plan in TypeScript', (file) => {
    const { plan, problems } = loadTopology(`${folder}/${file}`, { catalogue, env });
    expect(problems).toEqual([]);
    expect(planToJson(written[file]!())).toEqual(planToJson(plan!));
    expect(planHash(written[file]!())).toBe(planHash(plan!));
  });

  test.each(Object.keys(written))('%s shows no secret in its plan', (file) => {
    expect(readFileSync(`${folder}/${file}`, 'utf8')).not.toContain('a-token');
    expect(JSON.stringify(planToJson(written[file]!()))).not.toContain('a-token');
  });
});
