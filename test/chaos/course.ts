import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import { endMark, judgeFolder, type Verdict } from './check.ts';
import { ConsoleReader } from './console-reader.ts';
import { Feeder } from './feeder.ts';
import { dismiss, groupOf } from './group.ts';
import { type Instance, penstock } from './instance.ts';
import { type Delivery, topology } from './topology.ts';
import { sleep, until } from './wait.ts';

export interface CourseOptions {
  readonly brokers: string;
  readonly records: number;
  readonly seed: number;
  readonly delivery?: Delivery;
  /** How often is committed. */
  readonly every?: string;
  /** Where the histories stay; else they go with the rest. */
  readonly histories?: string | undefined;
}

const partitions = 6;
const outputs = ['passed', 'windows', 'rejected'] as const;
let count = 0;
const open = new Set<Course>();

/** Ctrl-C and SIGTERM leave nothing behind either. */
function closeOnSignals(): void {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => {
      void Promise.allSettled([...open].map((course) => course.close())).then(() => process.exit(code));
    });
}

/** All that a test under faults needs around the instances: topics, a feeder, readers that read all the time, and the judge. */
export class Course {
  readonly name = `chaos-${process.pid}-${Date.now().toString(36)}-${count++}`;
  readonly folder = mkdtempSync(join(tmpdir(), 'penstock-chaos-'));
  readonly options: CourseOptions;
  readonly #kafka: Kafka;
  readonly #admin: Admin;
  readonly #instances = new Set<Instance>();
  #feeder: Feeder | undefined;
  #readers: ConsoleReader[] = [];
  #started = 0;

  static async open(options: CourseOptions): Promise<Course> {
    const course = new Course(options);
    if (count === 1) closeOnSignals();
    open.add(course);
    try {
      await course.#prepare();
      return course;
    } catch (error) {
      await course.close();
      throw error;
    }
  }

  private constructor(options: CourseOptions) {
    this.options = options;
    const retry = { retries: 20, maxRetryTime: 2_000 };
    this.#kafka = new kafkajs.Kafka({ brokers: options.brokers.split(','), logLevel: kafkajs.logLevel.NOTHING, retry });
    this.#admin = this.#kafka.admin();
  }

