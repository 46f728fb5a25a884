import type { Readable } from 'node:stream';

/** The little of the broker's store that is used here. */
export interface Store {
  outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: object): Promise<void>;
  outgoingClearMessageId(client: { id: string; clean?: boolean }, packet: object): Promise<unknown>;
  outgoingStream(client: { id: string }): Readable;
  incomingDelPacket(client: { id: string }, packet: { messageId?: number }): Promise<void>;
  cleanIncoming(client: { id: string }): Promise<void>;
  cleanSubscriptions(client: { id: string }): Promise<unknown>;
}

interface Session {
  readonly user: string | undefined;
  offlineSince: number | undefined;
}

/** Bounds what the broker keeps in memory for clients that are away. */
export interface SessionLimits {
  readonly sessions: number;
  readonly expiryMs: number;
  /** Messages that wait for one session. */
  readonly queued: number;
}

/**
 * The sessions of clients that asked to be remembered: whose they are, how much waits for them, when they are forgotten. And the QoS 2
 * messages that are in the journal and whose exchange has not ended, so that one that comes again is not taken again. All of it lives as
 * long as the process.
 */
export class Sessions {
  readonly #store: Store;
  readonly #limits: SessionLimits;
  readonly #dropped: (count: number) => void;
  readonly #sessions = new Map<string, Session>();
  readonly #queued = new Map<string, number>();
  readonly #exchanges = new Map<string, Map<number, Promise<unknown>>>();
  readonly #clear: Store['outgoingClearMessageId'];

  constructor(store: Store, limits: SessionLimits, dropped: (count: number) => void) {
    this.#store = store;
    this.#limits = limits;
    this.#dropped = dropped;
    this.#clear = store.outgoingClearMessageId.bind(store);
    this.#watch();
  }

  /** Whose session this is: a name, `null` for nobody's; `undefined` when there is none. */
  owner(clientId: string): string | null | undefined {
    const session = this.#sessions.get(clientId);
    return session === undefined ? undefined : (session.user ?? null);
  }

  /** There is room for a session of this client. */
  hasRoom(clientId: string): boolean {
    return this.#sessions.has(clientId) || this.#sessions.size < this.#limits.sessions;
  }

  begin(clientId: string, user: string | undefined, clean: boolean): void {
    if (clean) this.#sessions.delete(clientId);
    else this.#sessions.set(clientId, { user, offlineSince: undefined });
  }

  left(clientId: string, now: number): void {
    const session = this.#sessions.get(clientId);
    if (session) session.offlineSince = now;
  }

  /** Forgets the sessions of clients that have been away for too long. */
  async expire(now: number): Promise<void> {
    for (const [id, { offlineSince }] of this.#sessions) {
      if (offlineSince === undefined || now - offlineSince < this.#limits.expiryMs) continue;
      this.#sessions.delete(id);
      await this.#store.cleanSubscriptions({ id });
      await this.#store.cleanIncoming({ id });
      for await (const packet of this.#store.outgoingStream({ id })) await this.#clear({ id }, packet as object);
      this.#queued.delete(id);
    }
  }

  /** The message of an exchange that has not ended, when it has been taken before. */
  taken(clientId: string, packetId: number): Promise<unknown> | undefined {
    return this.#exchanges.get(clientId)?.get(packetId);
  }

  take(clientId: string, packetId: number, stored: Promise<unknown>): void {
    const exchanges = this.#exchanges.get(clientId) ?? new Map<number, Promise<unknown>>();
    this.#exchanges.set(clientId, exchanges.set(packetId, stored));
  }

  /** Learns from the broker's own calls to its store when an exchange has ended and how much waits for whom. */
  #watch(): void {
    const store = this.#store;
    const enqueue = store.outgoingEnqueueCombi.bind(store);
    const forgetOne = store.incomingDelPacket.bind(store);
    const forgetAll = store.cleanIncoming.bind(store);
    store.outgoingEnqueueCombi = (subscriptions, packet) => {
      const taking = subscriptions.filter(({ clientId }) => (this.#queued.get(clientId) ?? 0) < this.#limits.queued);
      if (taking.length < subscriptions.length) this.#dropped(subscriptions.length - taking.length);
      for (const { clientId } of taking) this.#queued.set(clientId, (this.#queued.get(clientId) ?? 0) + 1);
      return enqueue(taking, packet);
    };
    store.outgoingClearMessageId = async (client, packet) => {
      // Nothing is kept for a clean session, but the store would make an empty queue for each.
      if (client.clean === true) return undefined;
      const cleared = await this.#clear(client, packet);
      const queued = this.#queued.get(client.id);
      if (cleared !== undefined && queued !== undefined) {
        if (queued > 1) this.#queued.set(client.id, queued - 1);
        else this.#queued.delete(client.id);
      }
      return cleared;
    };
    store.incomingDelPacket = (client, packet) => {
      this.#exchanges.get(client.id)?.delete(packet.messageId!);
      return forgetOne(client, packet);
    };
    store.cleanIncoming = (client) => {
      this.#exchanges.delete(client.id);
      return forgetAll(client);
    };
  }
}
