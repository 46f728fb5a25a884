const shiftMs = 86_400_000 + 1_234_567;

/**
 * Runs work with another clock and other random numbers than the process has, and puts them back once it is done. What comes of the work
 * shows whether it looks at them. All that runs meanwhile sees them too.
 */
export function inAnotherTime<T>(work: () => T): T {
  const { Date: TheDate, Math: TheMath } = globalThis;
  const random = TheMath.random;
  const now = performance.now;
  const later = () => TheDate.now() + shiftMs;
  globalThis.Date = new Proxy(TheDate, {
    construct: (target, given: []) => (given.length === 0 ? new target(later()) : new target(...given)),
    apply: () => new TheDate(later()).toString(),
    get: (target, name) => (name === 'now' ? later : Reflect.get(target, name)),
  });
  performance.now = () => now.call(performance) + shiftMs;
  TheMath.random = () => 1 - random();
  const putBack = () => {
    globalThis.Date = TheDate;
    performance.now = now;
    TheMath.random = random;
  };
  let done: T | undefined;
  try {
    done = work();
  } finally {
    if (!(done instanceof Promise)) putBack();
  }
  return done instanceof Promise ? (done.finally(putBack) as T) : done;
}
