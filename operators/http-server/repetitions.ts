/** Requests by their idempotency key, for a while and up to a number: one that comes again gets the answer of the first. */
export class Repetitions {
  readonly #windowMs: number;
  readonly #most: number;
  /** Oldest first. */
  readonly #known = new Map<string, { readonly at: number; readonly stored: Promise<unknown> }>();

  constructor(windowMs: number, most: number) {
    this.#windowMs = windowMs;
    this.#most = most;
  }

  /** What became of the request of this key, stored now unless it was before. One that could not be stored is forgotten. */
  once(key: string, now: number, store: () => Promise<unknown>): Promise<unknown> {
    this.#forget(now);
    const before = this.#known.get(key);
    if (before) return before.stored;
    const entry = { at: now, stored: store() };
    this.#known.set(key, entry);
    entry.stored.catch(() => {
      if (this.#known.get(key) === entry) this.#known.delete(key);
    });
    return entry.stored;
  }

  #forget(now: number): void {
    for (const [key, { at }] of this.#known) {
      if (this.#known.size < this.#most && now - at < this.#windowMs) return;
      this.#known.delete(key);
    }
  }
}
