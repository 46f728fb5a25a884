import { connect } from 'node:net';
import { MqttClient } from 'mqtt';
import { expect, test } from 'vitest';
import { mqttSink, mqttSource } from '../../../operators/mqtt/index.ts';
import { startBroker } from '../../../src/cli/broker.ts';
import { journalFolder, openForTest, pull, recordOf, sinkContextForTest, until } from '../../conformance/harness.ts';

test('a sink and a source meet at the broker', async () => {
  const broker = await startBroker();
  const folder = await journalFolder();
  const run = await openForTest(mqttSource, { url: broker.url, topics: 'generators/{id}' }, { directory: folder.path });
  const { context } = sinkContextForTest();
  const sink = await mqttSink.open({ url: broker.url, topic: 'generators/{id}' }, context);
  await sink.write([1, 2, 3].map((n) => recordOf({ id: `g${n}` })));
  const records = await pull(run.partitions.get('0')!, 3);
  expect(records.map(({ captures }) => captures)).toEqual([{ id: 'g1' }, { id: 'g2' }, { id: 'g3' }]);
  await sink.close();
  await run.stop();
  await broker.close();
  await folder.remove();
});

test('listens on this machine only', async () => {
  await expect(startBroker({ host: '0.0.0.0' })).rejects.toThrow(/127\.0\.0\.1/);
});

test('says which port is taken', async () => {
  const broker = await startBroker();
  const port = Number(new URL(broker.url).port);
  await expect(startBroker({ port })).rejects.toThrow(`127.0.0.1:${port}`);
  await broker.close();
});

test('survives nonsense and closes although clients are connected', async () => {
  const broker = await startBroker();
  const { hostname, port } = new URL(broker.url);
  const nonsense = connect(Number(port), hostname);
  nonsense.on('error', () => {});
  nonsense.write(Buffer.alloc(100, 0xff));
  const client = new MqttClient(() => connect(Number(port), hostname), { protocolVersion: 4 });
  await until('a connected client', () => client.connected);
  await broker.close();
  client.end(true);
  nonsense.destroy();
});
