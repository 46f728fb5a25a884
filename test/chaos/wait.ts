export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Waits until something holds, looking every 50 ms; gives whether it did in time. */
export async function until(holds: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  for (const end = Date.now() + ms; !(await holds()); await sleep(50)) if (Date.now() > end) return false;
  return true;
}
