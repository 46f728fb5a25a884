import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { classPath } from './console-reader.ts';
import { until } from './wait.ts';

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A broker of one's own: for topics and groups whose names are fixed, and to be killed. */
export class OwnBroker {
  readonly address: string;
  readonly #port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), 'penstock-broker-'));
  #child: ChildProcess | undefined;

  static async start(): Promise<OwnBroker> {
    const broker = new OwnBroker(await freePort(), await freePort());
    await broker.#format();
    await broker.resume();
    return broker;
  }

  private constructor(port: number, controller: number) {
    this.#port = port;
    this.address = `127.0.0.1:${port}`;
    writeFileSync(
      this.#settings,
      `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${join(this.#folder, 'data')}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
`,
    );
  }

  /** SIGKILL: what it had in memory is gone. */
  async crash(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await ended;
    running.delete(child);
    this.#child = undefined;
  }

  async resume(): Promise<void> {
    const child = this.#java(['-Xmx512m', '-XX:+UseSerialGC'], ['kafka.Kafka', this.#settings]);
    this.#child = child;
    running.add(child);
    const up = await until(async () => child.exitCode !== null || (await listens(this.#port)), 120_000);
    if (!up || child.exitCode !== null) throw new Error(`The broker at ${this.address} did not come up.`);
  }

  async remove(): Promise<void> {
    await this.crash();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #settings(): string {
    return join(this.#folder, 'server.properties');
  }

  async #format(): Promise<void> {
    const id = Buffer.from('penstock-testing').toString('base64url');
    const child = this.#java(['-Xmx128m'], ['kafka.tools.StorageTool', 'format', '-t', id, '-c', this.#settings]);
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`The storage of the broker was not made: the tool ended with ${code}.`);
  }

  #java(jvm: readonly string[], args: readonly string[]): ChildProcess {
    const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error';
    return spawn('java', [...jvm, quiet, '-cp', classPath(), ...args], { stdio: 'ignore' });
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
    server.once('error', reject);
  });
}
