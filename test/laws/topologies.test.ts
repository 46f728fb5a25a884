import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import type { StreamRecord } from '../../src/operator.ts';
import {
  checkTopologyLaws,
  type Fed,
  recordsOf,
  type TopologyLawSetting,
  topologyLawNames,
} from '../../src/testing/laws.ts';
import { loadTopology } from '../../src/topology/load.ts';

const folder = new URL('../../topologies', import.meta.url).pathname;
const env = { MQTT_URL: 'mqtt://127.0.0.1:1883', INFLUX_TOKEN: 'a-token' };
const runs = 100;

const schema = JSON.parse(readFileSync(`${folder}/generator.schema.json`, 'utf8'));

const broken = fc.constantFrom('{', '[]', '"text"', '{"fuel":-1}').map((payload) => ({ payload }));
const id = fc.constantFrom('g1', 'g2', 'g3');
const reading = recordsOf(schema).map((value) => ({ value }));
const readings = fc
  .tuple(id, fc.oneof({ arbitrary: reading, weight: 9 }, { arbitrary: broken, weight: 1 }))
  .map(([name, record]) => ({ topic: `emergency_generators/${name}`, ...record }));
// The last reading of a minute stands for all of it.
const inMinute = ({ stream, record, time }: Fed, { key, window }: StreamRecord) =>
  stream === 'readings' &&
  window !== undefined &&
  record.topic === `emergency_generators/${String(key)}` &&
  time >= window.start &&
  time < window.end;

// The same out of Kafka, where the name of a generator is in its reading and is the key.
const keyed = fc
  .tuple(id, recordsOf(schema))
  .map(([key, value]) => ({ key, value: { ...(value as object), generatorID: key } }));
const ofKey = ({ stream, record, time }: Fed, { key, window }: StreamRecord) =>
  stream === 'readings' && window !== undefined && record.key === key && time >= window.start && time < window.end;

/** How the laws are checked for each topology that ships. */
const settings: Readonly<Record<string, TopologyLawSetting>> = {
  'generators.yaml': { input: { readings }, gridMs: 5_000, disorderMs: 120_000, partOf: inMinute },
  'generators-local.yaml': {
    input: { fleet: id.map((key) => ({ key, value: '{}' })), readings },
    gridMs: 20_000,
    partOf: inMinute,
  },
  'exactly-once.yaml': {
    input: { readings: keyed },
    gridMs: 5_000,
    disorderMs: 90_000,
    partitions: { readings: 2 },
    partOf: ofKey,
  },
  'bridge.yaml': {
    input: {
      sensors: fc.record({
        topic: fc.constantFrom('sensors/temperature', 'sensors/a/b', 'actors/valve'),
        value: fc.constantFrom<unknown>(1, 'text', { temperature: 20 }),
      }),
    },
  },
  'front-door.yaml': { input: { readings: keyed }, gridMs: 5_000, disorderMs: 90_000, partOf: ofKey },
  'downlink.yaml': {
    input: {
      commands: id.map((key) => ({ key, value: { requestId: key, generatorID: 'g1', command: 'start' } })),
      replies: fc.tuple(id, fc.boolean()).map(([requestId, known]) => ({
        topic: 'generators/g1/reply',
        value: known ? { requestId, ok: true } : { ok: true },
      })),
    },
    gridMs: 20_000,
    disorderMs: 0,
    mostResults: Number.POSITIVE_INFINITY,
    except: {
      restart:
        'Which of two sources is read first after a crash is not written down: how late a command was, and so whether it was, may be told otherwise.',
      replay: 'The time of an answer is its arrival, which is another one when it is read again.',
      keys: 'An answer is of the key of its command, which it tells in a field: left out with others, it is missed.',
    },
  },
  'high-temperature.yaml': {
    input: {
      temperatures: fc.record({
        key: fc.constantFrom('a', 'b', 'c'),
        value: fc.record({ temperature: fc.constantFrom<unknown>(24, 24.1, 'hot') }),
      }),
    },
    partitions: { temperatures: 2 },
  },
};

// On a slow machine fewer cases are tried: the time is bounded, not the number alone.
const timeLimitMs = 40_000;

test.each(readdirSync(folder).filter((name) => name.endsWith('.yaml')))(
  '%s keeps the laws of a topology',
  async (name) => {
    const setting = settings[name];
    expect(setting, `The topology ${name} has no entry above, so nothing is known of its laws.`).toBeDefined();
    const { plan, problems } = loadTopology(`${folder}/${name}`, { catalogue, env });
    expect(problems).toEqual([]);
    const report = await checkTopologyLaws(plan!, catalogue, { runs, timeLimitMs, ...setting! });
    const held = topologyLawNames.filter((law) => setting!.except?.[law] === undefined);
    expect(Object.keys(report.runs)).toEqual(held);
    expect(Math.min(...Object.values(report.runs))).toBeGreaterThan(0);
  },
  3 * timeLimitMs,
);
