import { afterEach, describe, expect, test } from 'vitest';
import { journalFolder, type SourceSetup, until } from '../conformance/harness.ts';
import { FrontDoor, slowJournal } from './mqtt-server-door.ts';

const doors: FrontDoor[] = [];
afterEach(async () => {
  await Promise.all(doors.splice(0).map((door) => door.close()));
});
async function open(options: Record<string, unknown> = {}, setup: Partial<SourceSetup> = {}): Promise<FrontDoor> {
  const door = await FrontDoor.open(options, setup);
  doors.push(door);
  return door;
}
const turns = async (count: number) => {
  for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve));
};

describe('acknowledgement', () => {
  test('of QoS 1 and QoS 2 waits until the message is durable, and keeps the order', async () => {
    const slow = slowJournal();
    const door = await open({}, { journal: slow.journal });
    const client = await door.raw();
    await client.connect('g1');
    client.send(...Array.from({ length: 20 }, (_, n) => client.publish(n + 1, `${n}`, { qos: n % 2 === 0 ? 1 : 2 })));
    await until('20 appends', () => slow.waiting.length === 20);
    client.send({ cmd: 'pingreq' });
    await until('a ping', () => client.ids('pingresp').length === 1);
    expect([client.ids('puback'), client.ids('pubrec')]).toEqual([[], []]);
    slow.release(3);
    await until('the first three', () => client.ids('puback').length === 2 && client.ids('pubrec').length === 1);
    slow.openUp();
    await until('all', () => client.ids('puback').length + client.ids('pubrec').length === 20);
    expect(client.ids('puback')).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    expect(client.ids('pubrec')).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    expect((await door.records(20)).map(({ text }) => text)).toEqual(Array.from({ length: 20 }, (_, n) => `${n}`));
  });

  test('a QoS 2 message that comes again before its release is not taken again, also over a new connection', async () => {
    const slow = slowJournal();
    const door = await open({}, { journal: slow.journal });
    const first = await door.raw();
    await first.connect('g1', { clean: false });
    first.send(first.publish(7, 'once', { qos: 2 }), first.publish(7, 'once', { qos: 2, dup: true }));
    await until('the append', () => slow.waiting.length === 1);
    first.socket.destroy();
    const second = await door.raw();
    await second.connect('g1', { clean: false });
    second.send(second.publish(7, 'once', { qos: 2, dup: true }));
    slow.openUp();
    await until('PUBREC', () => second.ids('pubrec').length === 1);
    second.send(second.publish(7, 'once', { qos: 2, dup: true }), { cmd: 'pubrel', messageId: 7 });
    await until('PUBCOMP', () => second.ids('pubcomp').length === 1);
    // The exchange is over: the same packet id is a new message now.
    second.send(second.publish(7, 'another', { qos: 2 }));
    await until('another PUBREC', () => second.ids('pubrec').length === 3);
    expect((await door.records(2)).map(({ text }) => text)).toEqual(['once', 'another']);
    expect([door.counters['messages'], door.counters['duplicates']]).toEqual([2, 3]);
  });

  test('what was acknowledged is there after the door was closed and opened again', async () => {
    const folder = await journalFolder();
    const first = await open({}, { directory: folder.path });
    const client = await first.client({ clientId: 'g1' });
    await Promise.all(Array.from({ length: 50 }, (_, n) => client.publishAsync('generators/g1', `${n}`, { qos: 1 })));
    await first.stop();
    const second = await open({}, { directory: folder.path });
    expect((await second.records(50)).map(({ text }) => text)).toEqual(Array.from({ length: 50 }, (_, n) => `${n}`));
    await second.close();
    await folder.remove();
  });

  test('while the journal takes nothing, clients wait and are pinged; QoS 0 is given up in the end, and counted', async () => {
    const slow = slowJournal();
    const door = await open({ limits: { inflight: 1_000 } }, { journal: slow.journal });
    const sender = await door.raw();
    await sender.connect('sender', { keepalive: 1 });
    const payload = Buffer.alloc(200_000, 'x');
    for (let id = 1; id <= 60; id++) sender.send(sender.publish(id, payload));
    const other = await door.raw();
    await other.connect('other');
    await until('the bound', () => slow.waiting.length >= 21);
    for (let n = 0; n < 3; n++) other.send(other.publish(0, 'dropped', { qos: 0 }));
    await until('three are given up', () => door.counters['dropped.qos0'] === 3);
    // One that came later, is read and has nothing to say runs out of its keep-alive; the sender, of whom nothing is read, does not.
    const quiet = await door.raw();
    await quiet.connect('quiet', { keepalive: 1 });
    await until('the end of the silent one', () => quiet.closed);
    await until('nobody else has gone', () => door.counters['connections'] === 2);
    for (let n = 1; n <= 3; n++) {
      other.send({ cmd: 'pingreq' });
      await until('a ping', () => other.ids('pingresp').length === n);
    }
    expect(slow.waiting.length).toBeLessThan(30);
    expect([sender.closed, other.closed, sender.ids('puback')]).toEqual([false, false, []]);
    slow.openUp();
    await until('all are acknowledged', () => sender.ids('puback').length === 60);
    expect((await door.records(60)).every(({ text }) => text.length === 200_000)).toBe(true);
    expect(door.counters['messages']).toBe(60);
  });

  test('no more messages of one client are on their way than `inflight` says', async () => {
    const slow = slowJournal();
    const door = await open({ limits: { inflight: 5 } }, { journal: slow.journal });
    const client = await door.raw();
    await client.connect('g1');
    client.send(...Array.from({ length: 12 }, (_, n) => client.publish(n + 1, 'x')), { cmd: 'pingreq' });
    await until('a ping', () => client.ids('pingresp').length === 1);
    await turns(20);
    expect(slow.waiting.length).toBe(5);
    slow.release();
    await until('five more', () => slow.waiting.length === 5 && client.ids('puback').length === 5);
    await turns(20);
    expect(slow.waiting.length).toBe(5);
    slow.openUp();
    await until('all', () => client.ids('puback').length === 12);
  });
});

