import type { Subject } from 'rxjs';
import { compileExpression, type Log, type StepDefinition } from '../operator.ts';
import type { StreamRecord } from '../record.ts';
import type { Plan, PlanStep, PlanStream } from '../topology/plan.ts';
import { BoundedState } from './bounded-state.ts';
import { type Catalogue, definitionOf, type Graph } from './graph.ts';
import { KeyedState } from './keyed-state.ts';
import { KeyedNode, Node, type Target } from './node.ts';
import { type RejectContext, routeRejects } from './reject-route.ts';
import { Outlet, type SinkRunner, StreamEnd } from './sink-runner.ts';
import type { Edge, Task } from './task.ts';

export interface BuildContext extends RejectContext {
  readonly graph: Graph;
  readonly catalogue: Catalogue;
  readonly log: Log;
  readonly runners: ReadonlyMap<string, SinkRunner>;
  watched(stream: string): Subject<readonly StreamRecord[]>;
}

/** Names of a task's values in a state store begin with this. */
export function statePrefix(task: string, step: string): string {
  return `state\u0000${step}\u0000${task}\u0000`;
}

/** Puts nodes, edges and routes into a task: a copy of every step that records from `starts` can reach. */
export function buildTask(task: Task, starts: readonly string[], context: BuildContext): void {
  const streams = inOrder(starts, context.graph);
  const nodes: Node[] = [];
  const edges: Edge[] = [];
  const heads = new Map<string, Target>();
  const inputs = new Map<string, Target[]>();
  const owners = new Map<string, { step: PlanStep; stream: PlanStream }>();
  // From the last stream to the first, and within a stream from its end: what follows a step exists before it.
  for (const stream of [...streams].reverse()) {
    const end = new StreamEnd(context.watched(stream.name));
    for (const next of context.graph.continuing(stream.name)) end.targets.push(heads.get(next.name)!);
    end.targets.push(...(inputs.get(stream.name) ?? []));
    edges.unshift(end);
    let next: Target = end;
    for (const step of [...stream.steps].reverse()) {
      owners.set(step.id, { step, stream });
      const rate = context.rates.of(step.id);
      const counted = (target: Target) => rate?.counting(target) ?? target;
      if (step.kind === 'sink') {
        const runner = context.runners.get(step.id)!;
        runner.serve(task);
        const outlet = new Outlet(runner);
        outlet.next = next;
        edges.unshift(outlet);
        next = counted(outlet);
      } else if (step.kind === 'step') {
        const node = createNode(step, task, context);
        node.next = next;
        node.routes = new Map((step.routes ?? []).map((to) => [to, heads.get(to)!]));
        for (const name of step.inputs ?? [])
          inputs.set(name, [counted({ push: (record) => node.pushInput(record, name) }), ...(inputs.get(name) ?? [])]);
        nodes.unshift(node);
        next = counted(node);
      } else heads.set(step.id, counted(next));
    }
    heads.set(stream.name, next);
  }
  task.nodes = nodes;
  task.keyed = nodes.filter((node): node is KeyedNode => node instanceof KeyedNode);
  task.edges = edges;
  task.heads = heads;
  routeRejects(task, owners, context);
}

function createNode(step: PlanStep, task: Task, { catalogue, graph, log }: BuildContext): Node {
  const definition: StepDefinition = definitionOf(catalogue, 'step', step.operator);
  const behaviour = definition.create(step.options, step.id);
  const when = step.when === undefined ? undefined : compileExpression(step.when);
  if (!definition.keyed) return new Node(step.id, behaviour, task, when);
  return new KeyedNode(step.id, behaviour, task, keyedState(step, task, graph.plan, log), when);
}

function keyedState({ id }: PlanStep, task: Task, { state }: Plan, log: Log): KeyedState<unknown> {
  const prefix = statePrefix(task.id, id);
  if (state?.ttl === undefined && state?.maxKeys === undefined) return new KeyedState(prefix);
  return new BoundedState(prefix, state, task.watermark, (dropped) => {
    // The first, the tenth, the hundredth …: whoever drops a million keys needs no million lines.
    if (!/^10*$/.test(String(dropped))) return;
    log.warn('Dropped the keys used least recently, to make room', { step: id, dropped, maxKeys: state.maxKeys });
  });
}

// What feeds a stream reaches all that the stream reaches, and itself: more reach means earlier.
function inOrder(starts: readonly string[], graph: Graph): PlanStream[] {
  const streams = new Set(starts.flatMap((start) => graph.reachable(start)));
  const reach = new Map([...streams].map((stream) => [stream, graph.reachable(stream.name).length]));
  return [...streams].sort((a, b) => reach.get(b)! - reach.get(a)!);
}
