import { type Definition, defineSink, type StreamRecord, Type } from '../../src/operator.ts';
import { refused } from '../src/engine/ledger.ts';
import { death, type World } from './world.ts';

export interface Written {
  readonly sink: string;
  readonly id: string;
  readonly key: unknown;
  readonly text: string;
}

/** Systems behind the sinks. They take what reaches them, at once; whether the answer arrives is another matter. */
export class Target {
  readonly written: Written[] = [];
  readonly #world: World | undefined;

  /** Without a world nothing goes wrong. */
  constructor(world?: World) {
    this.#world = world;
  }

  sink(name = 'target'): Definition {
    return defineSink({
      name,
      summary: 'Writes to a simulated system.',
      options: Type.Object({}),
      examples: [],
      delivery: () => ({ level: 'at least once', reason: 'A simulation.' }),
      open: async (_options, { id, recordId, signal }) => {
        const life = this.#world?.life ?? 0;
        return {
          maxRecords: 7,
          write: async (records: readonly StreamRecord[]) => {
            await this.#reach(life, signal);
            for (;;) {
              for (const record of records) if (!refused(record)) this.#take(id, recordId(record), record);
              if (this.#world?.strikes(this.#world.faults.lostAnswer) !== true) break;
              this.#world.note(`${id}: answer lost`);
              await this.#reach(life, signal);
            }
            return records.flatMap((record, index) => (refused(record) ? [{ index, message: 'Not this one.' }] : []));
          },
          close: async () => undefined,
        };
      },
    }) as unknown as Definition;
  }

  async #reach(life: number, signal: AbortSignal): Promise<void> {
    const world = this.#world;
    if (world === undefined) return;
    await world.take(life, world.faults.slowMs);
    while (!world.calm && world.ports.clock.now() < world.awayUntil) {
      await world.ports.clock.sleep(250, signal);
      if (life !== world.life) await death;
      if (signal.aborted) throw new Error('The run has ended.');
    }
  }

  #take(sink: string, id: string, record: StreamRecord): void {
    const text = textOf(sink, record.value);
    this.written.push({ sink, id, key: record.key, text });
    this.#world?.note(`${sink} ${id}`);
  }
}

/** What a sink got, as text to compare. A dead letter says when it was made, which no two runs have in common. */
export function textOf(sink: string, value: unknown): string {
  return JSON.stringify(sink === 'letters' ? { ...(value as object), at: undefined } : value);
}