describe('records', () => {
  test('carry topic, captures, route and the retained flag; what nothing matches is refused, and acknowledged', async () => {
    const door = await open({
      topics: ['emergency_generators/{generatorID}', 'sensors/#'],
      routes: 'readings:emergency_generators/.*, temperature:.*temperature',
    });
    const client = await door.client();
    await client.publishAsync('emergency_generators/g1', '1', { qos: 1 });
    await client.publishAsync('sensors/a/temperature', '2', { qos: 1, retain: true });
    await client.publishAsync('sensors/a/pressure', '3', { qos: 1 });
    await client.publishAsync('elsewhere', '4', { qos: 2 });
    expect(await door.records(4)).toMatchObject([
      {
        text: '1',
        topic: 'emergency_generators/g1',
        route: 'readings',
        captures: { generatorID: 'g1' },
        retained: false,
      },
      { text: '2', route: 'temperature', captures: undefined, retained: true, refused: undefined },
      { text: '3', topic: 'sensors/a/pressure', refused: 'topic-unknown' },
      { text: '4', topic: 'elsewhere', refused: 'topic-unknown' },
    ]);
  });

  test('tell who came and went and why, on a stream of their own and in order with the messages', async () => {
    const door = await open({ presence: 'presence' });
    const will = { topic: 'wills/g1', payload: Buffer.from('gone'), qos: 1 as const, retain: false };
    const watcher = await door.client({ clientId: 'watcher' });
    const seen: string[] = [];
    watcher.on('message', (topic, payload) => seen.push(`${topic} ${payload}`));
    await watcher.subscribeAsync('wills/#');
    const polite = await door.client({ clientId: 'polite', will: { ...will, topic: 'wills/polite' } });
    await polite.publishAsync('a', 'hello', { qos: 1 });
    await polite.endAsync();
    const rude = await door.client({ clientId: 'rude', will });
    rude.stream.destroy();
    const quiet = await door.raw();
    await quiet.connect('quiet', { keepalive: 1 });
    const found = await door.records(12);
    expect(found.filter(({ stream }) => stream === undefined).map(({ topic, text }) => [topic, text])).toEqual([
      ['a', 'hello'],
      ['wills/g1', 'gone'],
    ]);
    const told = found
      .filter(({ stream }) => stream === 'presence')
      .map(({ value }) => value as Record<string, unknown>);
    expect(
      told.map(({ event, clientId, reason, topic }) => [event, clientId, reason, topic].filter(Boolean).join(' ')),
    ).toEqual([
      'serverStarted',
      'connected watcher',
      'connected polite',
      'disconnected polite disconnect',
      'connected rude',
      'lastWill rude wills/g1',
      'disconnected rude lost',
      'connected quiet',
      'keepAliveMissed quiet',
      'disconnected quiet keepAliveMissed',
    ]);
    expect(told[1]).toMatchObject({
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      listener: door.url,
      at: expect.any(Number),
    });
    await until('the will', () => seen.length === 1);
    expect(seen).toEqual(['wills/g1 gone']);
  });

  test('what happened to clients is dropped where no stream is named for it, also what an earlier run has kept', async () => {
    const folder = await journalFolder();
    const first = await open({ presence: 'presence' }, { directory: folder.path });
    await (await first.client({ clientId: 'g1' })).publishAsync('a', '1', { qos: 1 });
    await first.stop();
    const second = await open({}, { directory: folder.path });
    await (await second.client({ clientId: 'g1' })).publishAsync('a', '2', { qos: 1 });
    const found = await second.records(5);
    expect(found.map(({ stream, text }) => stream ?? text)).toEqual(['drop', 'drop', '1', 'drop', '2']);
    await second.close();
    await folder.remove();
  });
});
