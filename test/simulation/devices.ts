import {
  type Definition,
  defineSource,
  type Journal,
  type RawRecord,
  type SourceContext,
  type SourcePartition,
  Type,
} from '../../src/operator.ts';
import type { World } from './world.ts';

const inflight = 20;

/**
 * Devices behind a broker that keeps a session: a message is delivered until it is acknowledged, in order, and again after each cut.
 * The source puts it in the engine's own journal first, and acknowledges it then.
 */
export class Devices {
  /** By offset of the journal: what was acknowledged, and what was read. They must agree, and never change. */
  readonly acknowledged = new Map<number, string>();
  readonly read = new Map<number, { payload: string; arrival: number }>();
  readonly problems: string[] = [];
  readonly #world: World;
  readonly #unsent: string[] = [];
  #open: { payload: string }[] = [];
  #session = 0;
  #journal: Journal | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** Nothing waits to be delivered, and all up to this offset of the journal has been processed. */
  drained(processed: number): boolean {
    return (
      this.#unsent.length + this.#open.length === 0 && processed >= (this.#journal?.end ?? Number.POSITIVE_INFINITY)
    );
  }

  publish(payload: string): void {
    this.#unsent.push(payload);
    this.#deliver();
  }

  /** The link is cut: what is not acknowledged comes again. */
  cut(): void {
    this.#session++;
    this.#unsent.unshift(...this.#open.splice(0).map(({ payload }) => payload));
    this.#world.note(`cut, ${this.#unsent.length} wait`);
  }

  /** Connects again when a process is there. */
  connect(): void {
    this.#deliver();
  }

  source(): Definition {
    return defineSource({
      name: 'devices',
      summary: 'Receives from simulated devices.',
      options: Type.Object({}),
      times: ['arrival'],
      examples: [],
      open: async (_options, context) => {
        const { life } = this.#world;
        const journal = await context.journal('devices');
        this.cut();
        this.#journal = journal;
        context.assign(this.#partition(journal, context, life));
        context.complete();
        this.#deliver();
        return {
          committed: (positions) => journal.trim(Number(positions.get('0'))),
          close: () => {
            if (this.#journal === journal) this.#journal = undefined;
            return journal.close();
          },
        };
      },
    }) as unknown as Definition;
  }

  #deliver(): void {
    const journal = this.#journal;
    const { life, ports, chance } = this.#world;
    while (journal !== undefined && this.#unsent.length > 0 && this.#open.length < inflight) {
      const message = { payload: this.#unsent.shift()! };
      const session = this.#session;
      this.#open.push(message);
      const arrival = ports.clock.now() + (chance.of(0.1) ? 0.5 : 0);
      journal.append({ topic: 'devices', payload: Buffer.from(message.payload), arrival }).then(
        (offset) => {
          if (life !== this.#world.life || session !== this.#session) return;
          this.#know(this.acknowledged, offset, message.payload);
          this.#open.splice(this.#open.indexOf(message), 1);
          this.#deliver();
        },
        () => undefined,
      );
    }
  }

  #know(map: Map<number, string>, offset: number, payload: string): void {
    const known = map.get(offset) ?? this.read.get(offset)?.payload;
    if (known !== undefined && known !== payload)
      this.problems.push(`Offset ${offset} of the journal holds two messages.`);
    map.set(offset, payload);
  }

  #partition(journal: Journal, context: SourceContext, life: number): SourcePartition {
    const stored = context.position('0') as number | undefined;
    let at = stored ?? journal.begin;
    if (at < journal.begin) this.problems.push(`The journal begins at ${journal.begin}, but ${at} has to be read.`);
    this.#world.note(`start at ${at} of ${journal.begin}..${journal.end}`);
    return {
      id: '0',
      get caughtUp() {
        return at >= journal.end;
      },
      pull: async () => {
        await this.#world.take(life, 0);
        const limits = { records: this.#world.chance.whole(1, 12), bytes: 1 << 16 };
        const batch = await journal.read(at, limits, context.signal);
        await this.#world.take(life, 0);
        if (batch === null) return null;
        at = batch.next;
        return {
          length: batch.length,
          next: batch.next,
          read: (index, into) => {
            batch.read(index, into);
            this.#seen(into);
          },
        };
      },
    };
  }

  #seen(raw: RawRecord): void {
    const payload = raw.data.toString('utf8', raw.start, raw.end);
    const known = this.read.get(raw.offset);
    if (known !== undefined && known.payload !== payload)
      this.problems.push(`Offset ${raw.offset} reads differently now.`);
    this.#know(this.acknowledged.has(raw.offset) ? this.acknowledged : new Map(), raw.offset, payload);
    this.read.set(raw.offset, { payload, arrival: raw.arrival });
  }
}
