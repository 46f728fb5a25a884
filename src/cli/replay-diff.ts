import { withoutMoment } from '../dead-letter.ts';
import type { Plan } from '../topology/plan.ts';
import type { Range, Replayed } from './replay-plan.ts';

/** One record as a sink's target holds it. */
export interface Published {
  /** The id that the sink gave it; `undefined` where the target keeps none. */
  readonly id: string | undefined;
  /** The time it was written with, in ms; NaN where the target keeps none. */
  readonly time: number;
  readonly value: unknown;
}

/** One way in which what was published differs from what a replay makes. */
export interface Difference {
  /** `missing`: the replay makes it, the target has it not. `extra`: the other way round. `different`: one id, two values. */
  readonly kind: 'missing' | 'extra' | 'different';
  readonly sink: string;
  readonly id?: string;
  readonly replayed?: unknown;
  readonly published?: unknown;
}

/**
 * Compares by id. Results of windows that lie only partly in the range are left out: the replay has not seen all of their records. Of
 * several published records with one id the last counts, as for a reader that lets each replace the one before.
 */
export function diffById(
  sink: string,
  replayed: readonly Replayed[],
  published: readonly Published[],
  { from, to }: Range,
  plan: Plan,
): Difference[] {
  const made = new Map(replayed.map((one) => [one.id, one]));
  const found = new Map(published.flatMap((one) => (one.id === undefined ? [] : [[one.id, one] as const])));
  const differences: Difference[] = [];
  for (const [id, { record }] of made) {
    const { window } = record;
    if (window && (window.start < from || window.end > to)) continue;
    const there = found.get(id);
    if (there === undefined) differences.push({ kind: 'missing', sink, id, replayed: record.value });
    else if (textOf(there.value) !== textOf(record.value))
      differences.push({ kind: 'different', sink, id, replayed: record.value, published: there.value });
  }
  const all = plan.streams.flatMap((stream) => stream.steps);
  const steps = new Set(all.filter(({ kind }) => kind === 'step').map((step) => step.id));
  for (const [id, { time, value }] of found) {
    if (made.has(id) || !(time >= from && time < to)) continue;
    const start = windowStart(id, steps);
    if (start === undefined || (start >= from && start < to))
      differences.push({ kind: 'extra', sink, id, published: value });
  }
  return differences;
}

/** Compares by value, each as often as it is there. `whole`: the replay has read all input, so that what is there beyond it is extra. */
export function diffByValue(
  sink: string,
  replayed: readonly Replayed[],
  published: readonly Published[],
  whole: boolean,
): Difference[] {
  const left = new Map<string, unknown[]>();
  for (const { value } of published) {
    const text = textOf(value);
    const same = left.get(text);
    if (same) same.push(value);
    else left.set(text, [value]);
  }
  const differences: Difference[] = [];
  for (const { id, record } of replayed) {
    if (left.get(textOf(record.value))?.pop() === undefined)
      differences.push({ kind: 'missing', sink, id, replayed: record.value });
  }
  if (whole) {
    for (const value of [...left.values()].flat()) differences.push({ kind: 'extra', sink, published: value });
  }
  return differences;
}

/** The start of the window whose result has this id, `step/key/start` with `/seq` and `#part` perhaps; `undefined` for other ids. */
function windowStart(id: string, steps: ReadonlySet<string>): number | undefined {
  if (!steps.has(id.slice(0, id.indexOf('/')))) return undefined;
  // A key may hold slashes and digits too; no start of a window is as short as a number that counts its updates.
  const numbers = /\/(-?\d+)(?:\/(\d{1,9}))?(?:#.*)?$/.exec(id);
  return numbers ? Number(numbers[1]) : undefined;
}

// Bytes that a sink would write are the same when these are: JSON in the order in which the fields were made.
function textOf(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  return JSON.stringify(withoutMoment(value)) ?? 'null';
}
