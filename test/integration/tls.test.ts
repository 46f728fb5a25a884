import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { mqttSink, mqttSource } from '../../operators/mqtt/index.ts';
import { type Ports, RunError, Secret } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import {
  journalFolder,
  openForTest,
  pull,
  recordOf,
  type SourceRun,
  sinkContextForTest,
  until,
} from '../conformance/harness.ts';
import { openSink, Reading, record, uniqueName } from './kafka-tools.ts';
import { needs } from './services.ts';
import { Authority, type Certificate, freePort, listen, Mosquitto, SecureKafka } from './tls-tools.ts';

const services = needs('KAFKA_BROKERS', 'MQTT_URL');
const ours = 'DNS:localhost,IP:127.0.0.1';
const password = 'test-secret';

/** Certificates for both brokers. */
let folder: string;
let authority: Authority;
let stranger: Authority;
let server: Certificate;
let elsewhere: Certificate;
let expired: Certificate;
let client: Certificate;
let strangersClient: Certificate;
const after: (() => unknown)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'penstock-tls-'));
  authority = await Authority.create(folder, 'authority');
  stranger = await Authority.create(folder, 'stranger');
  server = await authority.sign('server', ours);
  elsewhere = await authority.sign('elsewhere', 'DNS:elsewhere.example');
  expired = await authority.sign('expired', ours, -1);
  client = await authority.sign('client', 'DNS:client.example');
  strangersClient = await stranger.sign('strangers-client', 'DNS:client.example');
}, 60_000);
afterAll(() => rm(folder, { recursive: true, force: true }));
afterEach(async () => {
  for (const end of after.splice(0).reverse()) await end();
});

/** The real outside, which counts how often it is asked for a connection. */
function countingPorts(): Ports & { connects: number } {
  const real = systemPorts();
  const ports = {
    ...real,
    connects: 0,
    network: {
      ...real.network,
      connect: (options: Parameters<typeof real.network.connect>[0]) => {
        ports.connects++;
        return real.network.connect(options);
      },
    },
  };
  return ports;
}

