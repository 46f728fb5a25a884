import { catalogue } from '../../operators/index.ts';
import { Exit, exitCodes } from './exit.ts';
import { lintFiles, type ProblemFormat, renderProblems } from './lint.ts';
import { findTopology, type LoadFlags, parseParams, readEnvFiles } from './load.ts';

/** `penstock lint`: prints every problem of every file; exit code 1 when one of them stands in the way of a run. */
export async function lintCommand(
  files: readonly string[],
  flags: LoadFlags & { format: ProblemFormat; json?: boolean },
): Promise<void> {
  readEnvFiles(flags.envFile);
  const format = flags.json ? 'json' : flags.format;
  const given = files.length > 0 ? files : [findTopology(undefined)];
  const { problems, sources, failed } = lintFiles(given, {
    catalogue,
    env: process.env,
    params: parseParams(flags.set),
  });
  if (problems.length > 0 || format === 'json')
    process.stdout.write(`${renderProblems(problems, sources, { format })}\n`);
  if (failed) throw new Exit(exitCodes.failed);
}
