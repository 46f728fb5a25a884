import { isUtf8 } from 'node:buffer';
import pc from 'picocolors';
import { type DeadLetter, payloadBytes } from '../dead-letter.ts';
import { stateFolder } from '../runtime.ts';
import type { Plan } from '../topology/plan.ts';
import { type Found, type Place, placesOf, readLetters } from './dlq-read.ts';
import { Exit, exitCodes } from './exit.ts';
import { findTopology, type LoadFlags, loadOrExit, readEnvFiles } from './load.ts';
import { createLog } from './log.ts';
import { Redriver } from './redrive.ts';

export interface DlqFlags extends LoadFlags {
  readonly json?: boolean;
  readonly state?: string;
  readonly stream?: string;
  readonly where?: string;
  readonly limit?: string;
}

interface Asked {
  readonly plan: Plan;
  readonly places: readonly Place[];
  readonly limit: number;
}

const log = createLog('warn');

async function asked(given: string | undefined, flags: DlqFlags, most: number): Promise<Asked> {
  const { limit: text } = flags;
  if (text !== undefined && !/^[1-9]\d{0,9}$/.test(text))
    throw new Exit(exitCodes.usage, `--limit takes a whole number from 1, but got \`${text}\`.`);
  readEnvFiles(flags.envFile);
  const plan = await loadOrExit(findTopology(given), flags);
  const places = placesOf(plan, stateFolder(plan, flags), flags.stream, log);
  return { plan, places, limit: text === undefined ? most : Number(text) };
}

/** Reads up to `limit` of the dead letters asked for; says on standard error what was none, and what `--where` had no answer to. */
async function read(
  { places, limit }: Asked,
  flags: DlqFlags,
  take: (found: Found) => Promise<void> | void,
): Promise<void> {
  let taken = 0;
  const { others, undecided } = await readLetters(places, flags.where, log, async (found) => {
    if (taken++ < limit) await take(found);
  });
  if (others > 0) log.warn('Some records there are no dead letters, and were passed over', { records: others });
  if (undecided > 0)
    log.warn('For some dead letters `--where` has no answer: they were passed over', { records: undecided });
}

interface Group {
  readonly stream: string;
  readonly step: string;
  readonly code: string;
  count: number;
  /** When the first and the last were refused, in ms; absent where that is not known. */
  first?: number;
  last?: number;
}

/** `penstock dlq list`: dead letters by step and code, how many, and when the first and last were refused. */
export async function listCommand(given: string | undefined, flags: DlqFlags): Promise<void> {
  const all = await asked(given, flags, Number.POSITIVE_INFINITY);
  const groups = new Map<string, Group>();
  await read(all, flags, ({ stream, letter: { step, code, at } }) => {
    const name = JSON.stringify([stream, step, code]);
    const group = groups.get(name) ?? { stream, step, code, count: 0 };
    groups.set(name, group);
    group.count++;
    if (typeof at !== 'number') return;
    group.first = Math.min(group.first ?? at, at);
    group.last = Math.max(group.last ?? at, at);
  });
  const sorted = [...groups.values()].sort((a, b) => b.count - a.count);
  if (flags.json) {
    const told = sorted.map(({ first, last, ...rest }) => ({ ...rest, ...moments({ first, last }) }));
    process.stdout.write(`${JSON.stringify({ version: 1, topology: all.plan.name, groups: told })}\n`);
    return;
  }
  if (sorted.length === 0) process.stdout.write('There are no dead letters.\n');
  for (const { stream, step, code, count, first, last } of sorted) {
    const { first: since = '', last: until = '' } = moments({ first, last });
    process.stdout.write(
      `${String(count).padStart(8)}  ${pc.bold(clean(step))}  ${pc.red(clean(code))}  ${since} … ${until}  ${pc.dim(stream)}\n`,
    );
  }
}

function moments(of: { first: number | undefined; last: number | undefined }): { first?: string; last?: string } {
  return Object.fromEntries(
    Object.entries(of).flatMap(([name, at]) => (at === undefined ? [] : [[name, new Date(at).toISOString()]])),
  );
}

/** `penstock dlq show`: dead letters whole, one unless `--limit` says more. */
export async function showCommand(given: string | undefined, flags: DlqFlags): Promise<void> {
  const all = await asked(given, flags, 1);
  await read(all, flags, ({ stream, letter }) => {
    process.stdout.write(flags.json ? `${JSON.stringify({ stream, ...letter })}\n` : told(stream, letter));
  });
}

function told(stream: string, letter: DeadLetter): string {
  const { payload, payloadEncoding, headers = {}, reasons = [], at, ...facts } = letter;
  const lines = [`${pc.bold(stream)}  ${pc.red(clean(letter.code))}  ${clean(letter.message)}`];
  if (typeof at === 'number') lines.push(`  ${'at'.padEnd(16)} ${new Date(at).toISOString()}`);
  for (const [name, value] of Object.entries(facts)) {
    if (name === 'code' || name === 'message') continue;
    lines.push(`  ${name.padEnd(16)} ${clean(typeof value === 'string' ? value : JSON.stringify(value))}`);
  }
  for (const reason of reasons) lines.push(`  ${'reason'.padEnd(16)} ${clean(JSON.stringify(reason))}`);
  for (const [name, value] of Object.entries(headers))
    lines.push(`  ${'header'.padEnd(16)} ${clean(`${name}: ${[value].flat().join(', ')}`)}`);
  const bytes = payloadBytes(letter);
  const text = isUtf8(bytes) ? clean(bytes.toString()) : bytes.toString('base64');
  lines.push(`  ${isUtf8(bytes) ? 'payload' : 'payload (base64)'}`, text, '');
  return `${lines.join('\n')}\n`;
}

// What came from outside must not move the cursor or colour the terminal.
function clean(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, (sign) => `\\x${sign.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

export interface RedriveFlags extends DlqFlags {
  readonly to?: string;
  readonly dryRun?: boolean;
}

/** `penstock dlq redrive`: puts payloads back to where their sources read, or into a file. Code 1 when one of them was refused there. */
export async function redriveCommand(given: string | undefined, flags: RedriveFlags): Promise<void> {
  const all = await asked(given, flags, Number.POSITIVE_INFINITY);
  const redriver = new Redriver(all.plan, log, {
    ...(flags.to !== undefined && { to: flags.to }),
    dryRun: flags.dryRun === true,
    print: (line) =>
      process.stdout.write(`${flags.json ? JSON.stringify(line) : clean(Object.values(line).join('  '))}\n`),
  });
  const interrupted = () => redriver.abort();
  process.once('SIGINT', interrupted);
  try {
    await read(all, flags, ({ letter }) => redriver.take(letter));
    await redriver.flush();
  } finally {
    process.off('SIGINT', interrupted);
    await redriver.close();
  }
  const { done, skipped, refused } = redriver.result;
  if (flags.json)
    process.stdout.write(`${JSON.stringify({ version: 1, topology: all.plan.name, done, refused, skipped })}\n`);
  else {
    const verb = flags.dryRun ? 'would be put back' : 'put back';
    process.stderr.write(`${done} ${verb}, ${refused} refused there\n`);
    for (const [why, count] of Object.entries(skipped)) process.stderr.write(`${count} passed over: ${why}\n`);
  }
  if (refused > 0) throw new Exit(exitCodes.failed);
}
