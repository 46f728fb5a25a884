import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import kafkajs, { type Admin } from 'kafkajs';
import { afterEach } from 'vitest';
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import { type OpenSource, type Position, RawRecord, type SourcePartition, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sinkContext, sourceContext } from '../operators/connector-contexts.ts';

export const brokers = process.env['KAFKA_BROKERS'] ?? '';
export const classPath = process.env['KAFKA_CLASSPATH'] ?? '';

let count = 0;
export const uniqueName = (what: string) => `${what}-${process.pid}-${Date.now()}-${count++}`;

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for a condition, looking ten times a second. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
  ms = 60_000,
): Promise<void> {
  for (const end = Date.now() + ms; !(await condition()); await sleep(100)) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
  }
}

export async function withAdmin<T>(use: (admin: Admin) => Promise<T>, at = brokers): Promise<T> {
  const admin = new kafkajs.Kafka({ brokers: [at], logLevel: 0 }).admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

export async function openSink(options: Record<string, unknown>) {
  const context = sinkContext(systemPorts());
  const sink = await kafkaSink.open({ brokers, ...options } as never, context);
  opened.push(sink);
  return { ...context, write: sink.write.bind(sink) };
}

export interface Seen {
  readonly partition: string;
  readonly offset: number;
  readonly key: unknown;
  readonly value: unknown;
  readonly timestamp: number;
  readonly meta: unknown;
}

/** A source with an engine's loop around it: pulls every partition, checkpoints it when it is revoked. */
export class Reading {
  readonly seen: Seen[] = [];
  readonly positions = new Map<string, Position>();
  readonly partitions = new Map<string, SourcePartition>();
  readonly failures: Error[] = [];
  readonly context = sourceContext(systemPorts());
  completed = false;
  /** Nothing is pulled before this. */
  #holding: Promise<void> | undefined;
  #source: OpenSource | undefined;
  #loops: Promise<void>[] = [];

  static async open(
    options: Record<string, unknown>,
    positions: Record<string, Position> = {},
    holding?: Promise<void>,
    prepare: (reading: Reading) => void = () => {},
  ): Promise<Reading> {
    const reading = new Reading();
    reading.#holding = holding;
    for (const [id, position] of Object.entries(positions)) reading.positions.set(id, position);
    const { context } = reading;
    Object.assign(context, {
      resumed: reading.positions.size > 0,
      position: (id: string) => reading.positions.get(id),
      assign: (partition: SourcePartition) => {
        reading.partitions.set(partition.id, partition);
        reading.#loops.push(reading.#pull(partition));
      },
      revoke: async (id: string) => void reading.partitions.delete(id),
      fail: (error: Error) => void reading.failures.push(error),
      complete: () => {
        reading.completed = true;
      },
    });
    prepare(reading);
    reading.#source = await kafkaSource.open({ brokers, ...options } as never, context);
    opened.push(reading);
    return reading;
  }

  values(): unknown[] {
    return this.seen.map(({ value }) => value);
  }

  /** Ends of all partitions of a bounded read. */
  async toEnd(): Promise<this> {
    await eventually(() => this.completed || this.failures.length > 0, 'all partitions');
    await Promise.all(this.#loops);
    return this;
  }

  commit(): Promise<void> {
    return this.#source!.committed!(this.positions);
  }

  async close(): Promise<void> {
    this.context.stop.abort();
    await this.#source?.close();
    this.#source = undefined;
  }

  async #pull(partition: SourcePartition): Promise<void> {
    const raw = new RawRecord();
    for (;;) {
      await this.#holding;
      const batch = await partition.pull({ records: 1_000, bytes: 1 << 20 });
      if (batch === null || this.partitions.get(partition.id) !== partition) return;
      for (let i = 0; i < batch.length; i++) {
        batch.read(i, raw);
        const value = raw.decoded ? raw.value : JSON.parse(raw.data.toString('utf8', raw.start, raw.end));
        const { offset, key, timestamp, meta } = raw;
        this.seen.push({ partition: partition.id, offset, key, value, timestamp, meta });
      }
      this.positions.set(partition.id, batch.next);
    }
  }
}

export function record(value: unknown, key?: string, offset = 0): StreamRecord {
  return new StreamRecord(value, key, Date.now(), offset, undefined, undefined, undefined, 'in/0');
}

/** Runs one of Kafka's own tools; gives its standard output. */
export function java(tool: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('java', ['-Xmx256m', '-cp', classPath, `org.apache.kafka.tools.${tool}`, ...args]);
    let out = '';
    let errors = '';
    child.stdout.on('data', (data) => {
      out += data;
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${tool} ended with ${code}: ${errors}`)),
    );
    child.stdin.end(input);
  });
}

/** A broker of one's own, which may be killed. SASL_PLAINTEXT on the port after the next one: test / test-secret. */
export class OwnBroker {
  readonly address: string;
  readonly saslAddress: string;
  readonly #port: number;
  readonly #folder: string;
  #process: ChildProcess | undefined;

  static async start(port: number): Promise<OwnBroker> {
    const broker = new OwnBroker(port, await mkdtemp(join(tmpdir(), 'penstock-kafka-')));
    await broker.#prepare();
    await broker.resume();
    return broker;
  }

  private constructor(port: number, folder: string) {
    this.#port = port;
    this.#folder = folder;
    this.address = `127.0.0.1:${port}`;
    this.saslAddress = `127.0.0.1:${port + 2}`;
  }

  async crash(): Promise<void> {
    const ended = new Promise((resolve) => this.#process!.once('close', resolve));
    this.#process!.kill('SIGKILL');
    await ended;
  }

  async resume(): Promise<void> {
    this.#process = spawn('java', ['-Xmx384m', '-cp', classPath, 'kafka.Kafka', this.#config], { stdio: 'ignore' });
    await eventually(() => listens(this.#port), 'the broker to start');
  }

  async remove(): Promise<void> {
    await this.crash();
    await rm(this.#folder, { recursive: true, force: true });
  }

  get #config(): string {
    return join(this.#folder, 'server.properties');
  }

  async #prepare(): Promise<void> {
    const plain = `PLAINTEXT://127.0.0.1:${this.#port},SASL_PLAINTEXT://127.0.0.1:${this.#port + 2}`;
    const scram = (bits: number) =>
      `listener.name.sasl_plaintext.scram-sha-${bits}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;`;
    const lines = [
      'process.roles=broker,controller',
      'node.id=1',
      `controller.quorum.voters=1@127.0.0.1:${this.#port + 1}`,
      'controller.listener.names=CONTROLLER',
      `listeners=${plain},CONTROLLER://127.0.0.1:${this.#port + 1}`,
      `advertised.listeners=${plain}`,
      'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
      'inter.broker.listener.name=PLAINTEXT',
      `log.dirs=${join(this.#folder, 'data')}`,
      'auto.create.topics.enable=false',
      'offsets.topic.replication.factor=1',
      'offsets.topic.num.partitions=4',
      'group.initial.rebalance.delay.ms=0',
      // Compaction within a second.
      'log.cleaner.backoff.ms=200',
      'log.cleaner.min.cleanable.ratio=0.01',
      'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
      // Takes tokens that nobody has signed.
      'listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;',
      'listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_test="test-secret";',
      scram(256),
      scram(512),
    ];
    await writeFile(this.#config, `${lines.join('\n')}\n`);
    const users = [256, 512].flatMap((bits) => ['--add-scram', `SCRAM-SHA-${bits}=[name=test,password=test-secret]`]);
    const id = Buffer.from('penstock-testing').toString('base64url');
    const format = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', '-t', id, '-c', this.#config, ...users];
    const child = spawn('java', format, { stdio: 'ignore' });
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`the storage of the broker was not made: ${code}`);
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
