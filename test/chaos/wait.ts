export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Waits until something holds, looking every 50 ms; gives whether it did in time. */
export async function until(holds: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  for (const end = Date.now() + ms; !(await holds()); await sleep(50)) if (Date.now() > end) return false;
  return true;
}

/** Asks again while Kafka says that it is not ready, such as a topic without a leader; kafkajs does not do so for all that is asked. */
export async function patiently<T>(ask: () => Promise<T>, ms = 60_000): Promise<T> {
  for (const end = Date.now() + ms; ; await sleep(250)) {
    try {
      return await ask();
    } catch (error) {
      if ((error as { retriable?: boolean }).retriable !== true || Date.now() > end) throw error;
    }
  }
}
