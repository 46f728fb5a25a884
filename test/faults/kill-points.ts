import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Workload } from './workload.ts';

/** A system call that changes a file: the how-manieth of its kind in the process, and on what. */
export interface KillPoint {
  readonly call: string;
  readonly nth: number;
  readonly file: string;
}

const calls = ['write', 'pwrite64', 'writev', 'pwritev', 'fdatasync', 'fsync', 'msync', 'sync_file_range'];
const others = ['rename', 'renameat2', 'ftruncate', 'fallocate', 'link', 'linkat', 'unlink', 'unlinkat', 'mkdir'];
const tracing = ['strace', '-f', '-y', '-E', 'UV_THREADPOOL_SIZE=1'];

/**
 * The system calls of one checkpoint cycle, from behind one commit of the store to the end of the next, in their order. strace
 * counts per thread: with one thread in the pool all of them come from the same.
 */
export async function cycle(): Promise<KillPoint[]> {
  const workload = new Workload();
  const trace = join(workload.folder, 'trace');
  const { code, said } = await workload.run([
    ...tracing,
    '-o',
    trace,
    '-e',
    `trace=${[...calls, ...others].join(',')}`,
  ]);
  if (code !== 0) throw new Error(`The run that is counted ended with ${code}: ${said}`);
  const counts = new Map<string, number>();
  const points: (KillPoint & { thread: string })[] = [];
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    const [, thread, call, rest] = /^(\d+) +(\w+)\((.*)/.exec(line) ?? [];
    if (thread === undefined) continue;
    const nth = (counts.get(`${thread}/${call}`) ?? 0) + 1;
    counts.set(`${thread}/${call}`, nth);
    const file = new RegExp(`${workload.folder}/([^">]+)`).exec(rest!)?.[1];
    if (file !== undefined) points.push({ thread, call: call!, nth, file });
  }
  rmSync(workload.folder, { recursive: true });
  const commits = points.flatMap(({ call, file }, at) =>
    call === 'fdatasync' && /state\.mdb$/.test(file) ? [at] : [],
  );
  const [from, to] = [commits[3], commits[4]];
  if (from === undefined || to === undefined)
    throw new Error(`There were ${commits.length} commits; expected 5 or more.`);
  const { thread } = points[from]!;
  return points.slice(from + 1, to + 1).filter((point) => point.thread === thread);
}

/** Kills the workload as it enters a call, lets it go on, and gives what is wrong with the result. */
export async function killAt({ call, nth }: KillPoint): Promise<string[]> {
  const workload = new Workload();
  const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${nth}`];
  const killed = await workload.run([...tracing, '-o', '/dev/null', ...inject]);
  if (killed.signal !== 'SIGKILL') return [`was not killed: it ended with ${killed.code}. ${killed.said}`];
  const again = await workload.run();
  const problems = workload.wrong();
  if (again.code !== 0) problems.push(`did not go on: code ${again.code}. ${again.said}`);
  rmSync(workload.folder, { recursive: true });
  return problems;
}
