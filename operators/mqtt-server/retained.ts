/** How much the broker holds for new subscribers, so that it can be bounded. */
export class Retained {
  readonly #most: number;
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Whether the broker may hold a message of so many bytes for this topic. An empty one takes back what is held. */
  keep(topic: string, bytes: number): boolean {
    const before = this.#sizes.get(topic) ?? 0;
    const size = bytes === 0 ? 0 : bytes + Buffer.byteLength(topic) + 256;
    if (size > 0 && this.#bytes - before + size > this.#most) return false;
    this.#bytes += size - before;
    if (size === 0) this.#sizes.delete(topic);
    else this.#sizes.set(topic, size);
    return true;
  }
}
