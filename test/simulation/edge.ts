import { steps } from '../../operators/index.ts';
import { openJournal } from '../../src/engine/journal.ts';
import { Run } from '../../src/engine/run.ts';
import { RunError } from '../../src/errors.ts';
import type { Definition } from '../../src/operator.ts';
import type { Plan } from '../../src/topology/plan.ts';
import { Devices } from './devices.ts';
import { feeder } from './feeder.ts';
import { silent, undisturbed } from './oracle.ts';
import { Target, type Written } from './target.ts';
import { randomPlan } from './topologies.ts';
import { digestOf, settle, type Verdict } from './verdict.ts';
import { World } from './world.ts';

const definitions = Object.values(steps) as unknown as Definition[];

/**
 * One instance at the edge: devices, journal, engine, sinks. Faults of all kinds strike as the seed says; then they end, all is read to
 * its end, and what stands in the target is compared with what comes out undisturbed of the very records that the journal holds.
 */
export async function simulateEdge(seed: number): Promise<Verdict> {
  const world = new World(seed);
  const { chance } = world;
  const idle = chance.of(0.25);
  const plan = randomPlan(chance, 'devices', 'target', idle);
  const devices = new Devices(world);
  const target = new Target(world);
  const problems: string[] = [];
  let run = await begin(world, plan, devices, target);
  let crashes = 0;
  const revive = async (power: boolean) => {
    crashes++;
    const old = run;
    world.crash(power);
    old.kill(new RunError('The simulated process has died.'));
    run = await begin(world, plan, devices, target);
  };
  const feed = feeder(chance, world.ports.clock.now(), ['a', 'b', 'c', 'd', 1]);
  const length = chance.whole(20, 90);
  for (let at = 0; at < length; at++) {
    for (let n = chance.whole(0, 6); n > 0; n--) devices.publish(feed());
    if (world.strikes(world.faults.cut)) devices.cut();
    if (world.strikes(world.faults.outage)) world.awayUntil = world.ports.clock.now() + chance.whole(0, 20_000);
    world.ports.disk.capacity = world.strikes(world.faults.full) ? 600 : Number.POSITIVE_INFINITY;
    if (world.strikes(world.faults.crash)) await revive(false);
    if (world.strikes(world.faults.power)) await revive(true);
    devices.connect();
    await pass(world, chance.whole(0, 900));
  }
  world.calm = true;
  world.ports.disk.capacity = Number.POSITIVE_INFINITY;
  for (let waited = 0; !settled(run, devices); waited++) {
    if (waited > 400) {
      problems.push('It does not come to rest after the faults have ended.');
      break;
    }
    devices.connect();
    await pass(world, 500);
    if (run.health().state === 'failed') problems.push(`The run has failed: ${run.health().reasons.join(' ')}`);
    if (problems.length > 0) break;
  }
  const stopped = run.stop().catch((error: Error) => problems.push(`It does not stop well: ${error.message}`));
  for (let n = 0; n < 40; n++) await pass(world, 100);
  await Promise.race([stopped, settle(1)]);

  problems.push(...devices.problems);
  for (const [offset, payload] of devices.acknowledged) {
    if (devices.read.get(offset)?.payload !== payload) problems.push(`Message ${offset} was acknowledged and is gone.`);
  }
  const records = [...devices.read].sort(([a], [b]) => a - b).map(([, entry]) => entry);
  const expected = idle
    ? undefined
    : await undisturbed(plan, { source: 'devices', sink: 'target' }, new Map([['0', records]]), definitions);
  problems.push(...judge(target.written, expected, records.length));
  return { problems, digest: digestOf(world.trace), records: records.length, crashes, trace: world.trace };
}

async function begin(world: World, plan: Plan, devices: Devices, target: Target): Promise<Run> {
  const { ports } = world;
  // After a crash the links are new, and whoever was on them is gone.
  const starting = Run.start({
    plan,
    topologyHash: 'simulated',
    catalogue: [...definitions, devices.source(), target.sink()],
    ports,
    log: silent,
    store: world.store(),
    checkpointMs: 1_000,
    openJournal: (name) =>
      openJournal(ports.disk, `/state/${name}`, { clock: ports.clock, segmentBytes: 2_000, trimsKept: 2 }),
  });
  let run: Run | undefined;
  let failure: unknown;
  starting.then(
    (started) => {
      run = started;
    },
    (error) => {
      failure = error;
    },
  );
  const { capacity } = ports.disk;
  for (let waited = 0; run === undefined; waited++) {
    if (failure !== undefined) throw failure;
    if (waited > 100) throw new Error('It does not start.');
    // A journal cannot be opened on a disk without any room: that is refused, in words, elsewhere.
    ports.disk.capacity = Number.POSITIVE_INFINITY;
    await pass(world, 100);
  }
  ports.disk.capacity = capacity;
  return run;
}

/** Lets time go by, and everything happen that it brings about. */
async function pass({ ports }: World, ms: number): Promise<void> {
  for (let left = ms; ; left -= 100) {
    await settle();
    if (left <= 0) return;
    ports.clock.advance(Math.min(left, 100));
  }
}

function settled(run: Run, devices: Devices): boolean {
  const processed = (run.status().partitions[0]?.offset ?? -1) + 1;
  return devices.drained(processed) && Object.values(run.status().sinks).every(({ pending }) => pending === 0);
}

/** Compares what was written, at least once, with what had to be. Without `expected` only that it agrees with itself. */
function judge(written: readonly Written[], expected: readonly Written[] | undefined, records: number): string[] {
  const problems: string[] = [];
  const found = new Map<string, Written>();
  for (const one of written) {
    const name = `${one.sink} ${one.id}${one.sink === 'letters' ? one.text : ''}`;
    const before = found.get(name);
    if (before !== undefined && before.text !== one.text)
      problems.push(`${name} came out two ways: ${before.text} and ${one.text}`);
    found.set(name, one);
  }
  const letters = new Set([...found.values()].filter(({ sink }) => sink === 'letters').map(({ id }) => id));
  const passed = new Set([...found.values()].filter(({ sink }) => sink === 'each').map(({ id }) => id));
  if (passed.size > records || (records > 0 && passed.size + letters.size === 0))
    problems.push('Nothing came out at all.');
  if (expected === undefined) return problems;
  const wanted = new Map(
    expected.map((one) => [`${one.sink} ${one.id}${one.sink === 'letters' ? one.text : ''}`, one]),
  );
  for (const [name, { text }] of wanted) {
    const got = found.get(name);
    if (got === undefined) problems.push(`Missing: ${name} ${text}`);
    else if (got.text !== text) problems.push(`${name} is ${got.text}; expected ${text}`);
  }
  for (const [name, { text }] of found) if (!wanted.has(name)) problems.push(`Nobody expected ${name} ${text}`);
  return problems;
}
