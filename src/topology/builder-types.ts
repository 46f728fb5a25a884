import type { OperatorFunction } from 'rxjs';
import type { Static, TObject, TSchema } from 'typebox';
import type {
  Aggregate,
  JsonSchema,
  OnError,
  Siblings,
  SinkDefinition,
  SourceDefinition,
  StepDefinition,
  sourceOptions,
} from '../operator.ts';
import type { Process } from '../process.ts';
import type { StreamRecord } from '../record.ts';
import type { Secret } from '../secret.ts';
import type { Plan } from './plan.ts';
import type { PlanDelivery, StateOptions } from './state-options.ts';

/** Operators by name: what a builder makes its methods of. `penstock/operators` exports the three. */
export interface Operators {
  readonly sources: Readonly<Record<string, SourceDefinition>>;
  readonly steps: Readonly<Record<string, StepDefinition>>;
  readonly sinks: Readonly<Record<string, SinkDefinition>>;
}

type Fn = (...given: never[]) => unknown;

/**
 * Options as a TypeScript user gives them: functions see the record's type, a text will do for a secret, and a path for a schema.
 */
type Given<O, T> = [O, JsonSchema] extends [JsonSchema, O] ? JsonSchema | string : GivenPlain<O, T>;

type GivenPlain<O, T> = O extends Fn
  ? OfRecord<T, ReturnType<O>>
  : O extends Secret
    ? Secret | string
    : O extends Aggregate
      ? Aggregate<unknown, T>
      : O extends object
        ? { [K in keyof O]: Given<O[K], T> }
        : O;

/** A function of the record. Where nothing is known of the record, the function may say of what type it takes it to be. */
type OfRecord<T, R> = unknown extends T
  ? { of(value: T, record: StreamRecord<T>): R }['of']
  : (value: T, record: StreamRecord<T>) => R;

type OptionsOf<D> = D extends { readonly options: infer S extends TSchema } ? Static<S> : never;
type SourceOptions<D> = OptionsOf<D> & Static<TObject<typeof sourceOptions>>;

// A bare value stands for one option, the shorthand; which one is known at run time alone.
type Shorthand<O> = O extends readonly unknown[] | Fn | string ? never : O extends object ? O[keyof O] : never;

type Routed<O> = O extends Fn | readonly unknown[] ? O : O & { otherwise?: string; onError?: OnError; late?: string };
type StepGiven<D, T> = Routed<Given<OptionsOf<D>, T>> | Exclude<Given<Shorthand<OptionsOf<D>>, T>, undefined>;

type Beside<T> = Omit<Siblings, 'when'> & { when?: string | OfRecord<T, unknown> };

type Results<G> = { -readonly [K in keyof G]: G[K] extends (...given: never[]) => infer R ? R : unknown };
type Added<T, G> = Omit<T, keyof G> & Results<G>;
type Literal<T, G> = Omit<T, keyof G> & { -readonly [K in keyof G]: G[K] };

/**
 * What comes out of a step, for records of type `T` and given options `G`, by the step's name. A step that is not here passes the type on.
 * Add your own: `declare module 'penstock' { interface StepOutputs<T, G> { mine: … } }`.
 */
export interface StepOutputs<T, G> {
  join: Enriched<T, G>;
  lookup: Enriched<T, G>;
  lag: G extends { readonly as: infer A extends string } ? Omit<T, A> & { [K in A]: Before<T, G> | null } : unknown;
  merge: unknown;
  validate: G extends { readonly schema: infer S } ? FromSchema<S, T> : FromSchema<G, T>;
  map: G extends (...given: never[]) => infer R ? Omit<T, keyof R> & R : Added<T, Omit<G, 'otherwise' | 'onError'>>;
  flatMap: G extends { readonly list: infer L; readonly as: infer A extends string }
    ? Added<T, { readonly [K in A]: (...given: never[]) => Elements<L> }>
    : G extends { readonly list: infer L }
      ? Elements<L>
      : Elements<G>;
  set: Literal<T, G>;
  select: G extends readonly (infer F)[]
    ? Pick<T, F & keyof T>
    : G extends { readonly keep: readonly (infer F)[] }
      ? Pick<T, F & keyof T>
      : G extends { readonly drop: readonly (infer F)[] }
        ? Omit<T, F & keyof T>
        : T;
  window: G extends { readonly aggregate: infer A }
    ? Kept<T, G> & { -readonly [K in keyof A]: Aggregated<T, A[K]> | Filled<G, A[K]> }
    : unknown;
  detect: (G extends { readonly keep: readonly (infer F)[] } ? Partial<Pick<T, F & keyof T>> : unknown) & Silence;
}

type Elements<L> = L extends (...given: never[]) => readonly (infer E)[] ? E : unknown;
type Silence = { status: 'absent' | 'recovered'; since: number; silence: number };
/** What a further input adds is known by its stream's name alone. */
type Enriched<T, G> = G extends { readonly as: infer A extends string }
  ? (G extends { readonly type: 'outer' } ? Partial<T> : T) & { [K in A]: unknown }
  : unknown;

type Before<T, G> = G extends { readonly fields: infer F }
  ? F extends readonly (infer N)[]
    ? Partial<Pick<T, N & keyof T>>
    : FieldOf<T, F>
  : T;

