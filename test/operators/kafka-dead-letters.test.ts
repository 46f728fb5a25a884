import { describe, expect, test } from 'vitest';
import { kafkaSource } from '../../operators/kafka/index.ts';
import type { SinkOptions } from '../../operators/kafka/options.ts';
import { openSink } from '../../operators/kafka/sink.ts';
import { mqttSource } from '../../operators/mqtt/index.ts';
import { readDeadLetter } from '../../src/dead-letter.ts';
import { deadLetter } from '../../src/engine/dead-letter.ts';
import { type DeadLetter, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sinkContext } from './connector-contexts.ts';
import { FakeTopic } from './kafka-fakes.ts';

const meta = { topic: 'readings', headers: { region: 'US', 'penstock-redriven': '1' } };
const record = new StreamRecord({ fuel: 1 }, 'g1', 5_000, 42, meta, undefined, undefined, 'in.kafka/readings/3');
const at = {
  topology: 'generators',
  topologyHash: 'h',
  step: 'in.validate',
  operator: 'validate',
  stage: 'step' as const,
  source: 'in.kafka/readings/3',
  at: 1_700_000_000_000,
};
const letterOf = (payload: Buffer) =>
  deadLetter({ record, code: 'schema-violation', message: 'No fuel.', reasons: [{ path: '/fuel' }] }, at, {
    payload,
    key: 'device-7',
  });
const connect = {
  '__connect.errors.topic': 'readings',
  '__connect.errors.partition': '3',
  '__connect.errors.offset': '42',
  '__connect.errors.connector.name': 'generators',
  '__connect.errors.task.id': '3',
  '__connect.errors.stage': 'TRANSFORMATION',
  '__connect.errors.class.name': 'penstock.validate',
  '__connect.errors.exception.class.name': 'penstock.schema-violation',
  '__connect.errors.exception.message': 'No fuel.',
  '__connect.errors.exception.stacktrace': '',
};

async function written(given: StreamRecord, options: Partial<SinkOptions> = {}) {
  const topic = new FakeTopic();
  topic.counts = () => 1;
  const sink = await openSink({ brokers: 'b:1', topic: 't', ...options }, sinkContext(systemPorts()), async () =>
    topic.driver(),
  );
  expect(await sink.write([given])).toBeUndefined();
  return topic.stored.get('t/0')![0]!;
}

describe('a dead letter in Kafka', () => {
  test('is the record that tells all of it, with the key it came with and the headers of Kafka Connect', async () => {
    const letter = letterOf(Buffer.from('{"fule":1}'));
    const { key, value, headers } = await written(letter);
    expect([key?.toString(), headers]).toEqual(['device-7', { ...connect, 'penstock-id': 'in.kafka/readings/3/42' }]);
    expect(JSON.parse(value!.toString())).toEqual(letter.value);
    expect(readDeadLetter(value!, headers)).toEqual(letter.value);
  });

  test('holds, with `payload: original`, the very bytes and headers that came, and is read back whole', async () => {
    const payload = Buffer.from([0xff, 0x00, 0x7b]);
    const letter = letterOf(payload);
    const { key, value, headers } = await written(letter, { payload: 'original' });
    expect([key?.toString(), value]).toEqual(['device-7', payload]);
    expect(headers).toMatchObject({ ...connect, ...meta.headers });
    const { reasons, ...rest } = letter.value as DeadLetter;
    expect(readDeadLetter(value!, headers)).toEqual(rest);
  });

  test('is what the engine has made, not what looks like one', async () => {
    const lookalike = new StreamRecord({ ...letterOf(Buffer.from('x')).value }, 'k', 5_000, 1, undefined);
    const { headers, value } = await written(lookalike, { payload: 'original' });
    expect(Object.keys(headers)).toEqual(['penstock-id']);
    expect(JSON.parse(value!.toString())).toMatchObject({ code: 'schema-violation' });
  });
});

describe('what is put back', () => {
  const brokers = 'b:1';
  const to = (topic: string) => ({ sink: 'kafka', options: { brokers, topic, forwardHeaders: true } });
  const back = (options: object, topic: string | undefined) =>
    kafkaSource.sendBack!({ brokers, ...options } as never, { topic, redriven: 1 });

  test('goes to the topic it came from, and to none that the source does not read', () => {
    expect(back({ topic: 'a' }, 'a')).toEqual(to('a'));
    expect(back({ topics: ['a', 'b'], sasl: undefined }, 'b')).toEqual(to('b'));
    expect(back({ topics: { pattern: 'sensors\\..*' } }, 'sensors.x')).toEqual(to('sensors.x'));
    for (const topic of ['b', 'sensors', undefined, '../a', 'a{x}'])
      expect(back({ topic: 'a' }, topic)).toBeUndefined();
    expect(back({ topic: 'a', keyFormat: 'base64' }, 'a')).toBeUndefined();
  });

  test('goes to an MQTT topic that is subscribed to, with its mark where MQTT has a place for it', () => {
    const options = { url: 'mqtt://h:1', topics: ['g/{id}', 's/#'], protocolVersion: 5 };
    const given = mqttSource.sendBack!(options as never, { topic: 'g/{1}', redriven: 3 });
    expect(given).toEqual({
      sink: 'mqtt',
      options: {
        url: 'mqtt://h:1',
        protocolVersion: 5,
        userProperties: { 'penstock-redriven': '3' },
        topic: 'g/{{1}}',
      },
      perMark: true,
    });
    expect(mqttSource.sendBack!(options as never, { topic: 'h/1', redriven: 1 })).toBeUndefined();
    expect(mqttSource.sendBack!(options as never, { topic: 's/+', redriven: 1 })).toBeUndefined();
  });
});
