import { table } from './check.ts';
import { Course, type CourseOptions } from './course.ts';
import type { Instance } from './instance.ts';
import { type Outcome, options } from './kill-rounds.ts';
import { Progress } from './progress.ts';
import { sleep, until } from './wait.ts';

/** One instance, then three, then two, under load all the time: partitions move with their state, and nothing is lost or comes twice. */
export async function scaleOutAndIn(given: CourseOptions): Promise<Outcome> {
  const progress = new Progress('scale');
  const course = await Course.open(given);
  const trouble: string[] = [];
  const instances: Instance[] = [];
  const size = async (count: number) => {
    const settled = await until(async () => (await course.settled()) === count, 180_000);
    if (!settled) trouble.push(`The group did not settle with ${count} instances within 180 s.`);
    const before = course.read.passed;
    const goesOn = await until(() => course.read.passed > before, 120_000);
    if (!goesOn) trouble.push(`Nothing came out for 120 s with ${count} instances.`);
    await sleep(1_500);
  };
  try {
    const moves = (async () => {
      instances.push(course.start('a'));
      await size(1);
      instances.push(course.start('b'), course.start('c'));
      await size(3);
      const leaving = instances.shift()!;
      const code = await leaving.end();
      if (code !== 0) trouble.push(`The instance that left ended with ${code}: ${leaving.log.slice(-1_500)}`);
      await size(2);
    })();
    await course.feedUntil(moves, 30_000);
    const verdict = await course.finish(instances, trouble);
    const text = [
      ...trouble.map((line) => `✗ ${line}`),
      table(verdict),
      `1, 3, 2 instances, seed ${given.seed}, ${progress.seconds} s`,
    ].join('\n');
    return { verdict, trouble, text };
  } finally {
    await course.close();
  }
}

if (import.meta.filename === process.argv[1]) {
  const outcome = await scaleOutAndIn(options({ rounds: '1', records: '100000' }));
  console.log(outcome.text);
  process.exit(outcome.verdict.wrong + outcome.trouble.length === 0 ? 0 : 1);
}
