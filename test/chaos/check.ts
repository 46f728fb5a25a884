/**
 * The judge: reads what was fed and what another client read, and says what is lost, twice, out of order or wrong.
 * It shares no code with the engine. `tsx test/chaos/check.ts <folder>` judges histories that were kept.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

/** One record of the input. `seq` counts the records of its key from 0; ids count all records from 0. */
export interface Fed {
  readonly id: number;
  readonly key: string;
  readonly seq: number;
  readonly ts: number;
  readonly v: number;
  /** Fed last to close the windows before it; its own stays open. */
  readonly closing?: boolean;
}

/** One record of an output, as a reader of committed records saw it. */
export interface Read {
  readonly partition: number;
  readonly offset: number;
  readonly time: number;
  readonly key: string;
  readonly value: string;
}

export const windowMs = 1_000;

/** What can be wrong. */
export const kinds = {
  lost: 'fed, and never passed on',
  duplicated: 'passed on more than once',
  reordered: 'passed on after a later record of its key',
  moved: 'passed on in another partition than its key before',
  changed: 'passed on with another content',
  invented: 'read, and never fed',
  'offset twice': 'read at an offset at which another record had been read',
  'window missing': 'due, and never emitted',
  'window twice': 'emitted more than once',
  'window wrong': 'emitted with other records or sums than it has',
  'window early': 'emitted before it was due, or of a time without records',
  'window reordered': 'emitted after a later window of its key',
  rejected: 'neither passed on nor counted, but sent to the dead letters',
} as const;
export type Kind = keyof typeof kinds;

/** Counts by kind, and the first few cases of each. */
export interface Verdict {
  readonly fed: number;
  readonly passed: number;
  readonly windows: number;
  readonly counts: ReadonlyMap<Kind, number>;
  readonly cases: ReadonlyMap<Kind, readonly string[]>;
  readonly wrong: number;
}

interface Window {
  total: number;
  /** In the order of time; ids ascend within one time, as per key time never goes back. */
  readonly ids: number[];
  seenAt?: string;
  closing: boolean;
}

interface KeySeen {
  last: number;
  partition: number;
  windowStart: number;
}

const casesKept = 5;

export class Judge {
  readonly #fed: Fed[] = [];
  readonly #placeOf: (string | undefined)[] = [];
  readonly #windows = new Map<string, Window>();
  readonly #keys = new Map<string, KeySeen>();
  readonly #ends = { passed: new Map<number, number>(), windows: new Map<number, number>() };
  readonly #counts = new Map<Kind, number>();
  readonly #cases = new Map<Kind, string[]>();
  #passedCount = 0;
  #windowCount = 0;

