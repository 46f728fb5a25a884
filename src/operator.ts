/**
 * The door for operators: everything a source, step or sink may import from the core.
 * A built-in operator differs from one of your own in nothing but the path of this import.
 */
import Type, { type Static, type TObject, type TSchema } from 'typebox';
import type { ProblemCode, RejectCode } from './errors.ts';
import type { Ports } from './ports.ts';
import { durationPattern, sizePattern } from './quantity.ts';
import type { Key, Meta, StreamRecord } from './record.ts';
import type { Secret } from './secret.ts';

export {
  connectHeaders,
  type DeadLetter,
  deadLetterOf,
  originalHeaders,
  payloadBytes,
} from './dead-letter.ts';
export {
  type Problem,
  type ProblemCode,
  type RejectCode,
  RejectError,
  RunError,
  TopologyError,
  TransactionError,
} from './errors.ts';
export { compileExpression, compileTemplate, type Evaluate, type Render } from './expression/index.ts';
export { fieldReader, kindOf, putField } from './field.ts';
export { kafkaPartition, murmur2 } from './murmur2.ts';
export { compareNumbered, compareRecords, countBefore } from './ordered.ts';
export { readTlsFiles, tlsRefusal } from './ports/tls.ts';
export type { Clock, ConnectOptions, Disk, DiskFile, Network, Ports } from './ports.ts';
export type { Process, RecordContext, TimerContext } from './process.ts';
export { durationMs, sizeBytes } from './quantity.ts';
export { type Data, type Key, type Meta, recordId, StreamRecord, type Window } from './record.ts';
export {
  eitherType,
  type FieldType,
  itemType,
  jsonTypes,
  objectType,
  orNull,
  recordFields,
  withFields,
} from './record-type.ts';
export { Secret } from './secret.ts';
export {
  compileTopic,
  publishProblem,
  type TopicPattern,
  topicHygiene,
  topicProblems,
} from './topic-pattern.ts';
export { type Static, Type };

// ---------------------------------------------------------------------------------------------------------------------
// Option types. An option's `format` tells the loader how to read, check and print it.

type Notes = { description: string; default?: unknown; examples?: unknown[] };

/** A length of time with its unit, such as `10s` or `1m30s`. */
export const duration = (notes: Notes) => Type.String({ format: 'duration', pattern: durationPattern, ...notes });

/** A number of bytes with its unit, such as `64kB` or `10MiB`. */
export const size = (notes: Notes) => Type.String({ format: 'size', pattern: sizePattern, ...notes });

/** What TypeScript users may write wherever YAML has an expression: CEL text, or a function of the record's value. */
// biome-ignore lint/suspicious/noExplicitAny: the value's type is the caller's; the chain narrows it
export type Expression = string | ((value: any, record: StreamRecord<any>) => unknown);

/** A CEL expression over the record, checked against the record's type when the topology is read. */
export const expression = (notes: Notes) => Type.Unsafe<Expression>({ type: 'string', format: 'expression', ...notes });

/** A text with CEL expressions in braces, such as `generators/{generatorID}/cmd`. */
export const template = (notes: Notes) => Type.String({ format: 'template', ...notes });

/** The name of a field of the record; `a.b` goes into nested objects. Checked against the record's type. */
export const field = (notes: Notes) => Type.String({ format: 'field', minLength: 1, ...notes });

/** The name of a stream that takes a side output, or `drop`. */
export const streamName = (notes: Notes) => Type.String({ format: 'stream', ...notes });

/** A function, which only TypeScript can give. `T` is its type, or that of the object of functions it belongs to. */
export const functionOption = (notes: Notes) => Type.Unsafe<never>({ type: 'string', format: 'function', ...notes });
/**
 * The name of a stream whose records come to this step as well: `Step.onInput` gets them. The name is checked, and `TypeCheck.expression`
 * gives the type of its records.
 */
export const inputStream = (notes: Notes) => Type.String({ format: 'input', ...notes });

/** A condition whose name in the options is that of a stream, such as an entry of `branch`. The name is checked as `streamName` is. */
export const streamCondition = (notes: Notes) =>
  Type.Unsafe<Expression>({ type: 'string', format: 'expression', keyFormat: 'stream', ...notes });

/** A password or token. Printed as `***` everywhere. */
export const secret = (notes: Notes) => Type.Unsafe<Secret>({ type: 'string', format: 'secret', ...notes });

