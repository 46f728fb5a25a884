import type { Clock, Log } from '../operator.ts';
import type { SinkRunner } from './sink-runner.ts';
import type { SourceHost } from './source-host.ts';

// How long connections may take to close once the run has been ended by force.
const closeMs = 5_000;

/**
 * Closes the connections of a run. Never rejects: what ended the run counts, not what came after. Once `force` is aborted it
 * waits a while longer and leaves behind what has not closed by then.
 */
export async function closeConnections(
  hosts: readonly SourceHost[],
  runners: Iterable<SinkRunner>,
  { clock, log, force }: { clock: Clock; log: Log; force: AbortSignal },
): Promise<void> {
  const closed = new AbortController();
  const all = [...hosts.map((host) => host.close()), ...[...runners].map((runner) => runner.close())];
  const results = await Promise.race([Promise.allSettled(all), patience(clock, force, closed.signal)]);
  closed.abort();
  if (results === undefined) log.warn('Some connections did not close, and are left behind', { afterMs: closeMs });
  for (const result of results ?? []) if (result.status === 'rejected') warnOfClosing(log, result.reason);
}

/** Says that something did not close as it should. */
export function warnOfClosing(log: Log, reason: unknown): void {
  log.warn('A connection did not close cleanly', { reason: String(reason) });
}

function patience(clock: Clock, force: AbortSignal, closed: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    const wait = () => void clock.sleep(closeMs, closed).then(() => resolve(undefined));
    if (force.aborted) wait();
    else force.addEventListener('abort', wait, { once: true, signal: closed });
  });
}
