import type { Duplex } from 'node:stream';
import type { IClientOptions, IConnackPacket, MqttClient } from 'mqtt';
import {
  type Clock,
  type ConnectOptions,
  durationMs,
  type Log,
  type Ports,
  RunError,
  readTlsFiles,
  tlsRefusal,
} from '../../src/operator.ts';
import { type ConnectionOptions, parseAddress } from './options.ts';
import { refusal } from './refusal.ts';

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
  /** What was last said about the broker's TLS in this outage. */
  #doubt: string | undefined;
  readonly #dial: Dial;

  private constructor(setup: ConnectionSetup, address: string, dial: Dial, create: (period: number) => MqttClient) {
    this.#setup = setup;
    this.address = address;
    this.#dial = dial;
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
    const dial: Dial = { stage: undefined };
    const create = (reconnectPeriod: number) =>
      new MqttClient(() => (setup.wrap ?? ((stream) => stream))(connect(target, ports, dial)), {
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
        ...(options.will && { will: willOf(options.will) }),
        ...setup.client,
      });
    return new Connection(setup, address.text, dial, create);
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
    this.#doubt = undefined;
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
    const byBroker = typeof error.code === 'number' ? refusal(error.code, options.username, clientId) : undefined;
    const byTls = this.#dial.stage === undefined ? undefined : tlsRefusal(error, 'tls', 'tls.servername');
    // A certificate that turns bad under a run may be put right at the broker: it is refused each time, and tried again.
    const why = byBroker ?? (this.#everConnected ? undefined : byTls);
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
    this.#distrust(byTls ?? hungUp(this.#dial, error));
    // After bytes that are no MQTT the connection is of no use, but the client library keeps it.
    this.client.stream.destroy();
  }

  /** Says once in an outage what keeps TLS from being trusted: the outage itself may have begun for another reason. */
  #distrust(doubt: string | undefined): void {
    if (doubt === undefined || doubt === this.#doubt) return;
    this.#doubt = doubt;
    this.#outage = true;
    const { log, clientId } = this.#setup;
    log.warn(`${this.address} is not used: ${doubt} Trying again until it is put right.`, { clientId });
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

/** How far the newest connection has come; `undefined` without TLS. */
interface Dial {
  stage: 'calling' | 'answered' | 'secure' | undefined;
}

function connect(target: ConnectOptions, { network }: Ports, dial: Dial): Duplex {
  if (!target.tls) return network.connect(target);
  let socket: Duplex;
  try {
    socket = network.connect(target);
  } catch (error) {
    throw new RunError(
      `\`tls.cert\` and \`tls.key\` cannot be used (${(error as Error).message}). They have to belong together, and the key must not need a passphrase.`,
      { cause: error },
    );
  }
  dial.stage = 'calling';
  socket.once('connect', () => {
    dial.stage = 'answered';
  });
  socket.once('secureConnect', () => {
    dial.stage = 'secure';
  });
  return socket;
}

/** What a broker without TLS does; but a proxy whose broker is away does it too, so it is no reason to give up. */
function hungUp({ stage }: Dial, { code }: { code?: unknown }): string | undefined {
  if (stage !== 'answered' || (code !== 'ECONNRESET' && code !== 'EPIPE')) return undefined;
  return 'it hung up before TLS had begun. Check that the port is one with TLS.';
}

const pause = (clock: Clock, ms: number, signal: AbortSignal) => clock.sleep(ms, signal);

async function readTls({ tls = {} }: ConnectionOptions, { disk }: Ports): Promise<NonNullable<ConnectOptions['tls']>> {
  const { servername, rejectUnauthorized } = tls;
  return {
    ...(await readTlsFiles(tls, 'tls', disk)),
    ...(servername === undefined ? {} : { servername }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
  };
}

function willOf({ topic, payload, qos = 1, retain = false, delay }: NonNullable<ConnectionOptions['will']>) {
  const properties = delay === undefined ? {} : { willDelayInterval: Math.ceil(durationMs(delay) / 1_000) };
  return { topic, payload: Buffer.from(payload), qos, retain, properties };
}
