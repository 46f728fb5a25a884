import type { Batch, JournalBatch, Meta, RawRecord, TopicPattern } from '../../src/operator.ts';

/** Facts that the journal keeps beside a message. */
export const journalFlags = {
  retained: 1,
  /** No message of a client, but what happened to one: JSON. */
  presence: 4,
};

interface Way {
  readonly meta: Meta;
  readonly retainedMeta: Meta;
  readonly captures: Readonly<Record<string, string>> | undefined;
  readonly refused: RawRecord['refused'];
}

const knownMost = 65_536;

/** What a topic says of its messages: the fields in it, and its route. Worked out once per topic, and forgotten when there are too many. */
export class Ways {
  readonly #patterns: readonly TopicPattern[] | undefined;
  readonly #route: ((topic: string) => string | undefined) | undefined;
  readonly #known = new Map<string, Way>();

  constructor(
    patterns: readonly TopicPattern[] | undefined,
    route: ((topic: string) => string | undefined) | undefined,
  ) {
    this.#patterns = patterns;
    this.#route = route;
  }

  of(topic: string): Way {
    const known = this.#known.get(topic);
    if (known) return known;
    if (this.#known.size >= knownMost) this.#known.clear();
    const way = this.#find(topic);
    this.#known.set(topic, way);
    return way;
  }

  #find(topic: string): Way {
    const route = this.#route?.(topic);
    const meta = { topic, ...(route !== undefined && { route }) };
    const way = { meta, retainedMeta: { ...meta, retained: true } };
    const captures = this.#patterns?.map(({ match }) => match(topic)).find((found) => found !== undefined);
    const missed =
      this.#patterns !== undefined && captures === undefined
        ? 'none of those in `topics`'
        : this.#route !== undefined && route === undefined
          ? 'matched by none of the `routes`'
          : undefined;
    if (missed !== undefined) {
      const message = `The message came on the topic \`${topic}\`, which is ${missed}.`;
      return { ...way, captures: undefined, refused: { code: 'topic-unknown', message } };
    }
    const some = captures !== undefined && Object.keys(captures).length > 0;
    return { ...way, captures: some ? captures : undefined, refused: undefined };
  }
}

/** Messages of the journal as records; what happened to clients goes to the stream of that name. */
export class JournaledBatch implements Batch {
  readonly length: number;
  readonly next: number;
  readonly #records: JournalBatch;
  readonly #ways: Ways;
  readonly #presence: string;

  constructor(records: JournalBatch, ways: Ways, presence: string) {
    this.length = records.length;
    this.next = records.next;
    this.#records = records;
    this.#ways = ways;
    this.#presence = presence;
  }

  read(index: number, into: RawRecord): void {
    const { topic, flags } = this.#records.read(index, into);
    if (flags & journalFlags.presence) {
      into.value = JSON.parse(into.data.toString('utf8', into.start, into.end));
      into.decoded = true;
      into.stream = this.#presence;
      return;
    }
    const way = this.#ways.of(topic);
    into.meta = flags & journalFlags.retained ? way.retainedMeta : way.meta;
    into.captures = way.captures;
    into.refused = way.refused;
  }
}
