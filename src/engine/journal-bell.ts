/** Wakes whoever waits for something to change. */
export class Bell {
  readonly #waiting = new Set<() => void>();

  /** Resolves at the next ring, or once the signal is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  ring(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
