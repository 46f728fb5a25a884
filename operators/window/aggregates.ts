import { fieldReader, kindOf, putField, type StreamRecord } from '../../src/operator.ts';
import { countDistinct } from './distinct.ts';
import { collect, type Fold, own, plain, topK } from './folds.ts';
import type { AggregateOptions } from './options.ts';
import { percentile } from './quantiles.ts';

/** What all aggregates of one window have come to, in the order of the options. */
export type Parts = unknown[];

/** Aggregates that take numbers only; any other value that is not null is refused. */
export const numeric: readonly string[] = [
  ...['min', 'max', 'sum', 'mean', 'variance', 'stddev'],
  ...['median', 'percentile', 'topK'],
];

/** What one entry of `aggregate` asks for. */
export interface Asked {
  readonly kind: string;
  /** `undefined`: the whole record. */
  readonly field: string | undefined;
  /** Where the field's name stands below the entry. */
  readonly path: readonly string[];
  readonly settings: Settings;
}
type Settings = Partial<Extract<AggregateOptions, object>['own'] & { max: number; k: number; p: number }>;

/** Reads one entry of `aggregate`. */
export function asked(given: AggregateOptions): Asked {
  if (typeof given === 'string') return { kind: given, field: undefined, path: [], settings: {} };
  const [kind, of] = Object.entries(given)[0] as [string, string | (Settings & { field?: string })];
  if (typeof of === 'string') return { kind, field: of, path: [kind], settings: {} };
  return { kind, field: of.field, path: [kind, 'field'], settings: of };
}

function foldOf(name: string, { kind, settings }: Asked): Fold<unknown> {
  if (kind === 'own') return own(name, settings as Parameters<typeof own>[1]);
  if (kind === 'collect') return collect(settings.max!) as Fold<unknown>;
  if (kind === 'topK') return topK(settings.k!) as Fold<unknown>;
  if (kind === 'countDistinct') return countDistinct as Fold<unknown>;
  if (kind === 'median') return percentile(50) as Fold<unknown>;
  return kind === 'percentile' ? (percentile(settings.p!) as Fold<unknown>) : plain[kind]!;
}

interface Entry {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
  readonly field: string;
  readonly fold: Fold<unknown>;
  readonly read: Read;
}

/** All aggregates of a step: they begin, take records, merge and give their results together. */
export class Aggregates {
  readonly #all: readonly Entry[];
  // Code of the user's may throw: it takes a record first, so that no other aggregate has then seen it.
  readonly #adding: readonly Entry[];

  constructor(given: Readonly<Record<string, AggregateOptions>>) {
    this.#all = Object.entries(given).map(([name, one], index) => {
      const found = asked(one);
      const { kind, field } = found;
      const read = field === undefined ? whole : fieldReader(field);
      return { index, name, kind, field: field ?? '', fold: foldOf(name, found), read };
    });
    this.#adding = this.#all.toSorted((a, b) => Number(b.kind === 'own') - Number(a.kind === 'own'));
  }

  /** Why this record cannot be aggregated; asked before anything is changed, so that a refused record leaves no trace. */
  refusal(record: StreamRecord): string | undefined {
    for (const { kind, field, read } of this.#all) {
      const number = numeric.includes(kind);
      if (!number && kind !== 'countDistinct') continue;
      const value = read(record.value);
      if (value === undefined || value === null) continue;
      if (number ? Number.isFinite(value) : typeof value !== 'object') continue;
      const found = typeof value === 'number' ? 'not a finite number' : kindOf(value);
      const takes = number ? 'numbers' : 'texts, numbers and booleans';
      return `\`${field}\` is ${found}; \`${kind}\` takes ${takes}. Convert or check it before the window.`;
    }
    return undefined;
  }

  begin(): Parts {
    return this.#all.map(({ fold }) => fold.empty());
  }

  /** Takes a record into the parts. A field that is missing or null is passed over; the record itself never is. */
  add(parts: Parts, record: StreamRecord): void {
    for (const { index, field, fold, read } of this.#adding) {
      const value = read(record.value);
      if (field === '' || (value !== undefined && value !== null)) parts[index] = fold.add(parts[index], value, record);
    }
  }

  /** The parts of two windows that become one; neither is changed. */
  merge(a: Parts, b: Parts): Parts {
    return this.#all.map(({ fold }, index) => fold.merge(a[index], b[index]));
  }

  /** Sets the result of each aggregate on an object that is being made: null where there was no value. */
  result(parts: Parts, into: object): void {
    for (const { index, name, fold } of this.#all) putField(into, name, fold.result(parts[index]));
  }

  /** Sets one value in place of the result of each aggregate. */
  fill(value: unknown, into: object): void {
    for (const { name } of this.#all) putField(into, name, value);
  }
}

type Read = (value: unknown) => unknown;
const whole: Read = (value) => value ?? null;
