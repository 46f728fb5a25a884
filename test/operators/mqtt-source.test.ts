import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mqttSource } from '../../operators/mqtt/index.ts';
import { type Disk, type Journal, type JournalRecord, RunError, Secret } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { journalFolder, openForTest, pull, type SourceRun, type SourceSetup, until } from '../conformance/harness.ts';
import { FakeBroker } from './mqtt-fake-broker.ts';

let folder: Awaited<ReturnType<typeof journalFolder>>;
let broker: FakeBroker;
const runs: SourceRun[] = [];
beforeEach(async () => {
  folder = await journalFolder();
  broker = await FakeBroker.start();
});
afterEach(async () => {
  await Promise.all(runs.splice(0).map((run) => run.stop()));
  await broker.stop();
  await folder.remove();
});

async function open(options: Record<string, unknown> = {}, setup: Partial<SourceSetup> = {}): Promise<SourceRun> {
  const all = { url: options['url'] ?? broker.url, topics: 'generators/{generatorID}', ...options };
  const run = await openForTest(mqttSource, all, { directory: folder.path, ...setup });
  runs.push(run);
  return run;
}

/** A journal whose appends become durable when the test says so. */
function slowJournal() {
  const waiting: (() => void)[] = [];
  let open = false;
  let pendingBytes = 0;
  const setup = {
    journal: (journal: Journal): Journal =>
      new Proxy(journal, {
        get(target, name) {
          if (name === 'pendingBytes') return pendingBytes;
          if (name !== 'append') {
            const member = Reflect.get(target, name, target);
            return typeof member === 'function' ? member.bind(target) : member;
          }
          return async (record: JournalRecord) => {
            pendingBytes += record.payload.length;
            if (!open) await new Promise<void>((resolve) => waiting.push(resolve));
            pendingBytes -= record.payload.length;
            return target.append(record);
          };
        },
      }),
  };
  return {
    setup,
    waiting,
    release: (count = waiting.length) => waiting.splice(0, count).forEach((resolve) => void resolve()),
    openUp() {
      open = true;
      this.release();
    },
  };
}

