/** Holds the pull loops between two batches while a checkpoint or an idle step is under way. */
export class Gate {
  #closed: Promise<void> | undefined;
  #open: () => void = () => undefined;

  /** Resolves when the gate is open; `undefined` when it is open now, so that the common case costs nothing. */
  get closed(): Promise<void> | undefined {
    return this.#closed;
  }

  close(): void {
    this.#closed = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#closed = undefined;
    this.#open();
  }
}
