import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openDiskStore } from '../../../src/engine/disk-store.ts';

// Files may not grow beyond 2 MB there, whatever room the disk has: to LMDB this is an I/O error.
const limited = `trap '' XFSZ; ulimit -f 2000; exec "$0" --import tsx --input-type=module -e "$1" "$2"`;
const child = `
import { openDiskStore } from ${JSON.stringify(new URL('../../../src/engine/disk-store.ts', import.meta.url).href)};
const [directory] = process.argv.slice(-1);
const store = openDiskStore(directory);
let commits = 0;
let error;
while (error === undefined && commits < 100) {
  const puts = Array.from({ length: 200 }, (_, i) => ['k' + commits + '/' + i, Buffer.alloc(300, 1)]);
  await store.commit({ puts, removes: [] }).then(() => commits++, (reason) => (error = reason));
}
await store.close();
for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
console.log(JSON.stringify({ commits, message: error?.message }));
`;

test.runIf(process.platform === 'linux')(
  'a commit that fails says why, leaves the ones before it whole, and does not crash the process',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'penstock-full-'));
    try {
      const { stdout } = await promisify(execFile)('bash', ['-c', limited, process.execPath, child, directory]);
      const { commits, message } = JSON.parse(stdout) as { commits: number; message: string };
      expect(commits).toBeGreaterThan(1);
      expect(message).toMatch(
        /^The checkpoint could not be written to .*: (?!Commit failed).+\. Check the disk and start again/,
      );
      const store = openDiskStore(directory);
      expect([...store.entries('k')].length).toBe(commits * 200);
      await store.close();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
);
