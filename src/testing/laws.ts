/** `penstock/testing/laws`: laws that every operator keeps, checked on generated input. Needs `fast-check`, which you install yourself. */
import fc from 'fast-check';
import type { StepDefinition } from '../operator.ts';
import type { Arrival } from './arbitraries.ts';
import { type LawSubject, recordsOf, runWhole, Violation } from './law-run.ts';
import { showDifference } from './law-text.ts';
import { type LawCase, type LawName, lawNames, stepLaws } from './step-laws.ts';

export { type Arrival, type ArrivalOptions, arrivals, type Coming, keys } from './arbitraries.ts';
export type { LawSubject, Seen } from './law-run.ts';
export { recordsOf } from './schema-values.ts';
export { type LawName, lawNames } from './step-laws.ts';

/** How often a law is tried, and from which seed. */
export interface LawRuns {
  /** 1,000 unless given. */
  readonly runs?: number;
  /** Stops after so many ms, however many cases have been tried by then. */
  readonly timeLimitMs?: number;
  /** Of a failure that was printed: the same cases come again. */
  readonly seed?: number;
  readonly path?: string;
}

/** All that the laws need to know of one step. */
export interface LawSetting extends Omit<LawSubject, 'definition'>, LawRuns {
  readonly input: fc.Arbitrary<readonly Arrival[]>;
  /** The step is costly to make, so one is made for all cases. What it keeps in a closure then shows as a difference between two cases. */
  readonly madeOnce?: boolean;
  /** Laws that the step does not keep, each with the reason. */
  readonly except?: Partial<Readonly<Record<LawName, string>>>;
}

/** What was checked. */
export interface LawReport {
  readonly operator: string;
  /** How many cases each law was tried on. */
  readonly runs: Readonly<Partial<Record<LawName, number>>>;
  /** What the step did in them: a law says nothing of a step that never does anything. */
  readonly seen: { readonly records: number; readonly results: number; readonly rejected: number };
}

/** Raised when a law does not hold: the message shows the smallest case that was found, and how to run it again. */
export class LawError extends Error {
  override readonly name = 'LawError';
  readonly law: LawName;
  constructor(law: LawName, message: string) {
    super(message);
    this.law = law;
  }
}

/**
 * Checks all laws of a step, each on the same generated cases. Rejects with a LawError at the first that does not hold, and with a
 * TypeError when no case made anything come out.
 */
export async function checkLaws(definition: StepDefinition, setting: LawSetting): Promise<LawReport> {
  const names = lawNames.filter((name) => setting.except?.[name] === undefined);
  return check(definition, setting, names);
}

type OneLaw = (
  definition: StepDefinition,
  options: unknown,
  input: fc.Arbitrary<readonly Arrival[]>,
  setting?: Omit<LawSetting, 'options' | 'input'>,
) => Promise<LawReport>;

/** One law at a time: `await laws.restart(windowLast, { every: '10s' }, arrivals({ value: fc.nat() }))`. Reject as `checkLaws` does. */
export const laws = Object.fromEntries(
  lawNames.map((name): [LawName, OneLaw] => [
    name,
    (definition, options, input, setting) => check(definition, { ...setting, options, input }, [name]),
  ]),
) as Readonly<Record<LawName, OneLaw>>;

/** A report in one line. */
export function describeReport({ operator, runs, seen }: LawReport): string {
  const counts = Object.entries(runs).map(([law, count]) => `${law} ${count.toLocaleString('en')}`);
  const [records, results, rejected] = [seen.records, seen.results, seen.rejected].map((n) => n.toLocaleString('en'));
  return `${operator}: ${counts.join(', ')} (${records} records gave ${results} results, ${rejected} were rejected)`;
}

async function check(definition: StepDefinition, setting: LawSetting, names: readonly LawName[]): Promise<LawReport> {
  const step = setting.madeOnce ? definition.create(setting.options as never, 'step') : undefined;
  const subject = { ...setting, definition: step === undefined ? definition : { ...definition, create: () => step } };
  const counts = new Map<LawName, number>(names.map((name) => [name, 0]));
  const seen = { records: 0, results: 0, rejected: 0 };
  let guilty: LawName | undefined;
  const property = fc.asyncProperty(casesOf(setting.input), async (given) => {
    const whole = runWhole(subject, given.arrivals);
    seen.records += recordsOf(given.arrivals).length;
    seen.results += [whole.output, ...whole.routed.values()].reduce((sum, { length }) => sum + length, 0);
    seen.rejected += whole.rejected.length;
    // Once a law is broken, smaller cases are looked for that break the same one.
    for (const name of guilty === undefined ? names : [guilty]) {
      try {
        await stepLaws[name](subject, given, whole);
      } catch (error) {
        guilty = name;
        throw error;
      }
      counts.set(name, counts.get(name)! + 1);
    }
  });
  const { runs = 1_000, seed, path, timeLimitMs } = setting;
  const details = await fc.check(property, {
    numRuns: runs,
    ...(seed !== undefined && { seed }),
    ...(path !== undefined && { path }),
    ...(timeLimitMs !== undefined && { interruptAfterTimeLimit: timeLimitMs }),
  });
  if (details.failed && guilty !== undefined) throw broken(definition, setting, guilty, details);
  const tried = Math.min(...counts.values());
  if (tried > 0 && seen.results === 0 && path === undefined)
    throw new TypeError(
      `Not one of ${tried} inputs made \`${definition.name}\` give a result: its laws would hold whatever it did. Generate values that it takes.`,
    );
  return { operator: definition.name, runs: Object.fromEntries(counts), seen };
}

const casesOf = (input: fc.Arbitrary<readonly Arrival[]>): fc.Arbitrary<LawCase> =>
  fc
    .tuple(input, fc.array(fc.nat({ max: 100 }), { maxLength: 4 }), fc.nat({ max: 3 }))
    .map(([arrivals, numbers, lost]) => ({ arrivals, numbers, lost }));

function broken(
  definition: StepDefinition,
  { options }: LawSetting,
  law: LawName,
  { errorInstance: error, seed, counterexamplePath, numRuns }: fc.RunDetails<[LawCase]>,
): LawError {
  const violation = error instanceof Violation ? error : undefined;
  const given = options === undefined ? '' : ` with ${JSON.stringify(options)}`;
  const lines = [
    `The law \`${law}\` does not hold for \`${definition.name}\`${given}.`,
    violation?.message ?? String((error as Error)?.stack ?? error),
    ...(violation?.steps ?? []).map((step) => `    ${step}`),
    ...(violation?.expected
      ? ['  What comes out, - expected and + found:']
      : violation?.found
        ? ['  What comes out:']
        : []),
    ...showDifference(violation?.expected, violation?.found).map((line) => `    ${line}`),
    `  The smallest case of ${numRuns}; again with seed: ${seed}, path: "${counterexamplePath}".`,
  ];
  return new LawError(law, lines.join('\n'));
}
