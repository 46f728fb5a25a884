/** `penstock/testing/laws`: laws that every operator keeps, checked on generated input. Needs `fast-check`, which you install yourself. */
import fc from 'fast-check';
import type { Definition, StepDefinition } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import type { Arrival } from './arbitraries.ts';
import { type LawReport, type LawRuns, tryLaws } from './law-check.ts';
import { type LawSubject, recordsOf, runWhole } from './law-run.ts';
import { type LawCase, type LawName, lawNames, stepLaws } from './step-laws.ts';
import { type TopologyLawName, topologyCases, topologyLawNames, topologyLawsByName } from './topology-laws.ts';
import { play, type TopologySubject, tallyOf } from './topology-run.ts';

export { type Arrival, type ArrivalOptions, arrivals, type Coming, keys } from './arbitraries.ts';
export type { FedRecord } from './feed.ts';
export type { FeedOptions } from './feeds.ts';
export { describeReport, LawError, type LawReport, type LawRuns, type Tally } from './law-check.ts';
export type { LawSubject, Seen } from './law-run.ts';
export { recordsOf } from './schema-values.ts';
export { type LawName, lawNames } from './step-laws.ts';
export { type TopologyLawName, topologyLawNames } from './topology-laws.ts';
export type { Fed, TopologySubject } from './topology-run.ts';

/** All that the laws need to know of one step. */
export interface LawSetting extends Omit<LawSubject, 'definition'>, LawRuns {
  readonly input: fc.Arbitrary<readonly Arrival[]>;
  /** The step is costly to make, so one is made for all cases. What it keeps in a closure then shows as a difference between two cases. */
  readonly madeOnce?: boolean;
  /** Laws that the step does not keep, each with the reason. */
  readonly except?: Partial<Readonly<Record<LawName, string>>>;
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

/** All that the laws need to know of a topology, besides its plan. */
export interface TopologyLawSetting extends Omit<TopologySubject, 'plan' | 'catalogue'>, LawRuns {
  /** Laws that the topology does not keep, each with the reason. */
  readonly except?: Partial<Readonly<Record<TopologyLawName, string>>>;
}

/**
 * Checks all laws of a whole topology on generated input, on virtual time and without a connection. `catalogue` holds the definitions that the
 * plan names. Rejects as `checkLaws` does.
 */
export async function checkTopologyLaws(
  plan: Plan,
  catalogue: readonly Definition[],
  setting: TopologyLawSetting,
): Promise<LawReport> {
  const names = topologyLawNames.filter((name) => setting.except?.[name] === undefined);
  return checkTopology({ ...setting, plan, catalogue }, setting, names);
}

type OneTopologyLaw = (
  plan: Plan,
  catalogue: readonly Definition[],
  input: TopologyLawSetting['input'],
  setting?: Omit<TopologyLawSetting, 'input'>,
) => Promise<LawReport>;

/** One law of a topology at a time: `await topologyLaws.restart(plan, catalogue, { readings: fc.record({ value }) })`. */
export const topologyLaws = Object.fromEntries(
  topologyLawNames.map((name): [TopologyLawName, OneTopologyLaw] => [
    name,
    (plan, catalogue, input, setting = {}) => checkTopology({ ...setting, input, plan, catalogue }, setting, [name]),
  ]),
) as Readonly<Record<TopologyLawName, OneTopologyLaw>>;

async function checkTopology(
  subject: TopologySubject,
  runs: LawRuns,
  names: readonly TopologyLawName[],
): Promise<LawReport> {
  return tryLaws(
    {
      operator: subject.plan.name,
      given: '',
      names,
      cases: topologyCases(subject),
      whole: ({ feeds }) => play(subject, feeds),
      tally: ({ feeds }, whole) => tallyOf(subject, feeds, whole),
      law: (name, given, whole) => topologyLawsByName[name](subject, given, whole),
    },
    { runs: 100, ...runs },
  );
}

async function check(definition: StepDefinition, setting: LawSetting, names: readonly LawName[]): Promise<LawReport> {
  const { options } = setting;
  const step = setting.madeOnce ? definition.create(options as never, 'step') : undefined;
  const subject = { ...setting, definition: step === undefined ? definition : { ...definition, create: () => step } };
  return tryLaws(
    {
      operator: definition.name,
      given: options === undefined ? '' : ` with ${JSON.stringify(options)}`,
      names,
      cases: casesOf(setting.input),
      whole: ({ arrivals }) => runWhole(subject, arrivals),
      tally: ({ arrivals }, { output, routed, rejected }) => ({
        records: recordsOf(arrivals).length,
        results: [output, ...routed.values()].reduce((sum, { length }) => sum + length, 0),
        rejected: rejected.length,
      }),
      law: (name, given, whole) => stepLaws[name](subject, given, whole),
    },
    setting,
  );
}

const casesOf = (input: fc.Arbitrary<readonly Arrival[]>): fc.Arbitrary<LawCase> =>
  fc
    .tuple(input, fc.array(fc.nat({ max: 100 }), { maxLength: 4 }), fc.nat({ max: 3 }))
    .map(([arrivals, numbers, lost]) => ({ arrivals, numbers, lost }));
