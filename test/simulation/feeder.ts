import type { Chance } from './chance.ts';

/** Readings as devices send them: mostly in order, some late, some that are no readings at all. */
export function feeder(chance: Chance, now: number, keys: readonly (string | number)[]): () => string {
  let at = now - 3_600_000;
  let id = 0;
  const faulty = chance.rate(0.1);
  return () => {
    id++;
    at += chance.whole(0, 2_500);
    if (chance.of(faulty)) return chance.pick(['{', 'null', '{"key":"a"}', '{"key":"a","ts":"soon","n":1}', '[]']);
    const ts = chance.of(0.1) ? at - chance.whole(0, 30_000) : at - chance.whole(0, 2_500);
    const key = chance.of(0.02) ? undefined : chance.pick(keys);
    return JSON.stringify({ id, key, n: chance.whole(0, 9), ts, ...(chance.of(0.03) && { refuse: true }) });
  };
}
