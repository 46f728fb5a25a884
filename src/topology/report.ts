import type { Place, Problem, ProblemCode } from '../errors.ts';
import { entriesOf, type Written } from './written.ts';

/** Characters `[start, end)` of a topology's text. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Where a problem can be shown: a range of a file, or, for a topology written in TypeScript, `stream › step`. */
export interface Site {
  readonly at?: Range;
  readonly where?: string;
}

interface Notes {
  readonly hint?: string | undefined;
  readonly severity?: 'warning';
}

/** Collects the problems of one topology, so that all of them are told at once. */
export class Report {
  readonly #problems = new Map<string, Problem>();
  readonly #passedOver = new Set<string>();
  readonly #hidden = new Set<Written>();
  readonly #locate: (range: Range) => Place | undefined;

  constructor(locate: (range: Range) => Place | undefined = () => undefined) {
    this.#locate = locate;
  }

  /** Adds a problem; the same one at the same place is told once. */
  add(code: ProblemCode, site: Site, message: string, { hint, severity }: Notes = {}): void {
    const place = site.at && this.#locate(site.at);
    const told = site.where === undefined ? message : `${site.where}: ${message}`;
    const problem: Problem = {
      code,
      message: told,
      ...(hint !== undefined && { hint }),
      ...(place && { place }),
      ...(severity && { severity }),
    };
    const key = JSON.stringify([code, place?.line, place?.column, told]);
    if (!this.#problems.has(key)) this.#problems.set(key, problem);
  }

  /** Remembers that something is, or may be, a secret: no message may show it. */
  hide(node: Written): void {
    this.#hidden.add(node);
  }

  hides(node: Written): boolean {
    return this.#hidden.has(node);
  }

  /** Where hidden things stand in the file. */
  get hidden(): readonly Range[] {
    return [...this.#hidden].flatMap(({ at }) => (at ? [at] : []));
  }

  /** Remembers the texts in something that was not read, as a problem says: a stream named there is perhaps not without use. */
  passOver(node: Written): void {
    if (node.kind === 'list') for (const item of node.items) this.passOver(item);
    else if (node.kind === 'map') for (const [, { value }] of entriesOf(node)) this.passOver(value);
    else if (typeof node.value === 'string') this.#passedOver.add(node.value);
  }

  /** Whether something that was not read names this stream. */
  mayName(stream: string): boolean {
    return this.#passedOver.has(stream);
  }

  /** Something stands in the way of a plan; warnings do not. */
  get failed(): boolean {
    return [...this.#problems.values()].some(({ severity }) => severity !== 'warning');
  }

  get size(): number {
    return this.#problems.size;
  }

  /** All problems in the order of the file; those without a place last. */
  sorted(): Problem[] {
    const rank = ({ place }: Problem): [number, number] => [place?.line ?? Number.MAX_SAFE_INTEGER, place?.column ?? 0];
    return [...this.#problems.values()].sort((a, b) => {
      const [lineA, columnA] = rank(a);
      const [lineB, columnB] = rank(b);
      return lineA - lineB || columnA - columnB;
    });
  }
}
