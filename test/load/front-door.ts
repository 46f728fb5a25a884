/**
 * `npx tsx test/load/front-door.ts [--clients 1000 --every 1 --for 60 --kafka --json]`: so many devices connect to a front door in a process of its
 * own, and each publishes every so many seconds at QoS 1. In the end every message that was acknowledged has to be behind the sink, as it was
 * sent and in the order of its device: in a file, or with `--kafka` in a topic of KAFKA_BROKERS. Ten thousand devices take as many file
 * descriptors here and there: `ulimit -n 12000`. Ends with code 1 when a message is missing or another than was sent.
 */
import { spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import kafkajs from 'kafkajs';
import mqttPacket from 'mqtt-packet';

const { values: given } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000' },
    every: { type: 'string', default: '1' },
    for: { type: 'string', default: '60' },
    kafka: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const clients = Number(given.clients);
const everyMs = Number(given.every) * 1_000;
const forMs = Number(given.for) * 1_000;
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
if (!existsSync(main)) throw new Error('There is no build to load. Run `npm run build` first.');
const brokers = process.env['KAFKA_BROKERS'] ?? '';
if (given.kafka && brokers === '') throw new Error('--kafka needs KAFKA_BROKERS.');

/** A device: what it has sent, and which of it was acknowledged when. */
class Device {
  readonly id: number;
  sent = 0;
  readonly acknowledged: boolean[] = [];
  lost = false;
  ready: Promise<void>;
  readonly #socket: Socket;
  readonly #sentAt = new Map<number, number>();
  #rest = Buffer.alloc(0);

  constructor(id: number, port: number) {
    this.id = id;
    this.#socket = connect(port, '127.0.0.1');
    this.#socket.setNoDelay(true);
    this.ready = new Promise((resolve, reject) => {
      this.#socket.once('error', reject);
      this.#socket.on('data', (chunk) => this.#read(chunk, resolve));
    });
    this.#socket.on('close', () => {
      this.lost = true;
    });
    const packet = { cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 600 } as const;
    this.#socket.write(mqttPacket.generate({ ...packet, clientId: `device-${id}` }));
  }

  get waiting(): number {
    return this.#sentAt.size;
  }

  publish(): void {
    const n = this.sent++;
    const messageId = (n % 65_535) + 1;
    this.#sentAt.set(messageId, performance.now());
    const packet = { cmd: 'publish', topic: `devices/${this.id}`, qos: 1, retain: false, dup: false } as const;
    this.#socket.write(mqttPacket.generate({ ...packet, messageId, payload: payloadOf(this.id, n) }));
  }

  end(): void {
    this.#socket.destroy();
  }

  /** CONNACK and PUBACK have four bytes each, and nothing else comes. */
  #read(chunk: Buffer, connected: () => void): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    for (; data.length >= 4; data = data.subarray(4)) {
      if (data[0] === 0x20 && data[3] === 0) connected();
      else if (data[0] === 0x40) this.#acknowledge(data.readUInt16BE(2));
      else throw new Error(`Device ${this.id} was sent something else: ${data.subarray(0, 4).toString('hex')}.`);
    }
    this.#rest = Buffer.from(data);
  }

  #acknowledge(messageId: number): void {
    const at = this.#sentAt.get(messageId);
    if (at === undefined) throw new Error(`Device ${this.id} got an acknowledgement that it does not wait for.`);
    this.#sentAt.delete(messageId);
    this.acknowledged[messageId - 1] = true;
    latencies.push(performance.now() - at);
  }
}

const latencies: number[] = [];
/** A payload that nobody else sends: compared as a whole. */
const payloadOf = (device: number, n: number) =>
  JSON.stringify({ device, n, temperature: ((device * 31 + n * 7) % 1_000) / 10, text: `${device}-${n} ü`.repeat(6) });

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what: string, holds: () => boolean, ms: number): Promise<void> {
  for (const end = Date.now() + ms; !holds(); await sleep(20)) {
    if (Date.now() > end) throw new Error(`Waited in vain: ${what}.`);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'penstock-load-'));
const output = join(folder, 'out.jsonl');
const topic = `front-door-load-${Date.now()}`;
const sink = given.kafka
  ? `kafka: { brokers: "${brokers}", topic: "${topic}", key: device, createTopic: { partitions: 6 } }`
  : `file: ${output}`;
const file = join(folder, 'load.yaml');
writeFileSync(
  file,
  `version: 1
name: load
streams:
  devices:
    - mqttServer: { listen: "mqtt://127.0.0.1:0", limits: { connections: ${clients + 100} } }
    - ${sink}
`,
);
const server = spawn(process.execPath, [main, 'run', file, '--state', join(folder, 'state'), '--json']);
process.once('exit', () => server.kill('SIGKILL'));
let log = '';
let status = '';
server.stderr.on('data', (text) => {
  log += text;
});
server.stdout.on('data', (text) => {
  status += text;
});
const ended = new Promise<number | null>((resolve) => server.on('exit', resolve));

