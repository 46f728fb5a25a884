import type { Fold } from './folds.ts';

/** So many values are kept as they are, and the result is exact. */
const exact = 1_000;
/** Beyond that, values fall into bins in which no two are further apart than this, relative to themselves. */
const error = 0.01;
const gamma = (1 + error) / (1 - error);
const logGamma = Math.log(gamma);
/** What is nearer to zero counts as zero. */
const least = 1e-12;

/** How many values there are in each bin, by the bin's number; bins of negative values by that of their magnitude. */
interface Sketch {
  total: number;
  zeros: number;
  readonly above: Record<string, number>;
  readonly below: Record<string, number>;
}
type State = number[] | Sketch;

/**
 * The value below which `p` percent of the values lie: exact for up to 1,000 values, between two of them by linear interpolation; beyond that at
 * most 1 % away from the value of that rank, as in DDSketch. It depends on the values alone, not on their order or on how they were merged.
 * A sketch has some hundred bins for ordinary values, and at most 37,000 of either sign.
 */
export const percentile = (p: number): Fold<State> => ({
  empty: () => [],
  add(state, value) {
    if (Array.isArray(state)) {
      state.push(value as number);
      return state.length > exact ? sketchOf(state) : state;
    }
    put(state, value as number);
    return state;
  },
  merge(a, b) {
    if (Array.isArray(a) && Array.isArray(b) && a.length + b.length <= exact) return [...a, ...b];
    const both = sketchOf([]);
    for (const one of [a, b]) {
      const { total, zeros, above, below } = Array.isArray(one) ? sketchOf(one) : one;
      both.total += total;
      both.zeros += zeros;
      for (const [bin, n] of Object.entries(above)) both.above[bin] = (both.above[bin] ?? 0) + n;
      for (const [bin, n] of Object.entries(below)) both.below[bin] = (both.below[bin] ?? 0) + n;
    }
    return both;
  },
  result: (state) => (Array.isArray(state) ? exactly(state, p / 100) : nearly(state, p / 100)),
});

function exactly(values: readonly number[], q: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const rank = q * (sorted.length - 1);
  const low = sorted[Math.floor(rank)]!;
  const high = sorted[Math.ceil(rank)]!;
  const part = rank - Math.floor(rank);
  // Halves are added first, as the mean of two values is taken everywhere; no sum of two large ones is infinite.
  if (part === 0.5) return Number.isFinite(low + high) ? (low + high) / 2 : low / 2 + high / 2;
  return low * (1 - part) + high * part;
}

function sketchOf(values: readonly number[]): Sketch {
  const sketch: Sketch = { total: 0, zeros: 0, above: {}, below: {} };
  for (const value of values) put(sketch, value);
  return sketch;
}

function put(sketch: Sketch, value: number): void {
  sketch.total++;
  if (Math.abs(value) < least) {
    sketch.zeros++;
    return;
  }
  const bins = value > 0 ? sketch.above : sketch.below;
  const bin = Math.ceil(Math.log(Math.abs(value)) / logGamma);
  bins[bin] = (bins[bin] ?? 0) + 1;
}

function nearly({ total, zeros, above, below }: Sketch, q: number): number {
  const order = (bins: Record<string, number>) => Object.entries(bins).sort(([a], [b]) => Number(a) - Number(b));
  // In the middle of a bin, as far from its lower as from its upper end, relative to either.
  const middle = (bin: string) => (2 * Math.exp(Number(bin) * logGamma)) / (gamma + 1);
  const all: [value: number, n: number][] = [
    ...order(below)
      .reverse()
      .map(([bin, n]): [number, number] => [-middle(bin), n]),
    [0, zeros],
    ...order(above).map(([bin, n]): [number, number] => [middle(bin), n]),
  ];
  let left = Math.floor(q * (total - 1));
  for (const [value, n] of all) {
    if (left < n) return value;
    left -= n;
  }
  return 0;
}