type Kept<T, G> = G extends { readonly keep: readonly (infer F)[] } ? Pick<T, F & keyof T> : unknown;
type Aggregated<T, A> = A extends 'count' | { readonly count: string } | { readonly countDistinct: string }
  ? number
  : A extends 'first' | 'last'
    ? T
    : A extends { readonly first: infer F } | { readonly last: infer F }
      ? FieldOf<T, F> | null
      : A extends { readonly collect: { readonly field: infer F } }
        ? FieldOf<T, F>[]
        : A extends { readonly topK: unknown }
          ? number[]
          : A extends { readonly own: { result(state: never): infer R } }
            ? R
            : number | null;
/** What windows without a record add to the type of an aggregate. */
type Filled<G, A> = G extends { readonly fill: infer F }
  ? F extends { readonly value: infer V }
    ? V
    : F extends null
      ? A extends
          | 'count'
          | { readonly count: string }
          | { readonly countDistinct: string }
          | { readonly topK: unknown }
          | { readonly collect: unknown }
        ? never
        : null
      : never
  : never;
type FieldOf<T, F> = F extends keyof T ? T[F] : unknown;

// A path says nothing of what is in the file: what was known before still holds.
type FromSchema<S, T> = S extends string ? T : S extends object ? Static<S & TSchema> : unknown;

type Output<K, T, G> = K extends keyof StepOutputs<T, G> ? StepOutputs<T, G>[K] : T;

/** Steps whose options depend on each other in ways that only a method of their own can say. */
export interface StepMethods<O extends Operators, T> {
  /** `S` follows from `state`; say both when what comes out is to be typed: `.process<State, Result>(…)`. */
  process<S = undefined, R = unknown>(
    options: Process<T, S, R> & { otherwise?: string; onError?: OnError; late?: string },
    beside: Beside<T> & { id: string },
  ): Chain<O, R>;

  /** RxJS operators over the values of the records, as in `Observable.pipe`. For more than five, say `pipe` twice. */
  pipe<A>(first: OperatorFunction<T, A>): Chain<O, A>;
  pipe<A, B>(first: OperatorFunction<T, A>, second: OperatorFunction<A, B>): Chain<O, B>;
  pipe<A, B, C>(
    first: OperatorFunction<T, A>,
    second: OperatorFunction<A, B>,
    third: OperatorFunction<B, C>,
  ): Chain<O, C>;
  pipe<A, B, C, D>(
    first: OperatorFunction<T, A>,
    second: OperatorFunction<A, B>,
    third: OperatorFunction<B, C>,
    fourth: OperatorFunction<C, D>,
  ): Chain<O, D>;
  pipe<A, B, C, D, E>(
    first: OperatorFunction<T, A>,
    second: OperatorFunction<A, B>,
    third: OperatorFunction<B, C>,
    fourth: OperatorFunction<C, D>,
    fifth: OperatorFunction<D, E>,
  ): Chain<O, E>;
}

/** A stream that is being written: its steps and sinks are methods; `T` is the type of the records that have come this far. */
export type Chain<O extends Operators, T> = {
  readonly [K in keyof O['steps']]: K extends keyof StepMethods<O, T>
    ? StepMethods<O, T>[K]
    : <const G extends StepGiven<O['steps'][K], T>>(options: G, beside?: Beside<T>) => Chain<O, Output<K, T, G>>;
} & {
  readonly [K in keyof O['sinks']]: (
    options?:
      | Routed<Given<OptionsOf<O['sinks'][K]>, T>>
      | Exclude<Given<Shorthand<OptionsOf<O['sinks'][K]>>, T>, undefined>,
    beside?: Omit<Siblings, 'when'>,
  ) => Chain<O, T>;
} & Whole<O>;

/** A stream that has a name and nothing else yet. Without `from` it takes side outputs only. */
export type Start<O extends Operators> = Chain<O, unknown> & {
  /** Begins the stream with a source, or continues one or more streams. `T`: the type of their records, where it is known. */
  from<T = unknown>(start: Source | string | readonly string[]): Chain<O, T>;
};

export interface Whole<O extends Operators> {
  /** Begins another stream of the same topology. */
  stream(name: string): Start<O>;
  /** Checks the topology. Throws a TopologyError that carries all problems. */
  plan(): Plan;
}

/** A source and its options, to be given to `from`. */
export interface Source {
  readonly source: string;
  readonly options: unknown;
  readonly beside: Omit<Siblings, 'when'>;
}

export interface TopologyOptions {
  readonly description?: string;
  /** Stream for all that is rejected or late and has no `otherwise` of its own. */
  readonly otherwise?: string;
  /** The same in full: `fail` ends the run at the first record that is rejected. */
  readonly onError?: OnError;
  /** Where and how state is kept. */
  readonly state?: StateOptions;
  /** `exactlyOnce`: refused unless every sink is. */
  readonly delivery?: PlanDelivery;
  /** Folder that relative paths begin at. Default: the working directory. */
  readonly folder?: string;
  /** Reads the files that options name. Default: from the disk. */
  readonly readFile?: (path: string) => string;
}

/** What `createBuilder` gives: `topology`, and a function for each source. */
export type Builder<O extends Operators> = {
  topology(name: string, options?: TopologyOptions): Whole<O>;
} & {
  readonly [K in keyof O['sources']]: (
    options?:
      | Given<SourceOptions<O['sources'][K]>, unknown>
      | Exclude<Shorthand<OptionsOf<O['sources'][K]>>, undefined>,
    beside?: Omit<Siblings, 'when'>,
  ) => Source;
};
