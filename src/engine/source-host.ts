import { setImmediate as nextTurn } from 'node:timers/promises';
import type {
  Journal,
  JournalSize,
  JournalView,
  Log,
  OpenSource,
  Ports,
  Position,
  SourceContext,
  SourceDefinition,
  SourcePartition,
} from '../operator.ts';
import { createDecoder, type DecodeOptions } from './decode.ts';
import type { PlannedSource } from './graph.ts';
import { InputPartition, type StoredPartition } from './partition.ts';
import type { Task } from './task.ts';
import { createTimeRule } from './time.ts';

/** What a source host needs of the run around it. */
export interface HostContext {
  readonly ports: Ports;
  readonly log: Log;
  readonly topology: string;
  readonly resumed: boolean;
  readonly signal: AbortSignal;
  /** Makes the state of partitions ours, by their ids in the source. */
  claim(partitions: readonly string[]): Promise<void>;
  stored(partition: string): StoredPartition | undefined;
  /** Takes a checkpoint of all there is; absent where state lives with the source. */
  readonly checkpoint?: (() => Promise<void>) | undefined;
  /** Gives the task that owns this partition, built and restored. */
  taskFor(source: PlannedSource, input: InputPartition): Task;
  /** Runs a batch through the task when no checkpoint holds it; resolves when there is room for the next. */
  ingest(
    task: Task,
    input: InputPartition,
    batch: NonNullable<Awaited<ReturnType<SourcePartition['pull']>>>,
  ): Promise<void>;
  /** The partition has come to its end, or has left this process. */
  partitionEnded(task: Task, input: InputPartition): Promise<void>;
  partitionLeft(task: Task, input: InputPartition): Promise<void>;
  /** No more partitions will come, or one of a complete source has left. */
  sourceComplete(source: string): void;
  fail(error: unknown): void;
  openJournal(name: string, size?: JournalSize): Promise<Journal>;
  readJournal(nameOrPath: string): Promise<JournalView>;
}

const pullLimits = { records: 10_000, bytes: 4 * 1024 * 1024 };

interface Reader {
  readonly partition: SourcePartition;
  readonly input: InputPartition;
  readonly task: Task;
  /** Since when the open pull has waited, in ms; `undefined` while none is open. */
  waitingSince: number | undefined;
  stopped: boolean;
  finished: Promise<void>;
}

/** One open source and the loops that pull its partitions. */
export class SourceHost {
  readonly source: PlannedSource;
  complete = false;
  readonly #definition: SourceDefinition;
  readonly #context: HostContext;
  readonly #readers = new Map<string, Reader>();
  /** Partitions that are given back only to be claimed again: without them nothing has ended. */
  readonly #returning = new Set<string>();
  #open: OpenSource | undefined;
  #closed = false;
  #noted = new Map<string, Position>();
  #begin: () => void = () => undefined;
  readonly #begun: Promise<void>;

  constructor(source: PlannedSource, definition: SourceDefinition, context: HostContext) {
    this.source = source;
    this.#definition = definition;
    this.#context = context;
    this.#begun = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  /** All partitions that will ever be are here and have come to their end. */
  get ended(): boolean {
    const readers = [...this.#readers.values()];
    return this.complete && this.#returning.size === 0 && readers.every(({ input }) => input.ended || input.held);
  }

  get readers(): Iterable<Readonly<Reader>> {
    return this.#readers.values();
  }

  /** What the source says of itself; `undefined` when it says nothing. */
  get counters(): Readonly<Record<string, number>> | undefined {
    return this.#open?.counters?.();
  }

  async open(): Promise<void> {
    this.#open = await this.#definition.open(this.source.step.options, this.#sourceContext());
    // The run has ended in the meantime, and has found nothing to close here.
    if (this.#closed) await this.#open.close();
  }

  /** Lets the loops pull: all sources and sinks are open. */
  begin(): void {
    this.#begin();
  }

  /** The work on a partition since its last commit was dropped: the source has to claim and assign it again. */
  restart(partition: string, fenced: boolean): void {
    if (!fenced) this.#returning.add(partition);
    this.#open?.restart?.(partition, fenced);
  }

  /** Resolves when every loop has come to rest after the signal was aborted. */
  async rest(): Promise<void> {
    this.#begin();
    await Promise.all([...this.#readers.values()].map(({ finished }) => finished));
  }

  /** Keeps the positions of this moment for the next `committed`. */
  notePositions(): void {
    this.#noted = new Map();
    for (const { partition, input } of this.#readers.values()) {
      if (input.position !== undefined) this.#noted.set(partition.id, input.position);
    }
  }

  /** Tells the source that the noted positions are durable. */
  async committed(): Promise<void> {
    if (this.#noted.size > 0) await this.#open?.committed?.(this.#noted);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#open?.close();
  }

  #sourceContext(): SourceContext {
    const { ports, log, topology, resumed, signal, stored, fail, openJournal } = this.#context;
    const { step, stream } = this.source;
    return {
      ports,
      log,
      topology,
      stream: stream.name,
      id: step.id,
      signal,
      resumed,
      claim: (partitions) => this.#context.claim(partitions),
      stateful: this.source.stateful,
      meets: this.source.shared !== undefined,
      ...(this.#context.checkpoint && { checkpoint: this.#context.checkpoint }),
      position: (partition) => stored(`${step.id}/${partition}`)?.position,
      assign: (partition) => this.#assign(partition),
      revoke: (partition) => this.#revoke(partition),
      complete: () => {
        this.complete = true;
        this.#context.sourceComplete(step.id);
      },
      fail,
      journal: openJournal,
      readJournal: (nameOrPath) => this.#context.readJournal(nameOrPath),
    };
  }

  #assign(partition: SourcePartition): void {
    const { step } = this.source;
    const options = (step.options ?? {}) as DecodeOptions & { time?: Parameters<typeof createTimeRule>[0] };
    const name = `${step.id}/${partition.id}`;
    const stored = this.#context.stored(name);
    const input = new InputPartition(name, step.id, createDecoder(options), createTimeRule(options.time), stored);
    const task = this.#context.taskFor(this.source, input);
    const reader: Reader = {
      partition,
      input,
      task,
      waitingSince: undefined,
      stopped: false,
      finished: Promise.resolve(),
    };
    this.#readers.set(partition.id, reader);
    this.#returning.delete(partition.id);
    reader.finished = this.#read(reader).catch((error) => this.#context.fail(input.placed(error)));
  }

  async #revoke(id: string): Promise<void> {
    const reader = this.#readers.get(id);
    if (!reader) return;
    reader.stopped = true;
    await this.#context.partitionLeft(reader.task, reader.input);
    if (this.#readers.get(id) === reader) this.#readers.delete(id);
    // It may have been the last one that had not ended.
    if (this.complete) this.#context.sourceComplete(this.source.step.id);
  }

  async #read(reader: Reader): Promise<void> {
    const { partition, input, task } = reader;
    const { ports, signal } = this.#context;
    await this.#begun;
    while (!signal.aborted && !reader.stopped && !input.ended) {
      reader.waitingSince = ports.clock.now();
      const batch = await partition.pull(pullLimits);
      reader.waitingSince = undefined;
      if (signal.aborted || reader.stopped) return;
      if (batch === null) {
        await this.#context.partitionEnded(task, input);
        return;
      }
      await this.#context.ingest(task, input, batch);
      // A source that always has a batch at hand must not keep timers and signals from their turn.
      await nextTurn();
    }
  }
}
