import {
  type Batch,
  compileTopic,
  durationMs,
  type Journal,
  type OpenSource,
  type Position,
  type PullLimits,
  RunError,
  readTlsFiles,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
} from '../../src/operator.ts';
import { JournaledBatch, journalFlags, Ways } from './batch.ts';
import { culpritOf, Door, type Message } from './door.ts';
import { Lane, type LaneRules, type Origin } from './lane.ts';
import { type Listener, listen } from './listeners.ts';
import { defaultListen, type ListenAddress, parseListen, type ServerOptions } from './options.ts';
import type { Presence } from './presence.ts';
import {
  compileRoutes,
  parseProperties,
  parseRouteList,
  propertyOfRoutes,
  type RouteOption,
  routeProblem,
} from './routes.ts';
import { compileRules } from './rules.ts';
import { Tally } from './tally.ts';
import { PasswordCheck, parseUsers, type UserTable } from './users.ts';

/** Above so many bytes that are not yet durable, nothing more is taken from clients. */
const pendingBytesMost = 4 << 20;
const partitionId = '0';
const tickMs = 1_000;
/** Ticks between two looks at the user file. */
const usersEvery = 2;
/** Held for so many ticks, QoS 0 messages are given up. */
const pressedAfter = 2;

/** Opens the front door: listens, and serves what the journal holds. Rejects with a RunError when it cannot listen, or a file is bad. */
export async function openServer(options: ServerOptions, context: SourceContext): Promise<OpenSource> {
  const { maxBytes } = options.journal ?? {};
  const route = await readRoutes(options, context);
  const users = await readUsers(options, context);
  const journal = await context.journal(context.id, maxBytes === undefined ? {} : { maxBytes: sizeBytes(maxBytes) });
  const source = new MqttServerSource(options, context, journal, route, users);
  await source.open();
  return source;
}

/** Takes the messages of clients into the journal and reads them from it. */
class MqttServerSource implements OpenSource, SourcePartition, LaneRules {
  readonly id = partitionId;
  readonly maxPacket: number;
  readonly rate: number;
  readonly overRate: 'slow' | 'disconnect';
  readonly inflight: number;
  readonly connectTimeoutMs: number;
  held = false;
  readonly #options: ServerOptions;
  readonly #context: SourceContext;
  readonly #journal: Journal;
  readonly #ways: Ways;
  readonly #passwords: PasswordCheck | undefined;
  readonly #tally: Tally;
  readonly #lanes = new Set<Lane>();
  readonly #listeners: Listener[] = [];
  readonly #storing = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #connections: number;
  #usersText = '';
  #heldTicks = 0;
  #ticks = 0;
  #door: Door | undefined;
  #next: number;

  constructor(
    options: ServerOptions,
    context: SourceContext,
    journal: Journal,
    route: ((topic: string) => string | undefined) | undefined,
    users: { table: UserTable; text: string } | undefined,
  ) {
    this.#options = options;
    this.#context = context;
    this.#journal = journal;
    const topics = options.topics === undefined ? undefined : [options.topics].flat().map(compileTopic);
    this.#ways = new Ways(topics, route);
    this.#passwords = users && new PasswordCheck(users.table);
    this.#usersText = users?.text ?? '';
    this.#tally = new Tally(context.log, () => this.now());
    const { limits = {} } = options;
    this.maxPacket = sizeBytes(limits.packet ?? '1MiB');
    this.rate = limits.messagesPerSecond ?? 10_000;
    this.overRate = limits.overRate ?? 'slow';
    this.inflight = limits.inflight ?? 100;
    this.connectTimeoutMs = durationMs(limits.connectTimeout ?? '10s');
    this.#connections = limits.connections ?? 10_000;
    this.#signal = AbortSignal.any([context.signal, this.#closing.signal]);
    const position = context.position(partitionId);
    this.#next = position === undefined ? journal.begin : this.#resume(position);
  }

