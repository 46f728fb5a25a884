import { murmur2 } from '../../src/operator.ts';
import type { Fold } from './folds.ts';

/** So many values are counted exactly. */
const exact = 1_000;
/** Beyond that, 2^12 registers estimate the number: 1.04 / √4096 ≈ 1.6 % is the standard error. */
const bits = 12;
const registers = 1 << bits;

/** The values themselves, or, for each register, the longest run of zeros that a hash began with, plus one. */
type State = { values: Record<string, true>; n: number } | number[];

/**
 * How many different values: exact for up to 1,000; beyond that estimated by HyperLogLog, with a standard error of 1.6 %. Values differ by type and
 * value, so `1` and `"1"` are two. The result depends on the values alone, not on their order or on how they were merged.
 */
export const countDistinct: Fold<State> = {
  empty: () => ({ values: {}, n: 0 }),
  add(state, value) {
    const name = `${typeof value} ${String(value)}`;
    if (Array.isArray(state)) note(state, name);
    else if (!Object.hasOwn(state.values, name)) {
      state.values[name] = true;
      state.n++;
      if (state.n > exact) return estimating(state);
    }
    return state;
  },
  merge(a, b) {
    if (!Array.isArray(a) && !Array.isArray(b)) {
      const values = { ...a.values, ...b.values };
      const both = { values, n: Object.keys(values).length };
      return both.n > exact ? estimating(both) : both;
    }
    const other = estimating(b);
    return estimating(a).map((longest, i) => Math.max(longest, other[i]!));
  },
  result: (state) => (Array.isArray(state) ? estimate(state) : state.n),
};

function estimating(state: State): number[] {
  if (Array.isArray(state)) return state;
  const longest = new Array<number>(registers).fill(0);
  for (const name of Object.keys(state.values)) note(longest, name);
  return longest;
}

function note(longest: number[], name: string): void {
  // Two hashes make one of 64 bits: 32 would run out of values at some hundred millions.
  const register = murmur2(name) & (registers - 1);
  const zeros = Math.clz32(murmur2(`${name} again`));
  if (longest[register]! < zeros + 1) longest[register] = zeros + 1;
}

function estimate(longest: readonly number[]): number {
  const empty = longest.filter((run) => run === 0).length;
  const raw = ((0.7213 / (1 + 1.079 / registers)) * registers ** 2) / longest.reduce((sum, run) => sum + 2 ** -run, 0);
  // Where many registers are empty, their number tells more than the runs do.
  return Math.round(raw <= 2.5 * registers && empty > 0 ? registers * Math.log(registers / empty) : raw);
}
