import { existsSync } from 'node:fs';
import { catalogue } from '../../operators/index.ts';
import { type DeadLetter, readDeadLetter } from '../dead-letter.ts';
import { definitionOf, Graph } from '../engine/graph.ts';
import { checkExpression, compileExpression } from '../expression/index.ts';
import { type Log, type SinkDefinition, StreamRecord } from '../operator.ts';
import { withDeadLetters } from '../runtime.ts';
import { deadLetterType } from '../topology/check-types.ts';
import type { Plan, PlanStep } from '../topology/plan.ts';
import { Exit, exitCodes } from './exit.ts';
import { replay } from './replay.ts';

/** A dead letter, and the stream whose sink has written it. */
export interface Found {
  readonly stream: string;
  readonly letter: DeadLetter;
}

/** Where dead letters can be read again: a sink, and the source for it. */
export interface Place {
  readonly stream: string;
  readonly sink: string;
  readonly source: { readonly operator: string; readonly options: object };
}

/**
 * Where the dead letters of a plan go and can be read: all streams that take some, or the one given. Streams whose sinks nobody can read are
 * told of in the log; when there is no other, the command ends with code 1.
 */
export function placesOf(plan: Plan, state: string, given: string | undefined, log: Log): Place[] {
  const whole = withDeadLetters(plan, state);
  const sides = whole.streams.flatMap(({ steps }) => steps.flatMap(({ otherwise, late }) => [otherwise, late]));
  const known = whole.streams.map(({ name }) => name);
  const taking = [...new Set([...sides, whole.otherwise])].filter((name) => name !== undefined && known.includes(name));
  if (given !== undefined && !known.includes(given))
    throw new Exit(exitCodes.usage, `There is no stream \`${given}\`. Dead letters go to ${listed(taking)}.`);
  const streams = given === undefined ? (taking as string[]) : [given];
  const graph = new Graph(whole, catalogue);
  const places = new Map<string, Place>();
  for (const stream of streams) {
    const sinks = graph.reachable(stream).flatMap(({ steps }) => steps.filter(({ kind }) => kind === 'sink'));
    const found = sinks.flatMap((sink) => placeOf(stream, sink) ?? []);
    if (found.length === 0)
      log.warn('What this stream takes cannot be read again: none of its sinks has a target that can', { stream });
    for (const place of found.slice(0, 1)) {
      const target = JSON.stringify(place.source);
      if (!places.has(target)) places.set(target, place);
    }
  }
  if (places.size > 0) return [...places.values()];
  throw new Exit(
    exitCodes.failed,
    `The dead letters of \`${plan.name}\` go nowhere that can be read again. Send them to a \`file\` or a \`kafka\` topic.`,
  );
}

function placeOf(stream: string, { id, operator, options }: PlanStep): Place | undefined {
  const definition: SinkDefinition = definitionOf(catalogue, 'sink', operator);
  const back = definition.readBack?.(options);
  if (back === undefined) return undefined;
  // The bytes as they are: a payload that was refused would be so again. Times do not matter, and must refuse nothing.
  const { time, ...rest } = back.options as { time?: unknown };
  return {
    stream,
    sink: id,
    source: { operator: back.source, options: { ...rest, format: 'bytes', maxPayload: '64MiB' } },
  };
}

const listed = (names: readonly (string | undefined)[]) => names.map((name) => `\`${name}\``).join(', ') || 'none';

/** Reads dead letters through the sources of their places, those for which `where` is true. Gives how many records were none, or undecided. */
export async function readLetters(
  places: readonly Place[],
  where: string | undefined,
  log: Log,
  take: (found: Found) => Promise<void> | void,
): Promise<{ others: number; undecided: number }> {
  const counts = { others: 0, undecided: 0 };
  const matches = matcher(where, counts);
  for (const { stream, sink, source } of places) {
    const { path } = source.options as { path?: unknown };
    // Nothing has been refused yet.
    if (typeof path === 'string' && !existsSync(path)) continue;
    const id = `${sink} read back`;
    const steps: PlanStep[] = [
      { kind: 'source', id, ...source },
      { kind: 'sink', id: 'letters', operator: source.operator, options: {} },
    ];
    const plan: Plan = { version: 1, name: 'dead-letters', streams: [{ name: 'letters', from: [], steps }] };
    await replay(
      plan,
      {
        range: { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY, graceMs: 0 },
        sources: [id],
        reader: `penstock-dlq-${process.pid}-${Date.now().toString(36)}`,
        async take(replayed) {
          for (const { sink: from, record } of replayed) {
            const letter = from === 'letters' ? letterOf(record) : undefined;
            if (letter === undefined) counts.others++;
            else if (matches(letter)) await take({ stream, letter });
          }
        },
      },
      log,
    );
  }
  return counts;
}

function letterOf({ value, meta }: StreamRecord): DeadLetter | undefined {
  return value instanceof Uint8Array ? readDeadLetter(value, meta?.headers) : undefined;
}

/** The condition as a function of a dead letter. One that a letter has no answer to is counted, and not met. */
function matcher(where: string | undefined, counts: { undecided: number }): (letter: DeadLetter) => boolean {
  if (where === undefined) return () => true;
  const { problems } = checkExpression(where, deadLetterType);
  if (problems.length > 0) {
    const told = problems.map(({ message, hint }) => `${message}${hint ? ` ${hint}` : ''}`).join('\n');
    throw new Exit(exitCodes.usage, `--where \`${where}\`: ${told}`);
  }
  const evaluate = compileExpression(where);
  return (letter) => {
    try {
      return evaluate(new StreamRecord(letter, letter.key, letter.time, letter.offset)) === true;
    } catch {
      counts.undecided++;
      return false;
    }
  };
}
