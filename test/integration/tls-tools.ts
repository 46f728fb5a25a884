import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { until } from '../conformance/harness.ts';
import { servicesFolder } from './services.ts';

const run = promisify(execFile);

/** Files of a certificate and its key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority with its certificate in a folder, made by OpenSSL; everything it signs is valid for two days. */
export class Authority {
  readonly ca: string;
  readonly #folder: string;
  readonly #name: string;

  static async create(folder: string, name: string): Promise<Authority> {
    const authority = new Authority(folder, name);
    await openssl(folder, [
      'req',
      '-x509',
      ...newKey(name),
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-out',
      `${name}.pem`,
    ]);
    return authority;
  }

  private constructor(folder: string, name: string) {
    this.#folder = folder;
    this.#name = name;
    this.ca = join(folder, `${name}.pem`);
  }

  /** Signs a new certificate. With `days` of -1 it has expired. */
  async sign(name: string, names: string, days = 2): Promise<Certificate> {
    const extension = ['-addext', `subjectAltName=${names}`];
    const from = ['-CA', `${this.#name}.pem`, '-CAkey', `${this.#name}.key`, '-CAcreateserial'];
    await openssl(this.#folder, ['req', ...newKey(name), '-subj', `/CN=${name}`, ...extension, '-out', `${name}.csr`]);
    await openssl(this.#folder, [
      ...['x509', '-req', '-in', `${name}.csr`, ...from, '-days', String(days)],
      ...['-copy_extensions', 'copy', '-out', `${name}.pem`],
    ]);
    return { cert: join(this.#folder, `${name}.pem`), key: join(this.#folder, `${name}.key`) };
  }
}

const newKey = (name: string) => [
  ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`],
];

const openssl = (folder: string, args: readonly string[]) => run('openssl', args, { cwd: folder });

/** A port with free ones at these distances behind it, below those that the system hands out by itself. */
export async function freePort(distances: readonly number[] = []): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const taken = await Promise.all([0, ...distances].map((distance) => occupied(port + distance)));
    if (!taken.includes(true)) return port;
  }
}

async function occupied(port: number): Promise<boolean> {
  const server = createServer();
  const listening = await listen(server, port).then(
    () => true,
    () => false,
  );
  if (listening) await new Promise((resolve) => server.close(resolve));
  return !listening;
}

// Not by trying to listen, which would take the port from a server that is about to start.
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Lets a server listen; gives its port. */
export async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  return (server.address() as { port: number }).port;
}

/** What one listener of Mosquitto demands; without a certificate it is plain. */
export interface Listener {
  readonly port: number;
  readonly certificate?: Certificate;
  /** Only clients with a certificate of this authority are let in. */
  readonly clientCa?: string;
  /** Only the user test with the password test-secret is let in. */
  readonly login?: boolean;
}

/** A Mosquitto of our own. */
export class Mosquitto {
  /** What it has written to its log. */
  log = '';
  readonly #folder: string;
  #process: ChildProcess | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async start(listeners: readonly Listener[]): Promise<void> {
    const passwords = join(this.#folder, 'passwords');
    await run('mosquitto_passwd', ['-b', '-c', passwords, 'test', 'test-secret'], { env: withSbin });
    const user = execFileSync('id', ['-un'], { encoding: 'utf8' }).trim();
    const lines = listeners.flatMap(({ port, certificate, clientCa, login }) => [
      `listener ${port} 127.0.0.1`,
      ...(certificate ? [`certfile ${certificate.cert}`, `keyfile ${certificate.key}`] : []),
      ...(clientCa ? [`cafile ${clientCa}`, 'require_certificate true'] : []),
      ...(login ? ['allow_anonymous false', `password_file ${passwords}`] : ['allow_anonymous true']),
    ]);
    const config = join(this.#folder, 'mosquitto.conf');
    await writeFile(config, [`user ${user}`, 'per_listener_settings true', ...lines, ''].join('\n'));
    const child = spawn('mosquitto', ['-v', '-c', config], { env: withSbin, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    const keep = (data: Buffer) => {
      this.log += data;
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    await until(`Mosquitto to start: ${this.log}`, async () => {
      if (child.exitCode !== null) throw new Error(`Mosquitto ended with ${child.exitCode}: ${this.log}`);
      return (await Promise.all(listeners.map(({ port }) => answers(port)))).every(Boolean);
    });
  }

  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await ended;
  }
}

/** Debian keeps Mosquitto where only the administrator looks for programs. */
const withSbin = { ...process.env, PATH: `${process.env['PATH']}${delimiter}/usr/sbin` };

/** A Kafka of our own that also listens for TLS and logins (test / test-secret). */
export class SecureKafka {
  readonly #port: number;
  readonly #folder: string;

  static async start(folder: string): Promise<SecureKafka> {
    const kafka = new SecureKafka(await freePort([1, 10, 11, 12]), folder);
    await kafka.#script('start', { KAFKA_SECURE: '1', KAFKA_HEAP: '384m' });
    return kafka;
  }

  private constructor(port: number, folder: string) {
    this.#port = port;
    this.#folder = folder;
  }

  get plain(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get ssl(): string {
    return `127.0.0.1:${this.#port + 11}`;
  }

  get saslSsl(): string {
    return `127.0.0.1:${this.#port + 12}`;
  }

  get ca(): string {
    return join(this.#folder, 'tls', 'ca.pem');
  }

  async stop(): Promise<void> {
    await this.#script('stop', {});
  }

  async #script(command: 'start' | 'stop', more: Record<string, string>): Promise<void> {
    const script = join(servicesFolder, 'kafka.sh');
    // Not piped: the broker would keep a pipe open for as long as it lives.
    const child = spawn(script, [command, String(this.#port), this.#folder], {
      env: { ...process.env, ...more },
      stdio: 'ignore',
    });
    const code = await new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve));
    if (code !== 0) throw new Error(`${script} ${command} ended with ${code}; see broker.log in ${this.#folder}.`);
  }
}
