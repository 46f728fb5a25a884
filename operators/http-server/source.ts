import {
  type Batch,
  type Journal,
  type JournalBatch,
  type Meta,
  type OpenSource,
  type Position,
  type PullLimits,
  type RawRecord,
  RunError,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
} from '../../src/operator.ts';
import { type Address, listenProblems, type ServerOptions } from './options.ts';
import { type Envelope, Receiver } from './receiver.ts';
import { compilePath } from './request.ts';

const partitionId = '0';

/** Opens the source: begins to listen, and serves what the journal holds. */
export async function openSource(
  options: ServerOptions,
  address: Address | undefined,
  context: SourceContext,
): Promise<OpenSource> {
  const problem = listenProblems(options).find(({ warning }) => !warning);
  if (problem || address === undefined) throw new RunError(`${problem?.message} ${problem?.hint}`);
  const { maxBytes } = options.journal ?? {};
  const journal = await context.journal(context.id, maxBytes === undefined ? {} : { maxBytes: sizeBytes(maxBytes) });
  const receiver = new Receiver(options, context, journal);
  const partition = new JournalPartition(options, context, journal);
  await receiver.listen(address);
  context.assign(partition);
  context.complete();
  return {
    async committed(positions) {
      const position = positions.get(partitionId);
      if (typeof position === 'number') await journal.trim(position);
    },
    close: () => receiver.close(),
  };
}

class JournalPartition implements SourcePartition {
  readonly id = partitionId;
  readonly #context: SourceContext;
  readonly #journal: Journal;
  readonly #envelopes: Envelopes;
  readonly #maxPayload: number;
  #next: number;

  constructor({ path = '/', maxPayload = '1MiB' }: ServerOptions, context: SourceContext, journal: Journal) {
    this.#context = context;
    this.#journal = journal;
    this.#envelopes = new Envelopes(path);
    this.#maxPayload = sizeBytes(maxPayload);
    const position = context.position(partitionId);
    this.#next = position === undefined ? journal.begin : resumeAt(position, journal, context.id);
  }

  get caughtUp(): boolean {
    return this.#next === this.#journal.end && this.#journal.pendingBytes === 0;
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const records = await this.#journal.read(this.#next, limits, this.#context.signal);
    if (!records) return null;
    this.#next = records.next;
    return new RequestBatch(records, this.#envelopes, this.#maxPayload);
  }
}

function resumeAt(position: Position, { begin, end }: Journal, id: string): number {
  if (typeof position === 'number' && position >= begin && position <= end) return position;
  throw new RunError(
    `The checkpoint goes on at record ${JSON.stringify(position)} of the journal of \`${id}\`, which holds records ${begin} to ${end}. The journal and the checkpoint do not belong together: restore both from the same copy, or remove both to begin anew.`,
  );
}

interface Known {
  readonly meta: Meta;
  readonly captures: Readonly<Record<string, string>> | undefined;
}

const knownMax = 16_384;

/** What the envelope of a request says of its records. Worked out once for each, and forgotten when there are too many. */
class Envelopes {
  readonly #match: ReturnType<typeof compilePath>;
  readonly #known = new Map<string, Known>();

  constructor(path: string) {
    this.#match = compilePath(path);
  }

  of(topic: string): Known {
    const before = this.#known.get(topic);
    if (before) return before;
    if (this.#known.size >= knownMax) this.#known.clear();
    const { path, query, headers } = JSON.parse(topic) as Envelope;
    // `path` may have been another one when the request was taken.
    const captures = { ...query, ...this.#match(path) };
    const known = {
      meta: { topic: path, ...(headers && { headers }) },
      captures: Object.keys(captures).length > 0 ? captures : undefined,
    };
    this.#known.set(topic, known);
    return known;
  }
}

/** Records of the journal. */
class RequestBatch implements Batch {
  readonly length: number;
  readonly next: number;
  readonly #records: JournalBatch;
  readonly #envelopes: Envelopes;
  readonly #maxPayload: number;

  constructor(records: JournalBatch, envelopes: Envelopes, maxPayload: number) {
    this.length = records.length;
    this.next = records.next;
    this.#records = records;
    this.#envelopes = envelopes;
    this.#maxPayload = maxPayload;
  }

  read(index: number, into: RawRecord): void {
    const { meta, captures } = this.#envelopes.of(this.#records.read(index, into).topic);
    const size = into.end - into.start;
    into.meta = meta;
    into.captures = captures;
    into.refused =
      size > this.#maxPayload
        ? {
            code: 'payload-too-large',
            message: `The payload has ${size} bytes; \`maxPayload\` is ${this.#maxPayload}.`,
          }
        : undefined;
  }
}
