import { describe, expect, test } from 'vitest';
import type { SinkOptions } from '../../operators/kafka/options.ts';
import { openSink } from '../../operators/kafka/sink.ts';
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