services.describe('MQTT over TLS', () => {
  let mosquitto: Mosquitto;
  let journals: Awaited<ReturnType<typeof journalFolder>>;
  const ports = { login: 0, elsewhere: 0, expired: 0, clients: 0, plain: 0 };
  const url = (listener: keyof typeof ports, host = '127.0.0.1') => `mqtts://${host}:${ports[listener]}`;
  const login = { username: 'test', password: new Secret(password) };

  beforeAll(async () => {
    for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort();
    mosquitto = new Mosquitto(folder);
    await mosquitto.start([
      { port: ports.login, certificate: server, login: true },
      { port: ports.elsewhere, certificate: elsewhere },
      { port: ports.expired, certificate: expired },
      { port: ports.clients, certificate: server, clientCa: authority.ca },
      { port: ports.plain, login: true },
    ]);
  }, 60_000);
  afterAll(() => mosquitto.stop());
  beforeEach(async () => {
    journals = await journalFolder();
    after.push(() => journals.remove());
  });

  async function source(options: Record<string, unknown>, outside: Partial<Ports> = {}): Promise<SourceRun> {
    const setup = { directory: join(journals.path, uniqueName('journal')), ports: outside };
    await mkdir(setup.directory);
    const all = { topics: 'tls/+', clientId: uniqueName('tls'), ...options };
    const run = await openForTest(mqttSource, all, setup);
    after.push(() => run.stop());
    return run;
  }

  async function sink(options: Record<string, unknown>, outside: Partial<Ports> = {}) {
    const { context, log } = sinkContextForTest(outside);
    const opened = await mqttSink.open({ topic: 'tls/{n}', ...options } as never, context);
    after.push(() => opened.close());
    return { write: opened.write.bind(opened), log };
  }

  /** Both connectors end the run with their first try, and say the same. */
  async function refuses(options: Record<string, unknown>, message: RegExp): Promise<void> {
    for (const open of [source, sink]) {
      const outside = countingPorts();
      const error = await open(options, outside).then(
        () => expect.unreachable(`${open.name} opened`),
        (error: Error) => error,
      );
      expect(error).toBeInstanceOf(RunError);
      expect(error.message).toMatch(message);
      expect(error.message).toContain(String(options['url']));
      expect(outside.connects).toBe(1);
    }
  }

  test.each([4, 5])(
    'the right authority lets both in with protocol version %i, and no log line shows the password',
    async (protocolVersion) => {
      const tls = { ca: authority.ca };
      const reading = await source({ url: url('login'), tls, protocolVersion, ...login });
      const writing = await sink({ url: url('login', 'localhost'), tls, protocolVersion, ...login });
      expect(await writing.write(Array.from({ length: 200 }, (_, n) => recordOf({ n: n % 7 }, n)))).toBeUndefined();
      const records = await pull(reading.partitions.get('0')!, 200);
      expect(records.map(({ text }) => JSON.parse(text).n)).toEqual(Array.from({ length: 200 }, (_, n) => n % 7));
      const lines = [...reading.log.lines, ...writing.log.lines];
      expect(lines.length).toBeGreaterThan(0);
      expect(lines.filter((line) => line.includes(password) || /^(warn|error)/.test(line))).toEqual([]);
    },
  );

  test('a wrong password is refused by name and shown nowhere', async () => {
    const wrong = { url: url('login'), tls: { ca: authority.ca }, username: 'test', password: new Secret('not-it') };
    await refuses(wrong, /refused the user `test`: .*Check `username`/);
    await source(wrong).catch((error) => expect(`${error.stack} ${error.cause?.stack}`).not.toContain('not-it'));
  });

  test('a certificate of an authority that is not trusted ends the start', async () => {
    const message = /no authority that is trusted here.*`tls\.ca`/;
    await refuses({ url: url('login'), tls: { ca: stranger.ca } }, message);
    await refuses({ url: url('login') }, message);
  });

  test('a certificate for another host ends the start, unless that is the name to expect', async () => {
    const tls = { ca: authority.ca };
    const message = /its certificate is for another name.*127\.0\.0\.1.*`tls\.servername`/;
    await refuses({ url: url('elsewhere'), tls }, message);
    await refuses({ url: url('login'), tls: { ...tls, servername: 'other.example' } }, /other\.example.*DNS:localhost/);
    const reading = await source({ url: url('elsewhere'), tls: { ...tls, servername: 'elsewhere.example' } });
    expect(reading.log.lines).toContainEqual(expect.stringContaining('Subscribed'));
  });

  test('a certificate that has expired ends the start', async () => {
    await refuses({ url: url('expired'), tls: { ca: authority.ca } }, /its certificate has expired.*clock/);
  });

  test('a broker that wants a certificate gets ours, and without one the start ends', async () => {
    const tls = { ca: authority.ca };
    const reading = await source({ url: url('clients'), tls: { ...tls, ...client } });
    const writing = await sink({ url: url('clients'), tls: { ...tls, ...client } });
    expect(await writing.write([recordOf({ n: 1 })])).toBeUndefined();
    expect(await pull(reading.partitions.get('0')!, 1)).toHaveLength(1);
    await refuses({ url: url('clients'), tls }, /asks for a certificate of ours.*`tls\.cert` and `tls\.key`/);
    await refuses(
      { url: url('clients'), tls: { ...tls, ...strangersClient } },
      /does not accept our certificate.*`tls\.cert`/,
    );
  });

  test('files that hold no certificate, and a key of another one, end the start by name', async () => {
    const empty = join(folder, 'empty.pem');
    await writeFile(empty, 'nothing\n');
    const at = { url: url('clients') };
    for (const open of [source, sink]) {
      await expect(open({ ...at, tls: { ca: empty } })).rejects.toThrow(/`tls\.ca` .*empty\.pem.*holds no certificate/);
      await expect(open({ ...at, tls: { ca: client.key } })).rejects.toThrow(/`tls\.ca`.*holds no certificate/);
      await expect(open({ ...at, tls: { ...client, key: client.cert } })).rejects.toThrow(
        /`tls\.key`.*holds no private key/,
      );
      const mixed = open({ ...at, tls: { ca: authority.ca, cert: client.cert, key: server.key } });
      await expect(mixed).rejects.toThrow(/`tls\.cert` and `tls\.key` cannot be used.*belong together/);
      await expect(mixed).rejects.toBeInstanceOf(RunError);
    }
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'a server that is not trusted reads nothing from us, with %s',
    async (version) => {
      let read = '';
      const [cert, key] = await Promise.all([readFile(server.cert), readFile(server.key)]);
      const listening = createTlsServer({ cert, key, minVersion: version, maxVersion: version }, (socket) => {
        socket
          .on('error', () => {})
          .on('data', (data) => {
            read += data.toString('latin1');
            socket.destroy();
          });
      });
      listening.on('tlsClientError', () => {});
      const address = `mqtts://127.0.0.1:${await listen(listening)}`;
      after.push(() => listening.close());
      await refuses({ url: address, tls: { ca: stranger.ca }, ...login }, /no authority that is trusted here/);
      expect(read).toBe('');
      // The same server does hear those who trust it.
      await source({ url: address, tls: { ca: authority.ca }, ...login });
      expect(read).toContain(password);
    },
  );

  test('a server that answers in plain text is refused, and nothing is said to it in plain text', async () => {
    const heard: Buffer[] = [];
    const plain = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (data) => {
        heard.push(data);
        // An MQTT broker's welcome, and some more to make up a TLS header.
        socket.write(Buffer.from([0x20, 2, 0, 0, 0xd0, 0, 0xd0, 0]));
      });
    });
    const address = `mqtts://127.0.0.1:${await listen(plain)}`;
    after.push(() => plain.close());
    await refuses({ url: address, tls: { ca: authority.ca }, ...login }, /does not answer in TLS.*Check the port/);
    expect(heard.length).toBeGreaterThan(0);
    for (const bytes of heard) {
      const text = bytes.toString('latin1');
      expect(text).not.toContain('MQTT');
      expect(text).not.toContain(password);
    }
    expect(heard[0]![0]).toBe(0x16);
  });

  test('a plain Mosquitto that hangs up is waited for, with a warning that says so, and never spoken to', async () => {
    const before = mosquitto.log.length;
    const reading = await source({ url: url('plain'), tls: { ca: authority.ca }, clientId: 'downgraded', ...login });
    await until('the warning', () => reading.log.lines.some((line) => line.startsWith('warn')));
    expect(reading.log.lines).toContainEqual(
      expect.stringMatching(
        /^warn: mqtts:.*is not used: it hung up before TLS had begun\. Check that the port is one with TLS/,
      ),
    );
    await until('a second try', () => reading.log.lines.filter((line) => line.startsWith('debug')).length > 1);
    expect(reading.log.lines.filter((line) => line.startsWith('warn'))).toHaveLength(1);
    expect(mosquitto.log.slice(before)).not.toContain('downgraded');
    expect(reading.failures).toEqual([]);
  });

  test('a broker that comes back in plain text, or with a certificate of a stranger, is not used until it is itself again', async () => {
    const own = await mkdtemp(join(folder, 'own-'));
    const broker = new Mosquitto(own);
    after.push(() => broker.stop());
    const port = await freePort();
    const good = { port, certificate: server, login: true };
    await broker.start([good]);
    const at = { url: `mqtts://127.0.0.1:${port}`, tls: { ca: authority.ca }, ...login };
    const reading = await source({ ...at, clientId: 'faithful' });
    const writing = await sink({ ...at, clientId: 'faithful-too' });
    const others = [
      [{ port }, /hung up before TLS/],
      [{ port, certificate: await stranger.sign('impostor', ours) }, /no authority that is trusted here/],
    ] as const;
    for (const [other, reason] of others) {
      await broker.stop();
      broker.log = '';
      await broker.start([other]);
      const heard = () =>
        [reading, writing].every(({ log }) => log.lines.some((line) => line.startsWith('warn') && reason.test(line)));
      await until(`trouble that says ${reason}`, heard);
      expect(broker.log).not.toContain('faithful');
    }
    await broker.stop();
    await broker.start([good]);
    expect(await writing.write([recordOf({ n: 1 })])).toBeUndefined();
    expect(reading.failures).toEqual([]);
    await until('connected again', () => reading.log.lines.some((line) => /Connected to .* again/.test(line)));
    expect([...reading.log.lines, ...writing.log.lines].filter((line) => line.includes(password))).toEqual([]);
  });
});

