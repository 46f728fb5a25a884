import type { DraftStep, DraftStream } from './draft.ts';
import type { Report } from './report.ts';
import { inputsOf, routesOf, type Streams } from './streams.ts';

/**
 * Checks what becomes of results that take the place of others: they may only come to sinks that overwrite, and to no step that keeps
 * state, which would take each for a new record.
 */
export function checkUpdates(streams: Streams, report: Report): void {
  for (const stream of streams.all) {
    for (const [index, step] of stream.steps.entries()) {
      const { definition, options, sound } = step;
      if (definition.kind !== 'step' || !sound || !definition.updates?.(options as never)) continue;
      for (const taker of takers(stream, index + 1, streams)) tell(taker, step, report);
    }
  }
}

/** Whatever takes the records of a stream from this step on, up to the first step that keeps state. */
function takers(stream: DraftStream, index: number, streams: Streams, seen = new Set<DraftStream>()): Set<DraftStep> {
  const found = new Set<DraftStep>();
  const follow = (next: DraftStream | undefined, at = 0) => {
    if (next === undefined || seen.has(next)) return;
    seen.add(next);
    for (const taker of takers(next, at, streams, seen)) found.add(taker);
  };
  for (const step of stream.steps.slice(index)) {
    found.add(step);
    for (const { to } of routesOf(step)) follow(streams.get(to));
    if (step.definition.kind === 'step' && step.definition.keyed) return found;
  }
  for (const next of streams.continuing(stream.name)) follow(next);
  const takesIn = (step: DraftStep) => inputsOf(step).some(({ to }) => to === stream.name);
  for (const next of streams.reading(stream.name)) follow(next, next.steps.findIndex(takesIn));
  return found;
}

function tell({ definition, name, site, options, sound }: DraftStep, from: DraftStep, report: Report): void {
  const by = from.id ? `\`${from.id.name}\`` : `\`${from.name}\``;
  if (definition.kind === 'sink' && sound && !definition.upserts?.(options as never))
    report.add(
      'needs-final',
      site,
      `\`${name}\` cannot overwrite what it has written, but ${by} gives several results for one window.`,
      {
        hint: 'Write `emit: final` there, or send them to a sink that overwrites, such as `influx`.',
      },
    );
  if (definition.kind === 'step' && definition.keyed)
    report.add(
      'needs-final',
      site,
      `\`${name}\` would take each result of ${by} for a new record, but several of them are for one window.`,
      {
        hint: `Write \`emit: final\` there, or put \`${name}\` before it.`,
      },
    );
}
