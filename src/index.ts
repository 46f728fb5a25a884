/** `penstock`: topologies in a Node service. Operators of your own are written against this door too. */
import { catalogue, sinks, sources, steps } from '../operators/index.ts';
import type { Run } from './engine/run.ts';
import { TopologyError } from './errors.ts';
import type { Definition } from './operator.ts';
import { type StartOptions, start as startWith } from './runtime.ts';
import { createBuilder } from './topology/builder.ts';
import { type LoadOptions, loadTopology } from './topology/load.ts';
import type { Plan } from './topology/plan.ts';

export type { DeadLetter } from './dead-letter.ts';
export type { Health } from './engine/health.ts';
export type { Run } from './engine/run.ts';
export type { Status } from './engine/status.ts';
export * from './operator.ts';
export type { StartOptions } from './runtime.ts';
export { asRx } from './rx.ts';
export { createBuilder } from './topology/builder.ts';
export type { StepOutputs } from './topology/builder-types.ts';
export type { Loaded, LoadOptions } from './topology/load.ts';
export type { Plan, PlanStep, PlanStream } from './topology/plan.ts';
export { planHash, planToJson } from './topology/plan-json.ts';
export { toYaml } from './topology/to-yaml.ts';

const builder = createBuilder({ sources, steps, sinks });

/** Begins a topology: `topology('alarms').stream('readings').from(from.mqtt({ … })).filter('fuel < 500').plan()`. */
export const topology: typeof builder.topology = builder.topology;

/** The sources, for `from`: `from.mqtt({ … })`, `from.kafka({ … })`. */
export const from: Omit<typeof builder, 'topology'> = builder;

/**
 * Starts a plan, with its state on disk. Rejects with a RunError when the state does not fit, is in use, or a connection is refused;
 * nothing is running then. `operators` are definitions of your own that the plan names.
 */
export function start(
  plan: Plan,
  options: StartOptions & { readonly operators?: readonly Definition[] } = {},
): Promise<Run> {
  return startWith(plan, [...catalogue, ...(options.operators ?? [])], options);
}

/** Reads a topology from a YAML file. Throws a TopologyError that carries all problems of the file. */
export function load(file: string, options: Partial<LoadOptions> = {}): Plan {
  const { plan, problems } = loadTopology(file, { catalogue, env: process.env, ...options });
  if (!plan) throw new TopologyError(problems);
  return plan;
}
