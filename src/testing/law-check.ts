import fc from 'fast-check';
import { Violation } from './law-run.ts';
import { showDifference } from './law-text.ts';
import type { LawName } from './step-laws.ts';

/** How often a law is tried, and from which seed. */
export interface LawRuns {
  /** 1,000 unless given; 100 for a topology. */
  readonly runs?: number;
  /** Stops after so many ms, however many cases have been tried by then. */
  readonly timeLimitMs?: number;
  /** Of a failure that was printed: the same cases come again. */
  readonly seed?: number;
  readonly path?: string;
}

/** What was checked. */
export interface LawReport {
  /** Name of the operator or of the topology. */
  readonly operator: string;
  /** How many cases each law was tried on. */
  readonly runs: Readonly<Partial<Record<LawName, number>>>;
  /** What came of them: a law says nothing of what never does anything. */
  readonly seen: Tally;
}
export interface Tally {
  readonly records: number;
  readonly results: number;
  readonly rejected: number;
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

/** A report in one line. */
export function describeReport({ operator, runs, seen }: LawReport): string {
  const counts = Object.entries(runs).map(([law, count]) => `${law} ${count.toLocaleString('en')}`);
  const [records, results, rejected] = [seen.records, seen.results, seen.rejected].map((n) => n.toLocaleString('en'));
  return `${operator}: ${counts.join(', ')} (${records} records gave ${results} results, ${rejected} were rejected)`;
}

/** What is checked, and how. */
export interface Trial<Case, Whole, Name extends LawName> {
  readonly operator: string;
  /** What a message adds to its name, such as its options. */
  readonly given: string;
  readonly names: readonly Name[];
  readonly cases: fc.Arbitrary<Case>;
  /** What a case gives without any interruption. */
  whole(one: Case): Promise<Whole> | Whole;
  tally(one: Case, whole: Whole): Tally;
  /** Throws a Violation when the law does not hold for the case. */
  law(name: Name, one: Case, whole: Whole): Promise<void> | void;
}

/** Tries laws on generated cases. Rejects with a LawError at the first that does not hold, and with a TypeError when nothing ever came out. */
export async function tryLaws<Case, Whole, Name extends LawName>(
  trial: Trial<Case, Whole, Name>,
  { runs = 1_000, seed, path, timeLimitMs }: LawRuns,
): Promise<LawReport> {
  const { operator, names } = trial;
  const counts = new Map<Name, number>(names.map((name) => [name, 0]));
  const seen = { records: 0, results: 0, rejected: 0 };
  let guilty: Name | undefined;
  const property = fc.asyncProperty(trial.cases, async (given) => {
    const whole = await trial.whole(given);
    const tally = trial.tally(given, whole);
    for (const what of ['records', 'results', 'rejected'] as const) seen[what] += tally[what];
    // Once a law is broken, smaller cases are looked for that break the same one.
    for (const name of guilty === undefined ? names : [guilty]) {
      try {
        await trial.law(name, given, whole);
      } catch (error) {
        guilty = name;
        throw error;
      }
      counts.set(name, counts.get(name)! + 1);
    }
  });
  const details = await fc.check(property, {
    numRuns: runs,
    ...(seed !== undefined && { seed }),
    ...(path !== undefined && { path }),
    ...(timeLimitMs !== undefined && { interruptAfterTimeLimit: timeLimitMs }),
  });
  if (details.failed && guilty !== undefined) throw broken(trial, guilty, details);
  if (details.failed && details.errorInstance) throw details.errorInstance;
  const tried = Math.min(...counts.values());
  if (tried > 0 && seen.results === 0 && path === undefined)
    throw new TypeError(
      `Not one of ${tried} inputs made \`${operator}\` give a result: its laws would hold whatever it did. Generate values that it takes.`,
    );
  return { operator, runs: Object.fromEntries(counts) as LawReport['runs'], seen };
}

function broken<Case>(
  { operator, given }: { readonly operator: string; readonly given: string },
  law: LawName,
  { errorInstance: error, seed, counterexamplePath, numRuns }: fc.RunDetails<[Case]>,
): LawError {
  const violation = error instanceof Violation ? error : undefined;
  const lines = [
    `The law \`${law}\` does not hold for \`${operator}\`${given}.`,
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
