import type { Log, OpenSink, Ports, Position, Transaction } from '../operator.ts';
import { recordId } from '../record.ts';
import type { BufferSettings, Plan, PlanStep } from '../topology/plan.ts';
import type { BufferStore } from './buffer-store.ts';
import { BufferedSink } from './buffered-sink.ts';
import { type Catalogue, definitionOf } from './graph.ts';
import { openOwnJournal } from './own-journal.ts';
import { RetryingSink } from './retrying-sink.ts';
import { SinkRunner } from './sink-runner.ts';

/** Opens the buffer of a sink. */
export type OpenBuffer = (sink: string, settings: BufferSettings) => Promise<BufferStore>;

/** What sinks are opened with. */
export interface SinkOpening {
  readonly plan: Plan;
  readonly catalogue: Catalogue;
  readonly ports: Ports;
  readonly log: Log;
  /** Aborted when the run is forced to end. */
  readonly signal: AbortSignal;
  readonly transaction?: Transaction;
  /** Without it sinks write to their targets at once, also those with a `buffer`. */
  readonly openBuffer?: OpenBuffer;
  /** Where a sink stood at the checkpoint that the run goes on from. */
  readonly position?: (id: string) => Position | undefined;
  /** Which of the plan's sinks. */
  readonly which: (step: PlanStep) => boolean;
  /** Takes what ends a sink. */
  readonly fail: (error: unknown) => void;
}

/** Opens sinks one after the other into `runners`: what is open stays there, to be closed, when a later one rejects. */
export async function openSinks(runners: Map<string, SinkRunner>, opening: SinkOpening): Promise<void> {
  const { plan, signal, which, fail, openBuffer } = opening;
  for (const { name, steps } of plan.streams) {
    for (const step of steps.filter((each) => each.kind === 'sink' && which(each))) {
      if (step.buffer && openBuffer)
        runners.set(step.id, await buffered(step, name, step.buffer, { ...opening, openBuffer }));
      else {
        const sink = await openSink(step, name, signal, opening.position?.(step.id), opening);
        runners.set(step.id, new SinkRunner(step.id, sink, fail));
      }
    }
  }
}

async function openSink(
  step: PlanStep,
  stream: string,
  signal: AbortSignal,
  position: Position | undefined,
  { plan, catalogue, ports, log, transaction }: SinkOpening,
): Promise<OpenSink> {
  const sink = await definitionOf(catalogue, 'sink', step.operator).open(step.options, {
    ports,
    log,
    topology: plan.name,
    stream,
    id: step.id,
    signal,
    recordId,
    journal: (path, size) => openOwnJournal(path, size, { ports, log }),
    ...(transaction && { transaction }),
    ...(position !== undefined && { position }),
  });
  const retry = step.onError?.retry ?? plan.onError?.retry;
  return retry ? new RetryingSink(sink, retry, ports, signal) : sink;
}

async function buffered(
  step: PlanStep,
  stream: string,
  settings: BufferSettings,
  opening: SinkOpening & { readonly openBuffer: OpenBuffer },
): Promise<SinkRunner> {
  const { ports, log, signal, fail } = opening;
  const { id } = step;
  const sink = await BufferedSink.open({
    id,
    settings,
    store: await opening.openBuffer(id, settings),
    ports,
    log,
    signal,
    // What it has written follows no checkpoint: it is not set back to one.
    open: (ending) => openSink(step, stream, ending, undefined, opening),
    refuse: (refused) => runner.refuseLater(refused),
    fail,
  });
  const runner = new SinkRunner(id, sink, fail);
  return runner;
}
