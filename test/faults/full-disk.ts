import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { program, type Workload } from './workload.ts';

/** What a run did on a disk that was full for a while. */
export interface FullDisk {
  readonly code: number | null;
  readonly said: string;
  /** Records taken in while the disk was full and nothing was left in hand. */
  readonly readWhileFull: number;
  /** From the moment there was room to the first word that things go on. */
  readonly resumedMs: number;
}

/** Whether this machine lets us mount a small disk of our own. */
export function canMount(): boolean {
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Runs the workload with its state on a disk of 3 MB, which it fills half-way, and frees two seconds after that was noticed. */
export function fillDisk(workload: Workload): Promise<FullDisk> {
  mkdirSync(workload.state, { recursive: true });
  const script = 'mount -t tmpfs -o size=3m tmpfs "$1" && exec "$2" "$3" "$4"';
  const child = spawn(
    'unshare',
    ['-m', 'bash', '-c', script, 'bash', workload.state, process.execPath, program, workload.folder],
    { env: { ...process.env, FILL_AT: '1000' }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      const told = said.split('\n').find((line) => line.startsWith('{')) ?? '{}';
      resolve({ code, said, ...JSON.parse(told) } as FullDisk);
    });
  });
}
