import { parseArgs } from 'node:util';
import { table, type Verdict } from './check.ts';
import { Course, type CourseOptions } from './course.ts';
import { randomFrom } from './input.ts';
import type { Instance } from './instance.ts';
import { OwnBroker } from './own-broker.ts';
import { Progress } from './progress.ts';
import { sleep, until } from './wait.ts';

export interface Rounds extends CourseOptions {
  readonly rounds: number;
  /** In so many of the rounds it is the broker that is killed. */
  readonly brokerKills?: number;
}

export interface Outcome {
  readonly verdict: Verdict;
  /** What is wrong beside the records. */
  readonly trouble: readonly string[];
  readonly text: string;
}

/**
 * Feeds all the time and kills the one instance again and again with SIGKILL: some while they start, some while they restore, some
 * while they commit. What came out in the end is judged.
 */
export async function killRounds(options: Rounds): Promise<Outcome> {
  if (!options.brokerKills) return await withBroker(options, undefined);
  const broker = await OwnBroker.start();
  try {
    return await withBroker({ ...options, brokers: broker.address }, broker);
  } finally {
    await broker.remove();
  }
}

async function withBroker(options: Rounds, broker: OwnBroker | undefined): Promise<Outcome> {
  const { rounds, seed, brokerKills = 0 } = options;
  const random = randomFrom(seed ^ 0x5eed);
  const progress = new Progress('chaos');
  const course = await Course.open(options);
  const trouble: string[] = [];
  let idle = 0;
  try {
    let instance = course.start();
    for (let round = 1; round <= rounds; round++) {
      const before = course.read.passed;
      const roundMs = round === 1 ? 3_000 : (1_000 * progress.seconds) / (round - 1);
      await course.feedUntil(fate(course, instance, random), roundMs * (rounds - round + 1));
      if (instance.fell) trouble.push(`Round ${round}: ${instance.fell}`);
      const ofBroker = Math.floor((round * brokerKills) / rounds) > Math.floor(((round - 1) * brokerKills) / rounds);
      if (broker && ofBroker) {
        await broker.crash();
        await sleep(random() * 3_000);
        await broker.resume();
      } else {
        await instance.kill();
        await course.dismiss();
      }
      const { passed, windows } = course.read;
      if (passed === before) idle++;
      if (!instance.running) instance = course.start();
      progress.round(round, rounds, `${course.feeder.fed} fed, ${passed} passed on, ${windows} windows`);
      if (trouble.length >= 5) break;
    }
    const verdict = await course.finish([instance], trouble);
    const text = [
      ...trouble.map((line) => `✗ ${line}`),
      table(verdict),
      `${rounds} kills${broker ? `, ${brokerKills} of the broker` : ''}, ${idle} of them before anything had come out, seed ${seed}, ${progress.seconds} s`,
    ].join('\n');
    return { verdict, trouble, text };
  } finally {
    await course.close();
  }
}

/** Resolves when it is time to kill: for one in four by the clock, often while it starts or restores; else while it works. */
async function fate(course: Course, instance: Instance, random: () => number): Promise<void> {
  if (random() < 0.25) return sleep(300 + random() * 1_500);
  const before = course.read.passed;
  await until(() => course.read.passed > before || !instance.running, 120_000);
  await sleep(random() ** 2 * 2_000);
}

/** Reads the command line; what it does not say is as given here. */
export function options(given: { rounds: string; records: string }): Rounds {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: given.rounds },
      records: { type: 'string', default: given.records },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      every: { type: 'string', default: '300ms' },
      delivery: { type: 'string', default: 'exactlyOnce' },
      brokers: { type: 'string', default: process.env['KAFKA_BROKERS'] ?? '127.0.0.1:9092' },
      histories: { type: 'string' },
      'broker-kills': { type: 'string', default: '0' },
    },
  });
  return {
    ...values,
    rounds: Number(values.rounds),
    records: Number(values.records),
    seed: Number(values.seed),
    brokerKills: Number(values['broker-kills']),
    delivery: values.delivery === 'atLeastOnce' ? 'atLeastOnce' : 'exactlyOnce',
  };
}

if (import.meta.filename === process.argv[1]) {
  const outcome = await killRounds(options({ rounds: '20', records: '1000000' }));
  console.log(outcome.text);
  process.exit(outcome.verdict.wrong + outcome.trouble.length === 0 ? 0 : 1);
}
