import type { Duplex } from 'node:stream';
import type { IClientOptions, IConnackPacket, MqttClient } from 'mqtt';
import { type Clock, type ConnectOptions, durationMs, type Log, type Ports, RunError } from '../../src/operator.ts';
import { type ConnectionOptions, parseAddress } from './options.ts';
import { isCertificateProblem, refusal } from './refusal.ts';

export interface ConnectionSetup {
  readonly options: ConnectionOptions;
  readonly clientId: string;
  readonly ports: Ports;
  readonly log: Log;
  /** What else the client library needs: the session, the stores. */
  readonly client: IClientOptions;
  /** Puts something between the client and the network. */
  readonly wrap?: (stream: Duplex) => Duplex;
  onConnect?(packet: IConnackPacket): void;
  /** The run cannot go on. */
  onFatal(error: RunError): void;
}

const shortestRetryMs = 250;
const longestRetryMs = 30_000;
const connectTimeoutMs = 10_000;
/** A connection that lasted so long was a good one: the next trouble is a new one. */
const stableMs = 10_000;

/** A connection that comes back by itself, for ever, with growing pauses; and says what goes on, once for each outage. */
export class Connection {
  readonly client: MqttClient;
  readonly address: string;
  /** Resolves with the first answer from the broker, good or bad, or when it turns out that there is none. */
  readonly tried: Promise<void>;
  readonly #setup: ConnectionSetup;
  readonly #closing = new AbortController();
  #settle: () => void = () => {};
  #attempts = 0;
  #everConnected = false;
  /** The time of the last connect while connected. */
  #since: number | undefined;
  #outage = false;
  #shortLived = 0;
  #lastError: string | undefined;

