import {
  type Batch,
  type JournalView,
  type OpenSource,
  type PullLimits,
  RunError,
  type SourceContext,
  type SourcePartition,
  sizeBytes,
  type TimeOption,
} from '../../src/operator.ts';
import { EntryBatch } from './entry.ts';

export interface SourceOptions {
  readonly path: string;
  readonly start?: string;
  readonly follow?: boolean;
  readonly maxPayload?: string;
  readonly time?: TimeOption | undefined;
}

const partitionId = '0';

/** Opens the journal at its checkpointed position, or where `start` says, beside whoever writes it. */
export async function openJournalSource(options: SourceOptions, context: SourceContext): Promise<OpenSource> {
  const view = await context.readJournal(options.path);
  const { replay } = context;
  const next = replay ? await view.offsetAt(replay.from) : await firstOffset(options, context, view);
  const bounded = replay !== undefined || options.follow === false;
  const end = bounded ? await view.offsetAt(replay?.until ?? Number.POSITIVE_INFINITY) : undefined;
  context.assign(new JournalPartition(options, context, view, next, end));
  context.complete();
  return { close: () => view.close() };
}

async function firstOffset({ path, start = 'earliest' }: SourceOptions, context: SourceContext, view: JournalView) {
  const position = context.position(partitionId);
  if (position === undefined) {
    if (start === 'earliest') return view.begin;
    return start === 'latest' ? view.end : view.offsetAt(Date.parse(start));
  }
  const { begin, end } = view;
  if (typeof position === 'number' && position >= begin && position <= end) return position;
  const why =
    typeof position === 'number' && position < begin
      ? 'What lies between was removed, as `keep` and `maxBytes` of its writer say, before it was read. Let the writer keep more if readers can be away for so long.'
      : 'The journal is not the one that was read before: was it deleted, or restored from an old copy?';
  throw new RunError(
    `The checkpoint goes on at record ${JSON.stringify(position)} of the journal ${path}, which holds records ${begin} to ${end}. ${why} Start with --discard ${context.id} to begin with what is there.`,
  );
}

class JournalPartition implements SourcePartition {
  readonly id = partitionId;
  readonly #context: SourceContext;
  readonly #view: JournalView;
  readonly #end: number | undefined;
  readonly #timed: boolean;
  readonly #maxPayload: number;
  #next: number;

  /** `end`: where it ends; `undefined` when it follows. */
  constructor(
    options: SourceOptions,
    context: SourceContext,
    view: JournalView,
    next: number,
    end: number | undefined,
  ) {
    const { time, maxPayload = '1MiB' } = options;
    this.#context = context;
    this.#view = view;
    this.#next = next;
    this.#end = end;
    this.#timed = time === 'journal' || (typeof time === 'object' && time.from === 'journal');
    this.#maxPayload = sizeBytes(maxPayload);
  }

  get caughtUp(): boolean {
    return this.#next >= this.#view.end;
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const left = this.#end === undefined ? limits.records : this.#end - this.#next;
    if (left <= 0) return null;
    const records = Math.min(limits.records, left);
    const found = await this.#view.read(this.#next, { ...limits, records }, this.#context.signal);
    if (found === null) return null;
    this.#next = found.next;
    return new EntryBatch(found, this.#timed, this.#maxPayload);
  }
}
