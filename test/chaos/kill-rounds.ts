import { parseArgs } from 'node:util';
import { table, type Verdict } from './check.ts';
import { Course, type CourseOptions } from './course.ts';
import { randomFrom } from './input.ts';
import type { Instance } from './instance.ts';
import { Progress } from './progress.ts';
import { sleep, until } from './wait.ts';

export interface Rounds extends CourseOptions {
  readonly rounds: number;
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
  const { rounds, seed } = options;
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
      await instance.kill();
      await course.dismiss();
      const { passed, windows } = course.read;
      if (passed === before) idle++;
      instance = course.start();
      progress.round(round, rounds, `${course.feeder.fed} fed, ${passed} passed on, ${windows} windows`);
      if (trouble.length >= 5) break;
    }
    const verdict = await course.finish([instance], trouble);
    const text = [
      ...trouble.map((line) => `✗ ${line}`),
      table(verdict),
      `${rounds} kills, ${idle} of them before anything had come out, seed ${seed}, ${progress.seconds} s`,
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
    },
  });
  return {
    ...values,
    rounds: Number(values.rounds),
    records: Number(values.records),
    seed: Number(values.seed),
    delivery: values.delivery === 'atLeastOnce' ? 'atLeastOnce' : 'exactlyOnce',
  };
}

if (import.meta.filename === process.argv[1]) {
  const outcome = await killRounds(options({ rounds: '20', records: '1000000' }));
  console.log(outcome.text);
  process.exit(outcome.verdict.wrong + outcome.trouble.length === 0 ? 0 : 1);
}
