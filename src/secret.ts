import { inspect } from 'node:util';

/** A password or token. It shows itself as `***` in logs, errors, plans and JSON; `reveal()` gives it to the client library. */
export class Secret {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  reveal(): string {
    return this.#text;
  }
  toString(): string {
    return '***';
  }
  toJSON(): string {
    return '***';
  }
  [inspect.custom](): string {
    return '***';
  }
}
