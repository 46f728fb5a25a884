import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { openJournal } from '../../src/engine/journal.ts';
import { openJournalView } from '../../src/engine/journal-view.ts';
import {
  type Journal,
  type Log,
  type Meta,
  type OpenSource,
  type Ports,
  type Position,
  RawRecord,
  type Replay,
  type SinkContext,
  type SourceContext,
  type SourceDefinition,
  type SourcePartition,
  StreamRecord,
} from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { watchForSecrets } from '../secrets.ts';

/** Waits until something holds; fails with its name when it does not within the time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** How long a system stays away in the suites, in ms; `OUTAGE_MS=60000` for a long one. No time at all is enough to be tried again. */
export const outageMs = Number(process.env['OUTAGE_MS'] ?? 0);

export function keepingLog(): Log & {
  readonly lines: string[];
  readonly fields: (Record<string, unknown> | undefined)[];
} {
  const lines: string[] = [];
  const fields: (Record<string, unknown> | undefined)[] = [];
  const at = (level: string) => (message: string, more?: Record<string, unknown>) => {
    lines.push(`${level}: ${message}`);
    watchForSecrets('logged', `${message} ${JSON.stringify(more)}`);
    fields.push(more);
  };
  return { lines, fields, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** A folder for journals that goes away with the test. */
export async function journalFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'penstock-test-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export interface SourceRun {
  readonly source: OpenSource;
  readonly partitions: Map<string, SourcePartition>;
  readonly failures: Error[];
  readonly log: ReturnType<typeof keepingLog>;
  readonly journals: Journal[];
  readonly abort: AbortController;
  /** Stops in good order, journals included. */
  stop(): Promise<void>;
}

export interface SourceSetup {
  readonly directory: string;
  readonly ports?: Partial<Ports>;
  readonly positions?: Readonly<Record<string, Position>>;
  readonly topology?: string;
  readonly id?: string;
  readonly replay?: Replay;
  /** Puts something between the source and its journal. */
  readonly journal?: (journal: Journal) => Journal;
}

/** Opens a source as the engine does, with journals in a folder and nothing behind it. */
export async function openForTest(
  definition: Pick<SourceDefinition, 'open'>,
  options: unknown,
  setup: SourceSetup,
): Promise<SourceRun> {
  const partitions = new Map<string, SourcePartition>();
  const failures: Error[] = [];
  const journals: Journal[] = [];
  const abort = new AbortController();
  const log = keepingLog();
  const ports = { ...systemPorts(), ...setup.ports };
  const context: SourceContext = {
    ports,
    log,
    topology: setup.topology ?? 'test',
    stream: 'readings',
    id: setup.id ?? 'readings.source',
    signal: abort.signal,
    resumed: setup.positions !== undefined,
    claim: () => Promise.resolve(),
    position: (partition) => setup.positions?.[partition],
    assign: (partition) => void partitions.set(partition.id, partition),
    revoke: async (partition) => void partitions.delete(partition),
    complete: () => {},
    fail: (error) => void failures.push(error),
    async journal(name, size = {}) {
      const journal = await openJournal(ports.disk, join(setup.directory, name), { ...size, log, clock: ports.clock });
      journals.push(journal);
      return setup.journal?.(journal) ?? journal;
    },
    readJournal: (name) => openJournalView(ports.disk, resolve(setup.directory, name), ports.clock),
    ...(setup.replay && { replay: setup.replay }),
  };
  const closeJournals = () => Promise.all(journals.map((journal) => journal.close()));
  try {
    const source = await definition.open(options as never, context);
    const stop = async () => {
      abort.abort();
      await source.close();
      await closeJournals();
    };
    return { source, partitions, failures, log, journals, abort, stop };
  } catch (error) {
    await closeJournals();
    throw error;
  }
}

export interface PulledRecord {
  readonly text: string;
  readonly topic: string | undefined;
  readonly headers: Meta['headers'] | undefined;
  readonly retained: boolean;
  readonly offset: number;
  readonly arrival: number;
  readonly captures: Readonly<Record<string, string>> | undefined;
  readonly refused: string | undefined;
  readonly message: string | undefined;
}

/** Pulls until so many records have come. */
export async function pull(partition: SourcePartition, count: number, timeoutMs = 20_000): Promise<PulledRecord[]> {
  const records: PulledRecord[] = [];
  const raw = new RawRecord();
  const late = setTimeout(() => {
    throw new Error(`Waited ${timeoutMs} ms for ${count} records, and there were ${records.length}.`);
  }, timeoutMs);
  while (records.length < count) {
    const batch = await partition.pull({ records: Math.min(5_000, count - records.length), bytes: 1 << 20 });
    if (!batch) break;
    for (let index = 0; index < batch.length; index++) {
      batch.read(index, raw);
      records.push({
        text: raw.data.toString('utf8', raw.start, raw.end),
        topic: raw.meta?.topic,
        headers: raw.meta?.headers,
        retained: raw.meta?.retained ?? false,
        offset: raw.offset,
        arrival: raw.arrival,
        captures: raw.captures,
        refused: raw.refused?.code,
        message: raw.refused?.message,
      });
    }
  }
  clearTimeout(late);
  return records;
}

export function sinkContextForTest(ports: Partial<Ports> = {}) {
  const abort = new AbortController();
  const log = keepingLog();
  const context: SinkContext = {
    ports: { ...systemPorts(), ...ports },
    log,
    topology: 'test',
    stream: 'readings',
    id: 'readings.sink',
    signal: abort.signal,
    recordId: (record) => `id-${record.offset}`,
    journal: (path, size) => openJournal(context.ports.disk, path, size),
  };
  return { context, log, abort };
}

export const recordOf = (value: unknown, offset = 0) =>
  new StreamRecord(value, undefined, Number.NaN, offset, undefined, undefined, undefined, 'readings.mqtt/0');
