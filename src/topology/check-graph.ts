import type { Definition, SourceDefinition } from '../operator.ts';
import { type Draft, type DraftStep, type DraftStream, type Route, unreadable } from './draft.ts';
import type { Report } from './report.ts';
import { inputsOf, type Streams } from './streams.ts';
import { didYouMean, listed, nearest } from './suggest.ts';

/** Nothing goes on behind this step. */
function ends({ definition, options, sound }: DraftStep): boolean {
  return definition.kind === 'step' && sound && definition.ends?.(options as never) === true;
}

function isKeyed(definition: Definition): boolean {
  return definition.kind === 'step' && definition.keyed === true;
}

function isUnreadable({ definition }: DraftStep): boolean {
  return definition === unreadable;
}

/** Checks how the streams hang together. `observed`: the program itself may take what comes out of a stream, as in TypeScript. */
export function checkGraph(draft: Draft, streams: Streams, report: Report, observed: boolean): void {
  const names = [...new Set(streams.all.map(({ name }) => name))];
  for (const stream of streams.all) {
    for (const route of [...stream.from, ...stream.steps.flatMap(inputsOf), ...streams.sides(stream)])
      knownStream(route, names, report);
    checkOrder(stream, report);
    checkFed(stream, draft, streams, report);
    checkUsed(stream, streams, report, observed);
    for (const [index, step] of stream.steps.entries()) {
      if (step.definition.kind !== 'step') continue;
      if (isTimed(step)) checkTime(step, stream, streams, report);
      if (step.definition.keyed) checkKeyed(step, index, stream, streams, report);
      if (ends(step)) checkEnd(step, stream.steps[index + 1], stream, streams, report);
    }
  }
  if (draft.otherwise && draft.otherwise.to !== 'drop') knownStream(draft.otherwise, names, report);
  checkIds(streams, report);
}

function knownStream({ to, site }: Route, names: readonly string[], report: Report): void {
  if (names.includes(to)) return;
  report.add('unknown-stream', site, `There is no stream \`${to}\`.${didYouMean(to, names)}`, {
    hint: `The streams are ${listed(names)}. Add \`${to}:\` under \`streams\`, or name one of them.`,
  });
}

function checkOrder(stream: DraftStream, report: Report): void {
  const begins = stream.steps[0];
  if (!begins || isUnreadable(begins) || stream.steps.some(isUnreadableFrom)) return;
  for (const [index, { definition, name, site }] of stream.steps.entries()) {
    if (definition.kind !== 'source') continue;
    if (stream.from.length > 0) {
      report.add(
        'misplaced-step',
        site,
        `The stream \`${stream.name}\` continues ${listed(stream.from.map(({ to }) => to))} and has the source \`${name}\` as well.`,
        {
          hint: `Give \`${name}\` a stream of its own, and name both in \`from: [a, b]\`.`,
        },
      );
    } else if (index > 0) {
      const second = begins.definition.kind === 'source';
      report.add(
        'misplaced-step',
        site,
        second
          ? `The stream \`${stream.name}\` has two sources, \`${begins.name}\` and \`${name}\`.`
          : `The source \`${name}\` stands behind \`${begins.name}\`, but a stream begins with its source.`,
        {
          hint: second
            ? `Give \`${name}\` a stream of its own, and join them in a third with \`from: [a, b]\`.`
            : 'Make it the first item of the stream.',
        },
      );
    }
  }
}

function checkFed(stream: DraftStream, draft: Draft, streams: Streams, report: Report): void {
  if (stream.from.length > 0 || stream.steps.some(({ definition }) => definition.kind === 'source')) return;
  if (draft.otherwise?.to === stream.name || streams.feeding(stream).length > 0) return;
  const sides = [
    ...streams.all.flatMap((other) => streams.sides(other)),
    ...(draft.otherwise ? [draft.otherwise] : []),
  ];
  if (report.mayName(stream.name) || isMisspelt(stream, sides, streams)) return;
  const begins = stream.steps[0];
  if ((begins && isUnreadable(begins)) || stream.steps.some(isUnreadableFrom)) return;
  report.add(
    'no-source',
    stream.site,
    `Nothing feeds the stream \`${stream.name}\`: it has no source, no \`from\`, and no step sends records to it.`,
    {
      hint: `Begin it with a source such as \`mqtt\` or with \`from: …\`, or name it in the \`otherwise\` of a step.`,
    },
  );
}

