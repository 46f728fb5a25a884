import { DiskFullError, MemoryStore } from '../../src/engine/store.ts';
import type { Changes } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { Chance } from './chance.ts';

/** Never resolves: who waits for it has died. */
export const death = new Promise<never>(() => undefined);

/** How likely each fault is; each seed has its own mix. */
export interface Faults {
  /** Per step of the simulation: the process dies, or the machine loses power. */
  readonly crash: number;
  readonly power: number;
  /** Per step: the link to the devices is cut; the sinks' systems go away for a while; the disk is full for a while. */
  readonly cut: number;
  readonly outage: number;
  readonly full: number;
  /** Per write: the answer is lost, so that the sink writes again. Per commit: there is no room. */
  readonly lostAnswer: number;
  readonly noRoom: number;
  /** Longest time that a write or commit takes, in ms. */
  readonly slowMs: number;
}

export function chooseFaults(chance: Chance): Faults {
  return {
    crash: chance.rate(0.06),
    power: chance.rate(0.04),
    cut: chance.rate(0.08),
    outage: chance.rate(0.05),
    full: chance.rate(0.05),
    lostAnswer: chance.rate(0.3),
    noRoom: chance.rate(0.2),
    slowMs: chance.pick([0, 50, 1_500]),
  };
}

/** What is outside of the engine, and outlives it: clock, disk, committed state, and the record of all that happened. */
export class World {
  readonly chance: Chance;
  readonly faults: Faults;
  readonly ports: ReturnType<typeof memoryPorts>;
  readonly trace: string[] = [];
  /** Counts the processes: what an older one still does has no effect. */
  life = 0;
  /** Until then the systems behind the sinks are away, in ms. */
  awayUntil = 0;
  calm = false;
  #values = new MemoryStore();

  constructor(seed: number) {
    this.chance = new Chance(seed);
    this.faults = chooseFaults(this.chance);
    this.ports = memoryPorts(seed);
    this.ports.clock.advance(Date.UTC(2026, 0, 1));
  }

  note(event: string): void {
    this.trace.push(`${this.ports.clock.now()} ${event}`);
  }

  /** Whether a fault of this probability strikes now. */
  strikes(probability: number): boolean {
    return !this.calm && this.chance.of(probability);
  }

  /** The process dies now; `power`: and the machine with it. */
  crash(power: boolean): void {
    this.life++;
    if (power) this.ports.disk.crash(this.chance.random);
    else this.ports.disk.life++;
    this.note(power ? 'power lost' : 'killed');
  }

  /** Takes time, unless the process dies meanwhile. */
  async take(life: number, mostMs: number): Promise<void> {
    if (mostMs > 0 && !this.calm) await this.ports.clock.sleep(this.chance.whole(0, mostMs));
    if (life !== this.life) await death;
  }

  /** Checkpoints as one process sees them. */
  store(): MemoryStore {
    const world = this;
    const { life } = this;
    const begun = new MemoryStore(this.#values);
    return new (class extends MemoryStore {
      override async commit(changes: Changes): Promise<void> {
        await world.take(life, world.faults.slowMs);
        if (world.strikes(world.faults.noRoom)) throw new DiskFullError('the simulated disk');
        // A crash during a commit leaves all of it or nothing.
        await super.commit(changes);
        world.#values = new MemoryStore(this);
        world.note(`commit ${changes.puts.length} ${changes.removes.length}`);
        await world.take(life, world.faults.slowMs);
      }
    })(begun);
  }
}