  private constructor(setup: ConnectionSetup, address: string, create: (period: number) => MqttClient) {
    this.#setup = setup;
    this.address = address;
    this.tried = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.client = create(this.#pause());
    this.client.on('connect', (packet) => this.#connected(packet));
    this.client.on('close', () => this.#lost());
    this.client.on('error', (error) => this.#error(error));
    this.client.on('disconnect', ({ reasonCode }) => {
      if (reasonCode === 0x8e) this.#takenOver();
    });
  }

  /** Begins to connect. Rejects only when the options are wrong by themselves. */
  static async open(setup: ConnectionSetup): Promise<Connection> {
    const { options, ports, clientId } = setup;
    const address = parseAddress(options.url);
    if ('message' in address) throw new RunError(`${address.message} ${address.hint}`);
    const target: ConnectOptions = {
      host: address.host,
      port: address.port,
      ...(address.secure ? { tls: await readTls(options, ports) } : {}),
    };
    const { MqttClient } = await import('mqtt');
    const keepAliveMs = durationMs(options.keepAlive ?? '30s');
    const create = (reconnectPeriod: number) =>
      new MqttClient(() => (setup.wrap ?? ((stream) => stream))(ports.network.connect(target)), {
        clientId,
        protocolVersion: options.protocolVersion ?? 4,
        keepalive: keepAliveMs === 0 ? 0 : Math.max(1, Math.round(keepAliveMs / 1_000)),
        connectTimeout: connectTimeoutMs,
        reconnectPeriod,
        reconnectOnConnackError: true,
        resubscribe: false,
        timerVariant: 'native',
        ...(options.username === undefined ? {} : { username: options.username }),
        ...(options.password === undefined ? {} : { password: options.password.reveal() }),
        ...setup.client,
      });
    return new Connection(setup, address.text, create);
  }

  get connected(): boolean {
    return this.#since !== undefined;
  }

  /** Says good-bye, or hangs up when the broker does not answer. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#settle();
    const ended = this.client.endAsync(!this.connected).catch(() => {});
    const waited = new AbortController();
    await Promise.race([ended, pause(this.#setup.ports.clock, 2_000, waited.signal)]);
    waited.abort();
    this.client.stream.destroy();
  }

  #connected(packet: IConnackPacket): void {
    const { log, ports, clientId } = this.#setup;
    this.#since = ports.clock.now();
    this.#everConnected = true;
    this.#lastError = undefined;
    if (this.#outage) log.info(`Connected to ${this.address} again.`, { clientId });
    this.#outage = false;
    const since = this.#since;
    void pause(ports.clock, stableMs, this.#closing.signal).then(() => {
      if (this.#since !== since) return;
      this.#attempts = 0;
      this.#shortLived = 0;
      this.client.options.reconnectPeriod = this.#pause();
    });
    this.#setup.onConnect?.(packet);
    this.#settle();
  }

  /** The client library has set its timer for the next attempt by now: what is set here is the pause after that one. */
  #lost(): void {
    const wasConnected = this.#since !== undefined;
    this.#since = undefined;
    if (this.#closing.signal.aborted) return;
    this.#attempts++;
    this.client.options.reconnectPeriod = this.#pause();
    if (wasConnected && ++this.#shortLived >= 3 && this.#shortLived % 10 === 3) this.#takenOver(this.#shortLived);
    if (!this.#outage) {
      const reason = this.#lastError === undefined ? '' : ` (${this.#lastError})`;
      const what = wasConnected ? `The connection to ${this.address} is lost` : `${this.address} cannot be reached`;
      this.#setup.log.warn(`${what}${reason}. Trying again until it is there.`, { clientId: this.#setup.clientId });
    }
    this.#outage = true;
    this.#settle();
  }

  #error(error: Error & { code?: unknown }): void {
    if (this.#closing.signal.aborted) return;
    const { options, clientId, log } = this.#setup;
    const why =
      typeof error.code === 'number'
        ? refusal(error.code, options.username, clientId)
        : !this.#everConnected && isCertificateProblem(error.code)
          ? `its TLS could not be trusted or understood (${error.message}). Check \`tls\` and the port.`
          : undefined;
    if (why !== undefined) {
      this.#closing.abort();
      this.client.end(true);
      this.#setup.onFatal(new RunError(`${this.address} cannot be used: ${why}`, { cause: error }));
      this.#settle();
      return;
    }
    // An AggregateError of several addresses has its text in its code alone.
    this.#lastError = error.message || String(error.code);
    log.debug(`Trouble with ${this.address}: ${this.#lastError}.`, { clientId });
    // After bytes that are no MQTT the connection is of no use, but the client library keeps it.
    this.client.stream.destroy();
  }

  #takenOver(times?: number): void {
    const { clientId, log } = this.#setup;
    const seen = times === undefined ? 'has taken over our session' : 'may be taking over our session';
    const count =
      times === undefined ? '' : ` The broker closed the connection ${times} times, each soon after it was made.`;
    log.warn(
      `Another client with the id \`${clientId}\` ${seen} at ${this.address}.${count} Give each client its own \`clientId\`.`,
      { clientId },
    );
  }

  /** Full pauses would bring all clients of a broker back at one moment: hence the chance in it. */
  #pause(): number {
    const longest = Math.min(longestRetryMs, shortestRetryMs * 2 ** this.#attempts);
    return Math.ceil(longest * (0.5 + this.#setup.ports.random() / 2));
  }
}

const pause = (clock: Clock, ms: number, signal: AbortSignal) => clock.sleep(ms, signal);

async function readTls(options: ConnectionOptions, ports: Ports): Promise<NonNullable<ConnectOptions['tls']>> {
  const { servername, rejectUnauthorized, ...files } = options.tls ?? {};
  const tls: NonNullable<ConnectOptions['tls']> = {};
  for (const name of ['ca', 'cert', 'key'] as const) {
    const file = files[name];
    if (file === undefined) continue;
    try {
      tls[name] = (await ports.disk.readFile(file)).toString('latin1');
    } catch (error) {
      throw new RunError(`\`tls.${name}\` names the file ${file}, which cannot be read: ${(error as Error).message}.`, {
        cause: error,
      });
    }
  }
  if (servername !== undefined) tls.servername = servername;
  if (rejectUnauthorized !== undefined) tls.rejectUnauthorized = rejectUnauthorized;
  return tls;
}
