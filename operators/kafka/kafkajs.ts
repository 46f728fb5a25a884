import type { Duplex } from 'node:stream';
import type { ISocketFactory, Kafka, Admin as KafkaAdmin, KafkaConfig, LogEntry, SASLOptions } from 'kafkajs';
import { type ConnectOptions, type Log, type Ports, readTlsFiles } from '../../src/operator.ts';
import { codecNames, codecOf, unpack } from './codecs.ts';
import { type Admin, type Driver, Trouble } from './driver.ts';
import { KafkajsReader } from './kafkajs-reader.ts';
import { scan } from './kafkajs-scan.ts';
import { KafkajsTransactor } from './kafkajs-transactor.ts';
import { KafkajsWriter } from './kafkajs-writer.ts';
import { brokerList, type Connection, type Sasl } from './options.ts';
import { tokenSource } from './token.ts';
import { noTopic, rootOf, toTrouble } from './trouble.ts';

/** What the driver takes from the context of a source or sink. */
export interface Outside {
  readonly ports: Ports;
  readonly log: Log;
  readonly topology: string;
}

/** What reader and writer share. */
export interface Client {
  readonly kafka: Kafka;
  readonly address: string;
  readonly outside: Outside;
  /** Puts an error into words. */
  trouble(error: unknown): Trouble;
  /** Called when kafkajs has lost its place in a partition and is about to jump: it tells nobody but its log. */
  readonly jump: { listener?: (topic: string, partition: number) => void };
}

// kafkajs gives up a request after these; whoever called it decides what follows.
const retry = { initialRetryTime: 100, maxRetryTime: 3_000, retries: 5 };
const leaderTries = 20;
const leaderWaitMs = 250;
const keepAliveMs = 60_000;
const repeatMs = 10_000;
const brokerDefault = -1;
/** Logged as errors and warnings by kafkajs, but part of every start: it is told to retry, and we retry after it. */
const expected = /^(Response |SASL ||Limiting retries|Restarting the consumer|Crash: )/;

/** Prepares kafkajs 2.2.4 for these options. Connects to nothing yet. */
export async function openKafkajs(connection: Connection, outside: Outside): Promise<Driver> {
  const { default: library } = await import('kafkajs');
  useCodecs(library.CompressionCodecs as Record<number, unknown>);
  const tls = await readTls(connection, outside.ports);
  const address = brokerList(connection.brokers).join(',');
  const jump: Client['jump'] = {};
  const config: KafkaConfig = {
    brokers: brokerList(connection.brokers),
    clientId: connection.clientId ?? outside.topology,
    connectionTimeout: 5_000,
    requestTimeout: 30_000,
    retry,
    socketFactory: socketFactory(outside.ports, tls),
    logLevel: library.logLevel.INFO,
    logCreator: () => logTo(outside, jump),
    ...(tls && { ssl: true }),
  };
  const { sasl } = connection;
  if (sasl) config.sasl = loginOf(sasl, outside.ports);
  const client: Client = {
    kafka: new library.Kafka(config),
    address,
    outside,
    trouble: (error) => toTrouble(error, address, sasl),
    jump,
  };
  return {
    address,
    admin: (use) => withAdmin(client, use),
    read: (options, events) => KafkajsReader.open(client, options, events),
    write: (options) => KafkajsWriter.open(client, options),
    transact: (options) => KafkajsTransactor.open(client, options),
    scan: (place, each, signal) => scan(client, place, each, signal),
  };
}

function loginOf(sasl: Sasl, ports: Ports): SASLOptions {
  const { mechanism, username = '', password } = sasl;
  if (mechanism === 'oauthbearer') return { mechanism, oauthBearerProvider: tokenSource(sasl, ports) };
  return { mechanism, username, password: password?.reveal() ?? '' } as SASLOptions;
}

// kafkajs has one table of codecs for the whole process, and knows gzip alone: without a bound.
function useCodecs(table: Record<number, unknown>): void {
  for (const [number, name] of codecNames.entries()) {
    if (name === 'none') continue;
    table[number] = () => ({
      compress: async ({ buffer }: { buffer: Buffer }) => (await codecOf(name)).pack(buffer),
      decompress: (bytes: Buffer) => unpack(number, bytes),
    });
  }
}

// A topic that was made just now, or whose leader moves, has no leader that knows of it for a moment. All that is asked here may
// be asked again.
async function withAdmin<T>(client: Client, use: (admin: Admin) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    const admin = client.kafka.admin();
    try {
      await admin.connect();
      return await use(new KafkajsAdmin(admin, client.address));
    } catch (error) {
      const trouble = client.trouble(error);
      if (tries === leaderTries || trouble.kind !== 'passing' || rootOf(error).type === undefined) throw trouble;
      await client.outside.ports.clock.sleep(leaderWaitMs);
    } finally {
      await admin.disconnect().catch(() => undefined);
    }
  }
}

