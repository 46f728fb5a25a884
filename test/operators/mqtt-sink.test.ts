import type { IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mqttSink } from '../../operators/mqtt/index.ts';
import type { OpenSink } from '../../src/operator.ts';
import { recordOf, sinkContextForTest, until } from '../conformance/harness.ts';
import { FakeBroker, type FakeConnection } from './mqtt-fake-broker.ts';

let broker: FakeBroker;
const sinks: OpenSink[] = [];
beforeEach(async () => {
  broker = await FakeBroker.start();
});
afterEach(async () => {
  await Promise.all(sinks.splice(0).map((sink) => sink.close()));
  await broker.stop();
});

async function open(options: Record<string, unknown> = {}) {
  const made = sinkContextForTest();
  const sink = await mqttSink.open(
    { url: broker.url, topic: 'generators/{generatorID}/alarm', ...options } as never,
    made.context,
  );
  sinks.push(sink);
  return { sink, ...made };
}
const published = ({ received }: FakeConnection) =>
  received.filter((packet): packet is IPublishPacket => packet.cmd === 'publish');
const acknowledge = (packet: { cmd: string; messageId?: number | undefined }, connection: FakeConnection) => {
  if (packet.cmd === 'publish') connection.send({ cmd: 'puback', messageId: packet.messageId! });
};

test('a batch counts as written once the broker has confirmed every record', async () => {
  const { sink } = await open({ retain: true });
  const connection = broker.connections[0]!;
  let written = false;
  const writing = sink.write([1, 2, 3].map((n) => recordOf({ generatorID: `g${n}`, fuel: n }))).then((refused) => {
    written = true;
    return refused;
  });
  await until('3 messages', () => published(connection).length === 3);
  expect(published(connection).map(({ topic, payload, qos, retain }) => [topic, `${payload}`, qos, retain])).toEqual([
    ['generators/g1/alarm', '{"generatorID":"g1","fuel":1}', 1, true],
    ['generators/g2/alarm', '{"generatorID":"g2","fuel":2}', 1, true],
    ['generators/g3/alarm', '{"generatorID":"g3","fuel":3}', 1, true],
  ]);
  for (const { messageId } of published(connection).slice(0, 2))
    connection.send({ cmd: 'puback', messageId: messageId! });
  connection.send({ cmd: 'pingresp' });
  await new Promise((resolve) => setImmediate(resolve));
  expect(written).toBe(false);
  connection.send({ cmd: 'puback', messageId: published(connection)[2]!.messageId! });
  expect(await writing).toBeUndefined();
});

test('texts and bytes go out as they are', async () => {
  broker.onPacket = acknowledge;
  const { sink } = await open({ topic: 'all' });
  const refused = await sink.write([
    recordOf('text'),
    recordOf(Buffer.from([1, 2])),
    recordOf([1]),
    recordOf(undefined),
    recordOf(1n),
  ]);
  expect(published(broker.connections[0]!).map(({ payload }) => `${payload}`)).toEqual(['text', '\x01\x02', '[1]']);
  expect(refused).toEqual([
    { index: 3, message: 'There is no value to publish.' },
    { index: 4, message: expect.stringMatching(/BigInt/) },
  ]);
});

test('a record that would make another topic is refused, the others go out', async () => {
  broker.onPacket = acknowledge;
  const { sink } = await open();
  const ids = ['g1', 'a/b', '+', '#', 'x\0', '', 'g2'];
  const refused = await sink.write([...ids.map((generatorID) => recordOf({ generatorID })), recordOf({})]);
  expect(refused!.map(({ index }) => index)).toEqual([1, 2, 3, 4, 5, 7]);
  expect(published(broker.connections[0]!).map(({ topic }) => topic)).toEqual([
    'generators/g1/alarm',
    'generators/g2/alarm',
  ]);
});

test('a value cannot make a topic of the broker itself', async () => {
  const { sink } = await open({ topic: '{name}/x' });
  expect(await sink.write([recordOf({ name: '$SYS' })])).toEqual([
    { index: 0, message: expect.stringMatching(/begin with `\$`/) },
  ]);
});

