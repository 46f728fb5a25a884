import { windowLast } from '../../../operators/window-last/index.ts';
import { Run } from '../../../src/engine/run.ts';
import type { RunOptions } from '../../../src/engine/run-options.ts';
import { MemoryStore } from '../../../src/engine/store.ts';
import {
  type Batch,
  type Definition,
  defineSink,
  defineSource,
  defineStep,
  type Log,
  type RawRecord,
  RunError,
  type SourceContext,
  type SourcePartition,
  type StreamRecord,
  Type,
} from '../../../src/operator.ts';
import { memoryPorts } from '../../../src/ports/memory.ts';
import type { Plan, PlanStep, PlanStream } from '../../../src/topology/plan.ts';

export interface Entry {
  readonly payload: string | Buffer;
  readonly arrival?: number;
}

/** Partitions of a source, kept outside the run so that a restart reads the same. */
export class TestLog {
  readonly partitions = new Map<string, Entry[]>();
  /** Size of the next batch; 3 unless a test says otherwise. */
  batchSize: () => number = () => 3;
  /** Called before each pull: what it throws ends the run. */
  beforePull: () => unknown = () => undefined;
  /** Whether the input ends after its last entry; else the pull waits. */
  bounded = true;
  committed = new Map<string, unknown>();
  /** The partitions show themselves only once this has resolved. */
  ready: Promise<void> | undefined;
  #wake: (() => void)[] = [];

