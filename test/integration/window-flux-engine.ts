import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One row of a result: its yield's name, and its cells as text by column. */
export interface FluxRow {
  readonly yielded: string;
  cell(name: string): string;
}

/** Runs a script on the real Flux engine and gives all rows of all its results. */
export async function runFlux(engine: string, text: string): Promise<FluxRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-flux-'));
  try {
    const script = join(folder, 'window.flux');
    await writeFile(script, text);
    const { stdout } = await run(engine, [script], { maxBuffer: 1 << 28 });
    return stdout.split(/\r?\n\r?\n/).flatMap(rowsOf);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function rowsOf(csv: string): FluxRow[] {
  const lines = csv.split(/\r?\n/).filter((line) => line !== '');
  const yielded = lines.find((line) => line.startsWith('#default'))?.split(',')[1] ?? '';
  const [header, ...rows] = lines.filter((line) => !line.startsWith('#'));
  const names = header?.split(',') ?? [];
  return rows.map((row) => {
    const cells = row.split(',');
    return { yielded, cell: (name) => cells[names.indexOf(name)] ?? '' };
  });
}