/** A JSON Schema (draft-07): in YAML the path of a file beside the topology, or the schema itself. */
export const jsonSchema = (notes: Notes) => Type.Unsafe<JsonSchema>({ format: 'json-schema', ...notes });

/** The path of a file, relative to the topology's folder. The plan holds it absolute. */
export const path = (notes: Notes) => Type.String({ format: 'path', minLength: 1, ...notes });

/** A JSON Schema document. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** What is known of a record's value: a JSON Schema, or `undefined` for nothing at all. */
export type RecordType = JsonSchema | undefined;

// ---------------------------------------------------------------------------------------------------------------------
// What all definitions share

/** One worked example: it stands on the reference page and runs as a test. */
export interface Example {
  readonly title: string;
  /** Options as YAML users write them. */
  readonly options: unknown;
  /** TypeScript that stands on the page in place of the options, where they are functions. */
  readonly code?: string;
  /** Time, key and value of the records that go in. */
  readonly input?: readonly ExampleRecord[];
  /** What comes out of a step, after the input has ended. */
  readonly output?: readonly ExampleRecord[];
  /** Codes of the records that were rejected or late, in order. */
  readonly rejected?: readonly RejectCode[];
}
export interface ExampleRecord {
  readonly key?: Key;
  readonly time?: number;
  readonly value: unknown;
  readonly partition?: number;
  readonly meta?: Meta;
  readonly window?: { readonly start: number; readonly end: number };
  /** Going in: the stream it comes from, when that is a further input of the step. Coming out: the stream it is sent to. */
  readonly stream?: string;
}

interface Common<S extends TSchema> {
  /** camelCase, as in YAML and TypeScript; the folder is the same in kebab-case. */
  readonly name: string;
  /** One sentence in the third person, for the reference page and the editor. */
  readonly summary: string;
  /** More for the reference page: what happens at the edges (late, empty, error, restart). Markdown. */
  readonly details?: string;
  readonly options: S;
  /** The option that a bare scalar or list stands for: `keyBy: generatorID`. */
  readonly shorthand?: string;
  readonly examples: readonly Example[];
}

// ---------------------------------------------------------------------------------------------------------------------
// Steps

/** What a step may do while it holds a record. One object per step, used again for each record: do not keep it. */
export interface StepContext<S = unknown> {
  /** Event time up to which the input is complete, in ms; -Infinity before the first record. */
  readonly watermark: number;
  /** The input has ended or is being drained: timers fire although event time has not come to them. */
  readonly ending: boolean;
  emit(record: StreamRecord): void;
  /** Sends a record, of the type that came in, to a stream that an option of the format `stream` names; to `drop`: nowhere. */
  emitTo(stream: string, record: StreamRecord): void;
  /** Sends the record to the step's `otherwise` stream, with the reason. */
  reject(record: StreamRecord, code: RejectCode, message: string, reasons?: readonly unknown[]): void;
  /** Sends a record whose window has closed to the step's `late` stream. */
  late(record: StreamRecord, message: string): void;
  /**
   * Keyed steps: the state of this record's key; `undefined` when there is none. Plain data (JSON types, NaN, Infinity, Date,
   * BigInt, StreamRecord), so that it can be checkpointed. Set it to `undefined` to forget the key.
   */
  state: S | undefined;
  /** Keyed steps: calls `onTimer(at)` for this key once the watermark reaches `at`. Asking twice for one time is one timer. */
  timer(at: number): void;
}

/** The behaviour of a step. It never keeps state of its own, reads no clock and sets no timer: the engine owns those. */
export interface Step<S = unknown> {
  onRecord(record: StreamRecord, step: StepContext<S>): void;
  /** A record of `stream`, which an option of the format `input` names. Keyed steps: the state is that of this record's key. */
  onInput?(record: StreamRecord, step: StepContext<S>, stream: string): void;
  /** The watermark has reached `at`. `key` is the key that asked for it. */
  onTimer?(at: number, key: Key, step: StepContext<S>): void;
}

/** What a definition may ask while its place in a topology is type-checked. */
export interface TypeCheck {
  /** Type of the records that come in. */
  readonly input: RecordType;
  /**
   * Type-checks the expression (or template, or field name) at this path of the options; gives its result type. Reports its own problems.
   * For the name of a stream that is a further input: the type of that stream's records.
   */
  expression(path: readonly (string | number)[]): RecordType;
  /** Reports a problem at this path of the options: an error, `bad-value`, unless said otherwise. */
  problem(
    path: readonly (string | number)[],
    message: string,
    hint?: string,
    severity?: 'error' | 'warning',
    code?: ProblemCode,
  ): void;
}

