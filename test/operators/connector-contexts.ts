import { openJournalView } from '../../src/engine/journal-view.ts';
import { openOwnJournal } from '../../src/engine/own-journal.ts';
import {
  type Batch,
  type Log,
  type Ports,
  type Position,
  RawRecord,
  type SinkContext,
  type SourceContext,
  type SourcePartition,
} from '../../src/operator.ts';
import { watchForSecrets } from '../secrets.ts';

/** A log that keeps its lines. */
export function keepingLog(): Log & { readonly lines: { level: string; message: string; fields: unknown }[] } {
  const lines: { level: string; message: string; fields: unknown }[] = [];
  const at = (level: string) => (message: string, fields?: Record<string, unknown>) => {
    lines.push({ level, message, fields });
    watchForSecrets('logged', `${message} ${JSON.stringify(fields)}`);
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** What a source is given as it opens, without an engine. */
export function sourceContext(ports: Ports, positions: Record<string, Position> = {}) {
  const stop = new AbortController();
  const partitions: SourcePartition[] = [];
  const log = keepingLog();
  const context: SourceContext & { partitions: SourcePartition[]; stop: AbortController; log: typeof log } = {
    ports,
    log,
    topology: 'test',
    stream: 'readings',
    id: 'readings.source',
    signal: stop.signal,
    resumed: Object.keys(positions).length > 0,
    claim: () => Promise.resolve(),
    position: (partition) => positions[partition],
    assign: (partition) => void partitions.push(partition),
    revoke: async () => {},
    complete: () => {},
    fail: (error) => {
      throw error;
    },
    journal: () => Promise.reject(new Error('no journal here')),
    readJournal: (path) => openJournalView(ports.disk, path, ports.clock),
    partitions,
    stop,
  };
  return context;
}

/** What a sink is given as it opens, without an engine. */
export function sinkContext(ports: Ports) {
  const stop = new AbortController();
  const log = keepingLog();
  const context: SinkContext & { stop: AbortController; log: typeof log } = {
    ports,
    log,
    topology: 'test',
    stream: 'readings',
    id: 'readings.sink',
    signal: stop.signal,
    recordId: ({ origin, offset }) => `${origin}/${offset}`,
    journal: (path, size) => openOwnJournal(path, size, { ports, log }),
    stop,
  };
  return context;
}

/** A raw record as it was read, kept. */
export interface Kept {
  readonly text: string;
  readonly value?: unknown;
  readonly offset: number;
  readonly refused?: string;
}

/** Reads all records of a batch out of the buffer they lie in. */
export function keep(batch: Batch): Kept[] {
  const raw = new RawRecord();
  return Array.from({ length: batch.length }, (_, i) => {
    batch.read(i, raw);
    return {
      text: raw.data.toString('latin1', raw.start, raw.end),
      ...(raw.decoded && { value: raw.value }),
      offset: raw.offset,
      ...(raw.refused && { refused: raw.refused.code }),
    };
  });
}

/** Pulls until the input ends, or `most` records are there. */
export async function pullAll(
  partition: SourcePartition,
  limits = { records: 1000, bytes: 1 << 20 },
  most = Number.POSITIVE_INFINITY,
): Promise<Kept[]> {
  const all: Kept[] = [];
  while (all.length < most) {
    const batch = await partition.pull(limits);
    if (batch === null) break;
    all.push(...keep(batch));
  }
  return all;
}

/** Lets everything run that can run without time moving on. */
export const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Waits, in real time but without a fixed length, for a condition. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await settle();
  }
}
