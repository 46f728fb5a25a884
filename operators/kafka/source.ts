import { type OpenSource, type Position, RunError, type SourceContext, TransactionError } from '../../src/operator.ts';
import { type Driver, type Fetched, type Reader, type ReaderEvents, type TopicPartition, Trouble } from './driver.ts';
import { Handover } from './handover.ts';
import { Intake, type IntakeHost, type KeyFormat } from './intake.ts';
import { openKafkajs } from './kafkajs.ts';
import type { Connection } from './options.ts';
import { decoderOf, type RegistryDecoder } from './registry-decoder.ts';
import type { RegistryOptions } from './registry-options.ts';
import { findPlaces, gone, offsetsAt, type Place, type Start, type Starting } from './start.ts';
import { lookMs, matching, namedTopics, patternOf, type TopicChoice } from './subscription.ts';

export interface SourceOptions extends Connection, TopicChoice {
  readonly group?: string;
  readonly start?: Start;
  readonly until?: 'end';
  readonly keyFormat?: KeyFormat;
  readonly registry?: RegistryOptions;
  readonly maxPayload?: string;
}

/** So often the ends of partitions are asked for that are not fetched from, for their lag. */
const endsMs = 10_000;
const firstWaitMs = 200;
const longestWaitMs = 5_000;
/** Above the session time-out of the group: whoever has gone silent has been dropped by then. */
const fencedMs = 15_000;

/** Connects and joins the group. Partitions are assigned to the engine as the group hands them out. */
export async function openSource(
  options: SourceOptions,
  context: SourceContext,
  openDriver: typeof openKafkajs = openKafkajs,
): Promise<OpenSource> {
  if (!context.resumed && !context.replay && (options.start ?? 'fail') === 'fail') {
    throw new RunError(
      `\`${context.id}\` has no checkpoint to go on from, and nothing says where in \`${patternOf(options)?.pattern ?? namedTopics(options).join('`, `')}\` to begin. ` +
        'Add `start: earliest` (all records), `start: latest` (new ones only) or `start: group` (where the consumer group stands). ' +
        'Once there is a checkpoint, it decides.',
      { where: context.id },
    );
  }
  try {
    const driver = await openDriver(options, context);
    const source = new KafkaSource(options, driver, context);
    await source.open();
    return source;
  } catch (error) {
    throw asRunError(error, context.id);
  }
}

function asRunError(error: unknown, where: string): unknown {
  return error instanceof Trouble ? new RunError(error.message, { where, cause: error.cause }) : error;
}

class KafkaSource implements OpenSource, ReaderEvents, IntakeHost {
  readonly keyFormat: KeyFormat;
  readonly decoder: RegistryDecoder | undefined;
  readonly #options: SourceOptions;
  /** What is read: with a pattern it grows. */
  #topics: readonly string[] = [];
  /** Topics that have come since we began. */
  readonly #new = new Set<string>();
  readonly #driver: Driver;
  readonly #context: SourceContext;
  readonly #group: string;
  #reader: Reader | undefined;
  /** Where a bounded read ends, by partition. */
  #until: ReadonlyMap<string, number> | undefined;
  #intakes = new Map<string, Intake>();
  /** Intakes of partitions that moved away and are not yet given back to the engine. */
  #lost: Intake[] = [];
  #wanted: readonly TopicPartition[] = [];
  readonly #handover: Handover;
  /** Partitions of all topics, as we began. */
  #count = 0;
  /** Counts assignments: what was begun for an older one is dropped. */
  #epoch = 0;
  /** Partitions that another process has claimed, and that the group has not given to us again since. */
  readonly #fenced = new Set<string>();
  #settling: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: SourceOptions, driver: Driver, context: SourceContext) {
    this.keyFormat = options.keyFormat ?? 'text';
    this.decoder = decoderOf(options, context);
    this.#options = options;
    this.#driver = driver;
    this.#context = context;
    this.#handover = new Handover(context);
    this.#group = context.replay?.reader ?? options.group ?? context.topology;
    context.signal.addEventListener('abort', () => this.#endAll());
  }

