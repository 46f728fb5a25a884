import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { TopologyError } from '../errors.ts';
import type { Definition } from '../operator.ts';
import type { Builder, Operators, Source, TopologyOptions } from './builder-types.ts';
import { compile } from './compile.ts';
import { readTopology } from './grammar.ts';
import { Lookup } from './lookup.ts';
import type { Plan } from './plan.ts';
import { Report } from './report.ts';
import { type Entry, type Written, writtenValue } from './written.ts';

const reserved = ['stream', 'from', 'plan', 'topology'];

interface Stream {
  readonly name: string;
  readonly items: readonly Readonly<Record<string, unknown>>[];
}

/**
 * Makes the TypeScript form of a topology from operators: `topology(name)` begins one, each source is a function, each step and sink a
 * method. The chain is immutable, and `plan()` reads it through the same grammar as YAML.
 */
export function createBuilder<const O extends Operators>(operators: O): Builder<O> {
  const { sources, steps, sinks } = operators;
  const names = [...new Set([...Object.keys(steps), ...Object.keys(sinks)])];
  const taken = [...names, ...Object.keys(sources)].find((name) => reserved.includes(name));
  if (taken !== undefined)
    throw new TypeError(
      `An operator cannot be called \`${taken}\` in TypeScript: the builder has a method of that name.`,
    );
  const catalogue: Definition[] = [...Object.values(sources), ...Object.values(steps), ...Object.values(sinks)];

  class Link {
    readonly #name: string;
    readonly #options: TopologyOptions;
    readonly #streams: readonly Stream[];

    constructor(name: string, options: TopologyOptions, streams: readonly Stream[]) {
      this.#name = name;
      this.#options = options;
      this.#streams = streams;
    }
    stream(name: string): Link {
      return new Link(this.#name, this.#options, [...this.#streams, { name, items: [] }]);
    }
    from(start: Source | string | readonly string[]): Link {
      if (typeof start === 'string' || Array.isArray(start)) return this.add({ from: start });
      const { source, options, beside } = start as Source;
      return this.add({ [source]: options ?? null, ...beside });
    }
    add(item: Readonly<Record<string, unknown>>): Link {
      const last = this.#streams.at(-1);
      if (!last) throw new TypeError('Begin a stream first: topology(name).stream(name).');
      const grown = { name: last.name, items: [...last.items, item] };
      return new Link(this.#name, this.#options, [...this.#streams.slice(0, -1), grown]);
    }
    plan(): Plan {
      return planOf(this.#name, this.#options, this.#streams, catalogue);
    }
  }
  for (const name of names) {
    Object.defineProperty(Link.prototype, name, {
      value(this: Link, options: unknown, ...more: unknown[]) {
        // Several functions are a list of them; what follows stands beside the step.
        const functions = more.filter((each) => typeof each === 'function');
        const given = functions.length > 0 ? [options, ...functions] : options;
        return this.add({ [name]: given ?? null, ...(more[functions.length] as object | undefined) });
      },
    });
  }
  const made = {
    ...Object.fromEntries(
      Object.keys(sources).map((source) => [
        source,
        (options: unknown, beside: object = {}): Source => ({ source, options, beside }),
      ]),
    ),
    topology: (name: string, options: TopologyOptions = {}) => new Link(name, options, []),
  };
  return made as unknown as Builder<O>;
}

function planOf(
  name: string,
  {
    description,
    otherwise,
    onError,
    state,
    delivery,
    folder = process.cwd(),
    readFile = (path) => readFileSync(path, 'utf8'),
  }: TopologyOptions,
  streams: readonly Stream[],
  catalogue: readonly Definition[],
): Plan {
  const report = new Report();
  const top = { version: 1, name, description, otherwise, onError, state, delivery };
  const written = writtenValue(top, name) as Extract<Written, { kind: 'map' }>;
  const entries = new Map<string, Entry>();
  for (const stream of streams) {
    const where = stream.name;
    if (entries.has(where))
      report.add('duplicate-key', { where }, `The stream \`${where}\` stands twice in the topology.`, {
        hint: 'Give one of them another name.',
      });
    const items = stream.items.map((item) => writtenValue(item, `${where} › ${operatorOf(item)}`));
    if (!entries.has(where)) entries.set(where, { key: { where }, value: { kind: 'list', items, where } });
  }
  const all = new Map(written.entries);
  all.set('streams', { key: { where: name }, value: { kind: 'map', entries, where: name } });
  const from = { env: {}, folder: resolve(folder), readFile };
  const draft = readTopology({ ...written, entries: all }, new Lookup(catalogue), from, {}, report);
  const plan = draft && compile(draft, report, { observed: true });
  if (!plan) throw new TopologyError(report.sorted().filter(({ severity }) => severity !== 'warning'));
  return plan;
}

function operatorOf(item: Readonly<Record<string, unknown>>): string {
  return Object.keys(item)[0] ?? '';
}