/** Where a stream begins is not clear. */
function isUnreadableFrom(step: DraftStep): boolean {
  return isUnreadable(step) && step.name === 'from';
}

/** One of these routes was meant for the stream and is misspelt: that has been said. */
function isMisspelt({ name }: DraftStream, routes: readonly Route[], streams: Streams): boolean {
  const names = streams.all.map((stream) => stream.name);
  return routes.some(({ to }) => !names.includes(to) && nearest(to, names) === name);
}

function checkUsed(stream: DraftStream, streams: Streams, report: Report, observed: boolean): void {
  const last = stream.steps.at(-1);
  if (last?.definition.kind === 'sink' || (last && ends(last))) return;
  if (streams.continuing(stream.name).length > 0 || streams.reading(stream.name).length > 0) return;
  const continued = streams.all.flatMap(({ from, steps }) => [...from, ...steps.flatMap(inputsOf)]);
  if ((last && isUnreadable(last)) || report.mayName(stream.name) || isMisspelt(stream, continued, streams)) return;
  const site = last?.site ?? stream.site;
  const sink = stream.steps.some(({ definition }) => definition.kind === 'sink');
  const what =
    last && sink
      ? `What \`${last.name}\` makes of the stream \`${stream.name}\` goes nowhere: no sink is behind it.`
      : `The stream \`${stream.name}\` ends in no sink and no stream continues it.`;
  report.add('unused-stream', site, what, {
    hint: `End it with a sink such as \`kafka\` or \`print\`, or continue it: \`from: ${stream.name}\`.`,
    ...(observed && { severity: 'warning' as const }),
  });
}

/** What would take records behind a step that sends all of them elsewhere. */
function checkEnd(
  step: DraftStep,
  next: DraftStep | undefined,
  { name }: DraftStream,
  streams: Streams,
  report: Report,
): void {
  const takers = streams.all
    .flatMap(({ from, steps }) => [...from, ...steps.flatMap(inputsOf)])
    .filter(({ to }) => to === name);
  const site = next?.site ?? takers[0]?.site;
  if (!site) return;
  const what = next ? `\`${next.name}\`` : `The end of the stream \`${name}\``;
  report.add('misplaced-step', site, `${what} gets no record: \`${step.name}\` sends every one to another stream.`, {
    hint: `Put what is to be done with them into the streams that \`${step.name}\` names.`,
  });
}

function isTimed({ definition, options, sound }: DraftStep): boolean {
  if (definition.kind !== 'step') return false;
  const { timed } = definition;
  return typeof timed === 'function' ? sound && timed(options as never) : timed === true;
}

function checkTime(step: DraftStep, stream: DraftStream, streams: Streams, report: Report): void {
  for (const source of streams.sources(stream, { inputs: true })) {
    const options = source.options as { time?: unknown } | null;
    if (options?.time !== undefined || !source.sound) continue;
    const { times } = source.definition as SourceDefinition;
    report.add(
      'missing-time',
      source.site,
      `\`${step.name}\` works on event time, but the source \`${source.name}\` says nothing of \`time\`.`,
      {
        hint: `Write \`time: { field: …, unit: ms }\` into its options${times.map((time) => `, or \`time: ${time}\``).join('')}.`,
      },
    );
  }
}

function checkKeyed(step: DraftStep, index: number, stream: DraftStream, streams: Streams, report: Report): void {
  if (!step.id && !step.idMeant) {
    report.add('missing-key', step.site, `\`${step.name}\` keeps state and has no \`id\`.`, {
      hint: 'Write `id: latest` (any name) beside it: state is kept under that name, whatever else changes in the file.',
    });
  }
  const ways = [{ stream, index, site: step.site }];
  for (const { to, site } of inputsOf(step)) {
    const read = streams.get(to);
    if (read) ways.push({ stream: read, index: read.steps.length, site });
  }
  for (const way of ways) {
    const keys = keysBefore(way.stream, way.index, streams);
    if (keys) checkProven(step, keys, way.stream, streams, report);
    else if (way.site === step.site) {
      report.add('missing-key-by', way.site, `\`${step.name}\` works per key, but there is no \`keyBy\` before it.`, {
        hint: 'Put `- keyBy: …` (the field to group by) before it.',
      });
    } else {
      const what = `\`${step.name}\` works per key, but there is no \`keyBy\` in the stream \`${way.stream.name}\`.`;
      report.add('missing-key-by', way.site, what, {
        hint: `End \`${way.stream.name}\` with \`- keyBy: …\`, a field of the same values as the key before \`${step.name}\`.`,
      });
    }
  }
}