class KafkajsAdmin implements Admin {
  readonly #admin: KafkaAdmin;
  readonly #address: string;
  constructor(admin: KafkaAdmin, address: string) {
    this.#admin = admin;
    this.#address = address;
  }

  topics(): Promise<string[]> {
    return this.#admin.listTopics();
  }

  async offsets(topic: string): Promise<Map<number, { low: number; high: number }>> {
    // Asked first because it answers at once; the next call would try for seconds to find a topic that is not there.
    await this.#checkTopic(topic);
    const rows = await this.#admin.fetchTopicOffsets(topic);
    return new Map(rows.map(({ partition, low, high }) => [partition, { low: Number(low), high: Number(high) }]));
  }

  async offsetsAt(topic: string, time: number): Promise<Map<number, number>> {
    const rows = await this.#admin.fetchTopicOffsetsByTimestamp(topic, time);
    return new Map(rows.map(({ partition, offset }) => [partition, Number(offset)]));
  }

  async committed(group: string, topic: string): Promise<Map<number, number>> {
    const [rows] = await this.#admin.fetchOffsets({ groupId: group, topics: [topic] });
    const offsets = (rows?.partitions ?? []).map(({ partition, offset }) => [partition, Number(offset)] as const);
    return new Map(offsets.filter(([, offset]) => offset >= 0));
  }

  async forget(group: string): Promise<void> {
    await this.#admin.deleteGroups([group]);
  }

  async create(
    topic: string,
    partitions: number,
    replication = brokerDefault,
    settings: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
    try {
      await this.#admin.createTopics({
        topics: [{ topic, numPartitions: partitions, replicationFactor: replication, configEntries }],
      });
    } catch (error) {
      const refusals = (error as { errors?: { type?: string; message?: string }[] }).errors ?? [];
      const [refusal] = refusals.filter(({ type }) => type !== 'TOPIC_ALREADY_EXISTS');
      if (refusal)
        throw new Trouble('final', `Kafka ${this.#address} does not make topic \`${topic}\`: ${refusal.message}`);
      if (refusals.length === 0) throw error;
    }
  }

  async setting(topic: string, name: string): Promise<string | undefined> {
    const type = 2;
    const { resources } = await this.#admin.describeConfigs({
      resources: [{ type, name: topic, configNames: [name] }],
      includeSynonyms: false,
    });
    return resources[0]?.configEntries.find(({ configName }) => configName === name)?.configValue;
  }

  async #checkTopic(topic: string): Promise<void> {
    try {
      await this.#admin.fetchTopicMetadata({ topics: [topic] });
    } catch (error) {
      if (rootOf(error).type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error;
      throw new Trouble('unknownTopic', noTopic(topic, this.#address), error);
    }
  }
}

type Tls = NonNullable<ConnectOptions['tls']>;

async function readTls({ ssl }: Connection, { disk }: Ports): Promise<Tls | undefined> {
  if (ssl === undefined || ssl === false) return undefined;
  return ssl === true ? {} : readTlsFiles(ssl, 'ssl', disk);
}

// kafkajs asks for a socket and a call when it is connected; the port gives a stream that emits the event of a socket.
function socketFactory({ network }: Ports, tls: Tls | undefined): ISocketFactory {
  return ({ host, port, onConnect }) => {
    const stream: Duplex & { unref?: unknown; setKeepAlive?: (on: boolean, ms: number) => void } = network.connect({
      host,
      port,
      ...(tls && { tls }),
    });
    stream.once(tls ? 'secureConnect' : 'connect', onConnect);
    stream.setKeepAlive?.(true, keepAliveMs);
    if (stream.unref === undefined) stream.unref = () => stream;
    return stream as unknown as ReturnType<ISocketFactory>;
  };
}

// While a broker is down kafkajs says so several times a second: the same message is passed on once in a while.
function logTo({ log, ports }: Outside, jump: Client['jump']): (entry: LogEntry) => void {
  const said = new Map<string, number>();
  return ({ level, namespace, log: entry }) => {
    const { message, timestamp: _, logger: __, stack: ___, helpUrl: ____, ...fields } = entry;
    if (namespace === 'ConsumerGroup' && message.startsWith('Offset out of range, resetting')) {
      jump.listener?.(String(fields['topic']), Number(fields['partition']));
      return;
    }
    // 1 is an error, 2 a warning. Most errors here are tried again, and those that are not come back as rejections.
    if (level > 2 || expected.test(message)) return log.debug(`kafkajs: ${message}`);
    const now = ports.clock.now();
    if (now - (said.get(message) ?? Number.NEGATIVE_INFINITY) < repeatMs) return;
    if (said.size > 100) said.clear();
    said.set(message, now);
    const { broker, topic, partition, groupId } = fields as Record<string, unknown>;
    log.warn(`kafkajs: ${message}`, {
      ...(broker !== undefined && { broker }),
      ...(topic !== undefined && { topic }),
      ...(partition !== undefined && { partition }),
      ...(groupId !== undefined && { group: groupId }),
    });
  };
}
