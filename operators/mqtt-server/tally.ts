import type { Log } from '../../src/operator.ts';
import type { Refusal } from './lane.ts';

const minuteMs = 60_000;
/** In a minute, of all clients together: whoever changes its name for each attempt must not fill the disk with lines. */
const linesMost = 20;

const texts: Readonly<Record<Refusal, string>> = {
  connections: 'refused: there are as many connections as `limits.connections` allows',
  userConnections: 'refused: its user has as many connections as `limits.connectionsPerUser` allows',
  sessions: 'refused: as many sessions are kept as `limits.sessions` allows',
  busy: 'refused: too many clients wait for their password to be checked',
  connectTimeout: 'hung up on: it did not say CONNECT within `limits.connectTimeout`',
  packetTooLarge: 'hung up on: it began a packet larger than `limits.packet`, or a CONNECT above 64 KiB',
  protocol: 'hung up on: what it sent is no MQTT 3.1.1',
  protocolVersion: 'refused: it speaks MQTT 5, and MQTT 3.1.1 is spoken here',
  password: 'refused: unknown user, wrong password, or none given',
  clientId: 'refused: its client id cannot be used, or belongs to another user',
  publishTopic: 'hung up on: it published to a topic that it may not use',
  subscribeTopic: 'refused a subscription to a topic that it may not use',
  subscriptions: 'refused a subscription: it has as many as `limits.subscriptions` allows',
  rate: 'hung up on: it sent more than `limits.messagesPerSecond`',
  slowReader: 'hung up on: it does not take what it has subscribed to',
  tls: 'did not get through the TLS handshake',
  origin: 'refused: a web page of another origin may not connect',
};

/** What is said of whom in messages: never more than these names. */
export interface Culprit {
  readonly address: string;
  readonly clientId?: string | undefined;
  readonly user?: string | undefined;
}

/** Counts what happens, and says what went wrong: for one client and reason once a minute, whatever it does. */
export class Tally {
  connections = 0;
  accepted = 0;
  messages = 0;
  passedOn = 0;
  /** QoS 2 messages that came again and were there already. */
  duplicates = 0;
  wills = 0;
  slowed = 0;
  readonly dropped = { qos0: 0, retained: 0, queued: 0 };
  readonly #refused: Partial<Record<Refusal, number>> = {};
  readonly #log: Log;
  readonly #now: () => number;
  readonly #said = new Set<string>();
  #minute = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  constructor(log: Log, now: () => number) {
    this.#log = log;
    this.#now = now;
  }

  refused(reason: Refusal, culprit: Culprit): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
    this.#say(reason, `A client was ${texts[reason]}.`.replace('was did', 'did'), culprit);
  }

  say(what: string, message: string, culprit: Culprit): void {
    this.#say(what, message, culprit);
  }

  counters(): Readonly<Record<string, number>> {
    const { connections, accepted, messages, passedOn, duplicates, wills, slowed, dropped } = this;
    const named = (prefix: string, counts: object) =>
      Object.entries(counts).map(([name, count]) => [`${prefix}.${name}`, count as number]);
    return {
      connections,
      accepted,
      messages,
      passedOn,
      duplicates,
      wills,
      slowed,
      ...Object.fromEntries([...named('dropped', dropped), ...named('refused', this.#refused)]),
    };
  }

  #say(what: string, message: string, { address, clientId, user }: Culprit): void {
    if (this.#now() - this.#minute >= minuteMs) {
      if (this.#unsaid > 0)
        this.#log.warn('More clients were refused than lines are written in a minute.', { unsaid: this.#unsaid });
      this.#minute = this.#now();
      this.#unsaid = 0;
      this.#said.clear();
    }
    // Two connections of one address without a name are one client here.
    const who = `${what} ${clientId ?? address.replace(/:\d+$/, '')}`;
    if (this.#said.has(who)) return;
    if (this.#said.size >= linesMost) {
      this.#unsaid++;
      return;
    }
    this.#said.add(who);
    const shown = (text: string | undefined) =>
      text === undefined ? undefined : JSON.stringify(text.slice(0, 100)).slice(1, -1);
    this.#log.warn(message, {
      address,
      ...(clientId !== undefined && { clientId: shown(clientId) }),
      ...(user !== undefined && { user: shown(user) }),
    });
  }
}
