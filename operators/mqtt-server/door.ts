import type { Aedes, AedesPublishPacket, Client, ConnectPacket, Subscription } from 'aedes';
import type { Log, TopicPattern } from '../../src/operator.ts';
import { type Admission, admit, returnCodes } from './admission.ts';
import type { Ending, Lane, Refusal } from './lane.ts';
import type { Presence } from './presence.ts';
import { Retained } from './retained.ts';
import type { Rules } from './rules.ts';
import { type SessionLimits, Sessions, type Store } from './sessions.ts';
import type { Tally } from './tally.ts';
import { filterProblem, topicProblem } from './topic-problem.ts';
import type { PasswordCheck } from './users.ts';

/** One message of a client. */
export interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  readonly retain: boolean;
}

/** What the door needs of the source around it. */
export interface DoorSetup {
  readonly log: Log;
  readonly tally: Tally;
  readonly now: () => number;
  readonly passwords: PasswordCheck | undefined;
  readonly rules: Rules;
  readonly retain: boolean;
  /** Topics that are for subscribers alone. */
  readonly passOn: readonly TopicPattern[];
  readonly limits: SessionLimits & {
    readonly connectionsPerUser: number;
    readonly subscriptions: number;
    readonly retainedBytes: number;
    readonly keepAliveMs: number;
    readonly inflight: number;
    readonly connectTimeoutMs: number;
  };
  /** Puts a message into the journal; resolves once it is durable there. */
  store(message: Message): Promise<unknown>;
  tell(presence: Presence): void;
}

type Done = (error?: Error | null) => void;

const laneOf = (client: Client) => client.conn as Lane;

/** The broker that devices talk to: who may do what, and when a message counts as taken. */
export class Door {
  readonly #setup: DoorSetup;
  readonly #aedes: Aedes;
  readonly #sessions: Sessions;
  readonly #retained: Retained;
  /** Lanes of clients that are in, by client id. */
  readonly #inside = new Map<string, Lane>();
  readonly #entrants = new WeakSet<Lane>();
  readonly #introduced = new WeakMap<Lane, Pick<ConnectPacket, 'clientId' | 'clean' | 'will'>>();

