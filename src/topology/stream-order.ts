import type { DraftStream, Route } from './draft.ts';
import type { Report } from './report.ts';
import { inputsOf, type Streams } from './streams.ts';

/** The streams, each behind those that feed it. Reports cycles; in them, one stream must come first. */
export function inOrder(streams: Streams, report: Report): DraftStream[] {
  const order: DraftStream[] = [];
  const done = new Set<DraftStream>();
  const visit = (stream: DraftStream, way: readonly string[]): void => {
    if (done.has(stream)) return;
    for (const { to, site } of feeds(stream, streams)) {
      const next = streams.get(to);
      if (!next) continue;
      const at = way.indexOf(to);
      if (at === -1 && to !== stream.name) visit(next, [...way, stream.name]);
      else {
        const round = at === -1 ? [stream.name, to] : [...way.slice(at), stream.name, to];
        report.add(
          'cycle',
          site,
          `The streams go round in a circle: ${round.map((name) => `\`${name}\``).join(' → ')}.`,
          {
            hint:
              stream.from.length > 0 && next.from.some(({ to: before }) => before === stream.name)
                ? 'Let one of them begin with a source, or take the others out of its `from`.'
                : next.steps.flatMap(inputsOf).some(({ to: read }) => read === stream.name)
                  ? 'A step cannot take in what is made of its own records: name a stream that comes before it.'
                  : 'Records would never come to an end. Send rejected ones to a stream that does not feed the step that rejects them, or `drop` them there.',
          },
        );
      }
    }
    done.add(stream);
    order.unshift(stream);
  };
  for (const stream of [...streams.all].reverse()) visit(stream, []);
  return order;
}

function feeds(stream: DraftStream, streams: Streams): Route[] {
  const continued = streams
    .continuing(stream.name)
    .map(({ name, from }) => ({ to: name, site: from.find(({ to }) => to === stream.name)!.site }));
  const read = streams.reading(stream.name).map(({ name, steps }) => ({
    to: name,
    site: steps.flatMap(inputsOf).find(({ to }) => to === stream.name)!.site,
  }));
  return [...continued, ...read, ...streams.sides(stream)];
}
