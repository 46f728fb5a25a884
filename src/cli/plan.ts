import pc from 'picocolors';
import { catalogue } from '../../operators/index.ts';
import { stepIdentities } from '../engine/checkpoint.ts';
import { compareState, type StateVerdict } from '../engine/compatible.ts';
import { definitionOf } from '../engine/graph.ts';
import { checkpointOf } from '../engine/state-folder.ts';
import type { Delivery, SinkDefinition, SourceDefinition, StepDefinition, TimeOption } from '../operator.ts';
import { bufferedDelivery } from '../topology/buffer-options.ts';
import { committingSource, type Plan, type PlanStep } from '../topology/plan.ts';
import { planToJson } from '../topology/plan-json.ts';
import { stateToOptions } from '../topology/state-options.ts';
import { Exit, exitCodes } from './exit.ts';
import { findTopology, type LoadFlags, loadOrExit, readEnvFiles } from './load.ts';
import { withStore } from './state.ts';

/** `penstock plan`: prints the streams, the steps with their ids, and the delivery guarantee of each sink. */
export async function planCommand(
  given: string | undefined,
  flags: LoadFlags & { json?: boolean; against?: string },
): Promise<void> {
  readEnvFiles(flags.envFile);
  const plan = await loadOrExit(findTopology(given), flags);
  if (flags.against !== undefined) return planAgainst(plan, flags.against, flags.json === true);
  process.stdout.write(flags.json ? `${JSON.stringify(asJson(plan), null, 2)}\n` : describe(plan));
}

/** Prints what becomes of the state in a folder under this plan; exit code 1 when some of it would be lost. */
async function planAgainst(plan: Plan, folder: string, json: boolean): Promise<void> {
  const { verdicts, topology } = await withStore(folder, (store) => {
    const checkpoint = checkpointOf(store, folder);
    return {
      topology: checkpoint.topology,
      verdicts: compareState(checkpoint, plan, stepIdentities(plan, catalogue), catalogue),
    };
  });
  if (topology !== plan.name) {
    throw new Exit(exitCodes.failed, `${folder} holds state of the topology \`${topology}\`, not of \`${plan.name}\`.`);
  }
  const lost = verdicts.some(({ verdict }) => verdict === 'discard');
  const text = json
    ? JSON.stringify({ version: 1, topology, lost, state: verdicts }, null, 2)
    : verdicts.map(describeVerdict).join('\n') || 'There is no state to keep.';
  process.stdout.write(`${text}\n`);
  if (lost) throw new Exit(exitCodes.failed);
}

function describeVerdict({ id, verdict, reason, undo }: StateVerdict): string {
  const color = { keep: pc.green, migrate: pc.yellow, new: pc.cyan, discard: pc.red }[verdict];
  const advice = undo === undefined ? '' : ` ${undo}, or run with --discard ${id}.`;
  return `${color(verdict.padEnd(8))} ${pc.bold(id)}  ${reason}${advice}`;
}

function asJson(plan: Plan): unknown {
  return {
    ...(planToJson(plan) as object),
    delivery: Object.fromEntries(sinks(plan).map((step) => [step.id, delivery(step, plan)])),
    notReplayable: Object.fromEntries(
      plan.streams
        .flatMap(({ steps }) => steps)
        .map((step) => [step.id, notReplayable(step)])
        .filter(([, reason]) => reason !== undefined),
    ),
  };
}

function sinks(plan: Plan): PlanStep[] {
  return plan.streams.flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'sink'));
}

function delivery(step: PlanStep, plan: Plan): Delivery {
  const definition: SinkDefinition = definitionOf(catalogue, 'sink', step.operator);
  const own = definition.delivery(step.options, committingSource(plan));
  return step.buffer ? bufferedDelivery(own, step.buffer) : own;
}

function notReplayable({ kind, operator, options }: PlanStep): string | undefined {
  if (kind === 'source') return arrivalTold(operator, options as { time?: TimeOption });
  if (kind !== 'step') return undefined;
  const definition: StepDefinition = definitionOf(catalogue, 'step', operator);
  return definition.notReplayable?.(options);
}

function arrivalTold(operator: string, { time }: { time?: TimeOption }): string | undefined {
  if (time !== 'arrival' && !(typeof time === 'object' && time.from === 'arrival')) return undefined;
  const { replays, keepsArrival }: SourceDefinition = definitionOf(catalogue, 'source', operator);
  return replays && !keepsArrival
    ? 'Its event time is when records reach us: what is read again, after a crash too, has other times. Take the time from a field.'
    : 'Its event time is when records reached us: a restart sees the same, another run of the devices does not.';
}

function describe(plan: Plan): string {
  const lines = [pc.bold(plan.name), ...describeState(plan)];
  for (const stream of plan.streams) {
    lines.push(
      '',
      `${pc.bold(stream.name)}${stream.from.length > 0 ? pc.dim(`  from ${stream.from.join(', ')}`) : ''}`,
    );
    for (const step of stream.steps) lines.push(...describeStep(step, plan));
  }
  lines.push(...describeErrors(plan));
  return `${lines.join('\n')}\n`;
}

function describeErrors({ otherwise, onError }: Plan): string[] {
  if (onError?.fail) return ['', pc.dim('What has no `otherwise` ends the run.')];
  if (otherwise === 'drop') return ['', pc.dim('What has no `otherwise` is counted and dropped.')];
  return otherwise === undefined
    ? ['', pc.dim('What has no `otherwise` goes to dead-letters.jsonl in the state folder.')]
    : [];
}

function describeState({ state, delivery }: Plan): string[] {
  const { store = 'disk', every, ...rest } = stateToOptions(state ?? {});
  const where = { disk: 'on disk', memory: 'in memory, lost with the process', kafka: 'in Kafka, beside the source' }[
    store
  ];
  const more = Object.entries({ ...rest, delivery }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  );
  const cadence = every === undefined ? '' : `, committed every ${every}`;
  return [pc.dim(`State is kept ${where}${cadence}.${more.length > 0 ? ` ${more.join(', ')}.` : ''}`)];
}

function describeStep(step: PlanStep, plan: Plan): string[] {
  const routes = [
    step.inputs && `with ${step.inputs.join(', ')}`,
    step.routes && `→ ${step.routes.join(', ')}`,
    step.otherwise && `rejected → ${step.otherwise}`,
    step.onError?.fail && 'the first one rejected ends the run',
    step.buffer && `buffered on disk, ${step.buffer.whenFull} when full`,
    step.onError?.retry && `tried ${step.onError.retry.attempts} times`,
    step.onError?.stopAt && `ends the run at a share of ${step.onError.stopAt.share} rejected`,
    step.late && `late → ${step.late}`,
  ].filter(Boolean);
  const lines = [
    `  ${step.operator.padEnd(12)} ${pc.dim(step.id)}${routes.length > 0 ? `  ${routes.join(', ')}` : ''}`,
  ];
  if (step.kind === 'sink') {
    const { level, reason } = delivery(step, plan);
    lines.push(`  ${''.padEnd(12)} ${pc.green(level)}: ${reason}`);
  }
  const reason = notReplayable(step);
  if (reason !== undefined) lines.push(`  ${''.padEnd(12)} ${pc.yellow('not replayable')}: ${reason}`);
  return lines;
}
