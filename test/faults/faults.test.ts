import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { damageState } from './flips.ts';
import { canMount, fillDisk } from './full-disk.ts';
import { cycle, killAt } from './kill-points.ts';
import { Workload } from './workload.ts';

const minutes = 60_000;

function hasStrace(): boolean {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

// All of them, three times each: `npm run faults -- --kill-points`.
test.runIf(hasStrace())(
  'a process that is killed at a system call of a checkpoint loses nothing and makes nothing up',
  async () => {
    const points = await cycle();
    expect(points.map(({ file }) => file)).toEqual(
      expect.arrayContaining(['state/state.mdb', 'out.jsonl', expect.stringMatching(/journal/)]),
    );
    const commit = points.filter(({ file }) => file === 'state/state.mdb').slice(0, -1);
    const others = points.filter(({ file }) => file !== 'state/state.mdb');
    for (const point of [...commit.slice(-3), ...[0, 0.4, 0.8].map((at) => others[Math.floor(at * others.length)]!)]) {
      expect(await killAt(point), `${point.call} ${point.nth} on ${point.file}`).toEqual([]);
    }
  },
  5 * minutes,
);

// A thousand: `npm run faults -- --damage 1000`.
test(
  'whatever is flipped or cut off in a state file: the result is right, or the run refuses and names the file',
  async () => {
    const outcomes: Record<string, number> = {};
    for await (const { file, what, outcome, said } of damageState(100)) {
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      expect(outcome, `${file}, ${what}: ${said}`).not.toBe('wrong');
    }
    expect(outcomes.refused).toBeGreaterThan(5);
    expect(outcomes.recovered).toBeGreaterThan(5);
  },
  5 * minutes,
);

test.runIf(canMount())(
  'a full disk is said once, stops the intake, and the run goes on by itself when there is room',
  async () => {
    const workload = new Workload();
    const { code, said, readWhileFull, resumedMs } = await fillDisk(workload);
    expect([code, workload.wrong(), readWhileFull]).toEqual([0, [], 0]);
    expect(resumedMs).toBeLessThan(5_000);
    // LMDB prints a word of its own, without ending the line.
    expect(said.match(/error: The disk is full: the checkpoint/g)).toHaveLength(1);
    expect(said.match(/error: The disk is full: nothing more is taken in/g)).toHaveLength(1);
    expect(said).toMatch(/^info: The disk has room again: checkpoints go on\.$/m);
    rmSync(workload.folder, { recursive: true });
  },
  2 * minutes,
);

test('state that has been deleted is missed: the run does not begin anew without a word', async () => {
  const workload = new Workload();
  expect((await workload.run(['env', 'DIE_AT=1600'])).signal).toBe('SIGKILL');
  rmSync(join(workload.state, 'state.mdb'));
  const { code, said } = await workload.run();
  expect([code, said]).toEqual([1, expect.stringMatching(/has held checkpoints.*state\.mdb.*--fresh/)]);
  rmSync(workload.folder, { recursive: true });
});

test.runIf(process.getuid?.() === 0)('a folder that cannot be written is refused by its name', async () => {
  const workload = new Workload();
  expect((await workload.run(['env', 'DIE_AT=1600'])).signal).toBe('SIGKILL');
  rmSync(join(workload.state, 'lock'), { force: true });
  chmodSync(workload.folder, 0o755);
  // Root writes everywhere: another user does not.
  const { code, said } = await workload.run(['setpriv', '--reuid=65534', '--clear-groups']);
  expect([code, said]).toEqual([1, expect.stringContaining(workload.state)]);
  expect(said).toMatch(/EACCES|permission/i);
  expect((await workload.run()).code).toBe(0);
  expect([workload.wrong(), existsSync(join(workload.state, 'lock'))]).toEqual([[], false]);
  rmSync(workload.folder, { recursive: true });
});

test.runIf(hasStrace())(
  'of two processes on one state folder the second names the first, and harms nothing',
  async () => {
    const workload = new Workload();
    // Every write to disk takes a while: the first is still at work when the second comes.
    const first = workload.run(['strace', '-f', '-o', '/dev/null', '-e', 'inject=fdatasync:delay_enter=50000']);
    while (!existsSync(join(workload.state, 'lock'))) await new Promise((resolve) => setTimeout(resolve, 20));
    const second = await workload.run();
    expect([second.code, second.said]).toEqual([1, expect.stringMatching(/is in use by process \d+/)]);
    expect((await first).code).toBe(0);
    expect(workload.wrong()).toEqual([]);
    rmSync(workload.folder, { recursive: true });
  },
);
