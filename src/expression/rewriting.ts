/** Insertions into a text, with the way back from a place in the new text to its place in the old one. */
export class Rewriting {
  readonly #source: string;
  readonly #edits: { at: number; text: string }[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  /** Of two insertions at one place the one made first comes first. */
  insert(at: number, text: string): void {
    this.#edits.push({ at, text });
  }

  get text(): string {
    let text = '';
    let from = 0;
    for (const edit of this.#sorted()) {
      text += this.#source.slice(from, edit.at) + edit.text;
      from = edit.at;
    }
    return text + this.#source.slice(from);
  }

  /** Place in the source of a place in the new text; inside an insertion, the place where it was made. */
  original(place: number): number {
    let added = 0;
    for (const { at, text } of this.#sorted()) {
      if (at + added + text.length > place) return Math.min(at, Math.max(place - added, 0));
      added += text.length;
    }
    return Math.min(place - added, this.#source.length);
  }

  #sorted(): readonly { at: number; text: string }[] {
    return [...this.#edits].sort((a, b) => a.at - b.at);
  }
}