async function load() {
  await until('the door', () => log.includes('Devices can connect'), 30_000);
  const port = Number(/mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(log)![1]);
  const began = performance.now();
  const devices: Device[] = [];
  for (let n = 0; n < clients; n += 200) {
    const some = Array.from({ length: Math.min(200, clients - n) }, (_, i) => new Device(n + i, port));
    devices.push(...some);
    await Promise.all(some.map(({ ready }) => ready));
  }
  const connectMs = performance.now() - began;
  await publish(devices);
  await until('all acknowledgements', () => devices.every(({ waiting, lost }) => waiting === 0 || lost), 60_000);
  const lostConnections = devices.filter(({ lost }) => lost).length;
  const peakMb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) / 1_024;
  const cpu = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  for (const device of devices) device.end();
  server.kill('SIGTERM');
  const code = await ended;
  if (code !== 0) throw new Error(`The server ended with ${code}.\n${log}`);
  const found = given.kafka ? await inKafka(devices) : await inFile(devices);
  latencies.sort((a, b) => a - b);
  const at = (share: number) => Number(latencies[Math.floor(share * (latencies.length - 1))]?.toFixed(1));
  return {
    clients,
    sent: devices.reduce((sum, { sent }) => sum + sent, 0),
    acknowledged: devices.reduce((sum, { acknowledged }) => sum + acknowledged.filter(Boolean).length, 0),
    ...found,
    lostConnections,
    connectMs: Math.round(connectMs),
    ackMsMedian: at(0.5),
    ackMs99: at(0.99),
    ackMsMax: at(1),
    serverCpuSeconds: (Number(cpu[11]) + Number(cpu[12])) / 100,
    serverPeakMb: Math.round(peakMb),
    counters: JSON.stringify((JSON.parse(status.trim().split('\n').at(-1)!) as { sources: object }).sources),
  };
}

/** Each device at its own moment of the period, so that the load is even. */
async function publish(devices: readonly Device[]): Promise<void> {
  const begin = performance.now();
  let next = 0;
  const total = Math.floor(forMs / everyMs) * devices.length;
  while (next < total) {
    const due = Math.min(total, Math.floor(((performance.now() - begin) / everyMs) * devices.length));
    for (; next < due; next++) devices[next % devices.length]!.publish();
    await sleep(5);
  }
}

/** Holds what was found against what was sent and acknowledged. */
class Comparison {
  readonly #devices: readonly Device[];
  readonly #seen: boolean[][];
  readonly #last: number[];
  received = 0;
  repeated = 0;
  changed = 0;
  outOfOrder = 0;

  constructor(devices: readonly Device[]) {
    this.#devices = devices;
    this.#seen = devices.map(() => []);
    this.#last = devices.map(() => -1);
  }

  take(text: string): void {
    const { device, n } = JSON.parse(text) as { device: number; n: number };
    this.received++;
    if (text !== payloadOf(device, n)) this.changed++;
    else if (this.#seen[device]![n]) this.repeated++;
    else {
      this.#seen[device]![n] = true;
      if (n < this.#last[device]!) this.outOfOrder++;
      this.#last[device] = n;
    }
  }

  result() {
    const missing = this.#devices.reduce(
      (sum, { id, acknowledged }) => sum + acknowledged.filter((yes, n) => yes && !this.#seen[id]![n]).length,
      0,
    );
    const { received, repeated, changed, outOfOrder } = this;
    return { received, missing, changed, outOfOrder, repeated };
  }
}

async function inFile(devices: readonly Device[]) {
  const comparison = new Comparison(devices);
  for await (const line of createInterface({ input: createReadStream(output) })) comparison.take(line);
  return comparison.result();
}

async function inKafka(devices: readonly Device[]) {
  const comparison = new Comparison(devices);
  const kafka = new kafkajs.Kafka({ brokers: brokers.split(','), logLevel: 0 });
  const admin = kafka.admin();
  await admin.connect();
  let left = (await admin.fetchTopicOffsets(topic)).reduce((sum, { high }) => sum + Number(high), 0);
  const consumer = kafka.consumer({ groupId: topic });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  if (left > 0) {
    await new Promise<void>((resolve, reject) => {
      const eachMessage = async ({ message }: { message: { value: Buffer | null } }) => {
        comparison.take(String(message.value));
        if (--left === 0) resolve();
      };
      consumer.run({ eachMessage }).catch(reject);
    });
  }
  await consumer.disconnect();
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  return comparison.result();
}

try {
  const figures = await load();
  process.stdout.write(
    given.json
      ? `${JSON.stringify(figures)}\n`
      : `${Object.entries(figures)
          .map(([name, value]) => `${name.padEnd(28)} ${value}`)
          .join('\n')}\n`,
  );
  if (figures.missing > 0 || figures.changed > 0 || figures.outOfOrder > 0 || figures.lostConnections > 0)
    process.exitCode = 1;
} finally {
  server.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
