/** What the fleet is made of; all of it is needed to make the same readings again. */
export interface FleetOptions {
  readonly generators: number;
  readonly everyMs: number;
  readonly seed: number;
  /** Readings in all, or Infinity. */
  readonly count: number;
  readonly disorder: number;
  readonly maxDelayMs: number;
  readonly badPayloads: number;
  readonly dropOuts: number;
}

/** One generator: its tank, its engine, and how many readings it still stays silent. */
interface Generator {
  readonly lat: number;
  readonly lon: number;
  load: number;
  temperature: number;
  pressure: number;
  fuel: number;
  /** Readings until an empty tank is filled again. */
  refillIn: number;
  silent: number;
}

/** All that is needed to go on exactly where a fleet stopped: plain JSON. */
export interface FleetState {
  /** Rounds done: in each, every generator takes one reading. */
  tick: number;
  /** The generator that is next in this round. */
  next: number;
  /** Readings given so far. */
  sent: number;
  readonly random: number[];
  readonly fleet: Generator[];
  /** Readings that are still under way, in base64, with the round in which they arrive. */
  readonly held: { readonly tick: number; readonly generator: string; readonly bytes: string }[];
}

/** A reading as it is sent: whose it is, and its bytes, which may be broken. */
export interface Sent {
  readonly generator: string;
  readonly bytes: Buffer;
}

const litres = 1000;
// Of a round figure: the first three are of the case; the second crosses 500 within seconds.
const firstFuel = [742, 506, 310];

