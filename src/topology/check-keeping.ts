import type { Committing, SinkDefinition, SourceDefinition } from '../operator.ts';
import { type Draft, type DraftStep, unreadable } from './draft.ts';
import type { Report, Site } from './report.ts';
import { listed } from './suggest.ts';

/** Checks that the place where state is kept fits the sources, and that the sinks keep what `delivery` promises. */
export function checkKeeping({ keeping, streams }: Draft, report: Report): void {
  const { settings, delivery, storeSite } = keeping;
  const steps = streams.flatMap((stream) => stream.steps);
  // What could not be read may be the source that is missed here.
  if (steps.some(({ definition, sound }) => definition === unreadable || !sound)) return;
  const sources = steps.filter(({ definition }) => definition.kind === 'source');
  const store = settings?.store ?? 'disk';
  const joined = store !== 'disk' && store !== 'memory';
  checkBuffers(steps, joined, report);
  const fit =
    joined && storeSite ? checkSource(store, sources, storeSite, delivery === 'exactlyOnce', report) : !joined;
  if (delivery !== 'exactlyOnce' || !fit) return;
  const [source] = sources;
  const within = joined && source ? { operator: source.definition.name, options: source.options } : undefined;
  checkSinks(steps, within, store, report);
}

/** Only a source whose records stand in the system that keeps the state can commit both at once. */
function checkSource(
  store: string,
  sources: readonly DraftStep[],
  site: Site,
  promised: boolean,
  report: Report,
): boolean {
  const why = promised
    ? `\`delivery: exactlyOnce\` keeps state, offsets and output in one transaction of \`${store}\``
    : `\`store: ${store}\` keeps state beside the records of a \`${store}\` source`;
  const other = sources.filter(
    ({ definition }) => definition.name !== store || !(definition as SourceDefinition).transactions,
  );
  const hint = `Read from one \`${store}\` source, or ${promised ? 'drop `delivery`' : 'write `store: disk`'}.`;
  if (other.length > 0) {
    const names = listed(new Set(other.map(({ name }) => name)));
    report.add('bad-value', site, `${why}, but this topology reads ${names}.`, { hint });
    return false;
  }
  if (sources.length > 1) {
    report.add('bad-value', site, `${why}, and takes one such source; this topology has ${sources.length}.`, {
      hint: `Read all topics with one source: \`topics: [a, b]\`. Or split the topology.`,
    });
    return false;
  }
  return sources.length === 1;
}

/** What waits in a buffer is in no transaction. */
function checkBuffers(steps: readonly DraftStep[], joined: boolean, report: Report): void {
  for (const { buffer, name, site } of joined ? steps : []) {
    if (!buffer) continue;
    report.add(
      'bad-value',
      site,
      `The sink \`${name}\` has a \`buffer\`, but this topology commits in transactions of its source.`,
      {
        hint: 'Drop the `buffer`, or keep state on disk: `state: { store: disk }`.',
      },
    );
  }
}

function checkSinks(steps: readonly DraftStep[], within: Committing | undefined, store: string, report: Report): void {
  for (const step of steps) {
    if (step.definition.kind !== 'sink') continue;
    const { level, reason } = (step.definition as SinkDefinition).delivery(step.options as never, within);
    if (level === 'exactly once') continue;
    const hint = within
      ? 'Write to a sink of the same system, or drop `delivery: exactlyOnce`.'
      : `State is kept in \`store: ${store}\`, which commits without the sinks. Drop \`store\`, or \`delivery\`.`;
    report.add('bad-value', step.site, `The sink \`${step.name}\` is ${level}, not exactly once. ${reason}`, { hint });
  }
}
