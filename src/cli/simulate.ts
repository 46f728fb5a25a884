import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '../secret.ts';
import type { Plan } from '../topology/plan.ts';
import { Exit, exitCodes } from './exit.ts';
import { type RunFlags, removeState, runPlan } from './run.ts';

export interface SimulateFlags extends RunFlags {
  readonly url: string;
  readonly topic: string;
  readonly qos: string;
  readonly username?: string;
  readonly generators: string;
  readonly every: string;
  readonly count?: string;
  readonly seed: string;
  readonly start?: string;
  readonly fast?: boolean;
  readonly disorder: string;
  readonly badPayloads: string;
  readonly dropOuts: string;
}

/** `penstock simulate`: publishes readings of emergency generators to an MQTT broker, bad ones included if asked. */
export async function simulateCommand(flags: SimulateFlags): Promise<void> {
  const state = flags.state ?? (await mkdtemp(join(tmpdir(), 'penstock-simulate-')));
  try {
    await runPlan(simulation(flags), { ...flags, state });
  } finally {
    if (flags.state === undefined) await removeState(state);
  }
}

function simulation(flags: SimulateFlags): Plan {
  const password = process.env['MQTT_PASSWORD'];
  const source = {
    // Bytes: a broken payload has to reach the broker broken.
    format: 'bytes',
    generators: number('--generators', flags.generators),
    every: flags.every,
    seed: number('--seed', flags.seed),
    realTime: flags.fast !== true,
    disorder: number('--disorder', flags.disorder),
    badPayloads: number('--bad-payloads', flags.badPayloads),
    dropOuts: number('--drop-outs', flags.dropOuts),
    ...(flags.count !== undefined && { count: number('--count', flags.count) }),
    ...(flags.start !== undefined && { start: flags.start }),
  };
  const sink = {
    url: flags.url,
    topic: flags.topic,
    qos: number('--qos', flags.qos),
    ...(flags.username !== undefined && { username: flags.username }),
    ...(password !== undefined && { password: new Secret(password) }),
  };
  return {
    version: 1,
    name: 'simulate',
    streams: [
      {
        name: 'fleet',
        from: [],
        steps: [
          { kind: 'source', id: 'fleet.simulate', operator: 'simulate', options: source },
          { kind: 'sink', id: 'fleet.mqtt', operator: 'mqtt', options: sink },
        ],
      },
    ],
  };
}

function number(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new Exit(exitCodes.usage, `${flag} takes a number, but got \`${text}\`.`);
}
