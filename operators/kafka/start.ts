import { RunError, Type, type TypeCheck } from '../../src/operator.ts';
import { type Admin, type TopicPartition, Trouble } from './driver.ts';

/** Where to begin with a partition that the checkpoint does not hold. */
export type Start =
  | 'fail'
  | 'group'
  | 'earliest'
  | 'latest'
  | { readonly timestamp: string }
  | { readonly offsets: Readonly<Record<string, number>> };

/** The option `start`. */
export const startOption = Type.Unsafe<Start>({
  description:
    'Where to begin with a partition that the checkpoint does not hold: at its first record, behind its last, where the group stands, at the first record of a time or later, at an offset, or not at all.',
  anyOf: [
    { type: 'string', enum: ['fail', 'group', 'earliest', 'latest'] },
    Type.Object(
      { timestamp: Type.String({ description: 'A time with its zone, such as `2026-11-01T00:00Z`.' }) },
      { additionalProperties: false },
    ),
    Type.Object(
      {
        offsets: Type.Record(
          Type.String({ pattern: '^[a-zA-Z0-9._-]+/\\d+$' }),
          Type.Integer({ description: 'The offset to read first.', minimum: 0 }),
          { description: 'Offsets by topic and partition, such as `readings/0`.' },
        ),
      },
      { additionalProperties: false },
    ),
  ],
  default: 'fail',
  examples: [{ timestamp: '2026-11-01T00:00Z' }, { offsets: { 'readings/0': 12 } }],
});

/** Reports a time that is none. */
export function checkStart(start: Start | undefined, check: TypeCheck): void {
  if (typeof start !== 'object' || !('timestamp' in start)) return;
  // Without a zone it would be another time on another machine.
  if (/(Z|[+-]\d\d:\d\d)$/.test(start.timestamp) && !Number.isNaN(Date.parse(start.timestamp))) return;
  const path = ['start', 'timestamp'];
  check.problem(path, `\`${start.timestamp}\` is no time with a zone.`, 'Write it as `2026-11-01T00:00Z`.');
}

/** A partition, and where reading of it begins. */
export interface Place extends TopicPartition {
  readonly start: number;
  readonly end: number;
  /** The start is the checkpointed position. */
  readonly known: boolean;
}

/** What decides where reading begins. */
export interface Starting {
  readonly start: Start;
  readonly group: string;
  /** Id of the source, for messages. */
  readonly where: string;
  /** Replays begin here, in ms. */
  readonly replayFrom: number | undefined;
  position(partition: TopicPartition): number | undefined;
  /** We have given it back before: the group may stand further on than our checkpoint. */
  isReturning(partition: TopicPartition): boolean;
  /** The topic has come while we were reading: all of it is new. */
  isNew(topic: string): boolean;
  /** Where a bounded read ends. */
  until(partition: TopicPartition): number | undefined;
}

/** Finds where to begin with each of these partitions. Rejects when that is nowhere, or no longer there. */
export async function findPlaces(
  admin: Admin,
  partitions: readonly TopicPartition[],
  starting: Starting,
): Promise<Place[]> {
  const places: Place[] = [];
  const { start, replayFrom } = starting;
  const time = typeof start === 'object' && 'timestamp' in start ? Date.parse(start.timestamp) : undefined;
  for (const topic of new Set(partitions.map((partition) => partition.topic))) {
    const offsets = await admin.offsets(topic);
    const begin = await offsetsAt(admin, topic, replayFrom ?? time);
    const some = partitions.filter((partition) => partition.topic === topic);
    const asks = start === 'group' || some.some((place) => starting.isReturning(place));
    const committed = asks ? await admin.committed(starting.group, topic) : undefined;
    for (const place of some) {
      const { low, high } = offsets.get(place.partition) ?? { low: 0, high: 0 };
      const at = Math.max(begin?.get(place.partition) ?? low, low);
      const told = committed?.get(place.partition);
      const known = knownPosition(place, told, starting);
      const first =
        replayFrom === undefined
          ? (known ?? startOf(place, { low, high, at, committed: start === 'group' ? told : undefined }, starting))
          : Math.min(at, starting.until(place) ?? high);
      if (first < low || first > high) throw gone(place, first, first < low ? low : high);
      places.push({ ...place, start: first, end: high, known: starting.position(place) === first });
    }
  }
  return places;
}

function knownPosition(place: TopicPartition, told: number | undefined, starting: Starting): number | undefined {
  const position = starting.position(place);
  return position === undefined || told === undefined || !starting.isReturning(place)
    ? position
    : Math.max(position, told);
}

/** The first offset of each partition of this time, in ms. Times without end are no times that Kafka could be asked for. */
export async function offsetsAt(admin: Admin, topic: string, time: number | undefined) {
  return time === undefined || !Number.isFinite(time)
    ? undefined
    : await admin.offsetsAt(topic, Math.max(0, Math.floor(time)));
}

interface Edges {
  readonly low: number;
  readonly high: number;
  /** What `timestamp` says. */
  readonly at: number;
  readonly committed: number | undefined;
}

function startOf(place: TopicPartition, { low, high, at, committed }: Edges, starting: Starting): number {
  const { start, group, where } = starting;
  if (typeof start === 'object') {
    const found = 'timestamp' in start ? at : start.offsets[`${place.topic}/${place.partition}`];
    if (found !== undefined) return found;
  }
  if (start === 'earliest') return low;
  if (committed !== undefined) return committed;
  if (starting.isNew(place.topic)) return low;
  if (start === 'latest') return high;
  const what = `topic \`${place.topic}\`, partition ${place.partition}`;
  if (typeof start === 'object') throw new RunError(`\`start.offsets\` says nothing of ${what}. Add it.`, { where });
  throw new RunError(
    start === 'group'
      ? `Group \`${group}\` has committed nothing for ${what}. Say \`start: earliest\` or \`start: latest\`, or set the offset of the group.`
      : `The checkpoint holds no position for ${what}: it is new, or another ` +
          'instance has read it so far. Say where to begin with such partitions: `start: earliest`, `latest` or `group`.',
    { where },
  );
}

/** Says that what is to be read next is not there. */
export function gone({ topic, partition }: TopicPartition, offset: number, edge: number): Trouble {
  const where = `Topic \`${topic}\`, partition ${partition}`;
  const help = 'To accept the gap, start with --fresh and say where to begin with `start`.';
  return new Trouble(
    'final',
    offset < edge
      ? `${where}, is to be read from offset ${offset}, but begins at ${edge}: the records between were removed before they were read. ${help}`
      : `${where}, is to be read from offset ${offset}, but ends at ${edge}: it was deleted and made anew, or cut off. ${help}`,
  );
}