  async open(): Promise<void> {
    // Also the first look at the brokers: what is wrong with them is said before a group is joined.
    const ends = new Map<string, number>();
    this.#topics = await this.#chosen();
    await this.#driver.admin(async (admin) => {
      for (const topic of this.#topics) {
        const offsets = await admin.offsets(topic);
        const until = await offsetsAt(admin, topic, this.#context.replay?.until);
        for (const [partition, { high }] of offsets) {
          ends.set(`${topic}/${partition}`, Math.min(high, until?.get(partition) ?? high));
        }
      }
    });
    if (this.#options.until === 'end' || this.#context.replay) this.#until = ends;
    this.#count = ends.size;
    await this.#join();
    void this.#watchEnds();
    const pattern = patternOf(this.#options);
    if (pattern === undefined || this.#until !== undefined) return;
    if (this.#topics.length === 0) this.#context.log.warn(`No topic matches \`${pattern.pattern}\` yet.`);
    void this.#lookForTopics(lookMs(pattern));
  }

  get live(): boolean {
    return this.#reader?.live ?? false;
  }

  now(): number {
    return this.#context.ports.clock.now();
  }

  asError(error: unknown): unknown {
    return asRunError(error, this.#context.id);
  }

  onRoom(partition: TopicPartition): void {
    this.#reader?.resume(partition);
  }

  assigned(partitions: readonly TopicPartition[]): void {
    this.#epoch++;
    this.#wanted = partitions;
    this.#handover.warnOfOthers(partitions.length, this.#count, this.#group);
    this.#fenced.clear();
    const wanted = new Set(partitions.map(idOf));
    for (const [id, intake] of this.#intakes) {
      if (wanted.has(id)) continue;
      this.#intakes.delete(id);
      this.#lost.push(intake);
    }
    for (const intake of this.#intakes.values()) {
      intake.hold(false);
      this.#goOn(intake);
    }
    if (this.#reader) this.#settle();
  }

  rejoining(): Promise<void> {
    return this.#handover.prepare([...this.#intakes.values()]);
  }

  fetched(batch: Fetched): boolean {
    const intake = this.#intakes.get(idOf(batch));
    // Fetched for an assignment that is over.
    if (intake === undefined) return false;
    const expected = intake.expected;
    const answer = intake.offer(batch, this.now());
    if (answer === 'gap') this.failed(gone(batch, expected, batch.from!));
    return answer === 'room';
  }

  failed(error: Error): void {
    if (!this.#closed) this.#context.fail(asRunError(error, this.#context.id) as Error);
  }

  async committed(positions: ReadonlyMap<string, Position>): Promise<void> {
    if (this.#context.replay) return;
    const offsets = [...this.#intakes.values(), ...this.#lost].flatMap(({ id, topic, partition }) => {
      const position = positions.get(id);
      return position === undefined ? [] : [{ topic, partition, offset: Number(position) }];
    });
    try {
      await this.#reader?.commit(offsets);
      this.#handover.told(offsets);
    } catch (error) {
      // The checkpoint holds the positions; the group only informs those who watch its lag.
      if (!this.#closed) {
        this.#context.log.warn(`Offsets were not committed to group \`${this.#group}\`: ${(error as Error).message}`);
      }
    }
  }

  restart(id: string, fenced: boolean): void {
    const intake = this.#intakes.get(id);
    if (intake === undefined || this.#closed) return;
    this.#intakes.delete(id);
    this.#lost.push(intake);
    if (fenced) void this.#waitForGroup(id);
    this.#settle();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#epoch++;
    this.#endAll();
    await this.#reader?.close();
    if (this.#context.replay && this.#reader) await this.#forgetGroup();
  }

  // A replay reads as a group of its own, which nobody needs after it.
  async #forgetGroup(): Promise<void> {
    await this.#driver
      .admin((admin) => admin.forget(this.#group))
      .catch((error: Error) => this.#context.log.debug(`Group \`${this.#group}\` stays: ${error.message}`));
  }

  async #watchEnds(): Promise<void> {
    const { ports, signal, log } = this.#context;
    for (;;) {
      await ports.clock.sleep(endsMs, signal);
      if (signal.aborted || this.#closed) return;
      const full = [...this.#intakes.values()].filter((intake) => intake.full);
      try {
        for (const topic of new Set(full.map((intake) => intake.topic))) {
          const offsets = await this.#driver.admin((admin) => admin.offsets(topic));
          for (const intake of full) {
            if (intake.topic === topic) intake.heard(offsets.get(intake.partition)?.high ?? 0);
          }
        }
      } catch (error) {
        log.debug(`The lag is not known: ${(error as Error).message}`);
      }
    }
  }

  async #chosen(): Promise<string[]> {
    const pattern = patternOf(this.#options);
    if (pattern === undefined) return namedTopics(this.#options);
    return matching(pattern, await this.#driver.admin((admin) => admin.topics()));
  }

  async #join(): Promise<void> {
    // Without a topic there is nothing to wait for in a bounded read, and no group to join.
    if (this.#topics.length === 0) {
      if (this.#until) this.#context.complete();
      return;
    }
    this.#reader = await this.#driver.read({ group: this.#group, topics: this.#topics }, this);
    if (this.#closed) await this.#reader.close();
    // A group whose coordinator is busy assigns later: having nothing yet is not the end of a bounded read.
    if (this.#epoch > 0) this.#settle();
  }

  // A member says what it reads as it joins: for a new topic it leaves the group and joins again, with all its work done.
  async #lookForTopics(everyMs: number): Promise<void> {
    const { ports, signal, log, fail, id } = this.#context;
    for (;;) {
      await ports.clock.sleep(everyMs, signal);
      if (signal.aborted || this.#closed) return;
      try {
        const added = (await this.#chosen()).filter((topic) => !this.#topics.includes(topic));
        if (added.length === 0) continue;
        log.info('New topics match the pattern', { topics: added.join(', ') });
        for (const topic of added) this.#new.add(topic);
        this.assigned([]);
        await this.#settling;
        await this.#reader?.close();
        this.#reader = undefined;
        this.#topics = [...this.#topics, ...added];
        await this.#join();
      } catch (error) {
        if (signal.aborted || this.#closed) return;
        if (!(error instanceof Trouble) || error.kind !== 'passing') return fail(asRunError(error, id) as Error);
        log.warn(`${error.message} Looking for new topics again later.`);
      }
    }
  }

  #endAll(): void {
    for (const intake of [...this.#intakes.values(), ...this.#lost]) intake.end();
  }

  #goOn(intake: Intake): void {
    this.#reader?.seek(intake, intake.expected);
    if (!intake.full) this.#reader?.resume(intake);
  }

  // The group has moved the partition, or will say so soon. If it does not, the other one was there by mistake.
  async #waitForGroup(id: string): Promise<void> {
    const epoch = this.#epoch;
    this.#fenced.add(id);
    await this.#context.ports.clock.sleep(fencedMs, this.#context.signal);
    if (epoch !== this.#epoch || this.#context.signal.aborted || !this.#fenced.delete(id)) return;
    this.#settle();
  }

  // One after the other: a partition that comes back must find its old work finished.
  #settle(): void {
    const epoch = this.#epoch;
    this.#settling = this.#settling
      .then(() => this.#giveBack())
      .then(() => this.#takeOver(epoch))
      .catch((error) => {
        if (!this.#context.signal.aborted) this.failed(error);
      });
  }

  async #giveBack(): Promise<void> {
    const lost = [...this.#lost];
    await Promise.all(
      lost.map((intake) => {
        const done = this.#context.revoke(intake.id);
        intake.end();
        return done;
      }),
    );
    for (const { id } of lost) this.#handover.left(id);
    this.#lost = this.#lost.filter((intake) => !lost.includes(intake));
  }

  async #takeOver(epoch: number): Promise<void> {
    const added = this.#wanted.filter((partition) => {
      const id = idOf(partition);
      return !this.#intakes.has(id) && !this.#fenced.has(id);
    });
    const places = await this.#claim(added, epoch);
    if (epoch !== this.#epoch || this.#closed) return;
    for (const place of places) {
      const intake = new Intake(place, place, this, this.#until?.get(idOf(place)));
      this.#intakes.set(intake.id, intake);
      this.#handover.taken(intake.id);
      this.#context.assign(intake);
      this.#goOn(intake);
    }
    if (this.#until) this.#context.complete();
  }

  /** Claims the partitions and finds where to begin with each. Waits for brokers that are away, as long as the assignment stands. */
  async #claim(added: readonly TopicPartition[], epoch: number): Promise<Place[]> {
    const { claim, log, ports, signal } = this.#context;
    let claimed = false;
    for (
      let waitMs = firstWaitMs;
      added.length > 0 && epoch === this.#epoch && !signal.aborted;
      waitMs = Math.min(2 * waitMs, longestWaitMs)
    ) {
      try {
        if (!claimed) await claim(added.map(idOf));
        claimed = true;
        if (epoch !== this.#epoch) break;
        return await this.#driver.admin((admin) => findPlaces(admin, added, this.#startingAt()));
      } catch (error) {
        const passes = error instanceof TransactionError || (error instanceof Trouble && error.kind === 'passing');
        if (!passes) throw error;
        log.warn(`${error.message} Trying again.`);
        await ports.clock.sleep(waitMs, signal);
      }
    }
    return [];
  }

  #startingAt(): Starting {
    const { replay, id } = this.#context;
    return {
      start: this.#options.start ?? 'fail',
      group: this.#group,
      where: id,
      replayFrom: replay?.from,
      position: (place) => {
        const position = this.#context.position(idOf(place));
        return position === undefined ? undefined : Number(position);
      },
      isReturning: (place) => this.#handover.isReturning(idOf(place)),
      isNew: (topic) => this.#new.has(topic),
      until: (place) => this.#until?.get(idOf(place)),
    };
  }
}

function idOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}