/**
 * A fleet of emergency generators: each call gives the next payload. The same options and seed give the same bytes, on any machine,
 * and a fleet made from `state()` goes on as if it had never stopped. Only + − × ÷ are used, as other functions differ between machines.
 */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #state: FleetState;

  constructor(options: FleetOptions, state?: FleetState) {
    this.#options = options;
    this.#state = state ? structuredClone(state) : fresh(options.seed);
    const { fleet } = this.#state;
    fleet.length = Math.min(fleet.length, options.generators);
    while (fleet.length < options.generators) fleet.push(this.#born(fleet.length));
  }

  /** Rounds done so far. */
  get tick(): number {
    return this.#state.tick;
  }
  get sent(): number {
    return this.#state.sent;
  }
  /** Nothing has been given of this round yet. */
  get roundBegins(): boolean {
    return this.#state.next === 0;
  }
  /** Nothing comes any more. */
  get ended(): boolean {
    return this.#state.sent >= this.#options.count;
  }

  state(): FleetState {
    return structuredClone(this.#state);
  }

  /** The next reading of this round, taken at `time`; `undefined` when the round is over, and the next one has begun. */
  take(time: number): Sent | undefined {
    const state = this.#state;
    const { generators, count, disorder, maxDelayMs, everyMs } = this.#options;
    while (state.next < generators && !this.ended) {
      const taken = state.sent + state.held.length;
      // The last readings are those still under way.
      if (taken >= count) return this.#arrived(true);
      const generator = `generator${state.next + 1}`;
      const bytes = this.#reading(state.next++, time);
      if (bytes === undefined) continue;
      const delay =
        disorder > 0 && this.#random() < disorder ? 1 + Math.floor((this.#random() * maxDelayMs) / everyMs) : 0;
      if (delay === 0) return this.#sent(generator, bytes);
      state.held.push({ tick: state.tick + delay, generator, bytes: bytes.toString('base64') });
    }
    const arrived = this.ended ? undefined : this.#arrived(false);
    if (arrived) return arrived;
    state.next = 0;
    state.tick++;
    return undefined;
  }

  #sent(generator: string, bytes: Buffer): Sent {
    this.#state.sent++;
    return { generator, bytes };
  }

  #arrived(all: boolean): Sent | undefined {
    const { held, tick } = this.#state;
    const index = held.findIndex((reading) => all || reading.tick <= tick);
    if (index === -1) return undefined;
    const [reading] = held.splice(index, 1);
    return this.#sent(reading!.generator, Buffer.from(reading!.bytes, 'base64'));
  }

  #born(index: number): Generator {
    const load = 25 + 50 * this.#random();
    return {
      lat: round(25 + 24 * this.#random(), 5),
      lon: round(-124 + 57 * this.#random(), 5),
      load,
      temperature: 60 + load / 3,
      pressure: 170 + load / 2,
      fuel: (firstFuel[index] ?? 100 + 800 * this.#random()) + 4 * this.#random(),
      refillIn: 0,
      silent: 0,
    };
  }

  #reading(index: number, time: number): Buffer | undefined {
    const generator = this.#state.fleet[index]!;
    this.#run(generator);
    if (this.#staysSilent(generator)) return undefined;
    const fuel = round(generator.fuel, 1);
    const reading = {
      generatorID: `generator${index + 1}`,
      ts: time,
      lat: generator.lat,
      lon: generator.lon,
      temperature: round(generator.temperature, 1),
      pressure: round(generator.pressure, 1),
      fuel,
      load: round(generator.load, 1),
      power: fuel > 0 ? round(generator.load * 5, 1) : 0,
    };
    const { badPayloads } = this.#options;
    if (badPayloads > 0 && this.#random() < badPayloads) return this.#spoilt(reading);
    return Buffer.from(JSON.stringify(reading));
  }

  // Load wanders; heat and pressure follow it; the tank empties by the load, and is filled a while after it is empty.
  #run(generator: Generator): void {
    const seconds = Math.min(this.#options.everyMs / 1000, 60);
    generator.load = between(10, generator.load + (this.#random() - 0.5) * 8, 100);
    const follow = Math.min(1, seconds / 10);
    generator.temperature += (60 + generator.load / 3 - generator.temperature) * follow + (this.#random() - 0.5) / 2;
    generator.pressure += (170 + generator.load / 2 - generator.pressure) * follow + (this.#random() - 0.5);
    generator.fuel = Math.max(0, generator.fuel - (0.8 + generator.load / 50) * seconds);
    if (generator.fuel > 0) return;
    generator.refillIn = generator.refillIn > 0 ? generator.refillIn - 1 : 10;
    if (generator.refillIn === 0) generator.fuel = litres;
  }

  // `dropOuts` is the share of readings that are missing; they are missing ten at a time on average.
  #staysSilent(generator: Generator): boolean {
    const { dropOuts } = this.#options;
    if (dropOuts === 0) return false;
    if (generator.silent === 0 && this.#random() < dropOuts / (10 * (1 - dropOuts))) {
      generator.silent = 5 + Math.floor(11 * this.#random());
    } else if (generator.silent > 0) generator.silent--;
    return generator.silent > 0;
  }

  #spoilt(reading: { generatorID: string; fuel: number }): Buffer {
    const text = JSON.stringify(reading);
    const { fuel, ...fuelless } = reading;
    switch (Math.floor(this.#random() * 5)) {
      case 0:
        return Buffer.from(text.slice(0, text.length / 2)); // the connection was cut
      case 1:
        return Buffer.from(JSON.stringify(fuelless));
      case 2:
        return Buffer.from(JSON.stringify({ ...reading, fuel: `${fuel} l` }));
      case 3:
        return Buffer.from('{"generatorID":"\xff"}', 'latin1'); // no UTF-8
      default:
        return Buffer.from(JSON.stringify([reading.generatorID, fuel]));
    }
  }

  // sfc32: small, fast, and its state is four numbers.
  #random(): number {
    return next(this.#state.random);
  }
}

function fresh(seed: number): FleetState {
  const random = [seed | 0, Math.floor(seed / 2 ** 32) | 0, 0x9e3779b9 | 0, 1];
  for (let i = 0; i < 15; i++) next(random); // spreads a small seed over all bits
  return { tick: 0, next: 0, sent: 0, random, fleet: [], held: [] };
}

function next(s: number[]): number {
  const result = (s[0]! + s[1]! + s[3]!) | 0;
  s[3] = (s[3]! + 1) | 0;
  s[0] = s[1]! ^ (s[1]! >>> 9);
  s[1] = (s[2]! + (s[2]! << 3)) | 0;
  s[2] = (((s[2]! << 21) | (s[2]! >>> 11)) + result) | 0;
  return (result >>> 0) / 2 ** 32;
}

function between(low: number, value: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
