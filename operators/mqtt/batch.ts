import type { Batch, JournalBatch, Meta, RawRecord, TopicPattern } from '../../src/operator.ts';

/** Facts that the journal keeps beside a message. */
export const journalFlags = {
  retained: 1,
  /** Only the beginning is here, and behind it four bytes with the size that it had. */
  cut: 2,
  /** Behind the payload: headers as JSON, and four bytes with their length. */
  headers: 4,
  /** Its headers were too large to keep. */
  headersCut: 8,
};

/** A larger payload is not kept in full. */
export const largestPayload = 16 << 20;
const keptBytes = 64 << 10;

/** The beginning of a payload that is too large to keep, and its size. */
export function shorten(payload: Buffer): Buffer {
  const short = Buffer.allocUnsafe(keptBytes + 4);
  payload.copy(short, 0, 0, keptBytes);
  short.writeUInt32LE(payload.length, keptBytes);
  return short;
}

/** More than this is kept of no message's headers. */
const headersMax = 64 << 10;

/** The payload with the headers behind it, and the flag that says so. */
export function withHeaders(payload: Buffer, headers: NonNullable<Meta['headers']>): { bytes: Buffer; flag: number } {
  const text = Buffer.from(JSON.stringify(headers));
  if (text.length > headersMax) return { bytes: payload, flag: journalFlags.headersCut };
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32LE(text.length);
  return { bytes: Buffer.concat([payload, text, length]), flag: journalFlags.headers };
}

/** Takes the headers off the end of a journaled payload. */
function takeHeaders(into: RawRecord): NonNullable<Meta['headers']> {
  const end = into.end - 4;
  into.end = end - into.data.readUInt32LE(end);
  return JSON.parse(into.data.toString('utf8', into.end, end));
}

interface Route {
  readonly meta: Meta;
  readonly retainedMeta: Meta;
  readonly captures: Readonly<Record<string, string>> | undefined;
  readonly refused: RawRecord['refused'];
}

const routesMax = 65_536;

/** What a topic says about its messages. Worked out once per topic, and forgotten when there are too many of them. */
export class Routes {
  readonly #patterns: readonly TopicPattern[];
  readonly #known = new Map<string, Route>();

  constructor(patterns: readonly TopicPattern[]) {
    this.#patterns = patterns;
  }

  of(topic: string): Route {
    const known = this.#known.get(topic);
    if (known) return known;
    if (this.#known.size >= routesMax) this.#known.clear();
    const route = this.#find(topic);
    this.#known.set(topic, route);
    return route;
  }

  #find(topic: string): Route {
    const meta = { topic };
    const retainedMeta = { topic, retained: true };
    for (const { match } of this.#patterns) {
      const captures = match(topic);
      if (!captures) continue;
      const some = Object.keys(captures).length > 0;
      return { meta, retainedMeta, captures: some ? captures : undefined, refused: undefined };
    }
    const message = `The message came on the topic \`${topic}\`, which is none of those in \`topics\`. An older subscription of the same \`clientId\` may still be in its session at the broker.`;
    return { meta, retainedMeta, captures: undefined, refused: { code: 'topic-unknown', message } };
  }
}

/** Messages of the journal as records. */
export class JournaledBatch implements Batch {
  readonly length: number;
  readonly next: number;
  readonly #records: JournalBatch;
  readonly #routes: Routes;
  readonly #maxPayload: number;

  constructor(records: JournalBatch, routes: Routes, maxPayload: number) {
    this.length = records.length;
    this.next = records.next;
    this.#records = records;
    this.#routes = routes;
    this.#maxPayload = maxPayload;
  }

  read(index: number, into: RawRecord): void {
    const { topic, flags } = this.#records.read(index, into);
    const route = this.#routes.of(topic);
    const headers = flags & journalFlags.headers ? takeHeaders(into) : undefined;
    let size = into.end - into.start;
    if (flags & journalFlags.cut) {
      into.end -= 4;
      size = into.data.readUInt32LE(into.end);
    }
    const meta = flags & journalFlags.retained ? route.retainedMeta : route.meta;
    into.meta = headers ? { ...meta, headers } : meta;
    into.captures = route.captures;
    into.refused =
      route.refused ??
      (size > this.#maxPayload ? this.#tooLarge(size, into.end - into.start) : undefined) ??
      (flags & journalFlags.headersCut ? headersTooLarge : undefined);
  }

  #tooLarge(size: number, kept: number): RawRecord['refused'] {
    const part = kept < size ? ` Only its first ${kept} bytes are kept.` : '';
    return {
      code: 'payload-too-large',
      message: `The payload has ${size} bytes; \`maxPayload\` is ${this.#maxPayload}.${part}`,
    };
  }
}

const headersTooLarge = {
  code: 'payload-too-large',
  message: `The user properties have more than ${headersMax} bytes. They are not kept.`,
} as const;
