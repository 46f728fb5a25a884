import { setImmediate as nextTurn } from 'node:timers/promises';
import { Run } from '../engine/run.ts';
import { MemoryStore } from '../engine/store.ts';
import { RunError } from '../errors.ts';
import {
  type Definition,
  durationMs,
  type SinkDefinition,
  type SourceDefinition,
  type StreamRecord,
} from '../operator.ts';
import { memoryPorts } from '../ports/memory.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import { planHash } from '../topology/plan-json.ts';
import { deadLetters } from '../topology/tests.ts';
import { Collector, collectOperator } from './collector.ts';
import { type FedRecord, Feed } from './feed.ts';

export interface TopologyDriverOptions {
  /** What the clock says first, in ms. Unless given it is 2099, later than what the records of most tests say of themselves. */
  readonly start?: number;
  /** How many partitions the source of a stream has; 1 unless given. Each has a task of its own, where no step ties them together. */
  readonly partitions?: Readonly<Record<string, number>>;
}

const endOfStream = (stream: string) => `stream:${stream}`;
const silent = { debug() {}, info() {}, warn() {}, error() {} };
// As often as the engine looks at silence.
const lookMs = 200;

/**
 * Runs a whole plan on virtual time: its sources read what a test pushes, its sinks are lists, and no connection, file or clock is
 * touched. All between them is the engine as it runs. Each call resolves when all that follows from it has been done, and rejects with
 * what ended the run.
 */
export class TopologyDriver {
  /** The stream that takes dead letters when the plan names none; `undefined` when it does. */
  readonly deadLetters: string | undefined;
  readonly #plan: Plan;
  readonly #catalogue: readonly Definition[];
  readonly #feeds = new Map<string, Feed>();
  readonly #collectors = new Map<string, Collector>();
  readonly #store = new MemoryStore();
  readonly #ports = memoryPorts();
  #run: Run | undefined;
  #failure: { readonly error: unknown } | undefined;
  #ended = false;

  private constructor(
    plan: Plan,
    catalogue: readonly Definition[],
    start: number,
    partitions: Readonly<Record<string, number>>,
  ) {
    this.#plan = collected(plan);
    this.deadLetters = plan.otherwise === undefined ? this.#plan.otherwise : undefined;
    this.#catalogue = [...catalogue.map((definition) => this.#replaced(definition)), this.#replaced(collectOperator)];
    this.#ports.clock.advance(start);
    for (const { name, steps } of this.#plan.streams) {
      for (const step of steps) {
        if (step.kind === 'source') this.#feeds.set(name, new Feed(partitions[name]));
        if (step.kind === 'sink') this.#collectors.set(step.id, new Collector());
      }
    }
  }

  /** Starts a plan. `catalogue` holds the definitions it names: `catalogue` of `penstock/operators`, and your own. */
  static async start(
    plan: Plan,
    catalogue: readonly Definition[],
    { start = Date.UTC(2099, 0, 1), partitions = {} }: TopologyDriverOptions = {},
  ): Promise<TopologyDriver> {
    const driver = new TopologyDriver(plan, catalogue, start, partitions);
    await driver.restore();
    return driver;
  }

  /** What the clock says, in ms. */
  get now(): number {
    return this.#ports.clock.now();
  }

  /** Feeds the source of a stream. A text or bytes are a payload. An arrival ahead of the clock moves the clock there first. */
  async push(stream: string, ...records: readonly (FedRecord | string | Uint8Array)[]): Promise<void> {
    const feed = this.#feedOf(stream);
    this.#running();
    for (const given of records) {
      const record = typeof given === 'string' || given instanceof Uint8Array ? { payload: given } : given;
      if (record.arrival !== undefined && record.arrival > this.now) await this.advanceTo(record.arrival);
      feed.add({ ...record, arrival: record.arrival ?? this.now });
    }
    await this.#settle();
  }

  /** Moves the clock on, in ms. Sources that have been silent for their `idle` time no longer hold event time back. */
  async advanceTo(time: number): Promise<void> {
    this.#running();
    if (!(time >= this.now)) throw new RangeError(`The clock is at ${this.now} and cannot go back to ${time}.`);
    await this.#settle();
    this.#ports.clock.advance(time - this.now);
    await this.#settle();
  }

  /** Moves the clock on until every source that has an `idle` time is idle. */
  async idle(): Promise<void> {
    const times = this.#plan.streams.flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'source').map(idleMs));
    const longest = Math.max(...times.filter(Number.isFinite));
    if (!Number.isFinite(longest)) throw new TypeError('No source of the plan has an `idle` time.');
    await this.advanceTo(this.now + longest + lookMs);
  }

