import { readChunk, valueAt } from './delta.ts';

/** Where the last value of a name stands: the number of its chunk, and the place of its entry in there. */
type Place = number;
const placesPerChunk = 2 ** 40;

/** What names hold after some commits: their chunks, and which entry of which chunk counts. */
export class Overlay {
  readonly #chunks: Buffer[] = [];
  /** By what many names begin with: whoever reads a step's state need not look at all names. */
  readonly #groups = new Map<string, Map<string, Place>>();
  #last: { readonly group: string; readonly places: Map<string, Place> } | undefined;

  /** Applies a chunk that is newer than those before. Of a damaged one it takes what can be told apart. */
  add(chunk: Buffer): void {
    const base = this.#chunks.push(chunk) * placesPerChunk;
    readChunk(chunk, (name, at) => this.#groupOf(name).set(name, base + at));
  }

  has(name: string): boolean {
    return this.#groups.get(groupOf(name))?.has(name) === true;
  }

  /** Its bytes, `null` where it was removed, `undefined` where nothing is known of it. */
  get(name: string): Buffer | null | undefined {
    const place = this.#groups.get(groupOf(name))?.get(name);
    return place === undefined ? undefined : this.#at(place);
  }

  /** All names that begin with `prefix`, in no order. */
  *entries(prefix: string): Iterable<[name: string, bytes: Buffer | null]> {
    for (const [group, places] of this.#groups) {
      if (!group.startsWith(prefix) && !prefix.startsWith(group)) continue;
      for (const [name, place] of places) if (name.startsWith(prefix)) yield [name, this.#at(place)];
    }
  }

  #at(place: Place): Buffer | null {
    const chunk = this.#chunks[Math.floor(place / placesPerChunk) - 1]!;
    return valueAt(chunk, place % placesPerChunk);
  }

  // Names that follow each other mostly belong together.
  #groupOf(name: string): Map<string, Place> {
    if (this.#last !== undefined && this.#last.group !== '' && name.startsWith(this.#last.group))
      return this.#last.places;
    const group = groupOf(name);
    let places = this.#groups.get(group);
    if (places === undefined) {
      places = new Map();
      this.#groups.set(group, places);
    }
    this.#last = { group, places };
    return places;
  }
}

/** What a name begins with, up to its third separator, such as step and task; any other name is of the group without a beginning. */
function groupOf(name: string): string {
  let end = 0;
  for (let n = 0; n < 3; n++) {
    end = name.indexOf('\u0000', end) + 1;
    if (end === 0) return '';
  }
  return name.slice(0, end);
}
