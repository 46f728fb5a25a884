import type { Definition, StepDefinition } from '../operator.ts';
import type { Plan, PlanStep, PlanStream } from '../topology/plan.ts';

/** All definitions that a plan may name. */
export type Catalogue = readonly Definition[];

/** The definition that a plan's step names. Throws a TypeError when the catalogue has none: the plan was made with another one. */
export function definitionOf<K extends Definition['kind']>(
  catalogue: Catalogue,
  kind: K,
  name: string,
): Extract<Definition, { kind: K }> {
  const found = catalogue.find((definition) => definition.kind === kind && definition.name === name);
  if (!found) throw new TypeError(`The plan names ${kind} \`${name}\`, which is not in the catalogue.`);
  return found as Extract<Definition, { kind: K }>;
}

/** A source of a plan, and the sources whose records meet its own in one keyed step: they share one task. */
export interface PlannedSource {
  readonly stream: PlanStream;
  readonly step: PlanStep;
  /** Ids of all sources of the shared task, itself included; `undefined` when each partition has a task of its own. */
  readonly shared: readonly string[] | undefined;
  /** Keyed steps come behind it. */
  readonly stateful: boolean;
}

/** The streams of a plan and how records can get from one to another. */
export class Graph {
  readonly plan: Plan;
  readonly #streams: ReadonlyMap<string, PlanStream>;
  readonly #catalogue: Catalogue;
  #lastResort: ReadonlySet<string> = new Set();

  constructor(plan: Plan, catalogue: Catalogue) {
    this.plan = plan;
    this.#catalogue = catalogue;
    this.#streams = new Map(plan.streams.map((stream) => [stream.name, stream]));
    if (plan.otherwise !== undefined && this.#streams.has(plan.otherwise))
      this.#lastResort = new Set(this.reachable(plan.otherwise).map(({ name }) => name));
  }

  /** The stream is, or continues, the one that takes what has no route of its own: it cannot send its own rejects there. */
  isLastResort(stream: PlanStream): boolean {
    return this.#lastResort.has(stream.name);
  }

  /** Streams that records of `start` can reach, `start` included, each before those it feeds. */
  reachable(start: string): PlanStream[] {
    const order: PlanStream[] = [];
    const seen = new Set<string>();
    const visit = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      for (const next of this.#next(this.#streams.get(name)!)) visit(next);
      order.unshift(this.#streams.get(name)!);
    };
    visit(start);
    return order;
  }

  /** The sources, each with those that it has to share a task with. */
  sources(): PlannedSource[] {
    const found = this.plan.streams.flatMap((stream) =>
      stream.steps
        .filter((step) => step.kind === 'source')
        .map((step) => ({ stream, step, keyed: this.#keyedFrom(stream.name) })),
    );
    return found.map((source) => {
      // Two sources may never meet and still be tied together, by a third that meets both.
      const keyed = new Set(source.keyed);
      let size: number;
      do {
        size = keyed.size;
        for (const other of found) {
          if (other.keyed.some((id) => keyed.has(id))) for (const id of other.keyed) keyed.add(id);
        }
      } while (keyed.size > size);
      const shared = found.filter((other) => other.keyed.some((id) => keyed.has(id))).map(({ step }) => step.id);
      return {
        stream: source.stream,
        step: source.step,
        shared: shared.length > 1 ? shared : undefined,
        stateful: keyed.size > 0,
      };
    });
  }

  /** Ids of the sources whose partitions own the state of a keyed step. */
  owners(keyed: string): readonly string[] {
    const source = this.sources().find(({ stream }) => this.#keyedFrom(stream.name).includes(keyed));
    return source === undefined ? [] : (source.shared ?? [source.step.id]);
  }

  /** The nearest steps before a keyed one that say what its records are keyed by. */
  keys(keyed: string): PlanStep[] {
    const found = new Set<PlanStep>();
    const seen = new Set<PlanStream>();
    const before = (stream: PlanStream, steps: readonly PlanStep[]): void => {
      const key = steps.findLast(({ operator }) => operator === 'keyBy');
      if (key) found.add(key);
      if (key || seen.has(stream)) return;
      seen.add(stream);
      for (const other of this.plan.streams) {
        if (this.#next(other).includes(stream.name)) before(other, other.steps);
      }
    };
    for (const stream of this.plan.streams) {
      const index = stream.steps.findIndex(({ id }) => id === keyed);
      if (index >= 0) before(stream, stream.steps.slice(0, index));
    }
    return [...found];
  }

  isKeyed(step: PlanStep): boolean {
    if (step.kind !== 'step') return false;
    return (definitionOf(this.#catalogue, 'step', step.operator) as StepDefinition).keyed === true;
  }

  continuing(stream: string): PlanStream[] {
    return this.plan.streams.filter(({ from }) => from.includes(stream));
  }

  #reading(stream: string): PlanStream[] {
    return this.plan.streams.filter(({ steps }) => steps.some(({ inputs }) => inputs?.includes(stream)));
  }

  #keyedFrom(stream: string): string[] {
    return this.reachable(stream).flatMap(({ steps }) =>
      steps.filter((step) => this.isKeyed(step)).map(({ id }) => id),
    );
  }

  #next(stream: PlanStream): string[] {
    const sides = stream.steps.flatMap(({ otherwise, late, routes = [] }) => [otherwise, late, ...routes]);
    const taking = [...this.continuing(stream.name), ...this.#reading(stream.name)];
    const targets = [...taking.map(({ name }) => name), ...sides];
    if (!this.#lastResort.has(stream.name)) targets.push(this.plan.otherwise);
    return targets.filter((name): name is string => name !== undefined && this.#streams.has(name));
  }
}
