import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The folder of a public test suite. `undefined`, with a printed reason, when it is not on this machine; an error under CI. */
export function suiteFolder(name: string): string | undefined {
  const root = process.env['PENSTOCK_SUITES'] ?? resolve(import.meta.dirname, '../../../shared/suites');
  const folder = join(root, name);
  if (existsSync(folder)) return folder;
  const reason = `The suite \`${name}\` is not in ${root}; set PENSTOCK_SUITES to the folder that holds it.`;
  if (process.env['CI']) throw new Error(reason);
  console.warn(`Skipped: ${reason}`);
  return undefined;
}
