import {
  type Batch,
  defineSource,
  duration,
  durationMs,
  type PullLimits,
  type RawRecord,
  RunError,
  type SourceContext,
  type SourcePartition,
  Type,
} from '../../src/operator.ts';
import { Fleet, type FleetOptions, type FleetState, type Sent } from './fleet.ts';

const share = (description: string) =>
  Type.Optional(Type.Number({ description, minimum: 0, maximum: 0.9, default: 0 }));

const options = Type.Object({
  generators: Type.Optional(
    Type.Integer({ description: 'How many generators.', minimum: 1, maximum: 100_000, default: 3 }),
  ),
  every: Type.Optional(duration({ description: 'Each generator takes one reading so often.', default: '1s' })),
  count: Type.Optional(
    Type.Integer({ description: 'End after so many readings in all. Default: never.', minimum: 1, examples: [60] }),
  ),
  seed: Type.Optional(
    Type.Integer({ description: 'The same seed gives the same readings.', minimum: 0, maximum: 2 ** 52, default: 1 }),
  ),
  start: Type.Optional(
    Type.String({
      description:
        'Time of the first readings, as RFC 3339; the following ones are `every` apart. Default: the clock, or 2024-01-01 with `realTime: false`.',
      pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)$',
      examples: ['2024-01-01T00:00:00Z'],
    }),
  ),
  realTime: Type.Optional(
    Type.Boolean({
      description: 'Wait `every` between readings. `false`: as fast as the topology takes them.',
      default: true,
    }),
  ),
  disorder: share('Share of the readings that arrive late, by up to `maxDelay`: their `ts` stays what it was.'),
  maxDelay: Type.Optional(duration({ description: 'Longest delay of a reading that is late.', default: '10s' })),
  badPayloads: share(
    'Share of the readings that are broken: cut off, no UTF-8, a field missing or of the wrong type, not an object.',
  ),
  dropOuts: share('Share of the readings that are missing: now and then a generator is silent for a while.'),
});

const reading = {
  type: 'object',
  required: ['generatorID', 'ts', 'lat', 'lon', 'temperature', 'pressure', 'fuel', 'load', 'power'],
  properties: {
    generatorID: { type: 'string' },
    ts: { type: 'integer' },
    ...Object.fromEntries(
      ['lat', 'lon', 'temperature', 'pressure', 'fuel', 'load', 'power'].map((name) => [name, { type: 'number' }]),
    ),
  },
  additionalProperties: false,
};

/**
 * Makes readings of emergency generators, some of them late, broken or missing if asked. Gives the same bytes for the same seed; a checkpoint
 * holds all that is needed to go on exactly where the run stopped. Ends after `count` readings, else never.
 */
export const simulateSource = defineSource({
  name: 'simulate',
  summary: 'Makes readings of a fleet of emergency generators.',
  details:
    'A reading is `{"generatorID":"generator1","ts":1704067200000,"lat":…,"lon":…,"temperature":…,"pressure":…,"fuel":…,"load":…,"power":…}`; `ts` is in ms. The record\'s key is the generator, also of a reading that is broken. ' +
    'Load wanders, temperature and pressure follow it, fuel falls with it and is refilled a while after the tank is empty.\n\n' +
    'With `start` or `realTime: false` every byte follows from the options alone. After a restart the readings go on as if nothing had happened; without ' +
    '`start`, in real time, their `ts` is that of the clock, so those after the last checkpoint come again with other times.',
  options,
  times: ['arrival'],
  type: ({ badPayloads = 0 }) => (badPayloads > 0 ? undefined : reading),
  check({ start, every = '1s' }, check) {
    if (start !== undefined && Number.isNaN(Date.parse(start))) {
      check.problem(['start'], `There is no such time as \`${start}\`.`, 'Write it as 2024-01-01T00:00:00Z.');
    }
    if (!(durationMs(every) >= 1)) check.problem(['every'], `\`${every}\` is shorter than 1ms.`, 'Write at least 1ms.');
  },
  examples: [
    { title: 'Three generators, one reading a second each', options: { time: { field: 'ts', unit: 'ms' } } },
    {
      title: 'A minute of data for a test, with all that can go wrong',
      options: {
        count: 180,
        realTime: false,
        disorder: 0.1,
        badPayloads: 0.02,
        dropOuts: 0.1,
        time: { field: 'ts', unit: 'ms', outOfOrder: '10s' },
      },
    },
  ],
  async open(given, context) {
    const at = context.position('0');
    if (at !== undefined && !Array.isArray((at as Partial<FleetState>).fleet)) {
      throw new RunError(
        `The checkpoint holds a position of \`${context.id}\` that is not one of a simulation. Was it another source before?`,
      );
    }
    const fleet = new Fleet(
      {
        generators: given.generators ?? 3,
        everyMs: durationMs(given.every ?? '1s'),
        seed: given.seed ?? 1,
        count: given.count ?? Number.POSITIVE_INFINITY,
        disorder: given.disorder ?? 0,
        maxDelayMs: durationMs(given.maxDelay ?? '10s'),
        badPayloads: given.badPayloads ?? 0,
        dropOuts: given.dropOuts ?? 0,
      } satisfies FleetOptions,
      at as FleetState | undefined,
    );
    const realTime = given.realTime ?? true;
    const start = given.start ?? (realTime ? undefined : '2024-01-01T00:00:00Z');
    context.assign(new Simulation(fleet, context, durationMs(given.every ?? '1s'), realTime, start));
    context.complete();
    return { close: async () => {} };
  },
});

