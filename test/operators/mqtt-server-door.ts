import { connect, type Socket } from 'node:net';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { mqttServerSource } from '../../operators/mqtt-server/index.ts';
import { type Journal, type JournalRecord, type Meta, RawRecord } from '../../src/operator.ts';
import { journalFolder, openForTest, type SourceRun, type SourceSetup, until } from '../conformance/harness.ts';

/** A front door on a free port, with clients of every kind; all of it goes away with `close`. */
export class FrontDoor {
  readonly run: SourceRun;
  /** The addresses that are listened on. */
  readonly urls: readonly string[];
  readonly #folder: Awaited<ReturnType<typeof journalFolder>> | undefined;
  readonly #clients: MqttClient[] = [];
  readonly #raw: RawClient[] = [];
  #stopped = false;

  private constructor(
    run: SourceRun,
    urls: readonly string[],
    folder: Awaited<ReturnType<typeof journalFolder>> | undefined,
  ) {
    this.run = run;
    this.urls = urls;
    this.#folder = folder;
  }

  static async open(options: Record<string, unknown> = {}, setup: Partial<SourceSetup> = {}): Promise<FrontDoor> {
    const folder = setup.directory === undefined ? await journalFolder() : undefined;
    const all = { listen: 'mqtt://127.0.0.1:0', ...options };
    const run = await openForTest(mqttServerSource, all, { directory: folder?.path ?? '', ...setup });
    const urls = run.log.fields.flatMap((fields) => (typeof fields?.['url'] === 'string' ? [fields['url']] : []));
    return new FrontDoor(run, urls, folder);
  }

  get url(): string {
    return this.urls[0]!;
  }
  get port(): number {
    return Number(new URL(this.url).port);
  }
  get counters(): Readonly<Record<string, number>> {
    return this.run.source.counters!();
  }

  /** A client that is connected. */
  async client(options: IClientOptions = {}, url = this.url): Promise<MqttClient> {
    const client = mqtt.connect(url, { reconnectPeriod: 0, ...options });
    this.#clients.push(client);
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
      client.once('close', () => reject(new Error('closed')));
    });
    return client;
  }

  /** Why a client does not get in: the error that it is given. */
  async refusal(options: IClientOptions = {}, url = this.url): Promise<string> {
    try {
      await this.client(options, url);
      return 'connected';
    } catch (error) {
      return (error as Error).message;
    }
  }

  async raw(port = this.port): Promise<RawClient> {
    const client = await RawClient.open(port);
    this.#raw.push(client);
    return client;
  }

  /** Reads so many records. */
  async records(count: number): Promise<TakenRecord[]> {
    const partition = this.run.partitions.get('0')!;
    const records: TakenRecord[] = [];
    const raw = new RawRecord();
    const meta = (): Meta => raw.meta ?? {};
    while (records.length < count) {
      const batch = await partition.pull({ records: count - records.length, bytes: 1 << 20 });
      if (!batch) break;
      for (let index = 0; index < batch.length; index++) {
        raw.stream = undefined;
        raw.meta = undefined;
        batch.read(index, raw);
        records.push({
          text: raw.data.toString('utf8', raw.start, raw.end),
          topic: meta().topic,
          route: meta().route,
          retained: meta().retained === true,
          captures: raw.captures,
          refused: raw.refused?.code,
          stream: raw.stream,
          value: raw.decoded ? raw.value : undefined,
        });
      }
    }
    return records;
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.run.stop();
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.end(true);
    for (const client of this.#raw) client.socket.destroy();
    await this.stop();
    await this.#folder?.remove();
  }
}

export interface TakenRecord {
  readonly text: string;
  readonly topic: string | undefined;
  readonly route: string | undefined;
  readonly retained: boolean;
  readonly captures: Readonly<Record<string, string>> | undefined;
  readonly refused: string | undefined;
  readonly stream: string | undefined;
  readonly value: unknown;
}

/** A client that sends whatever bytes the test wants. */
export class RawClient {
  readonly socket: Socket;
  readonly received: Packet[] = [];
  readonly bytes: Buffer[] = [];
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    const parser = mqttPacket.parser();
    parser.on('packet', (packet) => this.received.push(packet));
    parser.on('error', () => {});
    socket.on('data', (chunk) => {
      this.bytes.push(chunk);
      parser.parse(chunk);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
    });
  }

  static async open(port: number): Promise<RawClient> {
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    return new RawClient(socket);
  }

  send(...packets: Packet[]): void {
    this.socket.write(Buffer.concat(packets.map((packet) => mqttPacket.generate(packet))));
  }

  async connect(clientId: string, more: object = {}): Promise<void> {
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: true,
      keepalive: 60,
      ...more,
    });
    await until('CONNACK', () => this.received.some(({ cmd }) => cmd === 'connack') || this.closed);
  }

  publish(messageId: number, payload: string | Buffer, more: object = {}): Packet {
    const packet = { cmd: 'publish', topic: 'generators/g1', qos: 1, retain: false, dup: false, payload, messageId };
    return { ...packet, ...more } as Packet;
  }

  /** Packet ids of what came of one kind, in order. */
  ids(cmd: Packet['cmd']): (number | undefined)[] {
    return this.received.filter((packet) => packet.cmd === cmd).map(({ messageId }) => messageId);
  }
}

/** A journal whose appends become durable when the test says so. */
export function slowJournal() {
  const waiting: (() => void)[] = [];
  let open = false;
  let pendingBytes = 0;
  const journal = (target: Journal): Journal =>
    new Proxy(target, {
      get(_, name) {
        if (name === 'pendingBytes') return pendingBytes;
        if (name !== 'append') {
          const member = Reflect.get(target, name, target);
          return typeof member === 'function' ? member.bind(target) : member;
        }
        return async (record: JournalRecord) => {
          pendingBytes += record.payload.length;
          if (!open) await new Promise<void>((resolve) => waiting.push(resolve));
          const stored = target.append(record);
          pendingBytes -= record.payload.length;
          return stored;
        };
      },
    });
  return {
    journal,
    waiting,
    release: (count = waiting.length) => waiting.splice(0, count).forEach((resolve) => void resolve()),
    openUp() {
      open = true;
      this.release();
    },
  };
}
