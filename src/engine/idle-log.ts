import type { Journal } from '../operator.ts';
import { RawRecord } from '../operator.ts';
import type { Clock, Disk } from '../ports.ts';
import { openJournalView } from './journal-view.ts';
import type { IdleStep } from './task.ts';

/** The steps of event time that were taken because inputs were silent, kept for replays. The oldest go when there is no room. */
export const idleLogBytes = 64 << 20;

/** Keeps idle steps that a checkpoint holds. */
export class IdleLog {
  readonly #open: () => Promise<Journal>;
  readonly #clock: Clock;
  #journal: Promise<Journal> | undefined;

  /** `open` is called with the first step: most topologies have none. */
  constructor(open: () => Promise<Journal>, clock: Clock) {
    this.#open = open;
    this.#clock = clock;
  }

  /** Resolves once the steps are durable. A step may be kept twice, after a crash: to take it twice changes nothing. */
  async append(steps: readonly { readonly task: { readonly id: string }; readonly step: IdleStep }[]): Promise<void> {
    if (steps.length === 0) return;
    this.#journal ??= this.#open();
    const journal = await this.#journal;
    const arrival = this.#clock.now();
    const text = (step: IdleStep) => Buffer.from(JSON.stringify(step));
    await Promise.all(steps.map(({ task, step }) => journal.append({ topic: task.id, payload: text(step), arrival })));
    await journal.trim(journal.end);
  }
}

/** The idle steps in a folder by task, in the order in which they were taken. Reads beside a run that goes on. */
export async function readIdleLog(disk: Disk, folder: string, clock: Clock): Promise<Map<string, IdleStep[]>> {
  const found = new Map<string, IdleStep[]>();
  const view = await openJournalView(disk, folder, clock);
  const raw = new RawRecord();
  for (let next = view.begin; next < view.end; ) {
    const batch = (await view.read(next, { records: 10_000, bytes: 4 << 20 }, new AbortController().signal))!;
    for (let index = 0; index < batch.length; index++) {
      const { topic } = batch.read(index, raw);
      const step = JSON.parse(raw.data.toString('utf8', raw.start, raw.end)) as IdleStep;
      const steps = found.get(topic);
      if (steps) steps.push(step);
      else found.set(topic, [step]);
    }
    next = batch.next;
  }
  await view.close();
  return found;
}