test('what was not confirmed is sent again after a lost connection, in order', async () => {
  const { sink } = await open();
  const writing = sink.write([1, 2, 3].map((n) => recordOf({ generatorID: `g${n}` })));
  const first = broker.connections[0]!;
  await until('3 messages', () => published(first).length === 3);
  first.send({ cmd: 'puback', messageId: published(first)[0]!.messageId! });
  broker.onPacket = acknowledge;
  first.socket.end();
  await writing;
  expect(published(broker.connections[1]!).map(({ topic }) => topic)).toEqual([
    'generators/g2/alarm',
    'generators/g3/alarm',
  ]);
});

test('in version 5 each message carries its id, refusals are per message, and the quota of the broker is kept', async () => {
  broker.connack = { properties: { receiveMaximum: 2, maximumPacketSize: 2_000 } };
  let inFlight = 0;
  let most = 0;
  broker.onPacket = (packet, connection) => {
    if (packet.cmd !== 'publish') return;
    most = Math.max(most, ++inFlight);
    setImmediate(() => {
      inFlight--;
      const refuse = packet.topic.includes('forbidden');
      connection.send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: refuse ? 0x87 : 0 });
    });
  };
  const { sink } = await open({ protocolVersion: 5 });
  const ids = ['a', 'forbidden', 'b', 'c', 'd'];
  const records = ids.map((generatorID, n) => recordOf({ generatorID }, n));
  const refused = await sink.write([...records, recordOf({ generatorID: 'large', text: 'x'.repeat(2_000) })]);
  expect(refused).toEqual([
    { index: 1, message: expect.stringMatching(/`generators\/forbidden\/alarm`.*Not authorized/) },
    { index: 5, message: expect.stringMatching(/the broker takes 2000/) },
  ]);
  expect(most).toBe(2);
  expect(published(broker.connections[0]!)[0]!.properties!.userProperties).toEqual({ 'penstock-id': 'id-0' });
});

test('a full broker is asked again later', async () => {
  let refusals = 1;
  broker.onPacket = (packet, connection) => {
    if (packet.cmd === 'publish')
      connection.send({ cmd: 'puback', messageId: packet.messageId!, reasonCode: refusals-- > 0 ? 0x97 : 0 });
  };
  const { sink } = await open({ protocolVersion: 5 });
  expect(await sink.write([recordOf({ generatorID: 'g1' })])).toBeUndefined();
  expect(published(broker.connections[0]!)).toHaveLength(2);
});

test('QoS 0 counts as written once it is on its way, and waits while there is no connection', async () => {
  const { sink } = await open({ qos: 0 });
  await sink.write([recordOf({ generatorID: 'g1' })]);
  broker.connections[0]!.socket.destroy();
  await until('the loss', () => broker.connections[0]!.closed);
  await until('the second message', async () => {
    await sink.write([recordOf({ generatorID: 'g2' })]);
    return broker.connections.length > 1 && published(broker.connections[1]!).length > 0;
  });
});

test('aborting ends a write that waits for the broker, with an error', async () => {
  const { sink, abort } = await open();
  const writing = expect(sink.write([recordOf({ generatorID: 'g1' })])).rejects.toThrow(
    /before mqtt:.* had confirmed all/,
  );
  abort.abort();
  await writing;
});

test('wrong credentials are final and plain, at the start and later', async () => {
  broker.connack = { returnCode: 5 };
  await expect(open({ username: 'u' })).rejects.toThrow(/refused the user `u`/);
  broker.connack = {};
  const { sink } = await open({ username: 'u' });
  broker.connack = { returnCode: 5 };
  const writing = expect(sink.write([recordOf({ generatorID: 'g1' })])).rejects.toThrow(/refused the user `u`/);
  broker.connections.at(-1)!.socket.destroy();
  await writing;
});

test("two sinks of one topology do not take each other's connection", async () => {
  await open();
  await open();
  const ids = broker.connections.map(({ received }) => (received[0] as { clientId?: string }).clientId);
  expect(ids[0]).toMatch(/^penstock-test-readings\.sink-[0-9a-f]+$/);
  expect(new Set(ids).size).toBe(2);
});
