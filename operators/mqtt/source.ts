import type { IConnackPacket, IPublishPacket, MqttClient, Store } from 'mqtt';
import {
  type Batch,
  compileTopic,
  durationMs,
  type Journal,
  type OpenSource,
  type Position,
  type PullLimits,
  RunError,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
} from '../../src/operator.ts';
import { JournaledBatch, journalFlags, largestPayload, Routes, shorten, withHeaders } from './batch.ts';
import { Connection } from './connection.ts';
import { AckGate } from './gate.ts';
import type { ConnectionOptions } from './options.ts';
import { headersOf } from './properties.ts';
import { openReplay } from './replay.ts';

export interface SourceOptions extends ConnectionOptions {
  topics: string | string[];
  qos?: 0 | 1 | 2;
  retained?: 'skip' | 'include' | 'initial';
  sessionExpiry?: string;
  journal?: { maxBytes?: string; keep?: string };
  maxPayload?: string;
}

/** Above so many bytes that are not yet durable, nothing more is read from the broker. */
const pendingBytesMax = 4 << 20;
const partitionId = '0';

type Done = (error?: Error) => void;

/** Opens the source: begins to connect, and serves what the journal holds meanwhile. */
export async function openSource(options: SourceOptions, context: SourceContext): Promise<OpenSource> {
  if (context.replay) return openReplay(context.replay, context, routesOf(options), options.maxPayload);
  const { maxBytes, keep } = options.journal ?? {};
  const journal = await context.journal(context.id, {
    ...(maxBytes !== undefined && { maxBytes: sizeBytes(maxBytes) }),
    ...(keep !== undefined && { keepMs: durationMs(keep) }),
  });
  const source = new MqttSource(options, context, journal);
  await source.connect();
  return source;
}

const patternsOf = ({ topics }: SourceOptions) => [topics].flat().map(compileTopic);
const routesOf = (options: SourceOptions) => new Routes(patternsOf(options));

/**
 * Takes messages into the journal, acknowledges them once they are durable there, and reads them from it. A message whose
 * acknowledgement is lost with the connection or the process comes again, and is then in the journal twice.
 */
class MqttSource implements OpenSource, SourcePartition {
  readonly id = partitionId;
  readonly #options: SourceOptions;
  readonly #context: SourceContext;
  readonly #journal: Journal;
  readonly #routes: Routes;
  readonly #filters: readonly string[];
  readonly #qos: 0 | 1 | 2;
  readonly #clientId: string;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #keepAliveMs: number;
  /** There was a session before, so a broker without one has lost messages. */
  #hadSession: boolean;
  readonly #firstStart: boolean;
  #subscribed = false;
  #subscribing: Promise<void> | undefined;
  #connects = 0;
  #next: number;
  #connection: Connection | undefined;
  #gate: AckGate | undefined;
  #fatal: RunError | undefined;
  #opened = false;

  constructor(options: SourceOptions, context: SourceContext, journal: Journal) {
    this.#options = options;
    this.#context = context;
    this.#journal = journal;
    this.#routes = routesOf(options);
    this.#filters = [...new Set(patternsOf(options).map(({ filter }) => filter))];
    this.#qos = options.qos ?? 1;
    this.#clientId = options.clientId ?? `penstock-${context.topology}-${context.id}`;
    this.#signal = AbortSignal.any([context.signal, this.#closing.signal]);
    this.#keepAliveMs = durationMs(options.keepAlive ?? '30s');
    const position = context.position(partitionId);
    this.#next = position === undefined ? journal.begin : this.#resume(position);
    this.#firstStart = position === undefined;
    this.#hadSession = this.#qos > 0 && (context.resumed || journal.end > 0);
  }