/** What the state in a checkpoint was made by, where that is not what the step is now. */
export interface StateOrigin {
  /** The definition's `stateVersion` then. */
  readonly version: number;
  /** The options of `stateDependsOn` then; null where none was given. */
  readonly options: Readonly<Record<string, unknown>>;
}

export interface StepDefinition<S extends TSchema = TSchema, State = unknown> extends Common<S> {
  readonly kind: 'step';
  /** The step owns state per key: it needs a `keyBy` before it and an `id`. */
  readonly keyed?: boolean;
  /** The step works on event time, always or with these options: its sources need a `time`. */
  readonly timed?: boolean | ((options: Static<S>) => boolean);
  /** Changes when old state can no longer be read. Starts at 1. */
  readonly stateVersion?: number;
  /** The option values that, when changed, make old state meaningless. */
  readonly stateDependsOn?: readonly string[];
  /**
   * Gives what turns one key's state of an older `stateVersion`, or of other options in `stateDependsOn`, into the state that this step
   * holds; `undefined` when that cannot be: the state is then to be discarded. What it gives may forget a key with `undefined`. Timers
   * stay as they were asked for. Throwing refuses the run, with nothing changed. Never asked about the state of a newer version.
   */
  migrate?(options: Static<S>, from: StateOrigin): ((state: unknown) => State | undefined) | undefined;
  /** The step may call `late`: it then takes a `late` option, the name of a stream or `drop`. */
  readonly late?: boolean;
  /** With these options the step gives several results for one window, each in place of the one before. Default: no. */
  updates?(options: Static<S>): boolean;
  /** With these options nothing goes on behind the step: every record is sent to another stream. */
  ends?(options: Static<S>): boolean;
  /** Fields to which the step gives values of its own: what a source says of them holds no longer. Default: none that are known. */
  writes?(options: Static<S>): readonly string[];
  /** Why a replay may give other results with these options; `undefined` when it does not. `penstock plan` says it. */
  notReplayable?(options: Static<S>): string | undefined;
  /** Type of what comes out; checks the options against the type that comes in. Default: unchanged. */
  type?(options: Static<S>, check: TypeCheck): RecordType;
  /** Makes the step for checked options: compile expressions and validators here, once. `id` is the step's id. */
  create(options: Static<S>, id: string): Step<State>;
}

// ---------------------------------------------------------------------------------------------------------------------
// Sources

/** Where a source partition stands: JSON, known to its source alone. It is what a checkpoint holds. */
export type Position = string | number | { readonly [field: string]: unknown };

/** One raw record under the reader's finger. One object, filled again and again by `Batch.read`: do not keep it. */
export class RawRecord {
  /** The payload is `data[start, end)`. */
  data: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  /** Set together with `decoded`: the value itself, from sources that have no bytes. */
  value: unknown = undefined;
  decoded = false;
  key: Key | undefined = undefined;
  /** The source system's own timestamp in ms (Kafka), else NaN. */
  timestamp = Number.NaN;
  /** When the record reached us, in ms; stored with it where the source keeps it (journal). */
  arrival = 0;
  offset = 0;
  meta: Meta | undefined = undefined;
  /** Fields to set on the decoded object, such as captured topic levels. */
  captures: Readonly<Record<string, string>> | undefined = undefined;
  /** Set by a source that already knows that this record is bad: it goes to the dead letter with this reason. */
  refused: { code: RejectCode; message: string } | undefined = undefined;
  /**
   * Set by a source for a record that is none of its stream's: the stream that takes it, which an option of the format `stream` names, or
   * `drop`. It is decoded, its time is its arrival, and event time does not move with it.
   */
  stream: string | undefined = undefined;
}

/** Some records of one source partition, in order, pulled in one go. */
export interface Batch {
  readonly length: number;
  /** The partition's position after this batch. */
  readonly next: Position;
  /** The payload bytes of all records are known to be UTF-8 and to hold neither `__proto__` nor a `\u` escape: decoding may skip those checks. */
  readonly clean?: boolean;
  /** Fills `into` with record `index`. */
  read(index: number, into: RawRecord): void;
}