describe('acknowledgement', () => {
  test('waits until the message is durable, and does not hold up the messages behind it', async () => {
    const slow = slowJournal();
    await open({}, slow.setup);
    const connection = await broker.subscribed();
    for (let id = 1; id <= 20; id++) connection.publish(id, `${id}`);
    await until('20 appends', () => slow.waiting.length === 20);
    expect(connection.ids('puback')).toEqual([]);
    slow.release(3);
    await until('3 acks', () => connection.ids('puback').length === 3);
    slow.release();
    await until('20 acks', () => connection.ids('puback').length === 20);
    expect(connection.ids('puback')).toEqual(Array.from({ length: 20 }, (_, n) => n + 1));
  });

  test('keeps the order of arrival even when a later message is durable first', async () => {
    const slow = slowJournal();
    await open({}, slow.setup);
    const connection = await broker.subscribed();
    connection.publish(7, 'first');
    connection.publish(3, 'second');
    connection.publish(9, 'retained', { retain: true });
    await until('2 appends', () => slow.waiting.length === 2);
    slow.waiting.pop()!();
    connection.send({ cmd: 'pingresp' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(connection.ids('puback')).toEqual([]);
    slow.release();
    await until('3 acks', () => connection.ids('puback').length === 3);
    expect(connection.ids('puback')).toEqual([7, 3, 9]);
  });

  test('a stuck disk stops the acknowledgements, but not the pings', async () => {
    const slow = slowJournal();
    await open({ keepAlive: '1s' }, slow.setup);
    const connection = await broker.subscribed();
    connection.publish(1, 'stuck');
    await until('3 pings', () => connection.ids('pingreq').length >= 3);
    expect([connection.closed, broker.connections.length, connection.ids('puback')]).toEqual([false, 1, []]);
    slow.release();
    await until('the ack', () => connection.ids('puback').length === 1);
  });

  test('above the bound of pending bytes nothing more is read, and the connection lives on', async () => {
    const slow = slowJournal();
    const run = await open({ keepAlive: '1s' }, slow.setup);
    const connection = await broker.subscribed();
    for (let id = 1; id <= 12; id++) connection.publish(id, Buffer.alloc(1 << 20, 'x'));
    await until('4 pings', () => connection.ids('pingreq').length >= 4);
    expect(slow.waiting.length).toBe(5);
    expect([connection.closed, broker.connections.length]).toEqual([false, 1]);
    slow.openUp();
    await until('12 acks', () => connection.ids('puback').length === 12);
    expect(await pull(run.partitions.get('0')!, 12)).toHaveLength(12);
  });

  test('those held back are dropped with their connection, also when the next one uses the same ids', async () => {
    const slow = slowJournal();
    const run = await open({}, slow.setup);
    const first = await broker.subscribed();
    for (let id = 1; id <= 3; id++) first.publish(id, `${id}`);
    await until('3 appends', () => slow.waiting.length === 3);
    broker.connack = { sessionPresent: true };
    first.socket.destroy();
    await until('a second connection', () => broker.connections.length === 2);
    const second = broker.connections[1]!;
    for (let id = 1; id <= 3; id++) second.publish(id, `${id}`, { dup: true });
    await until('3 more appends', () => slow.waiting.length === 6);
    slow.release(3);
    await until('the first ones in the journal', () => run.journals[0]!.end === 3);
    second.send({ cmd: 'pingresp' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(second.ids('puback')).toEqual([]);
    slow.release();
    await until('3 acks', () => second.ids('puback').length === 3);
    expect(second.ids('puback')).toEqual([1, 2, 3]);
    expect(second.ids('subscribe')).toEqual([]);
  });

  test('never comes for a message that could not be stored: the run ends', async () => {
    const disk = systemPorts().disk;
    let broken = false;
    const failing: Disk = {
      ...disk,
      async open(path, flags) {
        const file = await disk.open(path, flags);
        const sync = () => (broken ? Promise.reject(new Error('EIO: i/o error, fdatasync')) : file.sync());
        return {
          read: file.read.bind(file),
          write: file.write.bind(file),
          truncate: file.truncate.bind(file),
          sync,
          close: () => file.close(),
        };
      },
    };
    const run = await open({}, { ports: { disk: failing } });
    const connection = await broker.subscribed();
    broken = true;
    connection.publish(1, 'x', { qos: 0 });
    connection.publish(2, 'x');
    await until('a failure', () => run.failures.length > 0);
    expect(run.failures.map(({ message }) => message)).toEqual([expect.stringMatching(/could not be written: EIO/)]);
    expect(connection.ids('puback')).toEqual([]);
  });
});

describe('QoS 2', () => {
  test('is acknowledged once durable, and stored once though it comes twice', async () => {
    const slow = slowJournal();
    const run = await open({ qos: 2 }, slow.setup);
    const first = await broker.subscribed();
    first.publish(5, 'once', { qos: 2 });
    await until('the append', () => slow.waiting.length === 1);
    expect(first.ids('pubrec')).toEqual([]);
    broker.connack = { sessionPresent: true };
    first.socket.destroy();
    await until('a second connection', () => broker.connections.length === 2);
    const second = broker.connections[1]!;
    second.publish(5, 'once', { qos: 2, dup: true });
    slow.openUp();
    await until('the pubrec', () => second.ids('pubrec').length === 1);
    second.send({ cmd: 'pubrel', messageId: 5 });
    await until('the pubcomp', () => second.ids('pubcomp').length === 1);
    // Released: the same id is now another message.
    second.publish(5, 'another', { qos: 2 });
    await until('the second pubrec', () => second.ids('pubrec').length === 2);
    expect((await pull(run.partitions.get('0')!, 2)).map(({ text }) => text)).toEqual(['once', 'another']);
    expect(run.journals[0]!.end).toBe(2);
  });

  test('a release that outlived our process is confirmed', async () => {
    await open({ qos: 2 });
    const connection = await broker.subscribed();
    connection.send({ cmd: 'pubrel', messageId: 77 });
    await until('the pubcomp', () => connection.ids('pubcomp').length === 1);
  });
});

describe('records', () => {
  test('carry topic, captures, arrival and offset, and are refused when nobody asked for them', async () => {
    const run = await open({
      topics: ['generators/{generatorID}', '$share/g/sites/{site}/+/#', 'plain'],
      maxPayload: '10B',
    });
    const connection = await broker.subscribed();
    const subscribe = connection.received.find(({ cmd }) => cmd === 'subscribe') as {
      subscriptions?: { topic: string }[];
    };
    expect(subscribe.subscriptions!.map(({ topic }) => topic)).toEqual([
      'generators/+',
      '$share/g/sites/+/+/#',
      'plain',
    ]);
    const before = Date.now();
    connection.publish(1, '{"a":1}');
    connection.publish(2, 'b', { topic: 'sites/north/pump/x/y' });
    connection.publish(3, 'c', { topic: 'plain' });
    connection.publish(4, 'd', { topic: 'old/subscription' });
    connection.publish(5, '12345678901');
    connection.publish(6, 'e', { qos: 0 });
    const records = await pull(run.partitions.get('0')!, 6);
    expect(records.map(({ offset, topic, captures, refused }) => [offset, topic, captures, refused])).toEqual([
      [0, 'generators/g1', { generatorID: 'g1' }, undefined],
      [1, 'sites/north/pump/x/y', { site: 'north' }, undefined],
      [2, 'plain', undefined, undefined],
      [3, 'old/subscription', undefined, 'topic-unknown'],
      [4, 'generators/g1', { generatorID: 'g1' }, 'payload-too-large'],
      [5, 'generators/g1', { generatorID: 'g1' }, undefined],
    ]);
    expect(records[4]!.message).toMatch(/11 bytes.*10/);
    expect(records[0]!.arrival).toBeGreaterThanOrEqual(before);
    expect(run.partitions.get('0')!.caughtUp).toBe(true);
  });

  test('a payload above 16 MiB keeps its first 64 KiB and its size', async () => {
    const run = await open({ maxPayload: '1GiB' });
    const connection = await broker.subscribed();
    connection.publish(1, Buffer.alloc((16 << 20) + 1, 'x'));
    connection.publish(2, Buffer.alloc(16 << 20, 'y'));
    const [large, fits] = await pull(run.partitions.get('0')!, 2);
    expect([large!.text.length, large!.refused, fits!.text.length, fits!.refused]).toEqual([
      65_536,
      undefined,
      16 << 20,
      undefined,
    ]);
  });

  test('retained messages are passed over, taken, or taken at the first start only', async () => {
    const retained = { retain: true };
    const took: Record<string, string[]> = {};
    for (const mode of ['skip', 'include', 'initial']) {
      const known = broker.connections.length;
      const run = await open({ retained: mode, clientId: mode }, { id: mode });
      const first = await broker.subscribed(known + 1);
      first.publish(1, 'kept', retained);
      await until('the ack', () => first.ids('puback').length === 1);
      first.socket.destroy();
      const second = await broker.subscribed(known + 2);
      second.publish(1, 'kept again', retained);
      second.publish(2, 'live');
      await until('the acks', () => second.ids('puback').length === 2);
      const records = await pull(run.partitions.get('0')!, run.journals[0]!.end);
      took[mode] = records.map(({ text, retained }) => `${text}${retained ? ' (retained)' : ''}`);
      await run.stop();
    }
    expect(took).toEqual({
      skip: ['live'],
      include: ['kept (retained)', 'kept again (retained)', 'live'],
      initial: ['kept (retained)', 'live'],
    });
  });

  test('a restart goes on behind the checkpoint; the journal is trimmed as far as checkpoints go', async () => {
    const first = await open();
    const connection = await broker.subscribed();
    for (let id = 1; id <= 4; id++) connection.publish(id, `${id}`);
    await until('4 acks', () => connection.ids('puback').length === 4);
    await first.source.committed!(new Map([['0', 2]]));
    await first.stop();
    const second = await open({}, { positions: { '0': 2 } });
    expect((await pull(second.partitions.get('0')!, 2)).map(({ text }) => text)).toEqual(['3', '4']);
    expect(second.log.lines.join()).toMatch(/warn: .*has lost the session of client `penstock-test-readings.source`/);
    await second.stop();
    await expect(open({}, { positions: { '0': 5 } })).rejects.toThrow(/holds messages 0 to 4/);
  });

  test('are all there only while we are connected and each is durable and read: else silence may be ours', async () => {
    const slow = slowJournal();
    const run = await open({}, slow.setup);
    const partition = run.partitions.get('0')!;
    const connection = await broker.subscribed();
    await until('caught up', () => partition.caughtUp);
    connection.publish(1, 'one');
    await until('the append', () => slow.waiting.length === 1);
    expect(partition.caughtUp).toBe(false);
    slow.openUp();
    await until('the ack', () => connection.ids('puback').length === 1);
    expect(partition.caughtUp).toBe(false);
    await pull(partition, 1);
    expect(partition.caughtUp).toBe(true);
    await broker.stop();
    await until('a lost connection', () => !partition.caughtUp);
  });

  test('pull ends with null when the run ends', async () => {
    const run = await open();
    const pulling = run.partitions.get('0')!.pull({ records: 1, bytes: 1 });
    run.abort.abort();
    expect(await pulling).toBeNull();
  });
});

describe('the connection', () => {
  test('uses a lasting session under a stable id, except at QoS 0', async () => {
    await open({ keepAlive: '7s', username: 'u', password: new Secret('p') });
    await open({ qos: 0, clientId: 'mine', protocolVersion: 5 }, { id: 'b' });
    await open({ qos: 2, protocolVersion: 5, sessionExpiry: '1m' }, { id: 'c' });
    const connects = broker.connections.map(({ received }) => received[0]!);
    expect(connects).toMatchObject([
      { clientId: 'penstock-test-readings.source', clean: false, keepalive: 7, protocolVersion: 4, username: 'u' },
      { clientId: 'mine', clean: true, protocolVersion: 5 },
      { clientId: 'penstock-test-c', clean: false, properties: { sessionExpiryInterval: 60 } },
    ]);
  });

  test.each([
    [4, 4, /refused the user `u`: bad user name or password/],
    [4, 5, /not authorized/],
    [5, 0x86, /bad user name or password/],
    [5, 0x87, /not authorized/],
    [4, 1, /protocolVersion/],
  ])('in version %i the code %i at connect is final', async (protocolVersion, code, message) => {
    broker.connack = { returnCode: code, reasonCode: code };
    const options = { protocolVersion, username: 'u', password: new Secret('hush-hush') };
    const error = await open(options).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(RunError);
    expect(String(error)).toMatch(message);
    expect(String(error)).not.toContain('hush');
    expect(broker.connections).toHaveLength(1);
  });

  test('a busy broker is asked again', async () => {
    broker.connack = { returnCode: 3 };
    const run = await open();
    broker.connack = {};
    await until('a subscription', () => broker.connections.at(-1)!.ids('subscribe').length === 1);
    expect(run.log.lines.filter((line) => line.startsWith('warn'))).toEqual([
      expect.stringMatching(/cannot be reached \(Connection refused: Server unavailable\)/),
    ]);
  });

  test('a broker that is not there is waited for, and said once', async () => {
    const { url } = broker;
    await broker.stop();
    const run = await open({ url });
    expect(run.partitions.get('0')!.caughtUp).toBe(false);
    await until('some attempts', () => run.log.lines.filter((line) => line.startsWith('debug')).length > 2);
    expect(run.log.lines.filter((line) => line.startsWith('warn'))).toEqual([
      expect.stringMatching(/^warn: mqtt:\/\/127\.0\.0\.1:\d+ cannot be reached \(connect ECONNREFUSED/),
    ]);
    broker = await FakeBroker.start();
  });

  test('a refused topic ends the run and is named', async () => {
    broker.granted = [1, 0x80];
    await expect(open({ topics: ['a/+', 'secret/+'] })).rejects.toThrow(/refused the subscription to `secret\/\+`/);
  });

  test('a lower quality than asked for is said', async () => {
    broker.granted = [0];
    const run = await open();
    expect(run.log.lines.filter((line) => line.startsWith('warn'))).toEqual([
      expect.stringMatching(/^warn: .*grants QoS 0 for `generators\/\+` instead of 1/),
    ]);
  });

  test('a lost session is said, and subscribed anew', async () => {
    const run = await open();
    (await broker.subscribed()).socket.destroy();
    await broker.subscribed(2);
    expect(run.log.lines.join('\n')).toMatch(/connection to .* is lost.*\n.*again\.\n.*has lost the session/);
  });

  test('a client that takes over our id is said by name, without a tight loop', async () => {
    broker.onPacket = (packet, connection) => {
      if (packet.cmd === 'subscribe') setImmediate(() => connection.socket.destroy());
    };
    const run = await open();
    const started = Date.now();
    await until('the warning', () => run.log.lines.some((line) => /may be taking over/.test(line)));
    expect(run.log.lines.join()).toMatch(
      /the id `penstock-test-readings.source` may be taking over our session.*3 times/,
    );
    // Pauses grow: at least 125 + 250 ms lie between the three.
    expect(Date.now() - started).toBeGreaterThan(300);
  });

  test('in version 5 a take-over is said at once', async () => {
    broker.onPacket = (packet, connection) => {
      if (packet.cmd !== 'subscribe' || broker.connections.length > 1) return;
      connection.send({ cmd: 'disconnect', reasonCode: 0x8e });
      connection.socket.end();
    };
    const run = await open({ protocolVersion: 5 });
    await until('the warning', () => run.log.lines.some((line) => /has taken over our session/.test(line)));
  });

  test('bytes that are no MQTT end the connection, not the run', async () => {
    const run = await open();
    (await broker.subscribed()).socket.write(Buffer.from([0x00, 0x00, 0xff, 0xff]));
    await broker.subscribed(2);
    expect(run.failures).toEqual([]);
  });
});