/** Whether each key's records are known to be in one partition of every source that they come from. */
function checkProven(
  step: DraftStep,
  keys: readonly DraftStep[],
  stream: DraftStream,
  streams: Streams,
  report: Report,
): void {
  for (const source of streams.sources(stream)) {
    const definition = source.definition as SourceDefinition;
    if (!definition.partitioned || !source.sound) continue;
    const by = definition.partitionedBy?.(source.options as never);
    for (const key of keys.filter(({ sound }) => sound)) {
      const options = key.options as { field?: unknown; unsafe?: unknown };
      if (options.unsafe === true) continue;
      const field = String(options.field);
      const writer = writerBefore(key, field, streams);
      if (field === by && !writer) continue;
      const topic = 'write the records to a topic keyed by it first, and read that.';
      report.add(
        'unproven-key',
        key.site,
        field === by
          ? `\`${key.name}\` groups by \`${field}\`, but \`${writer!.name}\` before it gives that field another value than the key of \`${source.name}\`: \`${step.name}\` would see only some of its records.`
          : `\`${key.name}\` groups by \`${field}\`, but nothing says that all records of one \`${field}\` are in one partition of \`${source.name}\`: \`${step.name}\` would see only some of them.`,
        {
          hint:
            field === by
              ? `Give the new value a field of its own. To group by it, ${topic}`
              : `If the message key is that field, write \`keyedBy: ${field}\` into the options of \`${source.name}\`. Else ${topic} To group within each partition, write \`unsafe: true\` into the options of \`${key.name}\`.`,
        },
      );
    }
  }
}

/** A step on the way to `key` that gives the field it groups by a value of its own. */
function writerBefore(key: DraftStep, field: string, streams: Streams): DraftStep | undefined {
  const [name] = field.split('.');
  const writes = ({ definition, options, sound }: DraftStep) =>
    definition.kind === 'step' && sound && definition.writes?.(options as never).includes(name!) === true;
  const seen = new Set<DraftStream>();
  const find = (stream: DraftStream, steps: readonly DraftStep[]): DraftStep | undefined => {
    seen.add(stream);
    const before = stream.from.flatMap(({ to }) => streams.get(to) ?? []).filter((one) => !seen.has(one));
    return steps.findLast(writes) ?? before.map((one) => find(one, one.steps)).find((found) => found !== undefined);
  };
  const own = streams.all.find(({ steps }) => steps.includes(key));
  return own && find(own, own.steps.slice(0, own.steps.indexOf(key)));
}

/**
 * The nearest `keyBy` before a step, one for each stream that comes together there; `undefined` when a way has none. Something unreadable
 * on the way may be one.
 */
function keysBefore(
  stream: DraftStream,
  index: number,
  streams: Streams,
  seen = new Set<DraftStream>(),
): DraftStep[] | undefined {
  const at = stream.steps
    .slice(0, index)
    .findLastIndex((step) => isUnreadable(step) || step.definition.name === 'keyBy');
  // Where a step without a key takes in a stream, such as `merge`, its records go on as they come.
  const merged = stream.steps
    .slice(at + 1, index)
    .filter(({ definition }) => !isKeyed(definition))
    .flatMap(inputsOf);
  const found: DraftStep[] = at === -1 ? [] : [stream.steps[at]!];
  if (at === -1 && (stream.from.length === 0 || seen.has(stream))) return undefined;
  seen.add(stream);
  for (const { to } of [...(at === -1 ? stream.from : []), ...merged]) {
    const before = streams.get(to);
    const keys = before ? keysBefore(before, before.steps.length, streams, seen) : [];
    if (!keys) return undefined;
    found.push(...keys);
  }
  return found;
}

function checkIds(streams: Streams, report: Report): void {
  const seen = new Map<string, string>();
  for (const stream of streams.all) {
    for (const { id, name } of stream.steps) {
      if (!id) continue;
      const first = seen.get(id.name);
      if (first === undefined) seen.set(id.name, `\`${name}\` in \`${stream.name}\``);
      else {
        report.add('duplicate-key', id.site, `The id \`${id.name}\` is given twice; ${first} has it already.`, {
          hint: 'Ids are unique in the whole topology: state is kept under them.',
        });
      }
    }
  }
}
