/** What can stand in a queue: one bit of `queued` for each queue that it may stand in. */
export interface Queued {
  queued: number;
}

/**
 * The one with the least rank of many whose ranks grow all the time. A rank that has grown is not noted down at once, only when its
 * owner comes to the front: so a growing rank costs nothing, and an owner stands here once, however often it is used.
 */
export class LeastFirst<Owner extends Queued> {
  readonly #bit: number;
  readonly #rankOf: (owner: Owner) => number;
  // A binary heap of the ranks that owners had when they were last looked at, and beside it the owners.
  readonly #ranks: number[] = [];
  readonly #owners: Owner[] = [];

  /** `rankOf` gives NaN for an owner that is out of the question; it leaves the queue then, and may be added again. */
  constructor(bit: number, rankOf: (owner: Owner) => number) {
    this.#bit = bit;
    this.#rankOf = rankOf;
  }

  get size(): number {
    return this.#owners.length;
  }

  add(owner: Owner): void {
    if ((owner.queued & this.#bit) !== 0) return;
    const rank = this.#rankOf(owner);
    if (Number.isNaN(rank)) return;
    owner.queued |= this.#bit;
    this.#ranks.push(rank);
    this.#owners.push(owner);
    this.#rise(this.#owners.length - 1);
  }

  /** The owner with the least rank when that is at most `upto`, else `undefined`. It stays in the queue. */
  first(upto = Number.POSITIVE_INFINITY): Owner | undefined {
    while (this.#owners.length > 0 && this.#ranks[0]! <= upto) {
      const owner = this.#owners[0]!;
      const rank = this.#rankOf(owner);
      if (rank === this.#ranks[0]) return owner;
      if (Number.isNaN(rank)) this.#removeFirst(owner);
      else this.#ranks[0] = rank;
      this.#sink(0);
    }
    return undefined;
  }

  /** Lets go of owners that are out of the question and have not come to the front. Looks at all: not for every record. */
  sweep(): void {
    const kept = this.#owners.filter((owner) => {
      const stays = !Number.isNaN(this.#rankOf(owner));
      if (!stays) owner.queued &= ~this.#bit;
      return stays;
    });
    this.#ranks.length = 0;
    this.#owners.length = 0;
    for (const owner of kept) {
      owner.queued &= ~this.#bit;
      this.add(owner);
    }
  }

  #removeFirst(owner: Owner): void {
    owner.queued &= ~this.#bit;
    const rank = this.#ranks.pop()!;
    const last = this.#owners.pop()!;
    if (this.#owners.length === 0) return;
    this.#ranks[0] = rank;
    this.#owners[0] = last;
  }

  #rise(from: number): void {
    for (let i = from; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (this.#ranks[parent]! <= this.#ranks[i]!) return;
      this.#swap(i, parent);
      i = parent;
    }
  }

  #sink(from: number): void {
    const ranks = this.#ranks;
    for (let i = from; ; ) {
      let child = 2 * i + 1;
      if (child >= ranks.length) return;
      if (child + 1 < ranks.length && ranks[child + 1]! < ranks[child]!) child++;
      if (ranks[child]! >= ranks[i]!) return;
      this.#swap(i, child);
      i = child;
    }
  }

  #swap(a: number, b: number): void {
    const [rank, owner] = [this.#ranks[a]!, this.#owners[a]!];
    this.#ranks[a] = this.#ranks[b]!;
    this.#owners[a] = this.#owners[b]!;
    this.#ranks[b] = rank;
    this.#owners[b] = owner;
  }
}
