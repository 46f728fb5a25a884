import { Duplex, PassThrough } from 'node:stream';
import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { expect, test } from 'vitest';
import { AckGate } from '../../operators/mqtt/gate.ts';

/** A gate with the network behind it in view. */
function gate() {
  const sent: Packet[] = [];
  const parser = mqttPacket.parser();
  parser.on('packet', (packet) => sent.push(packet));
  const network = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      parser.parse(chunk);
      done();
    },
  });
  return { gate: new AckGate(network), network, sent };
}
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

type Sent = { cmd: 'puback' | 'pubrec' | 'pingreq' | 'pubcomp' | 'publish'; size: number };
const packets = fc.array(
  fc.record({
    cmd: fc.constantFrom<Sent['cmd'][]>('puback', 'puback', 'pubrec', 'pingreq', 'pubcomp', 'publish'),
    // Around the ends of one and two bytes of remaining length.
    size: fc.oneof(fc.integer({ min: 118, max: 128 }), fc.integer({ min: 16_370, max: 16_390 }), fc.nat(5)),
  }),
  { maxLength: 30 },
);

test('whatever the chunks: acknowledgements leave in order and only when durable, all else at once', () =>
  fc.assert(
    fc.asyncProperty(
      packets,
      fc.infiniteStream(fc.integer({ min: 1, max: 400 })),
      fc.nat(),
      async (list, chunks, seed) => {
        const { gate: stream, sent } = gate();
        const releases: (() => void)[] = [];
        const bytes: Buffer[] = [];
        for (const [n, { cmd, size }] of list.entries()) {
          const messageId = n + 1;
          if (cmd === 'puback' || cmd === 'pubrec') releases.push(stream.expect(messageId));
          const packet =
            cmd === 'publish' ? { cmd, topic: 't', payload: 'x'.repeat(size), qos: 1, messageId } : { cmd, messageId };
          bytes.push(mqttPacket.generate(packet as Packet));
        }
        const all = Buffer.concat(bytes);
        for (let at = 0; at < all.length; ) {
          const length = chunks.next().value;
          stream.write(all.subarray(at, at + length));
          at += length;
        }
        await turn();
        const held = list.flatMap(({ cmd }, n) => (cmd === 'puback' || cmd === 'pubrec' ? [n + 1] : []));
        const passed = list.flatMap(({ cmd }, n) =>
          held.includes(n + 1) ? [] : [cmd === 'pingreq' ? undefined : n + 1],
        );
        expect(sent.map(({ messageId }) => messageId)).toEqual(passed);
        sent.length = 0;
        // Durable in any order: what leaves is always the unbroken beginning.
        const order = releases.map((_, n) => n).sort((a, b) => ((a * 7919 + seed) % 31) - ((b * 7919 + seed) % 31));
        const durable = new Set<number>();
        for (const n of order) {
          releases[n]!();
          durable.add(n);
          await turn();
          const unbroken = held.findIndex((_, index) => !durable.has(index));
          expect(sent.map(({ messageId }) => messageId)).toEqual(
            held.slice(0, unbroken === -1 ? held.length : unbroken),
          );
        }
        expect(stream.held).toBe(0);
      },
    ),
    { numRuns: 200 },
  ));

test('an acknowledgement that nobody announced does not leave', async () => {
  const { gate: stream, sent } = gate();
  stream.write(mqttPacket.generate({ cmd: 'puback', messageId: 4 }));
  const release = stream.expect(5);
  stream.write(mqttPacket.generate({ cmd: 'puback', messageId: 4 }));
  stream.write(mqttPacket.generate({ cmd: 'puback', messageId: 5 }));
  release();
  await turn();
  expect(sent.map(({ messageId }) => messageId)).toEqual([5]);
});

test('one message after the other, each is acknowledged', async () => {
  const { gate: stream, sent } = gate();
  for (const messageId of [1, 2, 3]) {
    const release = stream.expect(messageId);
    stream.write(mqttPacket.generate({ cmd: 'puback', messageId }));
    release();
    await turn();
    expect(sent.at(-1)).toMatchObject({ messageId });
  }
});

test('acknowledgements released together leave in one write', async () => {
  const network = new PassThrough();
  let writes = 0;
  network._writev = (_chunks, done) => {
    writes++;
    done();
  };
  const stream = new AckGate(network);
  const releases = [1, 2, 3].map((messageId) => {
    const release = stream.expect(messageId);
    stream.write(mqttPacket.generate({ cmd: 'puback', messageId }));
    return release;
  });
  for (const release of releases) release();
  await turn();
  expect(writes).toBe(1);
});

test('a network that is full holds up the writer, and one that is gone ends the stream', async () => {
  let drain = () => {};
  const network = new Duplex({
    writableHighWaterMark: 1,
    read() {},
    write(_chunk, _encoding, done) {
      drain = done;
    },
  });
  const stream = new AckGate(network);
  let written = false;
  stream.write(mqttPacket.generate({ cmd: 'pingreq' }), () => {
    written = true;
  });
  await turn();
  expect(written).toBe(false);
  drain();
  await turn();
  expect(written).toBe(true);
  const closed = new Promise((resolve) => stream.on('close', resolve));
  const error = new Promise((resolve) => stream.on('error', resolve));
  network.destroy(new Error('ECONNRESET'));
  await closed;
  expect(String(await error)).toMatch('ECONNRESET');
  stream.expect(1)();
});

test('what the network sends comes through, and the end too', async () => {
  const network = new PassThrough();
  const stream = new AckGate(network);
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise((resolve) => stream.on('end', resolve));
  network.push(Buffer.alloc(100_000, 'a'));
  network.push(Buffer.from('b'));
  network.push(null);
  await ended;
  expect(Buffer.concat(chunks).length).toBe(100_001);
});