  private constructor(setup: DoorSetup, aedes: Aedes) {
    this.#setup = setup;
    this.#aedes = aedes;
    const { limits, tally } = setup;
    const { persistence } = aedes as unknown as { persistence: Store };
    this.#sessions = new Sessions(persistence, limits, (count) => {
      tally.dropped.queued += count;
    });
    this.#retained = new Retained(setup.retain ? limits.retainedBytes : 0);
    this.#listen();
  }

  static async open(setup: DoorSetup): Promise<Door> {
    const { Aedes } = await import('aedes');
    const { inflight, connectTimeoutMs } = setup.limits;
    const aedes = await Aedes.createBroker({
      // Lanes see to these before the broker can.
      connectTimeout: connectTimeoutMs + 60_000,
      maxInflightInbound: 65_535,
      queueLimit: inflight,
      maxClientsIdLength: 256,
    });
    return new Door(setup, aedes);
  }

  /** A client that has said CONNECT. */
  welcome(lane: Lane): void {
    this.#aedes.handle(lane);
  }

  /** Called each second. */
  tick(now: number): void {
    this.#sessions
      .expire(now)
      .catch((error: Error) => this.#setup.log.error(`A session could not be ended: ${error.message}.`));
  }

  /** Hangs up on these users, whose right to be here has changed. */
  expel(users: readonly string[]): void {
    for (const lane of [...this.#inside.values()]) {
      if (lane.user !== undefined && users.includes(lane.user)) lane.hangUp('userChanged');
    }
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#aedes.close(() => resolve()));
  }

  #listen(): void {
    const aedes = this.#aedes;
    aedes.preConnect = (client, packet, done) => {
      const { clientId, clean, will } = packet;
      this.#introduced.set(laneOf(client), { clientId, clean: clean === true, ...(will && { will }) });
      const { keepAliveMs: most } = this.#setup.limits;
      const asked = (packet.keepalive ?? 0) * 1_000;
      laneOf(client).keepAliveMs = most > 0 && (asked === 0 || asked > most) ? most : asked;
      // The lane keeps it: the broker's own timer would run while it is us who do not read.
      packet.keepalive = 0;
      done(null, true);
    };
    aedes.authenticate = (client, username, password, done) => {
      this.#admit(client, username, password as Buffer | undefined).then(
        (refusal) => {
          if (refusal === undefined) return done(null, true);
          this.#note(laneOf(client), refusal);
          done(Object.assign(new Error(refusal), { returnCode: returnCodes[refusal] ?? 5 }), null);
        },
        (error: Error) => done(Object.assign(error, { returnCode: 3 }), null),
      );
    };
    aedes.authorizePublish = (client, packet, done) => this.#publish(client, packet as AedesPublishPacket, done);
    aedes.authorizeSubscribe = (client, subscription, done) => {
      const refusal = this.#subscription(client, subscription);
      if (refusal !== undefined) this.#note(laneOf(client), refusal, false);
      done(null, refusal === undefined ? subscription : null);
    };
    aedes.authorizeForward = (client, packet) => {
      if (!laneOf(client).backlogged) return packet;
      laneOf(client).refuse('slowReader');
      return null;
    };
    aedes.on('client', (client) => this.#entered(client));
    aedes.on('clientDisconnect', (client) => this.#left(client));
    aedes.on('connackSent', ({ returnCode }, client) => {
      if (returnCode === 0) laneOf(client).open();
    });
    const failed = (client: Client, error: Error) => this.#failed(laneOf(client), error);
    aedes.on('clientError', failed);
    aedes.on('connectionError', failed);
  }

  async #admit(
    client: Client,
    username: string | undefined,
    password: Buffer | undefined,
  ): Promise<Refusal | undefined> {
    const lane = laneOf(client);
    const { clientId, clean, will } = this.#introduced.get(lane)!;
    const { passwords, rules, limits } = this.#setup;
    const admission: Admission = {
      passwords,
      rules,
      sessions: this.#sessions,
      connectionsPerUser: limits.connectionsPerUser,
      inside: this.#inside,
    };
    const said = {
      clientId: client.id,
      givenId: clientId,
      clean: clean === true,
      username,
      password,
      will: will && { topic: will.topic, qos: will.qos ?? 0 },
    };
    const refusal = await admit(lane, said, admission);
    if (refusal === undefined && !lane.destroyed) {
      const before = this.#inside.get(client.id);
      if (before) before.ending ??= 'takenOver';
    }
    return refusal;
  }

  #entered(client: Client): void {
    const lane = laneOf(client);
    const before = this.#inside.get(client.id);
    if (before && before !== lane) before.hangUp('takenOver');
    this.#inside.set(client.id, lane);
    this.#entrants.add(lane);
    this.#sessions.begin(client.id, lane.user, client.clean);
    this.#setup.tally.connections++;
    this.#setup.tally.accepted++;
    this.#tell('connected', lane);
  }

  #left(client: Client): void {
    const lane = laneOf(client);
    // The broker says it of a client too that has gone before it was in.
    if (!this.#entrants.delete(lane)) return;
    if (this.#inside.get(client.id) === lane) this.#inside.delete(client.id);
    this.#sessions.left(client.id, this.#setup.now());
    this.#setup.tally.connections--;
    const reason = lane.ending ?? (this.#aedes.closed ? 'shutdown' : 'lost');
    if (reason === 'keepAliveMissed') this.#tell('keepAliveMissed', lane);
    this.#tell('disconnected', lane, { reason });
  }

  #publish(client: Client | null, packet: AedesPublishPacket, done: Done): void {
    const lane = client === null ? undefined : laneOf(client);
    const { topic, qos, messageId } = packet;
    const clientId = client?.id ?? '';
    // The broker hands in wills here too, as they were in CONNECT.
    const will = (packet as { cmd?: string }).cmd !== 'publish';
    const refuse = (reason: Refusal) => {
      if (lane) this.#note(lane, reason, will ? false : undefined);
      done(new Error(reason));
    };
    if (topicProblem(topic) || !this.#setup.rules.mayPublish(topic, { user: lane?.user, clientId })) {
      refuse('publishTopic');
      return;
    }
    if (!will && qos > 0 && !messageId) {
      refuse('protocol');
      return;
    }
    const again = qos === 2 && !will ? this.#sessions.taken(clientId, messageId!) : undefined;
    const stored = again ?? this.#take(packet, lane, will);
    if (again) this.#setup.tally.duplicates++;
    else if (qos === 2 && !will) this.#sessions.take(clientId, messageId!, stored);
    if (will && lane) this.#tell('lastWill', lane, { topic });
    if (qos === 0 && !will) {
      done(null);
      return;
    }
    stored.then(
      () => {
        if (!will) lane?.settled();
        // The broker would keep the exchange of a client that is gone.
        done(qos === 2 && !will && client?.closed === true && client.clean ? new Error('closed') : null);
      },
      (error: Error) => done(error),
    );
  }

  #take(packet: AedesPublishPacket, lane: Lane | undefined, will: boolean): Promise<unknown> {
    const { tally } = this.#setup;
    const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload);
    const { retain } = packet;
    if (retain && !this.#retained.keep(packet.topic, payload.length)) {
      packet.retain = false;
      tally.dropped.retained++;
      const message = 'A message is not kept for new subscribers: `limits.retained` is reached, or `retain` is off.';
      tally.say('retained', message, culpritOf(lane));
    }
    if (will) tally.wills++;
    if (this.#setup.passOn.some(({ match }) => match(packet.topic) !== undefined)) {
      tally.passedOn++;
      return Promise.resolve();
    }
    if (!will) tally.messages++;
    return this.#setup.store({ topic: packet.topic, payload, retain });
  }

  #subscription(client: Client, { topic }: Subscription): Refusal | undefined {
    const { rules, limits } = this.#setup;
    const { user } = laneOf(client);
    if (filterProblem(topic) || !rules.maySubscribe(topic, { user, clientId: client.id })) return 'subscribeTopic';
    const { subscriptions } = client as unknown as { subscriptions: Record<string, unknown> };
    return subscriptions[topic] === undefined && Object.keys(subscriptions).length >= limits.subscriptions
      ? 'subscriptions'
      : undefined;
  }

  /** The broker has given up on a client: it has sent what is no MQTT, or has not taken what was sent. */
  #failed(lane: Lane, { message }: Error): void {
    if (lane.ending !== undefined || message === 'connection closed' || message === 'closed') return;
    this.#note(lane, message.includes('drain') ? 'slowReader' : 'protocol');
  }

  /** Counts a refusal. `ends`: the connection ends with it. */
  #note(lane: Lane, reason: Refusal, ends = true): void {
    if (ends && lane.ending !== undefined) return;
    if (ends) lane.ending = reason;
    this.#setup.tally.refused(reason, culpritOf(lane));
  }

  #tell(event: Presence['event'], lane: Lane, more: { reason?: Ending; topic?: string } = {}): void {
    this.#setup.tell({
      event,
      clientId: lane.clientId ?? '',
      ...(lane.user !== undefined && { username: lane.user }),
      at: this.#setup.now(),
      address: lane.origin.address,
      listener: lane.origin.listener,
      ...more,
    });
  }
}

/** Who it was, for messages. */
export function culpritOf(lane: Lane | undefined) {
  return { address: lane?.origin.address ?? '', clientId: lane?.clientId, user: lane?.user };
}
