import { fieldReader, kindOf, putField, type StreamRecord } from '../../src/operator.ts';
import type { AggregateOptions } from './options.ts';

/** A value with its place in the order of events: time first, then place in the source. Plain data, as it stands in state. */
type Placed = [value: unknown, time: number, origin: string, offset: number];

/** One aggregate: an incremental fold over the values of a window. Its state is plain data; `undefined` never stands in it. */
interface Fold<S> {
  readonly empty: () => S;
  add(state: S, value: unknown, record: StreamRecord): S;
  /** The state of two windows that become one. `a` began earlier; their times do not overlap. */
  merge(a: S, b: S): S;
  result(state: S): unknown;
}

/** What all aggregates of one window have come to, in the order of the options. */
export type Parts = unknown[];

const count: Fold<number> = {
  empty: () => 0,
  add: (n) => n + 1,
  merge: (a, b) => a + b,
  result: (n) => n,
};

const picked = (better: (found: Placed, kept: Placed) => boolean): Fold<Placed | null> => ({
  empty: () => null,
  add(kept, value, { time, origin, offset }) {
    const found: Placed = [value, time, origin, offset];
    return kept === null || better(found, kept) ? found : kept;
  },
  merge: (a, b) => (a === null ? b : b === null || !better(b, a) ? a : b),
  result: (kept) => (kept === null ? null : kept[0]),
});

const numbers = (join: (a: number, b: number) => number): Fold<number | null> => ({
  empty: () => null,
  add: (state, value) => (state === null ? (value as number) : join(state, value as number)),
  merge: (a, b) => (a === null ? b : b === null ? a : join(a, b)),
  result: (state) => state,
});

const mean: Fold<[sum: number, count: number]> = {
  empty: () => [0, 0],
  add: ([sum, n], value) => [sum + (value as number), n + 1],
  merge: ([a, n], [b, m]) => [a + b, n + m],
  result: ([sum, n]) => (n === 0 ? null : sum / n),
};

/** Count, mean and the sum of squared distances from it: Welford's way loses nothing where values are large and close together. */
type Moments = [n: number, mean: number, squares: number];

const moments = (result: (variance: number) => number): Fold<Moments> => ({
  empty: () => [0, 0, 0],
  add([n, center, squares], value) {
    const distance = (value as number) - center;
    const next = center + distance / (n + 1);
    return [n + 1, next, squares + distance * ((value as number) - next)];
  },
  merge(a, b) {
    const n = a[0] + b[0];
    if (a[0] === 0 || b[0] === 0) return a[0] === 0 ? b : a;
    const distance = b[1] - a[1];
    return [n, a[1] + (distance * b[0]) / n, a[2] + b[2] + (distance * distance * a[0] * b[0]) / n];
  },
  result: ([n, , squares]) => (n < 2 ? null : result(squares / (n - 1))),
});

const collect = (max: number): Fold<Placed[]> => ({
  empty: () => [],
  add(list, value, { time, origin, offset }) {
    const found: Placed = [value, time, origin, offset];
    let at = list.length;
    while (at > 0 && isLater(list[at - 1]!, found)) at--;
    list.splice(at, 0, found);
    if (list.length > max) list.shift();
    return list;
  },
  merge: (a, b) => [...a, ...b].slice(-max),
  result: (list) => list.map(([value]) => value),
});

// By event time, then by place in the source: the choice must not depend on how partitions happened to interleave.
function isLater(a: Placed, b: Placed): boolean {
  if (a[1] !== b[1]) return a[1] > b[1];
  if (a[2] !== b[2]) return a[2] > b[2];
  return a[3] > b[3];
}

/** Aggregates that take numbers only; any other value that is not null is refused. */
export const numeric: readonly string[] = ['min', 'max', 'sum', 'mean', 'variance', 'stddev'];

const folds: Readonly<Record<string, Fold<unknown>>> = {
  count,
  first: picked((found, kept) => isLater(kept, found)),
  last: picked((found, kept) => !isLater(kept, found)),
  min: numbers(Math.min),
  max: numbers(Math.max),
  sum: numbers((a, b) => a + b),
  mean,
  variance: moments((variance) => variance),
  stddev: moments(Math.sqrt),
};

/** What one entry of `aggregate` asks for. */
export interface Asked {
  readonly kind: string;
  /** `undefined`: the whole record. */
  readonly field: string | undefined;
  /** Where the field's name stands below the entry. */
  readonly path: readonly string[];
  readonly max: number;
}

/** Reads one entry of `aggregate`. */
export function asked(given: AggregateOptions): Asked {
  if (typeof given === 'string') return { kind: given, field: undefined, path: [], max: 0 };
  const [kind, of] = Object.entries(given)[0] as [string, string | { field: string; max: number }];
  if (typeof of === 'string') return { kind, field: of, path: [kind], max: 0 };
  return { kind, field: of.field, path: [kind, 'field'], max: of.max };
}

/** All aggregates of a step: they begin, take records, merge and give their results together. */
export class Aggregates {
  readonly #all: readonly { name: string; kind: string; field: string; fold: Fold<unknown>; read: Read }[];

  constructor(given: Readonly<Record<string, AggregateOptions>>) {
    this.#all = Object.entries(given).map(([name, one]) => {
      const { kind, field, max } = asked(one);
      const fold: Fold<unknown> = kind === 'collect' ? collect(max) : folds[kind]!;
      return { name, kind, field: field ?? '', fold, read: field === undefined ? whole : fieldReader(field) };
    });
  }

  /** Why this record cannot be aggregated; asked before anything is changed, so that a refused record leaves no trace. */
  refusal(record: StreamRecord): string | undefined {
    for (const { kind, field, read } of this.#all) {
      if (!numeric.includes(kind)) continue;
      const value = read(record.value);
      if (value === undefined || value === null || Number.isFinite(value)) continue;
      const found = typeof value === 'number' ? 'not a finite number' : kindOf(value);
      return `\`${field}\` is ${found}; \`${kind}\` takes numbers. Convert or check it before the window.`;
    }
    return undefined;
  }

  begin(): Parts {
    return this.#all.map(({ fold }) => fold.empty());
  }

  /** Takes a record into the parts. A field that is missing or null is passed over; the record itself never is. */
  add(parts: Parts, record: StreamRecord): void {
    for (const [index, { field, fold, read }] of this.#all.entries()) {
      const value = read(record.value);
      if (field === '' || (value !== undefined && value !== null)) parts[index] = fold.add(parts[index], value, record);
    }
  }

  merge(a: Parts, b: Parts): Parts {
    return this.#all.map(({ fold }, index) => fold.merge(a[index], b[index]));
  }

  /** Sets the result of each aggregate on an object that is being made: null where there was no value. */
  result(parts: Parts, into: object): void {
    for (const [index, { name, fold }] of this.#all.entries()) putField(into, name, fold.result(parts[index]));
  }
}

type Read = (value: unknown) => unknown;
const whole: Read = (value) => value ?? null;
