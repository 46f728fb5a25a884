/**
 * Event-time timers of one step: a list of owners for each time, and a binary heap of the times.
 * Timers of one time fire in the order in which they were asked for (first arrival of the key).
 */
export class Timers<Owner> {
  /** The earliest time asked for; Infinity when there is none. Read once per record, so it is a plain field. */
  next = Number.POSITIVE_INFINITY;
  readonly #owners = new Map<number, Owner[]>();
  readonly #heap: number[] = [];

  /** How many different times are waited for. */
  get size(): number {
    return this.#heap.length;
  }

  /** How many owners wait for the earliest time. */
  get waiting(): number {
    return this.#owners.get(this.next)?.length ?? 0;
  }

  add(at: number, owner: Owner): void {
    const owners = this.#owners.get(at);
    if (owners) {
      owners.push(owner);
      return;
    }
    this.#owners.set(at, [owner]);
    this.#push(at);
    this.next = this.#heap[0]!;
  }

  /** Removes and gives the owners of the earliest time. */
  take(): Owner[] {
    const at = this.#pop();
    const owners = this.#owners.get(at)!;
    this.#owners.delete(at);
    this.next = this.#heap[0] ?? Number.POSITIVE_INFINITY;
    return owners;
  }

  #push(at: number): void {
    const heap = this.#heap;
    let i = heap.push(at) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent]! <= at) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = at;
  }

  #pop(): number {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}