export interface PullLimits {
  readonly records: number;
  readonly bytes: number;
}

/** One partition of an open source. The engine pulls; nothing is pushed. */
export interface SourcePartition {
  /** Stable across restarts: `0`, or `topic/3`. */
  readonly id: string;
  /**
   * Resolves with the next records as soon as there is at least one; with `null` when a bounded input has ended.
   * Only one pull is open at a time. Rejects with a RunError when the run cannot go on.
   */
  pull(limits: PullLimits): Promise<Batch | null>;
  /** Nothing was left to read when last asked: with it an open pull makes the partition a candidate for idleness. */
  readonly caughtUp: boolean;
  /** How far what was handed over lies behind the end of the partition, in offsets, as last heard; `undefined` where that is not known. */
  readonly lag?: number | undefined;
}

/** What a replay reads again. Times are in ms since the epoch and may be infinite. */
export interface Replay {
  /** No record that was stored before this is needed. */
  readonly from: number;
  /** … nor one that was stored at this time or later, nor any that comes while the replay runs. */
  readonly until: number;
  /** A name that nobody else has, for what needs one, such as a consumer group. */
  readonly reader: string;
}

/** What the engine gives to a source as it opens. */
export interface SourceContext {
  readonly ports: Ports;
  readonly log: Log;
  /** Name of the topology: the default of group and client ids. */
  readonly topology: string;
  readonly stream: string;
  /** The step's id. */
  readonly id: string;
  /** Set for a replay: read this much again, then end; and touch nothing that the live run owns, such as a group's offsets. */
  readonly replay?: Replay;
  /** Aborted when the run ends; open pulls then resolve with `null`. */
  readonly signal: AbortSignal;
  /**
   * Makes the state of these partitions ours, before their positions are asked for. Where state lives with the source
   * (`SourceDefinition.transactions`) it is read from there and whoever had it is fenced; else this resolves at once.
   * Rejects as `Transactions.claim` does.
   */
  claim(partitions: readonly string[]): Promise<void>;
  /** The checkpointed position of a partition; `undefined` when there is none. */
  position(partition: string): Position | undefined;
  /** Whether the run resumes from a checkpoint at all. */
  readonly resumed: boolean;
  /** Steps behind this source keep state of its records: state and position of a partition belong together. */
  readonly stateful?: boolean;
  /** Its records meet those of another source in one step: all partitions of both have to be read by one process. */
  readonly meets?: boolean;
  /**
   * Takes a checkpoint of what was handed over so far; resolves when `OpenSource.committed` has been called for it. For a source that shares
   * its partitions with other processes, before they may take some of ours. Absent where state lives with the source.
   */
  checkpoint?(): Promise<void>;
  /** A partition is ours from now on. */
  assign(partition: SourcePartition): void;
  /** A partition is no longer ours. Resolves when its work is finished and checkpointed. */
  revoke(partition: string): Promise<void>;
  /** All partitions of this source have been assigned that will ever be (a bounded or single source): without it the run never ends by itself. */
  complete(): void;
  /** Ends the run with an error, from outside a pull. */
  fail(error: Error): void;
  /** The durable log that makes a source replayable which is not. Its name is unique in the topology. */
  journal(name: string, options?: JournalSize): Promise<Journal>;
  /** Opens a journal to read alone: one of this topology by its name, or any by the absolute path of its folder, which need not be there yet. */
  readJournal(nameOrPath: string): Promise<JournalView>;
}