services.describe('Kafka over TLS', () => {
  let kafka: SecureKafka;
  const lines: string[] = [];

  beforeAll(async () => {
    kafka = await SecureKafka.start(await mkdtemp(join(folder, 'kafka-')));
  }, 90_000);
  afterAll(() => kafka?.stop());

  const login = (mechanism = 'plain', text = password) => ({
    sasl: { mechanism, username: 'test', password: new Secret(text) },
  });

  /** Writes to a new topic and reads it again. */
  async function roundTrip(options: Record<string, unknown>): Promise<void> {
    const topic = uniqueName('tls');
    const sink = await openSink({ ...options, topic, createTopic: { partitions: 2 } });
    const records = Array.from({ length: 100 }, (_, n) => record({ n }, `g${n}`, n));
    expect(await sink.write(records)).toBeUndefined();
    const reading = await Reading.open({ ...options, topic, group: topic, start: 'earliest', until: 'end' });
    await reading.toEnd();
    expect(reading.failures).toEqual([]);
    expect(reading.seen.map(({ value }) => (value as { n: number }).n).sort((a, b) => a - b)).toEqual(
      records.map((_, n) => n),
    );
    lines.push(...[...sink.log.lines, ...reading.context.log.lines].map((line) => JSON.stringify(line)));
  }

  /** Neither connector opens, and both say the same. Gives what was said. */
  async function refuses(options: Record<string, unknown>, message: RegExp): Promise<void> {
    const topic = uniqueName('tls');
    const opening = [openSink({ ...options, topic }), Reading.open({ ...options, topic, start: 'earliest' })];
    for (const opened of await Promise.allSettled<unknown>(opening)) {
      const error = opened.status === 'rejected' ? opened.reason : undefined;
      expect(error).toBeInstanceOf(RunError);
      expect(error.message).toMatch(message);
      expect(error.message).toContain(String(options['brokers']));
      lines.push(`${error.stack} ${error.cause?.stack}`);
    }
  }

  test('the right authority lets records in and out, with every login too, and the password is shown nowhere', async () => {
    const ssl = { ca: kafka.ca };
    await roundTrip({ brokers: kafka.ssl, ssl });
    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512']) {
      await roundTrip({ brokers: kafka.saslSsl, ssl, ...login(mechanism) });
    }
    expect(lines.filter((line) => line.includes(password))).toEqual([]);
  });

  test('an authority that is not trusted ends the start', async () => {
    const message = /no authority that is trusted here.*`ssl\.ca`/;
    await Promise.all([
      refuses({ brokers: kafka.ssl, ssl: { ca: stranger.ca } }, message),
      refuses({ brokers: kafka.ssl, ssl: true }, message),
      refuses({ brokers: kafka.saslSsl, ssl: { ca: stranger.ca }, ...login() }, message),
    ]);
  });

  test('a wrong password over TLS is refused by name and shown nowhere', async () => {
    const message = /does not let user `test` in.*`sasl\.password`/;
    const wrong = ['plain', 'scram-sha-256', 'scram-sha-512'].map((mechanism) =>
      refuses({ brokers: kafka.saslSsl, ssl: { ca: kafka.ca }, ...login(mechanism, 'not-it') }, message),
    );
    await Promise.all(wrong);
    expect(lines.filter((line) => line.includes('not-it'))).toEqual([]);
  });

  test('TLS to a plain port, and plain text to a port with TLS, end the start with what to check', async () => {
    await Promise.all([
      refuses(
        { brokers: kafka.plain, ssl: { ca: kafka.ca } },
        /closed the connection before TLS had begun.*SSL listener/,
      ),
      refuses({ brokers: kafka.ssl }, /closed the connection.*the port may want TLS \(`ssl`\)/),
    ]);
  });

  test('a certificate that has expired or is for another name, and a wish for one of ours, end the start', async () => {
    const standIn = async (certificate: Certificate, wishes: TlsOptions = {}) => {
      const [cert, key] = await Promise.all([readFile(certificate.cert), readFile(certificate.key)]);
      const server = createTlsServer({ cert, key, ...wishes }, (socket) => {
        heard++;
        socket.on('error', () => {});
      });
      server.on('tlsClientError', () => {});
      after.push(() => server.close());
      return { brokers: `127.0.0.1:${await listen(server)}`, ssl: { ca: authority.ca }, ...login() };
    };
    let heard = 0;
    const ca = await readFile(authority.ca);
    await Promise.all([
      refuses(await standIn(expired), /its certificate has expired.*clock/),
      refuses(await standIn(elsewhere), /its certificate is for another name.*127\.0\.0\.1/),
      refuses(await standIn(server, { requestCert: true, ca }), /asks for a certificate of ours.*`ssl\.cert`/),
    ]);
    expect(heard).toBe(0);
  });

  test('files that hold no certificate, and a key of another one, end the start by name', async () => {
    const at = { brokers: kafka.ssl, topic: 'any', start: 'earliest' };
    for (const open of [openSink, Reading.open]) {
      await expect(open({ ...at, ssl: { ca: client.key } })).rejects.toThrow(/`ssl\.ca`.*holds no certificate/);
      const missing = open({ ...at, ssl: { ca: join(folder, 'none.pem') } });
      await expect(missing).rejects.toThrow(/`ssl\.ca` .*none\.pem, which cannot be read/);
      await expect(missing).rejects.toBeInstanceOf(RunError);
    }
    await refuses(
      { brokers: kafka.ssl, ssl: { ca: kafka.ca, cert: client.cert, key: server.key } },
      /cannot be connected to.*key values mismatch.*`ssl\.cert` and `ssl\.key`/,
    );
  });
});
