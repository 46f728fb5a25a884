import type { Log, Ports, Position, Transaction } from '../operator.ts';
import { recordId } from '../record.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import { type Catalogue, definitionOf } from './graph.ts';
import { RetryingSink } from './retrying-sink.ts';
import { SinkRunner } from './sink-runner.ts';

/** What sinks are opened with. */
export interface SinkOpening {
  readonly plan: Plan;
  readonly catalogue: Catalogue;
  readonly ports: Ports;
  readonly log: Log;
  /** Aborted when the run is forced to end. */
  readonly signal: AbortSignal;
  readonly transaction?: Transaction;
  /** Where a sink stood at the checkpoint that the run goes on from. */
  readonly position?: (id: string) => Position | undefined;
  /** Which of the plan's sinks. */
  readonly which: (step: PlanStep) => boolean;
  /** Takes what ends a sink. */
  readonly fail: (error: unknown) => void;
}

/** Opens sinks one after the other into `runners`: what is open stays there, to be closed, when a later one rejects. */
export async function openSinks(runners: Map<string, SinkRunner>, opening: SinkOpening): Promise<void> {
  const { plan, catalogue, ports, log, signal, transaction, which, fail } = opening;
  const positionOf = opening.position ?? (() => undefined);
  for (const stream of plan.streams) {
    for (const step of stream.steps.filter((each) => each.kind === 'sink' && which(each))) {
      const position = positionOf(step.id);
      let sink = await definitionOf(catalogue, 'sink', step.operator).open(step.options, {
        ports,
        log,
        topology: plan.name,
        stream: stream.name,
        id: step.id,
        signal,
        recordId,
        ...(transaction && { transaction }),
        ...(position !== undefined && { position }),
      });
      const retry = step.onError?.retry ?? plan.onError?.retry;
      if (retry) sink = new RetryingSink(sink, retry, ports, signal);
      runners.set(step.id, new SinkRunner(step.id, sink, fail));
    }
  }
}