  add(partition: string, ...entries: (Entry | object)[]): this {
    const list = this.partitions.get(partition) ?? [];
    this.partitions.set(partition, list);
    for (const entry of entries) list.push('payload' in entry ? (entry as Entry) : { payload: JSON.stringify(entry) });
    for (const wake of this.#wake.splice(0)) wake();
    return this;
  }

  more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake.push(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

/** A replayable source over a TestLog. */
export function testSource(name: string, log: TestLog): Definition {
  return defineSource({
    name,
    summary: 'Reads a list.',
    options: Type.Object({}),
    times: ['arrival'],
    partitioned: true,
    examples: [],
    async open(_options, context) {
      const show = () => {
        for (const [id, entries] of log.partitions) context.assign(partition(id, entries, log, context));
        context.complete();
      };
      if (log.ready) void log.ready.then(show);
      else show();
      return {
        async committed(positions) {
          for (const [id, position] of positions) log.committed.set(id, position);
        },
        async close() {},
      };
    },
  }) as unknown as Definition;
}

/** A partition that begins at its checkpointed position and reads its entries, in batches of the log's size. */
export function partition(
  id: string,
  entries: Entry[],
  log: TestLog,
  context: { position(id: string): unknown; signal: AbortSignal },
): SourcePartition {
  let at = (context.position(id) as number | undefined) ?? 0;
  return {
    id,
    get lag() {
      return entries.length - at;
    },
    get caughtUp() {
      return at >= entries.length;
    },
    async pull() {
      await Promise.resolve();
      log.beforePull();
      while (at >= entries.length) {
        if (log.bounded || context.signal.aborted) return null;
        await log.more(context.signal);
      }
      const first = at;
      at = Math.min(entries.length, first + Math.max(1, log.batchSize()));
      return batch(entries, first, at);
    },
  };
}

/** A source in the hands of a test, which shows partitions and takes them away when it likes. */
export class ManualSource {
  /** Given by the engine when it opens the source. */
  context!: SourceContext;
  /** Called in `open`, with the context already there; what it throws is the answer of `open`. */
  onOpen: () => unknown = () => undefined;
  onClose: () => unknown = () => undefined;
  onCommitted: () => unknown = () => undefined;
  opened = 0;
  closed = 0;

  /** Shows a partition that reads this log's partition of the same id. */
  assign(id: string, log: TestLog): void {
    log.add(id);
    this.context.assign(partition(id, log.partitions.get(id)!, log, this.context));
  }
}

export function manualSource(name: string, manual: ManualSource): Definition {
  return defineSource({
    name,
    summary: 'Does as a test says.',
    options: Type.Object({}),
    times: ['arrival'],
    partitioned: true,
    examples: [],
    async open(_options, context) {
      manual.context = context;
      manual.opened++;
      await manual.onOpen();
      return {
        async committed() {
          await manual.onCommitted();
        },
        async close() {
          manual.closed++;
          await manual.onClose();
        },
      };
    },
  }) as unknown as Definition;
}

function batch(entries: Entry[], from: number, to: number): Batch {
  return {
    length: to - from,
    next: to,
    read(index: number, into: RawRecord) {
      const entry = entries[from + index]!;
      into.data = Buffer.from(entry.payload);
      into.start = 0;
      into.end = into.data.length;
      into.arrival = entry.arrival ?? at(86_400);
      into.offset = from + index;
    },
  };
}

export interface Written {
  readonly id: string;
  readonly record: StreamRecord;
}

/** A sink that remembers; its content survives restarts like that of a real target. */
export class TestTarget {
  readonly written: Written[] = [];
  /** Called before each write: what it throws ends the run, what it returns is waited for. */
  beforeWrite: (records: readonly StreamRecord[]) => unknown = () => undefined;
  /** What the sink's `close` does; not asynchronous unless a test makes it so. */
  closesWith: () => unknown = () => undefined;
  refuses: (record: StreamRecord) => string | undefined = () => undefined;
  opened = 0;
  closed = 0;
}

export function testSink(name: string, target: TestTarget): Definition {
  return defineSink({
    name,
    summary: 'Keeps what it gets.',
    options: Type.Object({}),
    examples: [],
    delivery: () => ({ level: 'at least once', reason: 'A test.' }),
    async open(_options, context) {
      target.opened++;
      return {
        maxRecords: 4,
        async write(records) {
          await target.beforeWrite(records);
          const refused = records.flatMap((record, index) => {
            const message = target.refuses(record);
            if (message === undefined) target.written.push({ id: context.recordId(record), record });
            return message === undefined ? [] : [{ index, message }];
          });
          return refused;
        },
        close() {
          target.closed++;
          return Promise.resolve(target.closesWith()) as Promise<void>;
        },
      };
    },
  }) as unknown as Definition;
}

/** `key` of the value becomes the key; without one the record is rejected. */
export const testKeyBy = defineStep({
  name: 'testKeyBy',
  summary: 'Keys by a field.',
  options: Type.Object({}),
  examples: [],
  create: () => ({
    onRecord(record, step) {
      const key = (record.value as { key?: string }).key;
      if (key === undefined) step.reject(record, 'key-missing', 'No key.');
      else step.emit(record.withKey(key));
    },
  }),
}) as unknown as Definition;

export const catalogue = (...definitions: Definition[]): Definition[] => [
  windowLast as unknown as Definition,
  testKeyBy,
  ...definitions,
];

export const source = (
  id: string,
  operator: string,
  time: object | string | undefined = { field: 'ts', unit: 'ms' },
): PlanStep => ({
  kind: 'source',
  id,
  operator,
  options: time === undefined ? {} : { time },
});
export const step = (id: string, operator: string, options: object = {}, more: Partial<PlanStep> = {}): PlanStep => ({
  kind: 'step',
  id,
  operator,
  options,
  ...more,
});
export const sink = (id: string, operator: string, more: Partial<PlanStep> = {}): PlanStep => ({
  kind: 'sink',
  id,
  operator,
  options: {},
  ...more,
});
export const stream = (name: string, steps: PlanStep[], from: string[] = []): PlanStream => ({ name, from, steps });
export const planOf = (streams: PlanStream[], otherwise?: string): Plan => ({
  version: 1,
  name: 'test',
  streams,
  ...(otherwise !== undefined && { otherwise }),
});

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Options of a run on virtual time, with a store that the caller keeps over restarts. */
export function options(plan: Plan, definitions: Definition[], more: Partial<RunOptions> = {}): RunOptions {
  return {
    plan,
    topologyHash: 'hash',
    catalogue: catalogue(...definitions),
    ports: memoryPorts(),
    log: silent,
    store: new MemoryStore(),
    openJournal: () => Promise.reject(new RunError('No journal in this test.')),
    ...more,
  };
}

/** Runs until the input has ended; rejects with what ended the run otherwise. */
export async function runToEnd(runOptions: RunOptions): Promise<Run> {
  const run = await Run.start(runOptions);
  await run.done;
  return run;
}

/** The moment: `2026-01-01T00:00:00Z` plus so many seconds, in ms. Whole windows of a minute start at multiples of 60. */
export const at = (seconds: number): number => Date.UTC(2026, 0, 1) + seconds * 1_000;

/** Waits, turn by turn, until something holds. */
export async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    if (turn > 10_000) throw new Error('What the test waits for does not come about.');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
