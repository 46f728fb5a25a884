import { type Aggregate, compareNumbered, type StreamRecord } from '../../src/operator.ts';

/**
 * One aggregate: an incremental fold over the values of a window. Its state is plain data; `undefined` never stands in it.
 * `add` may change the state it is given; `merge` changes neither, as both may be merged again.
 */
export interface Fold<S> {
  readonly empty: () => S;
  add(state: S, value: unknown, record: StreamRecord): S;
  /** The state of two windows that become one. `a` began earlier; their times do not overlap. */
  merge(a: S, b: S): S;
  result(state: S): unknown;
}

/** A value with its place in the order of events: time first, then place in the source. Plain data, as it stands in state. */
type Placed = [value: unknown, time: number, origin: string, offset: number];

// By event time, then by place in the source: the choice must not depend on how partitions happened to interleave.
function isLater(a: Placed, b: Placed): boolean {
  if (a[1] !== b[1]) return a[1] > b[1];
  if (a[2] !== b[2]) return compareNumbered(a[2], b[2]) > 0;
  return a[3] > b[3];
}

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

const extreme = (join: (a: number, b: number) => number): Fold<number | null> => ({
  empty: () => null,
  add: (state, value) => (state === null ? (value as number) : join(state, value as number)),
  merge: (a, b) => (a === null ? b : b === null ? a : join(a, b)),
  result: (state) => state,
});

const sum: Fold<number | null> = extreme((a, b) => a + b);

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

/**
 * A fold whose result depends on the order in which numbers are added up, made one that does not depend on how partitions happen to
 * interleave: each has a state of its own, and these are put together in the order of the partitions.
 */
function byOrigin<S>(fold: Fold<S>): Fold<[origin: string, state: S][]> {
  return {
    empty: () => [],
    add(all, value, record) {
      const { origin } = record;
      let at = 0;
      while (at < all.length && compareNumbered(all[at]![0], origin) < 0) at++;
      const own = all[at];
      if (own !== undefined && own[0] === origin) own[1] = fold.add(own[1], value, record);
      else all.splice(at, 0, [origin, fold.add(fold.empty(), value, record)]);
      return all;
    },
    merge(a, b) {
      const both = new Map(a);
      for (const [origin, state] of b)
        both.set(origin, both.has(origin) ? fold.merge(both.get(origin)!, state) : state);
      return [...both].sort(([one], [other]) => compareNumbered(one, other));
    },
    result: (all) => fold.result(all.reduce((state, [, own]) => fold.merge(state, own), fold.empty())),
  };
}

/** The newest `max` values in order of event time. */
export const collect = (max: number): Fold<Placed[]> => ({
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

/** The largest `k` numbers, the largest first. */
export const topK = (k: number): Fold<number[]> => ({
  empty: () => [],
  add(list, value) {
    let at = list.length;
    while (at > 0 && list[at - 1]! < (value as number)) at--;
    list.splice(at, 0, value as number);
    if (list.length > k) list.pop();
    return list;
  },
  merge: (a, b) => [...a, ...b].sort((x, y) => y - x).slice(0, k),
  result: (list) => [...list],
});

/** What a user's own aggregate is here; `name` is that of the result's field. */
export const own = (name: string, { create, add, merge, result }: Aggregate): Fold<unknown> => ({
  empty: create,
  add(state, value, record) {
    const next: unknown = add(state, value, record);
    if (next === undefined || next instanceof Promise)
      throw new TypeError(
        `\`add\` of the aggregate \`${name}\` gave ${next === undefined ? 'nothing' : 'a promise'}; expected the next state.`,
      );
    return next;
  },
  merge,
  result,
});

/** The aggregates that need no setting of their own. */
export const plain: Readonly<Record<string, Fold<unknown>>> = {
  count,
  first: picked((found, kept) => isLater(kept, found)),
  last: picked((found, kept) => !isLater(kept, found)),
  min: extreme(Math.min),
  max: extreme(Math.max),
  sum: byOrigin(sum),
  mean: byOrigin(mean),
  variance: byOrigin(moments((variance) => variance)),
  stddev: byOrigin(moments(Math.sqrt)),
};
