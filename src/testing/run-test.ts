import type { Definition } from '../operator.ts';
import type { Plan } from '../topology/plan.ts';
import type { TestStep, TopologyTest } from '../topology/tests.ts';
import { type ActualRecord, asJson, compare, type Difference } from './compare.ts';
import { TopologyDriver } from './topology-driver.ts';

export interface TestOutcome {
  readonly passed: boolean;
  readonly differences: readonly Difference[];
  /** All that came out where something differs, by stream or sink. */
  readonly came: ReadonlyMap<string, readonly ActualRecord[]>;
  /** What ended the run before the test did. */
  readonly error?: string;
}

/**
 * Runs one test of a topology on virtual time. The clock begins at the first time that the test names. Whatever comes out of a sink
 * that the test does not name, by itself or by its stream, is a difference.
 */
export async function runTopologyTest(
  plan: Plan,
  catalogue: readonly Definition[],
  test: TopologyTest,
): Promise<TestOutcome> {
  const start = firstTime(test.steps);
  try {
    const driver = await TopologyDriver.start(plan, catalogue, start === undefined ? {} : { start });
    for (const step of test.steps) await take(driver, step);
    if (test.end) await driver.end();
    const expected = [...silentOutputs(plan, driver, test), ...test.expect];
    const differences = expected
      .map(([output, records]) => compare(output, driver.output(output), records))
      .filter((difference) => difference !== undefined);
    const came = differences.map(({ output }) => [output, driver.output(output).map(asJson)] as const);
    return { passed: differences.length === 0, differences, came: new Map(came) };
  } catch (error) {
    return {
      passed: false,
      differences: [],
      came: new Map(),
      error: error instanceof Error ? error.message : String(error),
    };
  }
}

async function take(driver: TopologyDriver, step: TestStep): Promise<void> {
  if ('feed' in step) {
    for (const [stream, records] of step.feed) await driver.push(stream, ...records);
  } else if ('clock' in step) {
    await driver.advanceTo('at' in step.clock ? step.clock.at : driver.now + step.clock.after);
  } else if (step.do === 'checkpoint') await driver.checkpoint();
  else if (step.do === 'end') await driver.end();
  else {
    if (step.do === 'crash') await driver.crash();
    else await driver.stop();
    await driver.restore();
  }
}

function firstTime(steps: readonly TestStep[]): number | undefined {
  for (const step of steps) {
    if ('clock' in step && 'at' in step.clock) return step.clock.at;
    const fed = 'feed' in step ? [...step.feed.values()].flat() : [];
    const times = fed.flatMap(({ arrival }) => (arrival === undefined ? [] : [arrival]));
    if (times.length > 0) return Math.min(...times);
  }
  return undefined;
}

/** Where nothing is to come out: sinks and dead letters that the test does not speak of. */
function silentOutputs(plan: Plan, driver: TopologyDriver, { expect }: TopologyTest): [string, []][] {
  const streams = plan.streams.filter(({ name }) => !expect.has(name));
  const sinks = streams.flatMap(({ steps }) => steps.filter(({ kind, id }) => kind === 'sink' && !expect.has(id)));
  const own = driver.deadLetters === undefined || expect.has(driver.deadLetters) ? [] : [driver.deadLetters];
  return [...sinks.map(({ id }) => id), ...own].map((output) => [output, []]);
}
