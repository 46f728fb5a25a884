import type { SourceContext } from '../../src/operator.ts';
import type { TopicPartition } from './driver.ts';
import type { Intake } from './intake.ts';

/** Well below the session time-out of the group, which hears nothing of us meanwhile. */
const mostMs = 4_000;
const pauseMs = 20;

/**
 * Sees to it that a partition goes from one instance to the next without a gap or a repetition: whoever gets it begins where the group
 * stands. Where state lives with the source, its transactions do that, and this does nothing.
 */
export class Handover {
  readonly #context: SourceContext;
  /** Where the group stands, as far as we have told it. */
  readonly #told = new Map<string, number>();
  /** Partitions that we gave back: others may have read on in them since. */
  readonly #left = new Set<string>();

  constructor(context: SourceContext) {
    this.#context = context;
  }

  /** The group has been told these offsets. */
  told(offsets: readonly (TopicPartition & { readonly offset: number })[]): void {
    for (const { topic, partition, offset } of offsets) this.#told.set(`${topic}/${partition}`, offset);
  }

  left(id: string): void {
    this.#left.add(id);
  }

  taken(id: string): void {
    this.#left.delete(id);
  }

  /** The group may stand further on than our checkpoint. With state, what belongs to a position is here, and not where others have read on. */
  isReturning(id: string): boolean {
    return this.#context.stateful === false && this.#left.has(id);
  }

  /** Warns when records that are to meet are in several processes, where they never do. */
  warnOfOthers(ours: number, all: number, group: string): void {
    if (!this.#context.meets || ours === 0 || ours >= all) return;
    this.#context.log.warn(
      `Of ${all} partitions this process reads ${ours}: others of group \`${group}\` read the rest. Records of this source meet those of ` +
        'another one in a step, and only within a process: run one instance, or put what is to meet into one topic.',
    );
  }

  /** Holds the intakes, and resolves when the group has been told of all that they have handed over, or it has taken too long. */
  async prepare(intakes: readonly Intake[]): Promise<void> {
    const { checkpoint, ports, signal, replay } = this.#context;
    if (checkpoint === undefined || replay) return;
    for (const intake of intakes) intake.hold(true);
    const untold = () => intakes.some(({ id, handed }) => handed !== undefined && handed !== this.#told.get(id));
    const end = ports.clock.now() + mostMs;
    for (let rest = mostMs; rest > 0 && untold() && !signal.aborted; rest = end - ports.clock.now()) {
      const late = new AbortController();
      await Promise.race([checkpoint(), ports.clock.sleep(rest, late.signal)]);
      late.abort();
      // A batch on its way to the engine is in the next one.
      if (untold()) await ports.clock.sleep(pauseMs, signal);
    }
  }
}
