import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { userLine } from '../../operators/mqtt-server/users.ts';
import { until } from '../conformance/harness.ts';
import { FrontDoor } from './mqtt-server-door.ts';

let folder: string;
let users: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-door-'));
  users = join(folder, 'users');
  writeFileSync(users, `${await userLine('good', 'right')}\n${await userLine('other', 'right')}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const doors: FrontDoor[] = [];
afterEach(async () => {
  await Promise.all(doors.splice(0).map((door) => door.close()));
});

/** A door, and a client at it that has to be well whatever others do. */
async function open(
  options: Record<string, unknown> = {},
): Promise<{ door: FrontDoor; good: MqttClient; well(): Promise<void> }> {
  const door = await FrontDoor.open({ presence: 'presence', ...options });
  doors.push(door);
  const credentials = options['users'] === undefined ? {} : { username: 'good', password: 'right' };
  const good = await door.client({ clientId: 'good', ...credentials });
  let count = 0;
  let got = '';
  good.on('message', (_topic, payload) => {
    got = String(payload);
  });
  await good.subscribeAsync('good/echo', { qos: 1 });
  const well = async () => {
    const text = `still here ${++count}`;
    await good.publishAsync('good/echo', text, { qos: 1 });
    await until('an echo', () => got === text);
    expect(good.connected).toBe(true);
  };
  await well();
  return { door, good, well };
}
const refusals = (door: FrontDoor, reason: string) => door.counters[`refused.${reason}`] ?? 0;
const logged = (door: FrontDoor, text: string) => door.run.log.lines.filter((line) => line.includes(text)).length;

describe('what one client does wrong ends that client, is counted, and is no trouble to another', () => {
  test.each([
    ['bytes of another protocol', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a packet type that does not exist', Buffer.from([0x00, 0x00])],
    ['a packet before CONNECT', Buffer.from([0x30, 0x03, 0x00, 0x01, 0x61])],
    ['a length that does not end', Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0x01])],
    ['a CONNECT that holds something else', Buffer.from([0x10, 0x04, 0x00, 0x02, 0x41, 0x42])],
    [
      'CONNECT with the reserved flag',
      Buffer.from([0x10, 0x0d, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 1, 0, 60, 0, 1, 0x61]),
    ],
  ])('%s', async (_what, bytes) => {
    const { door, well } = await open();
    const client = await door.raw();
    client.socket.write(bytes);
    await until('the end', () => client.closed);
    expect([refusals(door, 'protocol'), client.received]).toEqual([1, []]);
    await well();
  });

  test('a CONNECT that comes slowly, and one that does not come', async () => {
    const { door, well } = await open({ limits: { connectTimeout: '1s' } });
    const [slow, silent] = [await door.raw(), await door.raw()];
    const connect = Buffer.from([0x10, 0x0d, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 1, 0x61]);
    let sent = 0;
    // Each byte comes in time; the whole does not.
    const drip = setInterval(() => slow.socket.write(connect.subarray(sent, ++sent)), 300);
    await until('the end of both', () => slow.closed && silent.closed);
    clearInterval(drip);
    expect([refusals(door, 'connectTimeout'), slow.received, sent < connect.length]).toEqual([2, [], true]);
    await well();
  });

  test('a packet that is too large is not waited for', async () => {
    const { door, well } = await open({ limits: { packet: '10kB' } });
    const client = await door.raw();
    await client.connect('big');
    client.send(client.publish(1, Buffer.alloc(9_900)));
    await until('the ack of one that is not', () => client.ids('puback').length === 1);
    // Only its head: 200 MB are announced.
    client.socket.write(Buffer.from([0x32, 0x80, 0x80, 0x80, 0x64]));
    await until('the end', () => client.closed);
    const unknown = await door.raw();
    unknown.socket.write(Buffer.from([0x10, 0xff, 0xff, 0x03]));
    await until('the end of a large CONNECT', () => unknown.closed);
    expect(refusals(door, 'packetTooLarge')).toBe(2);
    await well();
  });

  test('a flood waits at the sender, or ends it, as `overRate` says', async () => {
    const slow = await open({ limits: { messagesPerSecond: 50 } });
    const flood = await slow.door.raw();
    await flood.connect('flood');
    for (let id = 1; id <= 120; id++) flood.send(flood.publish(id, 'x'));
    await until('the first of it', () => flood.ids('puback').length >= 50);
    await slow.well();
    await until('all of it', () => flood.ids('puback').length === 120);
    // A hundred and twenty take more than two seconds' allowances.
    expect([flood.closed, slow.door.counters['slowed']! >= 2]).toEqual([false, true]);
    expect(logged(slow.door, 'has to wait')).toBe(1);
    const strict = await open({ limits: { messagesPerSecond: 50, overRate: 'disconnect' } });
    const other = await strict.door.raw();
    await other.connect('flood');
    other.send(...Array.from({ length: 120 }, (_, n) => other.publish(n + 1, 'x')));
    await until('the end', () => other.closed);
    expect(refusals(strict.door, 'rate')).toBe(1);
    await strict.well();
  });

  test('more connections than there may be, in all and of one user', async () => {
    const { door, well } = await open({ users, limits: { connections: 4, connectionsPerUser: 2 } });
    const as = (clientId: string, username: string) => ({ clientId, username, password: 'right' });
    await door.client(as('second', 'good'));
    expect(await door.refusal(as('third', 'good'))).toMatch('Server unavailable');
    // The same client again takes the place of the one before, and is not one more.
    const again = await door.client(as('second', 'good'));
    await door.client(as('third', 'other'));
    await door.client(as('fourth', 'other'));
    expect(await door.refusal(as('fifth', 'other'))).toMatch(/closed|ECONNRESET|hang up/i);
    expect([refusals(door, 'userConnections'), refusals(door, 'connections') >= 1, again.connected]).toEqual([
      1,
      true,
      true,
    ]);
    await well();
  });

  test('a wrong password, an unknown user, none at all; said once, whatever it tries', async () => {
    const { door, well } = await open({ users });
    for (const credentials of [
      { username: 'good', password: 'wrong' },
      { username: 'nobody', password: 'right' },
      { username: 'good' },
      {},
    ]) {
      expect(await door.refusal({ clientId: 'x', ...credentials })).toMatch('Bad username or password');
    }
    expect([refusals(door, 'password'), logged(door, 'wrong password'), door.counters['connections']]).toEqual([
      4, 1, 1,
    ]);
    expect(door.run.log.lines.join('\n') + JSON.stringify(door.run.log.fields)).not.toMatch(/right|"wrong"/);
    await well();
  });

  test('a client id that belongs to another user, that is none, or that holds control characters', async () => {
    const { door, well } = await open({ users });
    const other = { username: 'other', password: 'right' };
    expect(await door.refusal({ clientId: 'good', ...other })).toMatch('Identifier rejected');
    expect(await door.refusal({ clientId: 'a\u0007b', ...other })).toMatch('Identifier rejected');
    const client = await door.raw();
    // No name, and a session to be kept under it.
    client.socket.write(Buffer.from([0x10, 0x0c, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 60, 0, 0]));
    await until('the end', () => client.closed);
    expect(client.received[0]).toMatchObject({ cmd: 'connack', returnCode: 2 });
    // A session is its user's also while the client is away.
    const mine = await door.client({ clientId: 'mine', clean: false, ...other });
    await mine.endAsync();
    expect(await door.refusal({ clientId: 'mine', username: 'good', password: 'right' })).toMatch(
      'Identifier rejected',
    );
    expect(refusals(door, 'clientId')).toBe(4);
    await well();
  });

  test('topics that are reserved, have wildcards, or that no rule allows', async () => {
    const { door, well } = await open({
      rules: [{ publish: ['good/#', '{clientId}/#'], subscribe: ['good/#', '{clientId}/#'] }],
    });
    for (const [topic, reason] of [
      ['$SYS/x', 'publishTopic'],
      ['a/+', 'protocol'],
      ['a/#', 'protocol'],
      ['b/x', 'publishTopic'],
      ['a/\u0000', 'publishTopic'],
    ] as const) {
      const before = refusals(door, reason);
      const client = await door.raw();
      await client.connect('a');
      client.send(client.publish(1, 'x', { topic }));
      await until('the end', () => client.closed);
      expect([client.ids('puback'), refusals(door, reason)], topic).toEqual([[], before + 1]);
    }
    const client = await door.client({ clientId: 'a' });
    const granted = await client
      .subscribeAsync(['a/x', '#', 'b/x', '$SYS/#'], { qos: 1 })
      .catch((error: unknown) => error);
    expect(String(granted)).toMatch(/Unspecified error|subscri/i);
    expect([client.connected, refusals(door, 'subscribeTopic')]).toEqual([true, 3]);
    const willing = { topic: 'b/will', payload: Buffer.from('x'), qos: 1 as const, retain: false };
    expect(await door.refusal({ clientId: 'a', will: willing })).toMatch('Not authorized');
    await well();
  });

  test('a subscriber that takes nothing does not hold up the others', async () => {
    const { door, good, well } = await open();
    const deaf = await door.raw();
    await deaf.connect('deaf');
    deaf.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'noise', qos: 0 }] });
    await until('SUBACK', () => deaf.ids('suback').length === 1);
    deaf.socket.pause();
    const noise = Buffer.alloc(500_000);
    await until('it is hung up on', async () => {
      await good.publishAsync('noise', noise, { qos: 1 });
      return refusals(door, 'slowReader') === 1;
    });
    await well();
  });

  test('no more subscriptions, and no more that is held for new subscribers, than there may be', async () => {
    const { door, well } = await open({ limits: { subscriptions: 2, retained: '2kB' } });
    const client = await door.raw();
    await client.connect('many');
    const subscriptions = ['a', 'b', 'c'].map((topic) => ({ topic, qos: 0 as const }));
    for (const [n, subscription] of subscriptions.entries())
      client.send({ cmd: 'subscribe', messageId: n + 1, subscriptions: [subscription] });
    await until('all answers', () => client.ids('suback').length === 3);
    const granted = client.received.flatMap((packet) => (packet.cmd === 'suback' ? (packet.granted as number[]) : []));
    expect(granted.sort((a, b) => a - b)).toEqual([0, 0, 128]);
    for (let n = 1; n <= 3; n++)
      client.send(client.publish(n, Buffer.alloc(600), { topic: `kept/${n}`, retain: true }));
    await until('all are taken', () => client.ids('puback').length === 3);
    const late = await door.client({ clientId: 'late' });
    const topics: string[] = [];
    late.on('message', (topic) => topics.push(topic));
    await late.subscribeAsync('kept/#');
    await well();
    await until('what is held', () => topics.length === 2);
    expect([topics.sort(), door.counters['dropped.retained']]).toEqual([['kept/1', 'kept/2'], 1]);
  });

  test('MQTT 5 is refused by its own code, and the older versions are let in', async () => {
    const { door, well } = await open();
    const client = await door.raw();
    client.socket.write(Buffer.from([0x10, 0x0e, 0, 4, 0x4d, 0x51, 0x54, 0x54, 5, 2, 0, 60, 0, 0, 1, 0x61]));
    await until('the end', () => client.closed);
    expect(Buffer.concat(client.bytes)).toEqual(Buffer.from([0x20, 3, 0, 0x84, 0]));
    expect(await door.refusal({ protocolVersion: 5 })).toMatch('Unsupported Protocol Version');
    expect(refusals(door, 'protocolVersion')).toBe(2);
    expect(await door.refusal({ protocolVersion: 3, protocolId: 'MQIsdp' })).toBe('connected');
    await well();
  });

  test('a hundred clients that are refused write no hundred lines', async () => {
    const { door, well } = await open({ users });
    const attempts = Array.from({ length: 100 }, (_, n) => door.refusal({ clientId: `bad-${n}` }));
    expect(new Set(await Promise.all(attempts)).size).toBe(1);
    expect([refusals(door, 'password'), logged(door, 'wrong password')]).toEqual([100, 20]);
    await well();
  });

  test('whoever is taken out of the user file is hung up on, and the others stay', async () => {
    const file = join(folder, 'changing');
    const mine = await userLine('good', 'right');
    writeFileSync(file, `${mine}\n${await userLine('leaving', 'right')}\n`);
    const { door, well } = await open({ users: file });
    const leaving = await door.client({ clientId: 'leaving', username: 'leaving', password: 'right' });
    writeFileSync(file, `${mine}\n`);
    await until('it is hung up on', () => !leaving.connected);
    expect(await door.refusal({ clientId: 'leaving', username: 'leaving', password: 'right' })).toMatch('Bad username');
    await well();
    // A file that cannot be read changes nothing.
    writeFileSync(file, 'nonsense');
    await until('it is said', () => logged(door, 'stay in force') === 1);
    await well();
  });
});
