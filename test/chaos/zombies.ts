import { table } from './check.ts';
import { Course } from './course.ts';
import { randomFrom } from './input.ts';
import type { Instance } from './instance.ts';
import { type Outcome, options, type Rounds } from './kill-rounds.ts';
import { Progress } from './progress.ts';
import { sleep, until } from './wait.ts';

/** Longer than any session, so that the group gives the partitions of a stopped process to the other. */
const takeOverMs = 180_000;

/**
 * Two instances share the work. Again and again one is stopped in its tracks with work in its hands, until the group has given all to
 * the other; then it wakes and goes on where it was. Nothing that it still believes it has to write may come out.
 */
export async function zombieRounds(given: Rounds): Promise<Outcome> {
  const { rounds, seed } = given;
  const random = randomFrom(seed ^ 0x20b1e);
  const progress = new Progress('zombies');
  const course = await Course.open(given);
  const trouble: string[] = [];
  let ended = 0;
  try {
    const instances = [course.start('a'), course.start('b')] as [Instance, Instance];
    await course.feedUntil(both(course), rounds * 20_000);
    for (let round = 1; round <= rounds; round++) {
      const roundMs = round === 1 ? 20_000 : (1_000 * progress.seconds) / (round - 1);
      const zombie = round % 2;
      const one = (async () => {
        await sleep(random() * 1_000);
        instances[zombie]!.pause(true);
        await takenOver(course);
        // Some wake at once, while the other still claims; some late.
        await sleep(random() ** 2 * 3_000);
        instances[zombie]!.pause(false);
        await sleep(2_000);
        for (const [index, instance] of instances.entries()) {
          if (instance.running) continue;
          // A zombie may find out that it is one and end; the other may not.
          if (index !== zombie) trouble.push(`Round ${round}: ${instance.fell}`);
          ended++;
          instances[index] = course.start(instance.name);
        }
        await both(course);
      })();
      await course.feedUntil(one, roundMs * (rounds - round + 1));
      const { passed, windows } = course.read;
      progress.round(round, rounds, `${course.feeder.fed} fed, ${passed} passed on, ${windows} windows`);
    }
    const verdict = await course.finish(instances, trouble);
    const text = [
      ...trouble.map((line) => `✗ ${line}`),
      table(verdict),
      `${rounds} zombies, ${ended} of them ended themselves, seed ${seed}, ${progress.seconds} s`,
    ].join('\n');
    return { verdict, trouble, text };
  } finally {
    await course.close();
  }
}

async function both(course: Course): Promise<void> {
  if (!(await until(async () => (await course.settled()) === 2, takeOverMs)))
    throw new Error(`The group did not settle with both instances within ${takeOverMs / 1_000} s.`);
}

/** The group has one member left. */
async function takenOver(course: Course): Promise<void> {
  if (!(await until(async () => (await course.settled()) === 1, takeOverMs)))
    throw new Error(`The group did not give up the stopped instance within ${takeOverMs / 1_000} s.`);
}

if (import.meta.filename === process.argv[1]) {
  const outcome = await zombieRounds(options({ rounds: '50', records: '200000' }));
  console.log(outcome.text);
  process.exit(outcome.verdict.wrong + outcome.trouble.length === 0 ? 0 : 1);
}
