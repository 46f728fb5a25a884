import type { IConnectPacket, IPublishPacket } from 'mqtt-packet';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mqttSink, mqttSource } from '../../operators/mqtt/index.ts';
import type { OpenSink } from '../../src/operator.ts';
import {
  journalFolder,
  openForTest,
  pull,
  recordOf,
  type SourceRun,
  sinkContextForTest,
  until,
} from '../conformance/harness.ts';
import { FakeBroker } from './mqtt-fake-broker.ts';

let folder: Awaited<ReturnType<typeof journalFolder>>;
let broker: FakeBroker;
const closing: { close(): Promise<unknown> }[] = [];
beforeEach(async () => {
  folder = await journalFolder();
  broker = await FakeBroker.start();
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((open) => open.close()));
  await broker.stop();
  await folder.remove();
});

async function openSource(options: Record<string, unknown> = {}): Promise<SourceRun> {
  const all = { url: broker.url, topics: 'generators/{generatorID}', protocolVersion: 5, ...options };
  const run = await openForTest(mqttSource, all, { directory: folder.path });
  closing.push({ close: () => run.stop() });
  return run;
}

async function openSink(options: Record<string, unknown>): Promise<OpenSink> {
  const all = { url: broker.url, topic: 'cmd/{generatorID}', protocolVersion: 5, ...options };
  const sink = await mqttSink.open(all as never, sinkContextForTest().context);
  closing.push(sink);
  return sink;
}

test('what a message says of itself by MQTT 5 is in its headers, also after a restart', async () => {
  const run = await openSource();
  const connection = await broker.subscribed();
  const properties = {
    userProperties: { 'sent-at': '1760000000000', site: ['a', 'b'], contentType: 'hidden' },
    contentType: 'application/json',
    responseTopic: 'reply',
    correlationData: Buffer.from('request ü'),
  };
  connection.publish(1, 'one', { properties });
  connection.publish(2, 'two', { properties: { correlationData: Buffer.from([0xff, 0]) } });
  connection.publish(3, 'three');
  const headers = [
    {
      'sent-at': '1760000000000',
      site: ['a', 'b'],
      contentType: 'application/json',
      responseTopic: 'reply',
      correlationData: 'request ü',
    },
    { correlationData: 'base64:/wA=' },
    undefined,
  ];
  const read = async (from: SourceRun) =>
    (await pull(from.partitions.get('0')!, 3)).map((record) => [record.text, record.topic, record.headers]);
  const expected = ['one', 'two', 'three'].map((text, n) => [text, 'generators/g1', headers[n]]);
  expect(await read(run)).toEqual(expected);
  await run.stop();
  expect(await read(await openSource())).toEqual(expected);
});

test('more headers than are kept reject their message and no other; a cut payload keeps its own', async () => {
  const run = await openSource({ maxPayload: '1MiB' });
  const connection = await broker.subscribed();
  const large = (bytes: number) => ({ userProperties: { large: 'x'.repeat(bytes) } });
  connection.publish(1, 'a', { properties: large(65_000) });
  connection.publish(2, 'b', { properties: { userProperties: { one: 'x'.repeat(40_000), two: 'y'.repeat(40_000) } } });
  connection.publish(3, Buffer.alloc((16 << 20) + 1, 'z'), { properties: large(3) });
  const [a, b, c] = await pull(run.partitions.get('0')!, 3);
  expect([a!.refused, a!.headers!['large']!.length, a!.text]).toEqual([undefined, 65_000, 'a']);
  expect([b!.refused, b!.headers, b!.text]).toEqual(['payload-too-large', undefined, 'b']);
  expect(b!.message).toMatch(/user properties have more than 65536 bytes/);
  expect([c!.refused, c!.headers, c!.text]).toEqual(['payload-too-large', { large: 'xxx' }, 'z'.repeat(65_536)]);
});

test('a sink sends expiry, content type, user properties and what correlates an answer', async () => {
  const sent: IPublishPacket[] = [];
  broker.onPacket = (packet, connection) => {
    if (packet.cmd !== 'publish') return;
    sent.push(packet);
    connection.send({ cmd: 'puback', messageId: packet.messageId! });
  };
  const sink = await openSink({
    expiry: '1500ms',
    contentType: 'application/{kind}',
    userProperties: { region: '{region}', fixed: 'yes', 'penstock-id': 'mine' },
    responseTopic: 'reply/{generatorID}',
    correlationData: '{requestId}',
  });
  const good = { generatorID: 'g1', kind: 'json', region: 'US', requestId: 7 };
  const refused = await sink.write([
    recordOf(good, 3),
    recordOf({ ...good, generatorID: 'a/b' }),
    recordOf({ ...good, requestId: null }),
    recordOf({ ...good, region: 'x'.repeat(65_536) }),
    recordOf({ ...good, kind: '\ud800' }),
  ]);
  expect(refused!.map(({ index, message }) => [index, message])).toEqual([
    [1, expect.stringMatching(/would make another topic/)],
    [2, expect.stringMatching(/requestId/)],
    [3, 'The property `region` is longer than 65535 bytes.'],
    [4, 'The property `contentType` holds a null character or half a character.'],
  ]);
  expect(sent.map(({ properties }) => ({ ...properties, correlationData: `${properties!.correlationData}` }))).toEqual([
    {
      messageExpiryInterval: 2,
      contentType: 'application/json',
      userProperties: { region: 'US', fixed: 'yes', 'penstock-id': expect.stringMatching(/3$/) },
      responseTopic: 'reply/g1',
      correlationData: '7',
    },
  ]);
});

test.each(['source', 'sink'] as const)('a %s leaves its will with the broker', async (kind) => {
  const will = { topic: 'penstock/status', payload: 'offline', qos: 2, retain: true, delay: '90s' };
  if (kind === 'source') await openSource({ will });
  else await openSink({ will });
  await until('a connection', () => broker.connections.length === 1);
  const { will: given } = broker.connections[0]!.received[0] as IConnectPacket;
  expect({ ...given, payload: `${given!.payload}` }).toMatchObject({
    topic: 'penstock/status',
    payload: 'offline',
    qos: 2,
    retain: true,
    properties: { willDelayInterval: 90 },
  });
});
