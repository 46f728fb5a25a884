import { withoutMoment } from '../dead-letter.ts';
import { defineSink, type OpenSink, type SinkContext, type StreamRecord, Type } from '../operator.ts';

interface Taken {
  /** The record's id and value: the same for the same result, after any restart. */
  readonly identity: string;
  readonly record: StreamRecord;
}

/**
 * Stands for the target of one sink. It outlives a crash. A result that comes again after a crash, the same as before, stands here once,
 * as at a target that overwrites; one that differs stands here as well.
 */
export class Collector {
  #taken: Taken[] = [];
  /** How many of them a checkpoint holds. */
  #confirmed = 0;
  #expectedAgain = new Map<string, number>();

  get records(): readonly StreamRecord[] {
    return this.#taken.map(({ record }) => record);
  }

  open({ recordId }: SinkContext): OpenSink {
    return {
      write: async (records) => {
        for (const record of records) this.#take(recordId(record), record);
        return undefined;
      },
      close: async () => {},
    };
  }

  /** A checkpoint holds all that came before. */
  confirm(): void {
    this.#confirmed = this.#taken.length;
    this.#expectedAgain.clear();
  }

  /** The run has crashed: what no checkpoint holds comes again. */
  expectRepetition(): void {
    this.#expectedAgain.clear();
    for (const { identity } of this.#taken.slice(this.#confirmed))
      this.#expectedAgain.set(identity, (this.#expectedAgain.get(identity) ?? 0) + 1);
  }

  #take(id: string, record: StreamRecord): void {
    const identity = JSON.stringify([id, record.key, plain(withoutMoment(record.value))]);
    const again = this.#expectedAgain.get(identity) ?? 0;
    if (again > 0) this.#expectedAgain.set(identity, again - 1);
    else this.#taken.push({ identity, record });
  }
}

/** The operator of the collectors that stand at the end of each stream. */
export const collectOperator = defineSink({
  name: 'collect',
  summary: 'Keeps what comes out of a stream, for a test.',
  options: Type.Object({}),
  examples: [],
  delivery: () => ({ level: 'effectively once', reason: 'What comes again after a crash is known again.' }),
  open: () => Promise.reject(new TypeError('A collector is opened by its driver.')),
});

/** A value as JSON has it: bytes as text, what JSON has no word for as text too. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, item]) => (item === undefined ? [] : [[name, plain(item)]])),
  );
}
