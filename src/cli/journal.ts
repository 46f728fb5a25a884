import { isUtf8 } from 'node:buffer';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { entryFlag, takeHead } from '../../operators/journal/entry.ts';
import { unpackEntry } from '../engine/buffered-sink.ts';
import { openJournalView } from '../engine/journal-view.ts';
import { type JournalView, RawRecord } from '../operator.ts';
import { systemPorts } from '../ports/system.ts';
import { Exit, exitCodes } from './exit.ts';
import { momentOf } from './replay.ts';

export interface JournalFlags {
  readonly from?: string;
  readonly to?: string;
  readonly limit?: string;
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** One record as it is printed: a payload that is no text stands in base64. */
interface Line {
  readonly offset: number;
  readonly arrival: string;
  readonly topic?: string;
  readonly key?: unknown;
  /** Event time, where the journal knows it. */
  readonly time?: string;
  readonly headers?: unknown;
  readonly value: unknown;
  readonly encoding?: 'base64';
}

const isJournal = (folder: string) => readdirSync(folder).some((name) => /^\d{16}\.log$/.test(name));

/** A buffer of a sink keeps beside its journal how far it has been forwarded. */
const isBuffer = (folder: string) => existsSync(join(folder, 'forwarded'));

/** `penstock journal list`: the journals in a folder, such as a state folder: their records and bytes. */
export async function listCommand(folder: string, { json }: JournalFlags): Promise<void> {
  const found = [];
  for (const path of journalsIn(folder)) {
    const view = await viewOf(path);
    const files = readdirSync(path).map((name) => statSync(join(path, name)).size);
    const { begin, end } = view;
    await view.close();
    found.push({
      path: relative(folder, path) || '.',
      kind: isBuffer(path) ? 'buffer' : 'journal',
      begin,
      end,
      bytes: files.reduce((sum, size) => sum + size, 0),
    });
  }
  if (json) process.stdout.write(`${JSON.stringify({ version: 1, journals: found })}\n`);
  else if (found.length === 0) process.stdout.write(`There is no journal in ${folder}.\n`);
  for (const { path, kind, begin, end, bytes } of json ? [] : found)
    process.stdout.write(`${path}  ${kind}  records ${begin} to ${end}  ${bytes} bytes\n`);
}

/**
 * `penstock journal cat`: the records of a journal, beside whoever writes it: that of a `journal` sink, of a source such as `mqtt`, or of the
 * buffer of a sink. `from` and `to` are moments of arrival. With `follow` it goes on until it is stopped.
 */
export async function catCommand(folder: string, flags: JournalFlags): Promise<void> {
  const from = flags.from === undefined ? Number.NEGATIVE_INFINITY : momentOf('--from', flags.from);
  const to = flags.to === undefined ? Number.POSITIVE_INFINITY : momentOf('--to', flags.to);
  let left = flags.limit === undefined ? Number.POSITIVE_INFINITY : Number(flags.limit);
  if (!(left >= 1)) throw new Exit(exitCodes.usage, `--limit takes a whole number from 1, but got \`${flags.limit}\`.`);
  if (!existsSync(folder) || !isJournal(folder))
    throw new Exit(
      exitCodes.usage,
      `${folder} is no journal. \`penstock journal list <folder>\` finds those in a state folder.`,
    );
  const view = await viewOf(folder);
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const end = flags.follow ? Number.POSITIVE_INFINITY : await view.offsetAt(to);
  const print = flags.json ? (line: Line) => JSON.stringify(line) : shown;
  for (let next = await view.offsetAt(from); next < end && left > 0; ) {
    const batch = await view.read(next, { records: Math.min(1_000, end - next), bytes: 1 << 20 }, stop.signal);
    if (batch === null) break;
    const lines = linesOf(batch, next, isBuffer(folder)).slice(0, left);
    left -= lines.length;
    next = batch.next;
    const room = process.stdout.write(lines.map((line) => `${print(line)}\n`).join(''));
    if (!room) await new Promise((resolve) => process.stdout.once('drain', resolve));
  }
  await view.close();
}

function journalsIn(folder: string): string[] {
  if (!existsSync(folder)) throw new Exit(exitCodes.usage, `There is no folder ${folder}.`);
  const below = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
  return [folder, ...below].filter(isJournal).sort();
}

function viewOf(folder: string): Promise<JournalView> {
  const { disk, clock } = systemPorts();
  return openJournalView(disk, folder, clock);
}

type Records = NonNullable<Awaited<ReturnType<JournalView['read']>>>;

function linesOf(batch: Records, first: number, buffered: boolean): Line[] {
  const raw = new RawRecord();
  return Array.from({ length: batch.length }, (_, index) => {
    const { topic, flags } = batch.read(index, raw);
    const base = { offset: first + index, arrival: new Date(raw.arrival).toISOString() };
    if (buffered)
      return unpackEntry(raw.data.subarray(raw.start, raw.end)).map(({ key, time, meta, value }) => ({
        ...base,
        ...known(key, time, meta?.headers),
        value,
      }));
    const head = flags & entryFlag ? takeHead(raw) : undefined;
    const of = head ? known(head.key, head.time, head.headers) : topic === '' ? {} : { topic };
    return [{ ...base, ...of, ...payloadOf(raw.data.subarray(raw.start, raw.end)) }];
  }).flat();
}

function known(key: unknown, time: number | undefined, headers: unknown) {
  return {
    ...(key !== undefined && { key }),
    ...(time !== undefined && Number.isFinite(time) && { time: new Date(time).toISOString() }),
    ...(headers !== undefined && { headers }),
  };
}

function payloadOf(bytes: Buffer): { value: unknown; encoding?: 'base64' } {
  if (!isUtf8(bytes)) return { value: bytes.toString('base64'), encoding: 'base64' };
  const text = bytes.toString();
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { value: text };
  }
}

// Payloads come from outside: what a terminal would take for a command is escaped, as JSON does.
function shown({ offset, arrival, topic, key, value, encoding }: Line): string {
  const name = topic ?? (key === undefined ? undefined : JSON.stringify(key));
  const said = name === undefined ? '' : ` ${JSON.stringify(name).slice(1, -1)}`;
  return `${offset} ${arrival}${said} ${encoding ? `${encoding} ` : ''}${JSON.stringify(value)}`;
}
