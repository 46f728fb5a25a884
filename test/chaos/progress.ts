/** One line that is written over on a terminal; a line for every ten rounds elsewhere. */
export class Progress {
  readonly #what: string;
  readonly #began = Date.now();
  #round = 0;

  constructor(what: string) {
    this.#what = what;
  }

  round(done: number, of: number, more: string): void {
    const text = `${this.#what}: ${done} of ${of} rounds, ${more}, ${this.seconds} s`;
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}${done === of ? '\n' : ''}`);
    else if (done % 10 === 0 && done !== this.#round) console.log(text);
    this.#round = done;
  }

  get seconds(): number {
    return Math.round((Date.now() - this.#began) / 1_000);
  }
}
