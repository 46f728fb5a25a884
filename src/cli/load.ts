import { existsSync, readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { catalogue } from '../../operators/index.ts';
import { reason } from '../topology/interpolate.ts';
import { loadTopology } from '../topology/load.ts';
import type { Plan } from '../topology/plan.ts';
import { Exit, exitCodes } from './exit.ts';
import { renderProblems } from './lint.ts';

export interface LoadFlags {
  readonly set?: readonly string[];
  readonly envFile?: readonly string[];
}

const usual = ['topology.yaml', 'topology.yml'];

/** The file given, or the usual one in this folder. */
export function findTopology(given: string | undefined): string {
  if (given !== undefined) return given;
  const found = usual.find((name) => existsSync(name));
  if (found) return found;
  throw new Exit(
    exitCodes.usage,
    `There is no ${usual.join(' or ')} in this folder. Write the path of a topology behind the command.`,
  );
}

/** `name=value` pairs of `--set` as params of the topology. */
export function parseParams(pairs: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1)
        throw new Exit(
          exitCodes.usage,
          `--set takes name=value, but got \`${pair}\`. Write it as in \`--set every=10s\`.`,
        );
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** Reads env files into the environment; what is already set wins, and of two files the first. */
export function readEnvFiles(files: readonly string[] = []): void {
  for (const file of files) {
    try {
      for (const [name, value] of Object.entries(parseEnv(readFileSync(file, 'utf8')))) process.env[name] ??= value;
    } catch (error) {
      throw new Exit(
        exitCodes.usage,
        `The file \`${file}\` of --env-file cannot be read${reason(error)}. Give the path of a file with lines such as NAME=value.`,
      );
    }
  }
}

/** The checked plan of a file, or all its problems on standard error and exit code 78. */
export async function loadOrExit(file: string, flags: LoadFlags, env: NodeJS.ProcessEnv = process.env): Promise<Plan> {
  const { plan, problems, sources } = await loadTopology(file, { catalogue, env, params: parseParams(flags.set) });
  const errors = problems.filter(({ severity }) => severity !== 'warning');
  if (problems.length > 0) process.stderr.write(`${renderProblems(problems, sources)}\n`);
  if (!plan || errors.length > 0) throw new Exit(exitCodes.config);
  return plan;
}