  fed(record: Fed): void {
    if (record.id !== this.#fed.length)
      throw new Error(`The history of what was fed has id ${record.id} where ${this.#fed.length} was expected.`);
    this.#fed.push(record);
    const name = nameOf(record.key, startOf(record.ts));
    const window = this.#windows.get(name) ?? { total: 0, ids: [], closing: false };
    this.#windows.set(name, window);
    window.total += record.v;
    window.ids.push(record.id);
    if (record.closing) window.closing = true;
  }

  /** How many windows are due once all has been read. */
  get windowsDue(): number {
    return [...this.#windows.values()].filter(({ closing }) => !closing).length;
  }

  passed(read: Read): void {
    const found = parsed(read.value);
    const fed = this.#fed[Number(found?.['id'])];
    const place = `${read.partition}/${read.offset}`;
    if (fed === undefined) {
      this.#add('invented', `${place}: ${read.value}`);
      return;
    }
    const before = this.#placeOf[fed.id];
    // The reader itself may read a record again after it has lost its own place.
    if (before === place) return;
    this.#advance('passed', read, place);
    if (before !== undefined) {
      this.#add('duplicated', `${told(fed)}, at ${before} and at ${place}`);
      return;
    }
    this.#placeOf[fed.id] = place;
    this.#passedCount++;
    const { id, key, seq, ts, v } = fed;
    const same = { id, key, seq, ts, v, doubled: 2 * v };
    if (read.key !== key || !sameFields(found, same)) this.#add('changed', `${told(fed)}, at ${place}: ${read.value}`);
    this.#order(fed, read.partition, place);
  }

  window(read: Read): void {
    const place = `${read.partition}/${read.offset}`;
    // A result has the last time of its window.
    const start = read.time - windowMs + 1;
    const window = this.#windows.get(nameOf(read.key, start));
    if (window?.seenAt === place) return;
    this.#advance('windows', read, place);
    const what = nameOf(read.key, start);
    if (window === undefined || window.closing) {
      this.#add('window early', `${what}, at ${place}: ${read.value}`);
      return;
    }
    if (window.seenAt !== undefined) {
      this.#add('window twice', `${what}, at ${window.seenAt} and at ${place}`);
      return;
    }
    window.seenAt = place;
    this.#windowCount++;
    const { total, ids } = window;
    const due = { key: read.key, n: ids.length, total, ids };
    if (!sameFields(parsed(read.value), due))
      this.#add('window wrong', `${what}, at ${place}: ${read.value} instead of ${JSON.stringify(due)}`);
    const seen = this.#seen(read.key);
    if (start < seen.windowStart) this.#add('window reordered', `${what}, after the one from ${seen.windowStart}`);
    seen.windowStart = Math.max(seen.windowStart, start);
  }

  rejected(read: Read): void {
    this.#add('rejected', read.value);
  }

  /** All has been read: what is still missing is lost. */
  verdict(): Verdict {
    for (const fed of this.#fed) if (this.#placeOf[fed.id] === undefined) this.#add('lost', told(fed));
    for (const [name, { ids, seenAt, closing }] of this.#windows)
      if (seenAt === undefined && !closing) this.#add('window missing', `${name}, with records ${ids.join(', ')}`);
    return {
      fed: this.#fed.length,
      passed: this.#passedCount,
      windows: this.#windowCount,
      counts: this.#counts,
      cases: this.#cases,
      wrong: [...this.#counts.values()].reduce((sum, count) => sum + count, 0),
    };
  }

  #order(fed: Fed, partition: number, place: string): void {
    const seen = this.#seen(fed.key);
    if (seen.partition !== -1 && seen.partition !== partition) this.#add('moved', `${told(fed)}, to ${place}`);
    seen.partition = partition;
    if (fed.seq < seen.last) this.#add('reordered', `${told(fed)}, at ${place}, after its record ${seen.last}`);
    seen.last = Math.max(seen.last, fed.seq);
  }

  #seen(key: string): KeySeen {
    const seen = this.#keys.get(key) ?? { last: -1, partition: -1, windowStart: Number.NEGATIVE_INFINITY };
    this.#keys.set(key, seen);
    return seen;
  }

  #advance(output: 'passed' | 'windows', { partition, offset, value }: Read, place: string): void {
    const ends = this.#ends[output];
    if (offset <= (ends.get(partition) ?? -1)) this.#add('offset twice', `${place}: ${value}`);
    ends.set(partition, Math.max(offset, ends.get(partition) ?? -1));
  }

  #add(kind: Kind, what: string): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    const cases = this.#cases.get(kind) ?? [];
    if (cases.length < casesKept) this.#cases.set(kind, [...cases, what]);
  }
}

/** Start of the window of a time. */
export function startOf(ts: number): number {
  return Math.floor(ts / windowMs) * windowMs;
}

function nameOf(key: string, start: number): string {
  return `${key} from ${start}`;
}

function told({ id, key, seq }: Fed): string {
  return `record ${id} (${key}, its ${seq})`;
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function sameFields(found: Record<string, unknown> | undefined, due: Record<string, unknown>): boolean {
  if (found === undefined || Object.keys(found).length !== Object.keys(due).length) return false;
  return Object.entries(due).every(([name, value]) =>
    Array.isArray(value) ? JSON.stringify(found[name]) === JSON.stringify(value) : found[name] === value,
  );
}

/** Written into each partition of each output when all is done, in no transaction: a reader that sees it has seen all before it. */
export const endMark = '{"end":true}';

/** One line of Kafka's console consumer with timestamp, partition, offset, headers and key; `undefined` for any other line. */
export function readLine(line: string): Read | undefined {
  const match = /^(?:Create|LogAppend)Time:(-?\d+)\tPartition:(\d+)\tOffset:(\d+)\t[^\t]*\t([^\t]*)\t(.*)$/.exec(line);
  if (match === null) return undefined;
  const [, time, partition, offset, key, value] = match as unknown as [string, string, string, string, string, string];
  return { time: Number(time), partition: Number(partition), offset: Number(offset), key, value };
}

/** Judges the histories in a folder: `fed.jsonl`, and `passed.txt`, `windows.txt`, `rejected.txt` as the console consumer printed them. */
export async function judgeFolder(folder: string): Promise<Verdict> {
  const judge = new Judge();
  for await (const line of lines(join(folder, 'fed.jsonl'))) judge.fed(JSON.parse(line) as Fed);
  const each = async (file: string, take: (read: Read) => void) => {
    for await (const line of lines(join(folder, file))) {
      const read = readLine(line);
      if (read === undefined) throw new Error(`${file} holds a line that is no record: ${line.slice(0, 200)}`);
      if (read.value !== endMark) take(read);
    }
  };
  await each('passed.txt', (read) => judge.passed(read));
  await each('windows.txt', (read) => judge.window(read));
  await each('rejected.txt', (read) => judge.rejected(read));
  return judge.verdict();
}

function lines(file: string) {
  return createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY });
}

/** The verdict as a table: one row for all that holds, one for each kind that does not, with cases. */
export function table({ fed, passed, windows, counts, cases, wrong }: Verdict): string {
  const rows = [`${fed} records fed, ${passed} passed on, ${windows} windows`];
  for (const [kind, meaning] of Object.entries(kinds) as [Kind, string][]) {
    const count = counts.get(kind) ?? 0;
    rows.push(`  ${count === 0 ? '✓' : '✗'} ${kind.padEnd(17)} ${String(count).padStart(8)}  ${meaning}`);
    for (const one of cases.get(kind) ?? []) rows.push(`      ${one.slice(0, 300)}`);
  }
  rows.push(wrong === 0 ? 'exactly once' : `NOT exactly once: ${wrong} wrong`);
  return rows.join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const verdict = await judgeFolder(process.argv[2] ?? '.');
  console.log(table(verdict));
  process.exitCode = verdict.wrong === 0 ? 0 : 1;
}
