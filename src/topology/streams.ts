import type { Draft, DraftStep, DraftStream, Route } from './draft.ts';

/** The streams of a draft, and how records get from one to another. */
export class Streams {
  readonly all: readonly DraftStream[];
  readonly #byName: ReadonlyMap<string, DraftStream>;

  constructor({ streams }: Draft) {
    this.all = streams;
    // Of two with one name the first counts, as it does in a mapping.
    this.#byName = new Map([...streams].reverse().map((stream) => [stream.name, stream]));
  }

  get(name: string): DraftStream | undefined {
    return this.#byName.get(name);
  }
  /** The side outputs of a stream's steps, but for `drop`. */
  sides({ steps }: DraftStream): Route[] {
    return steps.flatMap(sidesOf).filter(({ to }) => to !== 'drop');
  }
  continuing(name: string): DraftStream[] {
    return this.all.filter(({ from }) => from.some(({ to }) => to === name));
  }
  /** Streams with a step that takes the records of this one as a further input. */
  reading(name: string): DraftStream[] {
    return this.all.filter(({ steps }) => steps.flatMap(inputsOf).some(({ to }) => to === name));
  }
  /** Streams that feed this one, by `from` or by a side output. */
  feeding(stream: DraftStream): DraftStream[] {
    const from = stream.from.map(({ to }) => this.get(to)).filter((found) => found !== undefined);
    const sides = this.all.filter((other) => this.sides(other).some(({ to }) => to === stream.name));
    return [...new Set([...from, ...sides])];
  }
  /** Every source whose records can reach this stream; `inputs`: also those that only steps with a further input see. */
  sources(stream: DraftStream, { inputs = false } = {}, seen = new Set<DraftStream>()): DraftStep[] {
    if (seen.has(stream)) return [];
    seen.add(stream);
    const own = stream.steps.filter(({ definition }) => definition.kind === 'source');
    const read = inputs ? stream.steps.flatMap(inputsOf) : [];
    const before = [...this.feeding(stream), ...read.flatMap(({ to }) => this.get(to) ?? [])];
    return [...own, ...before.flatMap((one) => this.sources(one, { inputs }, seen))];
  }
}

/** All side outputs of one step: `otherwise`, `late`, and options that name streams. */
export function sidesOf(step: DraftStep): Route[] {
  return [step.otherwise, step.late, ...routesOf(step)].filter((route) => route !== undefined);
}

/** The streams that a step's options send records to. */
export function routesOf(step: DraftStep): Route[] {
  return named(step, 'stream');
}

/** The streams that a step's options take records from, beside those that come down its own stream. */
export function inputsOf(step: DraftStep): Route[] {
  return named(step, 'input');
}

function named({ specials }: DraftStep, wanted: string): Route[] {
  return specials
    .filter(({ format, value, unread }) => format === wanted && typeof value === 'string' && !unread)
    .map(({ value, written }) => ({ to: value as string, site: written }));
}
