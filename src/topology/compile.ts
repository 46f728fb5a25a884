import type { RecordType } from '../operator.ts';
import { checkGraph } from './check-graph.ts';
import { checkKeeping } from './check-keeping.ts';
import { checkTypes } from './check-types.ts';
import { checkUpdates } from './check-updates.ts';
import type { Draft, DraftStep, DraftStream, Route } from './draft.ts';
import type { Plan, PlanStep } from './plan.ts';
import type { Report } from './report.ts';
import { inOrder } from './stream-order.ts';
import { inputsOf, routesOf, Streams } from './streams.ts';

/** Checks a draft as a whole and makes the plan of it; `undefined` when a problem stands in the way. */
export function compile(draft: Draft, report: Report, { observed = false } = {}): Plan | undefined {
  const streams = new Streams(draft);
  checkGraph(draft, streams, report, observed);
  checkUpdates(streams, report);
  const order = inOrder(streams, report);
  const types = checkTypes(order, streams, draft.otherwise?.to, report);
  checkKeeping(draft, report);
  if (report.failed) return undefined;
  const ids = stepIds(draft.streams);
  return {
    version: 1,
    name: draft.name,
    ...(draft.description !== undefined && { description: draft.description }),
    ...(draft.otherwise && { otherwise: draft.otherwise.to }),
    ...(draft.onError && { onError: draft.onError }),
    ...(draft.keeping.settings && { state: draft.keeping.settings }),
    ...(draft.keeping.delivery && { delivery: draft.keeping.delivery }),
    streams: draft.streams.map(({ name, from, steps }) => ({
      name,
      from: from.map(({ to }) => to),
      steps: steps.map((step) => planStep(step, ids.get(step)!, types.get(step))),
    })),
  };
}

function planStep(step: DraftStep, id: string, type: RecordType): PlanStep {
  const inputs = names(inputsOf(step));
  const routes = names(routesOf(step));
  return {
    kind: step.definition.kind,
    id,
    operator: step.definition.name,
    options: step.options,
    ...(step.description !== undefined && { description: step.description }),
    ...(step.when && { when: step.when.source }),
    ...(step.otherwise && { otherwise: step.otherwise.to }),
    ...(step.onError && { onError: step.onError }),
    ...(step.buffer && { buffer: step.buffer }),
    ...(step.late && { late: step.late.to }),
    ...(inputs.length > 0 && { inputs }),
    ...(routes.length > 0 && { routes }),
    ...(type !== undefined && { type }),
  };
}

function names(routes: readonly Route[]): string[] {
  return [...new Set(routes.map(({ to }) => to))].filter((name) => name !== 'drop');
}

/** Ids as given, else `stream.operator`, with `-2`, `-3` … when that is taken. */
function stepIds(streams: readonly DraftStream[]): ReadonlyMap<DraftStep, string> {
  const ids = new Map<DraftStep, string>();
  const taken = new Set(streams.flatMap(({ steps }) => steps.flatMap(({ id }) => (id ? [id.name] : []))));
  for (const stream of streams) {
    for (const step of stream.steps) {
      const base = `${stream.name}.${step.definition.name}`;
      let id = step.id?.name ?? base;
      for (let n = 2; !step.id && taken.has(id); n++) id = `${base}-${n}`;
      taken.add(id);
      ids.set(step, id);
    }
  }
  return ids;
}