  async connect(): Promise<void> {
    const { Store } = await import('mqtt');
    const expirySeconds = Math.min(0xffff_ffff, Math.ceil(durationMs(this.#options.sessionExpiry ?? '7d') / 1_000));
    const lasting = this.#qos > 0;
    this.#connection = await Connection.open({
      options: this.#options,
      clientId: this.#clientId,
      ports: this.#context.ports,
      log: this.#context.log,
      client: {
        clean: !lasting,
        incomingStore: this.#incoming(new Store()),
        ...(lasting && this.#options.protocolVersion === 5
          ? { properties: { sessionExpiryInterval: expirySeconds } }
          : {}),
      },
      wrap: (stream) => {
        this.#gate = new AckGate(stream);
        return this.#gate;
      },
      onConnect: (packet) => this.#connected(packet),
      onFatal: (error) => this.#fail(error),
    });
    this.#connection.client.handleMessage = (packet, done) => this.#take(packet, done);
    await this.#connection.tried;
    await this.#subscribing;
    if (this.#fatal) {
      await this.close();
      throw this.#fatal;
    }
    this.#opened = true;
    this.#context.assign(this);
    this.#context.complete();
  }

  get caughtUp(): boolean {
    return this.#connection?.connected === true && this.#next === this.#journal.end && this.#journal.pendingBytes === 0;
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const records = await this.#journal.read(this.#next, limits, this.#signal);
    if (!records) return null;
    this.#next = records.next;
    return new JournaledBatch(records, this.#routes, sizeBytes(this.#options.maxPayload ?? '1MiB'));
  }

  async committed(positions: ReadonlyMap<string, Position>): Promise<void> {
    const position = positions.get(partitionId);
    if (typeof position === 'number') await this.#journal.trim(position);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#connection?.close();
  }

  #resume(position: Position): number {
    const { begin, end } = this.#journal;
    if (typeof position === 'number' && position >= begin && position <= end) return position;
    throw new RunError(
      `The checkpoint goes on at message ${JSON.stringify(position)} of the journal of \`${this.#context.id}\`, which holds messages ${begin} to ${end}. The journal and the checkpoint do not belong together: restore both from the same copy, or remove both to begin anew.`,
    );
  }

  #fail(error: RunError): void {
    if (this.#fatal || this.#signal.aborted) return;
    this.#fatal = error;
    if (this.#opened) this.#context.fail(error);
  }

  #connected({ sessionPresent }: IConnackPacket): void {
    const address = this.#connection!.address;
    this.#connects++;
    if (this.#hadSession && !sessionPresent) {
      this.#context.log.warn(
        `${address} has lost the session of client \`${this.#clientId}\`: what was published while we were not connected may be lost. Check that the broker keeps its sessions on disk and for long enough.`,
        { clientId: this.#clientId },
      );
    }
    this.#hadSession = this.#qos > 0;
    // The session holds the subscriptions, but another topology may have made them: one of ours is needed once.
    if (sessionPresent && this.#subscribed) return;
    this.#subscribing = this.#subscribe();
  }

  #subscribe(): Promise<void> {
    const retainHandling = (this.#options.retained ?? 'skip') === 'skip' ? 2 : 0;
    const options = { qos: this.#qos, ...(this.#options.protocolVersion === 5 ? { rh: retainHandling } : {}) } as const;
    return new Promise((resolve) => {
      this.#connection!.client.subscribe([...this.#filters], options, (error, _grants, packet) => {
        const granted = (packet?.granted ?? []) as number[];
        for (const [n, filter] of this.#filters.entries()) this.#granted(filter, granted[n]);
        if (!error) {
          this.#subscribed = true;
          this.#context.log.info(`Subscribed at ${this.#connection!.address}.`, { topics: this.#filters.join(', ') });
        }
        resolve();
      });
    });
  }

  /** Without a grant the connection was lost on the way: the next one subscribes again. */
  #granted(filter: string, granted: number | undefined): void {
    if (granted === undefined) return;
    const address = this.#connection!.address;
    if (granted >= 0x80) {
      this.#fail(
        new RunError(
          `${address} refused the subscription to \`${filter}\` (code ${granted}). Check the rights of ${this.#options.username === undefined ? 'clients without a user name' : `the user \`${this.#options.username}\``} at the broker, and the topic.`,
        ),
      );
    } else if (granted < this.#qos) {
      this.#context.log.warn(
        `${address} grants QoS ${granted} for \`${filter}\` instead of ${this.#qos}: its messages may get lost on the way.`,
      );
    }
  }

  /** Called by the client for each message, one at a time: the next one waits for `done`. */
  #take(packet: IPublishPacket, done: Done): void {
    // A QoS 2 message is in the journal since it came; this is only its release.
    if (packet.qos === 2) {
      done();
      return;
    }
    const stored = this.#store(packet);
    if (packet.qos === 1) this.#whenStored(stored, this.#gate!.expect(packet.messageId!));
    this.#paced(stored, done);
  }

  /** Puts a QoS 2 message into the journal before it is acknowledged for the first time, and once only. */
  #incoming(store: Store): Store {
    const known = new Map<number, Promise<unknown>>();
    const keep = store.put.bind(store);
    const forget = store.del.bind(store);
    store.put = (packet, done) => {
      const message = packet as IPublishPacket;
      const id = message.messageId!;
      const stored = known.get(id) ?? this.#store(message);
      known.set(id, stored);
      this.#whenStored(stored, this.#gate!.expect(id));
      keep({ ...message, payload: '' }, () => this.#paced(stored, done));
      return store;
    };
    store.del = (packet, done) => {
      known.delete(packet.messageId!);
      return forget(packet, done);
    };
    return store;
  }

  #store(packet: IPublishPacket): Promise<unknown> {
    const { topic, payload, retain } = packet;
    if (retain && !this.#wantsRetained()) return Promise.resolve();
    const whole = typeof payload === 'string' ? Buffer.from(payload) : payload;
    const cut = whole.length > largestPayload;
    const kept = cut ? shorten(whole) : whole;
    const headers = headersOf(packet);
    const { bytes, flag } = headers ? withHeaders(kept, headers) : { bytes: kept, flag: 0 };
    const stored = this.#journal.append({
      topic,
      payload: bytes,
      arrival: this.#context.ports.clock.now(),
      flags: (retain ? journalFlags.retained : 0) | (cut ? journalFlags.cut : 0) | flag,
    });
    stored.catch((error: RunError) => this.#fail(error));
    return stored;
  }

  #wantsRetained(): boolean {
    const { retained = 'skip' } = this.#options;
    return retained === 'include' || (retained === 'initial' && this.#firstStart && this.#connects === 1);
  }

  /** A message that could not be stored is never acknowledged. */
  #whenStored(stored: Promise<unknown>, release: () => void): void {
    stored.then(release, () => {});
  }

  #paced(stored: Promise<unknown>, done: Done): void {
    if (this.#journal.pendingBytes <= pendingBytesMax) done();
    else void this.#hold(stored, done);
  }

  /**
   * Holds the client back until the message is durable. The client now reads nothing, not even the answers to its pings:
   * here they are sent for it, so that neither side takes the pause for a dead connection.
   */
  async #hold(stored: Promise<unknown>, done: Done): Promise<void> {
    const waited = new AbortController();
    const stop = () => waited.abort();
    const over = stored.then(stop, stop);
    this.#signal.addEventListener('abort', stop, { once: true });
    while (this.#keepAliveMs > 0 && !waited.signal.aborted) {
      await this.#context.ports.clock.sleep(this.#keepAliveMs / 2, waited.signal);
      const client: MqttClient = this.#connection!.client;
      if (waited.signal.aborted || !client.connected) continue;
      client.reschedulePing(true);
      client.sendPing();
    }
    await over;
    this.#signal.removeEventListener('abort', stop);
    done();
  }
}
