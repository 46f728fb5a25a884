import { rm } from 'node:fs/promises';
import { catalogue } from '../../operators/index.ts';
import type { Run } from '../engine/run.ts';
import type { Status } from '../engine/status.ts';
import { RunError } from '../errors.ts';
import { durationMs, parseDuration } from '../quantity.ts';
import { type StartOptions, start, stateFolder } from '../runtime.ts';
import type { Plan } from '../topology/plan.ts';
import { Exit, exitCodes } from './exit.ts';
import { findTopology, type LoadFlags, loadOrExit, readEnvFiles } from './load.ts';
import { createLog, type Level } from './log.ts';
import { keepStatusFile } from './status-file.ts';

export interface RunFlags extends LoadFlags {
  readonly for?: string;
  readonly json?: boolean;
  readonly state?: string;
  readonly fresh?: boolean;
  readonly drain?: boolean;
  readonly flush?: boolean;
  readonly discard?: readonly string[];
  readonly checkpoint?: string;
  readonly shutdownTimeout: string;
  readonly logLevel: Level;
}

/** `penstock run`: runs a topology until its inputs end, `--for` is over, or a signal comes. */
export async function runCommand(given: string | undefined, flags: RunFlags): Promise<void> {
  readEnvFiles(flags.envFile);
  const plan = await loadOrExit(findTopology(given), flags);
  await runPlan(plan, flags);
}

/** Runs a plan to its end with the flags that `run` and `dev` share; prints what was done. */
export async function runPlan(plan: Plan, flags: RunFlags): Promise<void> {
  const limitMs = flags.for === undefined ? undefined : checkedDuration('--for', flags.for);
  const log = createLog(flags.logLevel);
  const options: StartOptions = {
    log,
    ...(flags.checkpoint !== undefined && { checkpointMs: checkedDuration('--checkpoint', flags.checkpoint) }),
    ...(flags.flush === false && { onEnd: 'hold' as const }),
    ...(flags.state !== undefined && { state: flags.state }),
    ...(flags.fresh !== undefined && { fresh: flags.fresh }),
    ...(flags.discard !== undefined && { discard: flags.discard }),
  };
  const began = Date.now();
  const run = await started(plan, options);
  log.info(`Running ${plan.name}`, { state: stateFolder(plan, options) });
  const timer = limitMs === undefined ? undefined : setTimeout(() => stop(run, flags), limitMs);
  const release = onSignals(() => stop(run, flags));
  const status = keepStatusFile(run, stateFolder(plan, options));
  try {
    await run.done;
  } catch (error) {
    throw failed(error);
  } finally {
    clearTimeout(timer);
    release();
    await status.close();
    report(run.status(), Date.now() - began, flags.json === true);
  }
}

async function started(plan: Plan, options: StartOptions): Promise<Run> {
  try {
    return await start(plan, catalogue, options);
  } catch (error) {
    throw failed(error);
  }
}

/** Stops; when the sinks do not confirm in time, ends all the same: the last checkpoint stands. */
function stop(run: Run, { shutdownTimeout, drain }: RunFlags): void {
  const limit = setTimeout(
    () =>
      run.kill(
        new RunError(
          `The sinks did not confirm within ${shutdownTimeout}. The last checkpoint stands: start again to go on from there.`,
        ),
      ),
    durationMs(shutdownTimeout),
  );
  void (drain ? run.drain() : run.stop()).catch(() => undefined).finally(() => clearTimeout(limit));
}

// The first signal stops in order; the second ends the process at once.
function onSignals(stopOnce: () => void): () => void {
  let stopping = false;
  const codes = { SIGINT: exitCodes.interrupted, SIGTERM: exitCodes.terminated } as const;
  const handler = (signal: 'SIGINT' | 'SIGTERM') => {
    if (stopping) process.exit(codes[signal]);
    stopping = true;
    stopOnce();
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
  return () => {
    process.off('SIGINT', handler);
    process.off('SIGTERM', handler);
  };
}

function failed(error: unknown): Exit {
  if (error instanceof Exit) return error;
  const { message, where } = error as RunError;
  return new Exit(exitCodes.failed, where === undefined ? message : `${where}: ${message}`);
}

/** Milliseconds of a flag's length of time; ends the command with exit code 2 when it is none. */
export function checkedDuration(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined)
    throw new Exit(exitCodes.usage, `${flag} takes a length of time such as 30s, but got \`${text}\`.`);
  return ms;
}

function report(status: Status, tookMs: number, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ version: 1, tookMs, ...status })}\n`);
    return;
  }
  const read = status.partitions.reduce((sum, partition) => sum + partition.read, 0);
  const lines = [`${status.topology}: ${read} records read in ${(tookMs / 1_000).toFixed(1)} s`];
  const refused = status.partitions.reduce((sum, partition) => sum + partition.rejected, 0);
  if (refused > 0) lines.push(`  ${refused} could not be decoded or timed`);
  for (const [id, step] of Object.entries(status.steps)) {
    if (step.rejected > 0) lines.push(`  ${id}: ${step.rejected} rejected`);
    if (step.late > 0) lines.push(`  ${id}: ${step.late} late`);
  }
  for (const [id, sink] of Object.entries(status.sinks)) {
    if (sink.written > 0 || sink.refused > 0) {
      lines.push(`  ${id}: ${sink.written} written${sink.refused > 0 ? `, ${sink.refused} refused` : ''}`);
    }
  }
  process.stderr.write(`${lines.join('\n')}\n`);
}

/** A state folder for one run only, removed with it. */
export async function removeState(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}
