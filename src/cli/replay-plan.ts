import { definitionOf } from '../engine/graph.ts';
import {
  type Definition,
  defineSink,
  defineSource,
  defineStep,
  durationMs,
  type Replay,
  type SinkContext,
  type SourceContext,
  type SourceDefinition,
  type StreamRecord,
  type TimeOption,
  Type,
} from '../operator.ts';
import type { Plan, PlanStep, PlanStream } from '../topology/plan.ts';

/** What is replayed: records with an event time in `[from, to)`, in ms since the epoch; either may be infinite. */
export interface Range {
  readonly from: number;
  readonly to: number;
  /** A record may have been stored so long after its time, or before it, and still counts. */
  readonly graceMs: number;
}

/** One record that a sink would have written. */
export interface Replayed {
  readonly sink: string;
  /** The id that the sink would have given it: the same as that of the live run. */
  readonly id: string;
  readonly record: StreamRecord;
}

/** Takes records of one sink, in order. */
export type Take = (replayed: readonly Replayed[]) => Promise<void> | void;

export interface ReplayRequest {
  readonly range: Range;
  /** Ids of the sources to read; the others give nothing. */
  readonly sources: readonly string[];
  /** A name that no other reader has. */
  readonly reader: string;
  /** Takes what the sinks would have written, and resolves when there is room for more; `undefined`: they write it. */
  readonly take: Take | undefined;
  /** `false`: windows that are still open at the end give nothing. */
  readonly flush?: boolean | undefined;
  /** Take the steps over silent inputs that the live run has kept in its state folder. */
  readonly withIdleLog?: boolean | undefined;
  /** State folder of the live run. */
  readonly state?: string;
}

/** A plan that reads part of its input again, with its own state, and the catalogue that it needs. */
export interface ReplayPlan {
  readonly plan: Plan;
  readonly catalogue: readonly Definition[];
}

/** The stream that takes dead letters in a replay of a plan without an `otherwise`. */
export const deadLetters = 'deadLetters';

/** Makes the plan of a replay: bounded sources, sinks that write nowhere unless asked for, and state that nobody keeps. */
export function replayPlan(plan: Plan, catalogue: readonly Definition[], request: ReplayRequest): ReplayPlan {
  const { range, sources, take } = request;
  const streams = plan.streams.map((stream) => ({
    ...stream,
    steps: stream.steps.flatMap((step) => {
      if (step.kind === 'source') return replayedSource(step, sources.includes(step.id), range);
      return [step.kind === 'sink' && take ? { ...step, operator: sinkName, options: {} } : step];
    }),
  }));
  const { delivery, state: { ttl, maxKeys, overflow } = {}, ...rest } = plan;
  const bounds = { ...(ttl && { ttl }), ...(maxKeys && { maxKeys }), ...(overflow && { overflow }) };
  const replayed = { ...rest, state: { ...bounds, store: 'memory' as const }, streams };
  const known = catalogue.map((definition) => withReplay(definition, range, request.reader));
  const own = [nothing, rangeStep, ...(take ? [sinkOf(take)] : [])] as unknown as Definition[];
  return { plan: take ? withDeadLetters(replayed) : replayed, catalogue: [...known, ...own] };
}

/** Ids of the sources of a plan that cannot be read again. */
export function unreplayable(plan: Plan, catalogue: readonly Definition[], sources: readonly string[]): PlanStep[] {
  return sourcesOf(plan).filter(({ id, operator, options }) => {
    const { replays = false }: SourceDefinition = definitionOf(catalogue, 'source', operator);
    return sources.includes(id) && !(typeof replays === 'function' ? replays(options) : replays);
  });
}

/** The sources of a plan. */
export function sourcesOf({ streams }: Plan): PlanStep[] {
  return streams.flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'source'));
}

const sinkName = 'replayed';
const rangeName = 'replayedRange';
const nothingName = 'replayedNothing';

function replayedSource(step: PlanStep, read: boolean, { from, to }: Range): PlanStep[] {
  if (!read) return [{ ...step, operator: nothingName }];
  const range: PlanStep = { kind: 'step', id: `${step.id} in range`, operator: rangeName, options: { from, to } };
  return [step, range];
}

function withReplay(definition: Definition, { from, to, graceMs }: Range, reader: string): Definition {
  if (definition.kind !== 'source') return definition;
  const source: SourceDefinition = definition;
  return {
    ...source,
    open: (options: unknown, context: SourceContext) => {
      // A record may be of a time ahead of the moment it was stored, and of one behind it.
      const { time } = options as { time?: TimeOption };
      const late = typeof time === 'object' ? durationMs(time.outOfOrder ?? '0s') : 0;
      const replay: Replay = { from: from - graceMs, until: to + late + graceMs, reader };
      return source.open(options as never, { ...context, replay });
    },
  };
}

function withDeadLetters(plan: Plan): Plan {
  if (plan.otherwise !== undefined) return plan;
  const sink: PlanStep = { kind: 'sink', id: deadLetters, operator: sinkName, options: {} };
  const stream: PlanStream = { name: `${deadLetters} of the replay`, from: [], steps: [sink] };
  return { ...plan, otherwise: stream.name, streams: [...plan.streams, stream] };
}

const nothing = defineSource({
  name: nothingName,
  summary: 'Stands for a source that a replay leaves out.',
  options: Type.Object({}),
  times: ['arrival', 'kafka', 'influx'],
  partitioned: true,
  examples: [],
  async open(_options, { complete }) {
    complete();
    return { async close() {} };
  },
});

const rangeStep = defineStep({
  name: rangeName,
  summary: 'Passes the records of a replay whose event time is in its range.',
  options: Type.Object({ from: Type.Number(), to: Type.Number() }),
  examples: [],
  create: ({ from, to }) => ({
    onRecord(record, step) {
      // Without a time nothing says that it is out of range.
      if (Number.isNaN(record.time) || (record.time >= from && record.time < to)) step.emit(record);
    },
  }),
});

function sinkOf(take: Take) {
  return defineSink({
    name: sinkName,
    summary: 'Takes what a sink would have written.',
    options: Type.Object({}),
    examples: [],
    delivery: () => ({ level: 'at least once', reason: 'It writes nowhere.' }),
    async open(_options, { id, recordId }: SinkContext) {
      return {
        async write(records) {
          await take(records.map((record) => ({ sink: id, id: recordId(record), record })));
          return undefined;
        },
        async close() {},
      };
    },
  });
}