export interface OpenSource {
  /**
   * These positions are in a durable checkpoint: what lies before may be forgotten or committed. A run whose newest checkpoint turns out
   * to be damaged goes back by up to two of them: a `Journal` keeps what that needs, and a source that forgets by itself has to.
   */
  committed?(positions: ReadonlyMap<string, Position>): Promise<void>;
  /**
   * The engine has dropped its work on this partition since its last commit: give the partition back (`revoke`), claim it and
   * assign it again. `fenced`: another process owns it now, so it is not ours to claim before the group says so again.
   */
  restart?(partition: string, fenced: boolean): void;
  /** What the status of the run says of this source, beside what was read: counts since it was opened, and how much there is now. */
  counters?(): Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** A transaction of another system. Only sinks of that system know how to write in it. */
export interface Transaction {
  /** Name of the operator whose transaction this is, such as `kafka`. */
  readonly system: string;
}

/** What a commit writes and removes. */
export interface Changes {
  puts: [name: string, bytes: Buffer][];
  removes: string[];
}

/** The state of one source partition, kept with the source: state, position and output are committed together. */
export interface PartitionState {
  /** Where sinks of the same system write until the next commit. */
  readonly transaction: Transaction;
  /** What was committed last. Asked for only until the first commit: it may be forgotten then. */
  get(name: string): Buffer | undefined;
  entries(prefix: string): Iterable<[name: string, bytes: Buffer]>;
  /**
   * Commits what was written in the transaction since the last commit, `changes`, and the position: all or nothing.
   * Rejects with a TransactionError when that did not happen or nobody knows whether it did; nothing but `close` may follow.
   */
  commit(changes: Changes, position: Position | undefined): Promise<void>;
  /** Takes back what was not committed and closes. Never rejects. */
  close(): Promise<void>;
}

/** What a source needs that keeps the state of its partitions itself. */
export interface TransactionsContext {
  readonly ports: Ports;
  readonly log: Log;
  readonly topology: string;
  /** Id of the source step. */
  readonly id: string;
  readonly signal: AbortSignal;
}

/** State kept beside the records of a source, by partition, so that it moves with them between processes. */
export interface Transactions {
  /**
   * Takes over the state of a partition: waits for or ends what an earlier owner has begun, so that nothing of it can be committed
   * any more, and reads what was committed last. Waits for a system that is away; rejects with a RunError otherwise.
   */
  claim(partition: string): Promise<PartitionState>;
  close(): Promise<void>;
}

/** Where a message is put so that a source reads it again. */
export interface SendBack {
  /** Name of a sink's operator, and its options. It is given the bytes as the value, the key, and in `meta` topic and headers. */
  readonly sink: string;
  readonly options: unknown;
  /** The options depend on how often it was put back. */
  readonly perMark?: boolean;
}

export interface SourceDefinition<S extends TSchema = TSchema> extends Common<S> {
  readonly kind: 'source';
  /** It can read again what it has read before, always or with these options: it heeds `SourceContext.replay`. */
  readonly replays?: boolean | ((options: Static<S>) => boolean);
  /** When a record came is stored with it: read again, it has the same arrival. */
  readonly keepsArrival?: boolean;
  /** The values of `time` that need no field: `arrival`, `kafka`. */
  readonly times: readonly string[];
  /** Several partitions, each with a task of its own. `partitionedBy` says what their records are partitioned by. */
  readonly partitioned?: boolean;
  /** The field of the payload that the partitions of this source are known to be a function of; none when nothing is known. */
  partitionedBy?(options: Static<S>): string | undefined;
  /** What is known of the decoded value before any `validate`. */
  type?(options: Static<S>): RecordType;
  /** More checks on the options than their schema can say. */
  check?(options: Static<S>, check: TypeCheck): void;
  /** The fields that this source takes from a topic; `undefined` when it does not read the topic. Tests ask for it, where nothing is opened. */
  captures?(options: Static<S>, topic: string): Readonly<Record<string, string>> | undefined;
  /** The name that this source's routes give to a topic, as `meta.route`; `undefined` when it has none. Tests ask for it too. */
  route?(options: Static<S>, topic: string): string | undefined;
  /**
   * For topologies with `state: { store: <name of this source> }`: keeps the state of the source's partitions in the source's own
   * system. `settings` is the topology's `state`.
   */
  transactions?(options: Static<S>, settings: StateSettings, context: TransactionsContext): Promise<Transactions>;
  /**
   * Where to put a message back that this source has read from `topic`, for the `redriven`th time; `undefined` when it does not read that topic,
   * or the message could not be given as it was.
   */
  sendBack?(options: Static<S>, message: { topic: string | undefined; redriven: number }): SendBack | undefined;
  /** Connects. Rejects with a RunError that names the address and says what to do. */
  open(options: Static<S>, context: SourceContext): Promise<OpenSource>;
}

/** Where and how a topology keeps its state: the top-level `state` of a topology, checked, with durations in ms. */
export interface StateSettings {
  /** `disk` unless given; `memory` is lost with the process; `kafka` keeps it in a changelog topic beside the source. */
  readonly store?: 'disk' | 'memory' | 'kafka';
  /** A checkpoint is taken so often, in ms; 5,000 unless given. */
  readonly every?: number;
  /** State of a key that no record has touched for so long in event time, in ms, and that waits for nothing is dropped. Default: never. */
  readonly ttl?: number;
  /** At most so many keys in one step of one task. Default: no bound. */
  readonly maxKeys?: number;
  /** What happens to a record of one more key: it is rejected, or the key that was used least recently and waits for nothing is dropped. */
  readonly overflow?: 'reject' | 'dropOldest';
  /** `kafka`: name of the changelog topic; `<topology>-<source>-changelog` unless given. */
  readonly topic?: string;
  /** `kafka`: copies of each partition of a changelog topic that has to be made; the broker's default unless given. */
  readonly replication?: number;
}

/** An append-only log on disk. Offsets count records from 0 and never repeat. */
export interface Journal {
  /** Resolves with the record's offset once it is durable. Appends are durable in the order of the calls. */
  append(record: JournalRecord): Promise<number>;
  /** Bytes that were appended and are not yet durable, for back-pressure. */
  readonly pendingBytes: number;
  /** Offset of the first record still held, and the one after the last durable record. */
  readonly begin: number;
  readonly end: number;
  /** Resolves with durable records from `offset` on (at least one; waits for it), or `null` once the signal is aborted. */
  read(offset: number, limits: PullLimits, signal: AbortSignal): Promise<JournalBatch | null>;
  /** Records before `offset` may be removed. */
  trim(offset: number): Promise<void>;
  close(): Promise<void>;
}
export interface JournalSize {
  /** Appends wait while the journal is this large, unless there is something trimmed that can go. */
  readonly maxBytes?: number;
  /** What has been trimmed stays for so long after it came, in ms, as long as `maxBytes` leaves room for it. Default: it goes at once. */
  readonly keepMs?: number;
}
/** A journal as one sees it who only reads, while another may write: records are shown once they are whole and durable. */
export interface JournalView extends Pick<Journal, 'begin' | 'end' | 'read' | 'close'> {
  /** Looks at what is there now: moves `begin` and `end` on. `read` does it too when it has to wait. */
  refresh(): Promise<void>;
  /** The first record that came at this time or later, in ms; `end` when there is none. */
  offsetAt(arrival: number): Promise<number>;
}
export interface JournalRecord {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** When it reached us, in ms since the epoch. */
  readonly arrival: number;
  /** Small facts to keep beside it, such as `retained`. */
  readonly flags?: number;
}
export interface JournalBatch {
  readonly length: number;
  /** Offset after the last record of this batch. */
  readonly next: number;
  /** Fills data, start, end, arrival and offset of `into`, which then has neither a value, a key nor a timestamp; gives topic and flags. */
  read(index: number, into: RawRecord): { topic: string; flags: number };
}

// ---------------------------------------------------------------------------------------------------------------------
// Sinks

/** A record that the target will never take, and why. */
export interface Refused {
  /** Index in the batch that was written. */
  readonly index: number;
  readonly message: string;
  /** `sink-refused` unless given. */
  readonly code?: RejectCode;
  /** How often it was tried; once unless given. */
  readonly attempts?: number;
}

/** What the engine gives to a sink as it opens. */
export interface SinkContext {
  readonly ports: Ports;
  readonly log: Log;
  readonly topology: string;
  readonly stream: string;
  readonly id: string;
  /** Aborted when the run is forced to end: stop retrying and reject. */
  readonly signal: AbortSignal;
  /** The same text for the same result after any restart or replay: `step/key/window start`, with `/seq` for an update, or `source/partition/offset`, with `#part` behind it. */
  recordId(record: StreamRecord): string;
  /** Write in this transaction, when it is of the sink's own system and cluster; the engine commits it. */
  readonly transaction?: Transaction;
  /**
   * What `OpenSink.position` gave at the checkpoint that the run goes on from: all that was written after it comes again, so a sink that can
   * takes it back now. `undefined` when none is known, as for a sink that is new, and always where state lives with the source.
   */
  readonly position?: Position;
  /**
   * Opens the journal in a folder for writing, and makes it when there is none. Rejects with a RunError when another process writes it.
   * Others may read it meanwhile.
   */
  journal(path: string, options?: JournalSize): Promise<Journal>;
}

export interface OpenSink {
  /** At most this many records in one write; 5,000 unless said. */
  readonly maxRecords?: number;
  /**
   * Resolves when each record is durable at the target or stands in the list of refused ones. Retries passing trouble by
   * itself, for ever, with back-off. Rejects only with what must end the run (wrong credentials, no such bucket).
   * The engine calls it with one batch at a time and in order. Several source partitions share one open sink.
   */
  write(records: readonly StreamRecord[]): Promise<readonly Refused[] | undefined>;
  /**
   * For a sink that can take back what it wrote: where the target stands behind the last confirmed write. It is stored with each checkpoint,
   * and once before the first write, and comes back as `SinkContext.position`. Never called while a write is under way.
   */
  position?(): Position;
  close(): Promise<void>;
}

export interface Delivery {
  readonly level: 'exactly once' | 'effectively once' | 'at least once' | 'at most once';
  /** Why, and what to change for a better level. */
  readonly reason: string;
}

/** Where what a sink has written can be read again. */
export interface ReadBack {
  /** Name of a source's operator, and its options. */
  readonly source: string;
  readonly options: unknown;
  /** The header that holds each record's id; without one, records are told apart by their values alone. */
  readonly idHeader?: string;
}

/** The source in whose transactions a topology commits. */
export interface Committing {
  /** Name of the source's operator. */
  readonly operator: string;
  readonly options: unknown;
}

export interface SinkDefinition<S extends TSchema = TSchema> extends Common<S> {
  readonly kind: 'sink';
  /** `within`: the topology commits in transactions of this source. */
  delivery(options: Static<S>, within?: Committing): Delivery;
  /** The sink can write in the transactions of this source: it is then opened once for each of its partitions. */
  joins?(options: Static<S>, source: Committing): boolean;
  /** Where to read what was written with these options; `undefined` when it cannot be told. For a replay that compares. */
  readBack?(options: Static<S>): ReadBack | undefined;
  /** A result takes the place of one written before for the same step, key and window, or its readers can tell the two. Default: no. */
  upserts?(options: Static<S>): boolean;
  /** Checks the options against the type that comes in. */
  type?(options: Static<S>, check: TypeCheck): void;
  /** Connects. Rejects with a RunError that names the address and says what to do. */
  open(options: Static<S>, context: SinkContext): Promise<OpenSink>;
}

export type Definition = StepDefinition | SourceDefinition | SinkDefinition;

/** Structured log lines; the command line writes them to standard error. Never given a payload or a secret. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

// ---------------------------------------------------------------------------------------------------------------------
// Definitions

/** Options that every source has. */
export const sourceOptions = {
  time: Type.Optional(
    Type.Unsafe<TimeOption>({
      description:
        "Where event time comes from. `arrival`: when the record reached us. `kafka`, `influx`, `journal`: the record's own timestamp (of that source only). `{ field, unit }`: a field of the payload. `{ header, unit }`: a header, or a user property of MQTT 5. A source without `time` cannot feed a window.",
      anyOf: [
        { type: 'string', enum: ['arrival', 'kafka', 'influx', 'journal'] },
        Type.Object(
          {
            from: Type.Optional(
              Type.Enum(['arrival', 'kafka', 'influx', 'journal'], { description: 'Instead of `field`.' }),
            ),
            field: Type.Optional(field({ description: 'Field of the payload that holds the time.' })),
            header: Type.Optional(
              Type.String({
                description: 'Instead of `field`: the header (Kafka) or user property (MQTT 5) that holds the time.',
                minLength: 1,
              }),
            ),
            unit: Type.Optional(
              Type.Enum(['s', 'ms', 'us', 'ns', 'rfc3339'], {
                description: 'Unit of that field or header. Never guessed.',
              }),
            ),
            outOfOrder: Type.Optional(
              duration({
                description: 'How far records may be out of order: the watermark stays this far behind the newest.',
                default: '0s',
              }),
            ),
            idle: Type.Optional(
              duration({
                description:
                  'A partition that is read to its end and silent for so long no longer holds the watermark back. Default: never.',
              }),
            ),
            maxFuture: Type.Optional(
              duration({
                description:
                  'A time further ahead of arrival than this is an error of that record. Arrival is what is stored with the record: the timestamp in Kafka, the moment of receipt in a journal.',
                default: '1m',
              }),
            ),
          },
          { additionalProperties: false },
        ),
      ],
    }),
  ),
  format: Type.Optional(
    Type.Enum(['json', 'text', 'bytes'], { description: 'How payloads are decoded.', default: 'json' }),
  ),
  maxPayload: Type.Optional(size({ description: 'A larger payload is rejected.', default: '1MiB' })),
};
export type TimeOption =
  | 'arrival'
  | 'kafka'
  | 'influx'
  | 'journal'
  | {
      from?: 'arrival' | 'kafka' | 'influx' | 'journal';
      field?: string;
      header?: string;
      unit?: 's' | 'ms' | 'us' | 'ns' | 'rfc3339';
      outOfOrder?: string;
      idle?: string;
      maxFuture?: string;
    };

/**
 * An aggregate of your own, for the `window` step: a fold over the values of a window. `state` is plain data (JSON types, NaN, Infinity, Date,
 * BigInt), as it stands in checkpoints. `add` and `merge` give the next state and leave what they are given as it is.
 */
export interface Aggregate<S = unknown, T = unknown, R = unknown> {
  /** The state before the first record. */
  create(): S;
  /** The state with one more record. Throwing rejects the record with `step-failed`. */
  add(state: S, value: T, record: StreamRecord): S;
  /**
   * The state of two windows, or parts of one, that become one; all of `a` is older than all of `b`. However a window is cut into parts, putting
   * them together must come to the same: `merge` is associative, and `create()` changes nothing.
   */
  merge(a: S, b: S): S;
  /** What the field of the result holds; it leaves the state as it is. */
  result(state: S): R;
}

/** Defines an aggregate of your own: `window({ tumbling: '1m', aggregate: { spread: { own: defineAggregate({ … }) } } })`. */
export function defineAggregate<S, T, R>(aggregate: Aggregate<S, T, R>): Aggregate<S, T, R> {
  return aggregate;
}

/** What may stand beside a step's own key. */
export type Siblings = {
  /** Stable name of the step: its state is kept under it. */
  id?: string;
  description?: string;
  /** The step applies only to records for which this is true; the others pass unchanged. */
  when?: Expression;
  /** Stream that takes what this step rejects, or `drop`: short for `onError: { to: … }`. */
  otherwise?: string;
  /** What becomes of what this step rejects, in full. */
  onError?: OnError;
  /** Sinks: records wait on disk until the target takes them. */
  buffer?: BufferOptions;
};

/** A buffer on disk between a sink and its target, as its author writes it. */
export interface BufferOptions {
  /** `true`: in the state folder. Or the path of a folder. */
  disk: true | string;
  /** The buffer is full at this size; `1GiB` unless given. */
  maxSize?: string;
  /** What has waited for longer is dropped and counted. */
  maxAge?: string;
  /** At most so many records a second go to the target. */
  drain?: { rate?: number };
  /** `block` unless given: sources wait. `dropOldest` counts what it drops; with `dropNewest` what comes becomes a dead letter. */
  whenFull?: 'block' | 'dropOldest' | 'dropNewest';
}

/**
 * What becomes of what a step rejects: `fail` ends the run, `drop` counts it and goes on, the name of a stream sends it there as a dead letter.
 * `otherwise: x` is short for `{ to: x }`.
 */
export type OnError =
  | 'fail'
  | 'drop'
  | (string & {})
  | {
      /** Stream, or `drop`. Default: what the topology says, else a file in the state folder. */
      to?: string;
      /** Sinks: what the target refuses is written again, `attempts` times in all, after pauses that double from `backoff` (1s). */
      retry?: { attempts: number; backoff?: string };
      /** Ends the run when of the records of the last `over` (1m) this share was rejected, and there were `atLeast` (100) of them. */
      stopAt?: { share: number; over?: string; atLeast?: number };
    };

/** Defines a step: `defineStep({ name: 'set', … })`. See `operators/set` for a small one. */
export function defineStep<const S extends TSchema, State = unknown>(
  definition: Omit<StepDefinition<S, State>, 'kind'>,
): StepDefinition<S, State> {
  return { kind: 'step', ...definition };
}

/** Defines a source; the options that all sources have are added to its own. */
export function defineSource<const S extends TObject>(
  definition: Omit<SourceDefinition<S>, 'kind'>,
): SourceDefinition<S> {
  const options = Type.Object({ ...definition.options.properties, ...sourceOptions }, { additionalProperties: false });
  return { kind: 'source', ...definition, options: options as unknown as S };
}

/** Defines a sink. */
export function defineSink<const S extends TSchema>(definition: Omit<SinkDefinition<S>, 'kind'>): SinkDefinition<S> {
  return { kind: 'sink', ...definition };
}
