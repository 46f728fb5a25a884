import { type Batch, type OpenSource, type Replay, type SourceContext, sizeBytes } from '../../src/operator.ts';
import { JournaledBatch, type Routes } from './batch.ts';

/** Reads again what the journal still holds, beside the run that fills it. Nothing is asked of the broker. */
export async function openReplay(
  { from, until }: Replay,
  context: SourceContext,
  routes: Routes,
  maxPayload = '1MiB',
): Promise<OpenSource> {
  const view = await context.readJournal(context.id);
  const end = await view.offsetAt(until);
  let next = await view.offsetAt(from);
  if (next === view.begin && view.begin > 0) {
    context.log.warn(
      'The journal may not reach back to the beginning of the replay: what came before is removed. Raise `journal.keep`, or `journal.maxBytes`, for the next time.',
      { source: context.id, firstMessage: view.begin },
    );
  }
  context.assign({
    id: '0',
    caughtUp: false,
    async pull(limits): Promise<Batch | null> {
      if (next >= end) return null;
      const records = Math.min(limits.records, end - next);
      const found = await view.read(next, { ...limits, records }, context.signal);
      if (found === null) return null;
      next = found.next;
      return new JournaledBatch(found, routes, sizeBytes(maxPayload));
    },
  });
  context.complete();
  return { close: () => view.close() };
}
