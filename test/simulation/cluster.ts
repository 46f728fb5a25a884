import { steps } from '../../operators/index.ts';
import { Run } from '../../src/engine/run.ts';
import { RunError } from '../../src/errors.ts';
import { type Definition, TransactionError } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import type { Plan } from '../../src/topology/plan.ts';
import { Ledger, ledgerSink, ledgerSource, Member } from '../src/engine/ledger.ts';
import { Chance } from './chance.ts';
import { feeder } from './feeder.ts';
import { silent, undisturbed } from './oracle.ts';
import { textOf, type Written } from './target.ts';
import { randomPlan } from './topologies.ts';
import { digestOf, settle, type Verdict } from './verdict.ts';

const definitions = Object.values(steps) as unknown as Definition[];
const partitions = ['0', '1', '2'] as const;

interface Instance {
  readonly run: Run;
  readonly member: Member;
}

/**
 * Several instances that share the partitions of one system, with state, output and positions committed together: exactly once. They are
 * killed, given and robbed of partitions with and without being told, and their transactions fail or end with nobody knowing how.
 */
export async function simulateCluster(seed: number): Promise<Verdict> {
  const chance = new Chance(seed);
  const ports = memoryPorts(seed);
  ports.clock.advance(Date.UTC(2026, 0, 1));
  const plan: Plan = { ...randomPlan(chance, 'kafka', 'ledger', false), state: { store: 'kafka' } };
  const ledger = new Ledger();
  const trace: string[] = [];
  const troubles = { commit: chance.rate(0.15), write: chance.rate(0.05), kill: chance.rate(0.06) };
  let calm = false;
  ledger.beforeCommit = (partition) => {
    ledger.commitTurns = calm ? 0 : chance.whole(0, 6);
    trace.push(`${ports.clock.now()} commit ${partition}`);
    if (calm || !chance.of(troubles.commit)) return undefined;
    return { error: new TransactionError('No answer.', false), done: chance.of(0.5) };
  };
  ledger.beforeWrite = () =>
    calm || !chance.of(troubles.write) ? undefined : new TransactionError('Out of order.', false);
  const begin = async (): Promise<Instance> => {
    const member = new Member(ledger);
    const run = await Run.start({
      plan,
      topologyHash: 'simulated',
      catalogue: [...definitions, ledgerSource(ledger, member), ledgerSink()],
      ports,
      log: silent,
      checkpointMs: 1_000,
      openJournal: () => Promise.reject(new Error('Nothing is kept here.')),
    });
    return { run, member };
  };
  const instances = await Promise.all(Array.from({ length: chance.whole(1, 3) }, begin));
  const feeds = partitions.map((id) => feeder(chance, ports.clock.now(), [`${id}a`, `${id}b`, `${id}c`]));
  let records = 0;
  let kills = 0;
  const length = chance.whole(20, 80);
  for (let at = 0; at < length; at++) {
    for (const [n, id] of partitions.entries()) {
      for (let count = chance.whole(0, 4); count > 0; count--, records++) {
        ledger.log.add(id, { payload: feeds[n]!(), arrival: ports.clock.now() });
      }
    }
    const index = chance.whole(0, instances.length - 1);
    if (chance.of(0.3)) void instances[index]!.member.assign(partitions.filter(() => chance.of(0.6)));
    if (chance.of(troubles.kill)) {
      instances[index]!.run.kill(new RunError('The simulated process has died.'));
      instances[index] = await begin();
      kills++;
      trace.push(`${ports.clock.now()} kill ${index}`);
    }
    ports.clock.advance(chance.whole(0, 700));
    await settle(chance.whole(1, 8));
  }
  calm = true;
  for (const { run } of instances) run.kill(new RunError('The simulated process has died.'));
  const problems = await finish(await begin(), ledger, ports.clock);
  const expected = await undisturbed(
    plan,
    { source: 'kafka', sink: 'ledger' },
    ledger.log.partitions as never,
    definitions,
  );
  problems.push(...judge(ledger, expected));
  for (const { sink, id } of ledger.committed) trace.push(`${sink} ${id}`);
  return { problems, digest: digestOf(trace), records, crashes: kills, trace };
}

async function finish(
  { run, member }: Instance,
  ledger: Ledger,
  clock: { advance(ms: number): void },
): Promise<string[]> {
  const assigned = member.assign(partitions);
  for (let waited = 0; waited < 300; waited++) {
    await settle(6);
    clock.advance(200);
    const read = new Map(run.status().partitions.map(({ name, offset }) => [name, offset + 1]));
    if (!partitions.every((id) => read.get(`in/${id}`) === ledger.log.partitions.get(id)!.length)) continue;
    await assigned;
    await run.stop();
    return [];
  }
  return [`It does not come to rest after the faults have ended: ${JSON.stringify(run.health())}`];
}

/** Exactly once: what was committed is what had to be, as often, and in order for each key. */
function judge(ledger: Ledger, expected: readonly Written[]): string[] {
  const problems: string[] = [];
  const counts = new Map<string, number>();
  for (const { sink, id, text } of expected)
    counts.set(`${sink} ${id} ${text}`, (counts.get(`${sink} ${id} ${text}`) ?? 0) + 1);
  for (const { sink, id, value } of ledger.committed) {
    const name = `${sink} ${id} ${textOf(sink, value)}`;
    counts.set(name, (counts.get(name) ?? 0) - 1);
  }
  for (const [name, count] of counts) {
    if (count > 0) problems.push(`Lost: ${name}`);
    if (count < 0) problems.push(`Committed ${-count} times too often: ${name}`);
  }
  const newest = new Map<unknown, number>();
  for (const { sink, key, id } of ledger.committed) {
    if (sink !== 'each') continue;
    const offset = Number(id.slice(id.lastIndexOf('/') + 1));
    if (offset < (newest.get(key) ?? -1))
      problems.push(`Key ${String(key)}: offset ${offset} came after ${newest.get(key)}.`);
    newest.set(key, offset);
  }
  return problems;
}