  async open(): Promise<void> {
    const { limits = {}, rules, retain = true, presence = 'drop', passOn = [] } = this.#options;
    const watched = presence !== 'drop';
    this.#door = await Door.open({
      log: this.#context.log,
      tally: this.#tally,
      now: () => this.now(),
      passwords: this.#passwords,
      rules: compileRules(rules),
      retain,
      passOn: [passOn].flat().map(compileTopic),
      limits: {
        connectionsPerUser: limits.connectionsPerUser ?? 0,
        subscriptions: limits.subscriptions ?? 100,
        sessions: limits.sessions ?? 10_000,
        expiryMs: durationMs(limits.sessionExpiry ?? '1d'),
        queued: limits.queued ?? 1_000,
        retainedBytes: sizeBytes(limits.retained ?? '64MiB'),
        keepAliveMs: durationMs(limits.keepAlive ?? '1h'),
        inflight: this.inflight,
        connectTimeoutMs: this.connectTimeoutMs,
      },
      store: (message) => this.#store(message),
      tell: (what) => {
        if (watched) this.#tell(what);
      },
    });
    if (watched) this.#tell({ event: 'serverStarted', at: this.now() });
    try {
      await this.#listen();
    } catch (error) {
      await this.close();
      throw error;
    }
    void this.#tickOn();
    this.#context.assign(this);
    this.#context.complete();
  }

  get caughtUp(): boolean {
    return this.#next === this.#journal.end && this.#journal.pendingBytes === 0;
  }

  get pressed(): boolean {
    return this.#heldTicks >= pressedAfter;
  }

  now(): number {
    return this.#context.ports.clock.now();
  }

  counters(): Readonly<Record<string, number>> {
    return this.#tally.counters();
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const records = await this.#journal.read(this.#next, limits, this.#signal);
    if (!records) return null;
    this.#next = records.next;
    return new JournaledBatch(records, this.#ways, this.#options.presence ?? 'drop');
  }

  async committed(positions: ReadonlyMap<string, Position>): Promise<void> {
    const position = positions.get(partitionId);
    if (typeof position === 'number') await this.#journal.trim(position);
  }

  /** Hangs up on all clients, and waits for what they have sent and what is to be said of their going. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const listener of this.#listeners) listener.stop();
    await this.#door?.close();
    for (const lane of this.#lanes) lane.hangUp('shutdown');
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    await Promise.allSettled(this.#storing);
  }

  onConnect(lane: Lane): void {
    this.#door!.welcome(lane);
  }

  onRefused(lane: Lane, reason: Parameters<Tally['refused']>[0]): void {
    this.#tally.refused(reason, culpritOf(lane));
  }

  onDropped(): void {
    this.#tally.dropped.qos0++;
  }

  onSlowed(lane: Lane): void {
    this.#tally.slowed++;
    this.#tally.say('slowed', 'A client sends more than `limits.messagesPerSecond` and has to wait.', culpritOf(lane));
  }

  async #listen(): Promise<void> {
    const { tls, listen: given = defaultListen, origins = [] } = this.#options;
    const { log, ports } = this.#context;
    const files = tls ? await readTlsFiles(tls, 'tls', ports.disk) : {};
    for (const text of [given].flat()) {
      const address = parseListen(text) as ListenAddress;
      const listener = await listen(address, {
        tls: files,
        clientCertificates: tls?.clientCertificates ?? 'none',
        connections: this.#connections,
        connectTimeoutMs: this.connectTimeoutMs,
        maxPacket: this.maxPacket,
        origins,
        onConnection: (stream, origin) => this.#connected(new Lane(stream, origin, this), origin),
        onRefused: (reason, from) => this.#tally.refused(reason, { address: from }),
      });
      this.#listeners.push(listener);
      log.info('Devices can connect.', { url: listener.url });
    }
  }

  #connected(lane: Lane, { address }: Origin): void {
    lane.on('error', () => {});
    if (this.#lanes.size >= this.#connections) this.#reap();
    if (this.#lanes.size >= this.#connections) {
      lane.ending = 'connections';
      this.#tally.refused('connections', { address });
      lane.destroy();
    }
    this.#lanes.add(lane);
  }

  async #tickOn(): Promise<void> {
    const { clock } = this.#context.ports;
    for (;;) {
      await clock.sleep(tickMs, this.#closing.signal);
      if (this.#closing.signal.aborted) return;
      const now = this.now();
      this.#heldTicks = this.held ? this.#heldTicks + 1 : 0;
      this.#reap();
      for (const lane of this.#lanes) lane.tick(now);
      this.#door!.tick(now);
      if (++this.#ticks % usersEvery === 0) await this.#rereadUsers();
    }
  }

  #reap(): void {
    for (const lane of this.#lanes) if (lane.gone) this.#lanes.delete(lane);
  }

  async #rereadUsers(): Promise<void> {
    const { log } = this.#context;
    try {
      const users = await readUsers(this.#options, this.#context);
      if (!users || users.text === this.#usersText) return;
      this.#usersText = users.text;
      const changed = this.#passwords!.replace(users.table);
      log.info('The user file has changed, and is in force.', { users: users.table.size, changed: changed.length });
      this.#door!.expel(changed);
    } catch (error) {
      const { message } = error as Error;
      if (this.#usersText !== message) log.error(`${message} The users as they were stay in force.`);
      this.#usersText = message;
    }
  }

  #store({ topic, payload, retain }: Message): Promise<unknown> {
    return this.#append({ topic, payload, flags: retain ? journalFlags.retained : 0 });
  }

  #tell(presence: Presence): void {
    this.#append({ topic: '', payload: Buffer.from(JSON.stringify(presence)), flags: journalFlags.presence });
  }

  #append(record: { topic: string; payload: Buffer; flags: number }): Promise<unknown> {
    const stored = this.#journal.append({ ...record, arrival: this.now() });
    this.#storing.add(stored);
    if (this.#journal.pendingBytes > pendingBytesMost) this.held = true;
    stored.then(
      () => {
        this.#storing.delete(stored);
        if (this.held && this.#journal.pendingBytes <= pendingBytesMost / 2) this.#letGo();
      },
      (error: Error) => {
        this.#storing.delete(stored);
        if (!this.#signal.aborted) this.#context.fail(error);
      },
    );
    return stored;
  }

  #letGo(): void {
    this.held = false;
    this.#heldTicks = 0;
    for (const lane of this.#lanes) lane.release();
  }

  #resume(position: Position): number {
    const { begin, end } = this.#journal;
    if (typeof position === 'number' && position >= begin && position <= end) return position;
    throw new RunError(
      `The checkpoint goes on at message ${JSON.stringify(position)} of the journal of \`${this.#context.id}\`, which holds messages ${begin} to ${end}. The journal and the checkpoint do not belong together: restore both from the same copy, or remove both to begin anew.`,
    );
  }
}

async function readText(file: string, option: string, { ports }: SourceContext): Promise<string> {
  try {
    return (await ports.disk.readFile(file)).toString('utf8');
  } catch (error) {
    throw new RunError(
      `\`${option}\` names the file ${file}, which cannot be read: ${(error as Error).message}. Check the path and the rights.`,
      { cause: error },
    );
  }
}

async function readUsers({ users }: ServerOptions, context: SourceContext) {
  if (users === undefined) return undefined;
  const text = await readText(users, 'users', context);
  const table = parseUsers(text);
  if ('line' in table)
    throw new RunError(
      `Line ${table.line} of the user file ${users} ${table.message}. \`penstock mqtt-user\` writes such lines.`,
    );
  return { table: table as UserTable, text };
}

async function readRoutes({ routes, properties }: ServerOptions, context: SourceContext) {
  if (properties !== undefined) {
    const list = parseProperties(await readText(properties, 'properties', context)).get(propertyOfRoutes);
    if (list === undefined)
      throw new RunError(`The file ${properties} holds no \`${propertyOfRoutes}\`, which says what topics are called.`);
    const read = parseRouteList(list);
    if ('message' in read) throw new RunError(`\`${propertyOfRoutes}\` in ${properties}: ${read.message} ${read.hint}`);
    return compileRoutes(read);
  }
  if (routes === undefined) return undefined;
  const read: RouteOption[] | { message: string } = typeof routes === 'string' ? parseRouteList(routes) : routes;
  const problem = 'message' in read ? read : routeProblem(read);
  if (problem) throw new RunError(problem.message);
  return compileRoutes(read as RouteOption[]);
}