class Simulation implements SourcePartition {
  readonly id = '0';
  caughtUp = false;
  readonly #fleet: Fleet;
  readonly #context: SourceContext;
  readonly #everyMs: number;
  readonly #realTime: boolean;
  readonly #start: number | undefined;
  /** When the next round is due, and the time of the round that is being given. */
  #due: number;
  #round: number;

  constructor(fleet: Fleet, context: SourceContext, everyMs: number, realTime: boolean, start: string | undefined) {
    this.#fleet = fleet;
    this.#context = context;
    this.#everyMs = everyMs;
    this.#realTime = realTime;
    this.#start = start === undefined ? undefined : Date.parse(start);
    this.#due = context.ports.clock.now();
    this.#round = this.#due;
  }

  async pull(limits: PullLimits): Promise<Batch | null> {
    const { signal, ports } = this.#context;
    const fleet = this.#fleet;
    const readings: Sent[] = [];
    let bytes = 0;
    while (!signal.aborted && !fleet.ended && readings.length < limits.records && bytes < limits.bytes) {
      if (this.#realTime && fleet.roundBegins) {
        if (readings.length > 0) break;
        await this.#roundDue();
        if (signal.aborted) break;
      }
      const reading = fleet.take(this.#time());
      if (reading === undefined) continue;
      readings.push(reading);
      bytes += reading.bytes.length;
    }
    if (readings.length === 0) return null;
    const state = fleet.state();
    return new Readings(readings, { ...state }, state.sent - readings.length, ports.clock.now());
  }

  #time(): number {
    return this.#start === undefined
      ? Math.floor(this.#round)
      : Math.floor(this.#start + this.#fleet.tick * this.#everyMs);
  }

  // Rounds keep their rhythm; those that were missed, as when the topology held us up, are not made up for.
  async #roundDue(): Promise<void> {
    const { clock } = this.#context.ports;
    const wait = this.#due - clock.now();
    if (wait > 0) {
      this.caughtUp = true;
      await clock.sleep(wait, this.#context.signal);
      this.caughtUp = false;
    } else if (-wait > this.#everyMs) this.#due = clock.now();
    this.#round = this.#due;
    this.#due += this.#everyMs;
  }
}

class Readings implements Batch {
  readonly length: number;
  readonly next: { readonly [field: string]: unknown };
  readonly #readings: readonly Sent[];
  readonly #first: number;
  readonly #arrival: number;

  constructor(readings: readonly Sent[], next: { readonly [field: string]: unknown }, first: number, arrival: number) {
    this.length = readings.length;
    this.next = next;
    this.#readings = readings;
    this.#first = first;
    this.#arrival = arrival;
  }

  read(index: number, into: RawRecord): void {
    const { generator, bytes } = this.#readings[index]!;
    into.data = bytes;
    into.start = 0;
    into.end = bytes.length;
    into.key = generator;
    into.offset = this.#first + index;
    into.arrival = this.#arrival;
  }
}
