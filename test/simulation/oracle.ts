import { Run } from '../../src/engine/run.ts';
import { MemoryStore } from '../../src/engine/store.ts';
import type { Definition, Log } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import type { Plan } from '../../src/topology/plan.ts';
import { TestLog, testSource, until } from '../src/engine/harness.ts';
import { Target, type Written } from './target.ts';

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** What the engine makes of these records when nothing at all goes wrong. `names` are those of source and sink in the plan. */
export async function undisturbed(
  { state: _, ...plan }: Plan,
  names: { readonly source: string; readonly sink: string },
  partitions: ReadonlyMap<string, readonly { payload: string; arrival: number }[]>,
  catalogue: readonly Definition[],
): Promise<Written[]> {
  const log = new TestLog();
  log.bounded = false;
  log.batchSize = () => 1_000;
  for (const [id, entries] of partitions) log.add(id, ...entries);
  const target = new Target();
  const run = await Run.start({
    plan,
    topologyHash: 'simulated',
    catalogue: [...catalogue, testSource(names.source, log), target.sink(names.sink)],
    ports: memoryPorts(),
    log: silent,
    store: new MemoryStore(),
    openJournal: () => Promise.reject(new Error('Nothing is kept here.')),
  });
  const count = [...partitions.values()].reduce((sum, entries) => sum + entries.length, 0);
  await until(() => run.status().partitions.reduce((sum, { read }) => sum + read, 0) === count);
  await run.stop();
  return target.written;
}