  async #prepare(): Promise<void> {
    const { brokers, records, seed, delivery = 'exactlyOnce', every = '300ms' } = this.options;
    await this.#admin.connect();
    await this.#admin.createTopics({
      topics: [...['in', 'passed', 'windows'].map((what) => [what, partitions] as const), ['rejected', 1] as const].map(
        ([what, numPartitions]) => ({ topic: `${this.name}.${what}`, numPartitions }),
      ),
    });
    writeFileSync(this.#file('topology.yaml'), topology({ name: this.name, brokers }, delivery, every));
    const base = Math.floor(Date.now() / 1_000) * 1_000 - 6 * 3_600_000;
    const shape = { records, seed, base, partitions };
    this.#feeder = await Feeder.open(this.#kafka, `${this.name}.in`, this.#file('fed.jsonl'), shape);
    this.#readers = outputs.map(
      (what) => new ConsoleReader(brokers, `${this.name}.${what}`, this.#file(`${what}.txt`)),
    );
  }

  get feeder(): Feeder {
    return this.#feeder!;
  }

  get read(): { passed: number; windows: number } {
    const [passed, windows] = this.#readers as [ConsoleReader, ConsoleReader, ConsoleReader];
    for (const reader of this.#readers) reader.look();
    return { passed: passed.lines, windows: windows.lines };
  }

  /** Starts an instance. Its folder is its own and new, unless state lies in it. */
  start(name = 'instance'): Instance {
    const state = this.options.delivery === 'atLeastOnce' ? 'state' : `state-${++this.#started}`;
    const instance = penstock(name, this.#file('topology.yaml'), this.#file(name), state);
    this.#instances.add(instance);
    void instance.exit.then(() => this.#instances.delete(instance));
    return instance;
  }

  /** A process that was killed leaves its group. Only for groups without any other member. */
  async dismiss(): Promise<void> {
    await dismiss(this.#admin, this.name);
  }

  /** How many members the group has, once it has settled; `undefined` while it has not. */
  async settled(): Promise<number | undefined> {
    const { members, state } = await groupOf(this.#admin, this.name);
    return state === 'Stable' ? members.length : undefined;
  }

  /** Feeds all the time while `event` is waited for: two thirds of what is left in `msLeft`, and ever more slowly then, so that it never ends. */
  async feedUntil(event: Promise<unknown>, msLeft: number): Promise<void> {
    let over = false;
    const ended = event.finally(() => {
      over = true;
    });
    const from = this.feeder.fed;
    for (const begin = Date.now(); !over; await Promise.race([ended, sleep(25)])) {
      const part = 1 - Math.exp((begin - Date.now()) / msLeft);
      await this.feeder.feedTo(Math.floor(from + part * (this.options.records - from)));
    }
    await ended;
  }

  /**
   * Feeds the rest, waits until all has come out or nothing more comes, ends the instances, makes sure that the readers have seen
   * everything, and judges. `trouble` takes what is wrong beside the records.
   */
  async finish(instances: readonly Instance[], trouble: string[]): Promise<Verdict> {
    await this.feeder.finish();
    const due = { passed: this.feeder.fed, windows: this.feeder.windowsDue };
    await this.#whileProgress(() => {
      const { passed, windows } = this.read;
      const fallen = instances.every(({ running }) => !running);
      // The last of each partition: twice as many of others would not do.
      const all = this.#readers[0]!.closing.size === partitions && passed >= due.passed && windows >= due.windows;
      return { done: fallen || all, now: `${passed}/${windows}` };
    });
    for (const instance of instances) {
      await until(() => instance.ready || !instance.running, 60_000);
      if (instance.fell) trouble.push(instance.fell);
      const code = instance.running ? await instance.end() : 0;
      if (code !== 0) trouble.push(`${instance.name} ended with ${code} on SIGTERM: ${instance.log.slice(-1_500)}`);
    }
    await this.#markEnds(trouble);
    for (const reader of this.#readers) await reader.stop();
    return await judgeFolder(this.#historyFolder);
  }

  /** Removes topics, processes and folders. */
  async close(): Promise<void> {
    if (!open.delete(this)) return;
    for (const instance of this.#instances) {
      instance.pause(false);
      await instance.kill();
    }
    await Promise.all(this.#readers.map((reader) => reader.stop()));
    await this.#feeder?.close();
    const mine = (names: string[]) => names.filter((name) => name.startsWith(this.name));
    try {
      const topics = mine(await this.#admin.listTopics());
      if (topics.length > 0) await this.#admin.deleteTopics({ topics });
      await this.dismiss();
      const { groups } = await this.#admin.listGroups();
      // A reader that was killed is a member until its session is over.
      for (const group of mine(groups.map(({ groupId }) => groupId))) {
        await dismiss(this.#admin, group);
        await this.#admin.deleteGroups([group]).catch(() => undefined);
      }
    } finally {
      await this.#admin.disconnect();
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  get #historyFolder(): string {
    return this.options.histories ?? this.folder;
  }

  #file(name: string): string {
    return join(/\.(jsonl|txt)$/.test(name) ? this.#historyFolder : this.folder, name);
  }

  // As long as something comes, all is not lost.
  async #whileProgress(look: () => { done: boolean; now: string }, patienceMs = 60_000): Promise<void> {
    for (let before = ''; ; ) {
      const went = await until(() => {
        const { done, now } = look();
        return done || now !== before;
      }, patienceMs);
      const { done, now } = look();
      if (done || !went) return;
      before = now;
    }
  }

  // Behind everything, in no transaction: it can be read once every transaction before it has ended.
  async #markEnds(trouble: string[]): Promise<void> {
    const producer = this.#kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
    await producer.connect();
    for (const what of outputs) {
      const messages = Array.from({ length: what === 'rejected' ? 1 : partitions }, (_, partition) => ({
        partition,
        key: 'end',
        value: endMark,
      }));
      await producer.send({ topic: `${this.name}.${what}`, messages });
    }
    await producer.disconnect();
    const [passed, windows, rejected] = this.#readers as [ConsoleReader, ConsoleReader, ConsoleReader];
    const all = await until(() => {
      for (const reader of this.#readers) reader.look();
      return passed.marks === partitions && windows.marks === partitions && rejected.marks === 1;
    }, 90_000);
    if (!all)
      trouble.push(
        'A transaction is still open: 90 s after the last instance, the ends of the outputs cannot be read.',
      );
  }
}
