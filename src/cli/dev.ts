import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker } from './broker.ts';
import { findTopology, loadOrExit, readEnvFiles } from './load.ts';
import { createLog } from './log.ts';
import { type RunFlags, removeState, runPlan } from './run.ts';

export interface DevFlags extends RunFlags {
  readonly mqttPort: string;
}

/**
 * `penstock dev`: runs a topology with an MQTT broker inside this process. `MQTT_URL` names that broker, on loopback only.
 * State lives in a folder of its own that is removed at the end, unless `--state` names one.
 */
export async function devCommand(given: string | undefined, flags: DevFlags): Promise<void> {
  readEnvFiles(flags.envFile);
  const file = findTopology(given);
  const broker = await startBroker({ host: '127.0.0.1', port: Number(flags.mqttPort) });
  createLog(flags.logLevel).info('MQTT broker for this run', { url: broker.url });
  const state = flags.state ?? (await mkdtemp(join(tmpdir(), 'penstock-dev-')));
  try {
    const plan = await loadOrExit(file, flags, { ...process.env, MQTT_URL: broker.url });
    await runPlan(plan, { ...flags, state });
  } finally {
    await broker.close();
    if (flags.state === undefined) await removeState(state);
  }
}