  /** Takes a checkpoint. Without this call there is none: a crash begins again from the start. */
  async checkpoint(): Promise<void> {
    await this.#settle();
    await this.#running().checkpoint();
    await this.#settle();
    for (const collector of this.#collectors.values()) collector.confirm();
  }

  /** Kills the run: what no checkpoint holds is lost. `restore` goes on. */
  async crash(): Promise<void> {
    const run = this.#running();
    this.#run = undefined;
    run.kill(new RunError('The test has crashed the run.'));
    await run.done.catch(() => undefined);
    for (const collector of this.#collectors.values()) collector.expectRepetition();
  }

  /** Stops the run in order, with a checkpoint. `restore` goes on. */
  async stop(): Promise<void> {
    await this.#settle();
    await this.#running().stop();
    this.#run = undefined;
    for (const collector of this.#collectors.values()) collector.confirm();
  }

  /** Starts again from the last checkpoint, after `crash` or `stop`. */
  async restore(): Promise<void> {
    if (this.#run) throw new TypeError('The run is at work: there is nothing to restore.');
    const run = await Run.start({
      plan: this.#plan,
      topologyHash: planHash(this.#plan),
      catalogue: this.#catalogue,
      ports: this.#ports,
      log: silent,
      store: this.#store,
      openJournal: () => Promise.reject(new TypeError('A test opens no journal.')),
      checkpointMs: Number.POSITIVE_INFINITY,
      checkpointRecords: Number.POSITIVE_INFINITY,
    });
    run.done.catch((error: unknown) => {
      if (this.#run === run) this.#failure = { error };
    });
    this.#run = run;
    await this.#settle();
  }

  /**
   * Takes a partition of a stream's source away, as when it goes to another process, and gives it back: what follows runs on new steps, with
   * the state and the position that a checkpoint has carried over. The other partitions go on meanwhile.
   */
  async rebalance(stream: string, partition = 0): Promise<void> {
    await this.#settle();
    this.#running();
    await this.#feedOf(stream).move(partition);
    await this.#settle();
    for (const collector of this.#collectors.values()) collector.confirm();
  }

  /** Ends every input: open windows close, and the run is over. */
  async end(): Promise<void> {
    const run = this.#running();
    await this.#settle();
    for (const feed of this.#feeds.values()) feed.end();
    await run.done;
    this.#ended = true;
    for (const collector of this.#collectors.values()) collector.confirm();
  }

  /** What has come out so far of a stream, by its name, or of a sink, by its id; in order. */
  output(streamOrSink: string): readonly StreamRecord[] {
    const collector = this.#collectors.get(endOfStream(streamOrSink)) ?? this.#collectors.get(streamOrSink);
    if (!collector) throw new TypeError(`The plan has neither a stream nor a sink \`${streamOrSink}\`.`);
    return collector.records;
  }

  #feedOf(stream: string): Feed {
    const feed = this.#feeds.get(stream);
    if (!feed) throw new TypeError(`The stream \`${stream}\` has no source to be fed.`);
    return feed;
  }

  #running(): Run {
    if (this.#failure) throw this.#failure.error;
    if (this.#ended) throw new TypeError('The input has ended: nothing more can happen.');
    if (!this.#run) throw new TypeError('The run has crashed or was stopped: call `restore` first.');
    return this.#run;
  }

  // Whatever moves after a push or a step of the clock does so in promises: at rest is what stays so for a turn.
  async #settle(): Promise<void> {
    for (let rested = 0; rested < 2; ) {
      await nextTurn();
      const { sinks } = this.#running().status();
      const atRest = [...this.#feeds.values()].every((feed) => feed.atRest);
      rested = atRest && Object.values(sinks).every(({ pending }) => pending === 0) ? rested + 1 : 0;
    }
  }

  #replaced(definition: Definition): Definition {
    if (definition.kind === 'sink') {
      const open: SinkDefinition['open'] = async (_, context) => this.#collectors.get(context.id)!.open(context);
      return { ...definition, open };
    }
    if (definition.kind === 'step') return definition;
    const open: SourceDefinition['open'] = async (options, context) => {
      this.#feeds.get(context.stream)!.opened(definition, options, context);
      return { close: async () => {} };
    };
    return { ...definition, open };
  }
}

/** The plan with a collector at the end of each stream, and a stream for dead letters that have no other place. */
function collected(plan: Plan): Plan {
  let otherwise = plan.otherwise ?? deadLetters;
  if (plan.otherwise === undefined)
    for (let n = 2; plan.streams.some(({ name }) => name === otherwise); n++) otherwise = `${deadLetters}-${n}`;
  const own = plan.otherwise === undefined ? [{ name: otherwise, from: [], steps: [] }] : [];
  const streams = [...plan.streams, ...own];
  return {
    ...plan,
    otherwise,
    state: { ...plan.state, store: 'memory' },
    streams: streams.map((stream) => ({
      ...stream,
      steps: [
        ...stream.steps,
        { kind: 'sink', id: endOfStream(stream.name), operator: collectOperator.name, options: {} },
      ],
    })),
  };
}

function idleMs({ options }: PlanStep): number {
  const { time } = (options ?? {}) as { time?: { idle?: string } | string };
  return typeof time === 'object' && time.idle !== undefined ? durationMs(time.idle) : Number.NaN;
}
