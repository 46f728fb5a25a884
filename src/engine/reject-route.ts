import { RunError } from '../errors.ts';
import type { Clock } from '../operator.ts';
import type { Plan, PlanStep, PlanStream } from '../topology/plan.ts';
import { deadLetter } from './dead-letter.ts';
import type { FailureRates } from './failure-rate.ts';
import type { Graph } from './graph.ts';
import type { Rejection } from './node.ts';
import { deadLetterFailed, type Task } from './task.ts';

export interface RejectContext {
  readonly graph: Graph;
  readonly topologyHash: string;
  readonly clock: Clock;
  readonly rates: FailureRates;
}

/** Where steps stand. */
export type Owners = ReadonlyMap<string, { readonly step: PlanStep; readonly stream: PlanStream }>;

/**
 * Gives a task the routes of what its steps reject: to the stream that the step or the topology names, to nowhere, or to the end of the
 * run. Late records are no errors: `onError: fail` and `stopAt` are not about them.
 */
export function routeRejects(task: Task, owners: Owners, { graph, topologyHash, clock, rates }: RejectContext): void {
  const { plan } = graph;
  task.onReject = (id, source, rejection, original) => {
    const { step, stream } = owners.get(id)!;
    const late = rejection.code === 'late' || rejection.code === 'was-idle';
    if (!late) {
      const rate = rates.of(id);
      // What a source rejects comes to no step.
      if (step.kind === 'source') rate?.count();
      rate?.failed(rejection.code);
    }
    const own = late ? (step.late ?? step.otherwise) : step.otherwise;
    if (own === undefined && !late && (step.onError?.fail ?? plan.onError?.fail))
      throw refused(id, source, rejection, plan);
    const route = own ?? plan.otherwise;
    if (route === 'drop') return;
    if (route === undefined || (graph.isLastResort(stream) && route === plan.otherwise))
      throw deadLetterFailed(id, rejection);
    const { kind: stage, operator } = step;
    const at = { topology: plan.name, topologyHash, step: id, operator, stage, source, at: clock.now() };
    task.heads.get(route)!.push(deadLetter(rejection, at, original));
  };
}

function refused(id: string, source: string, { record, code, message }: Rejection, { name }: Plan): RunError {
  return new RunError(
    `\`${id}\` of \`${name}\` has rejected record ${record.offset} of \`${record.origin || source}\` (\`${code}\`): ${message} ` +
      'The run ends here, as `onError: fail` says. Mend the record or the step, or let a stream take such records, then start again.',
    { where: id },
  );
}
