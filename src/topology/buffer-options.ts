import { type Delivery, duration, durationMs, path, type Static, size, sizeBytes, Type } from '../operator.ts';
import type { Surroundings } from './interpolate.ts';
import { checkOptions } from './options.ts';
import type { BufferSettings } from './plan.ts';
import type { Report } from './report.ts';
import { type OptionSchema, ValueReader } from './values.ts';
import { type Entry, siteAt } from './written.ts';

/** The schema of a sink's `buffer`. */
export const bufferOptions = Type.Object(
  {
    disk: Type.Unsafe<boolean | string>({
      description: 'Where records wait: `true` for the state folder, or the path of a folder.',
      anyOf: [{ type: 'boolean' }, path({ description: 'The folder.' })],
    }),
    maxSize: Type.Optional(size({ description: 'The buffer is full at this size.', default: '1GiB' })),
    maxAge: Type.Optional(
      duration({ description: 'What has waited for longer is dropped and counted. Default: it waits for ever.' }),
    ),
    drain: Type.Optional(
      Type.Object(
        {
          rate: Type.Optional(
            Type.Number({
              description:
                'At most so many records a second go to the target: more than come on average, or the buffer fills. Default: as fast as it takes them.',
              exclusiveMinimum: 0,
              examples: [500],
            }),
          ),
        },
        { additionalProperties: false, description: 'How records leave the buffer; always in the order they came.' },
      ),
    ),
    whenFull: Type.Optional(
      Type.Enum(['block', 'dropOldest', 'dropNewest'], {
        description:
          '`block`: sources wait, and nothing is lost. `dropOldest`: what waits longest is dropped and counted. `dropNewest`: what comes becomes a dead letter, `buffer-full`.',
        default: 'block',
      }),
    ),
  },
  {
    additionalProperties: false,
    description:
      'Sinks: records wait on disk until the target takes them, as in `buffer: { disk: true, maxSize: 10GiB }`. While it is away nothing stops, over restarts too.',
  },
);

/** The same, for what reads schemas. */
export const bufferSchema = bufferOptions as unknown as OptionSchema;

/** Reads a sink's `buffer`. Reports what does not fit, and leaves it out. */
export function readBuffer(
  { key, value: node }: Entry,
  { name, sink }: { name: string; sink: boolean },
  from: Surroundings,
  report: Report,
): BufferSettings | undefined {
  const before = report.size;
  if (!sink) {
    report.add('misplaced-step', key, `\`buffer\` stands beside \`${name}\`, but only sinks have one.`, {
      hint: 'Put it beside the sink whose target may be away.',
    });
  }
  const reader = new ValueReader(from, report);
  const value = reader.read(node, [bufferSchema]);
  const checked = { definition: { options: bufferOptions }, name: 'buffer', written: node, report };
  checkOptions({ ...checked, unread: reader.unread }, value);
  if (report.size > before || reader.unread.size > 0) return undefined;
  const { disk, maxSize = '1GiB', maxAge, drain, whenFull = 'block' } = value as Static<typeof bufferOptions>;
  const maxBytes = sizeBytes(maxSize);
  if (disk === false)
    report.add('bad-value', siteAt(node, ['disk']), '`disk` of `buffer` is false: without a disk there is no buffer.', {
      hint: 'Write `disk: true`, or drop `buffer`.',
    });
  if (maxBytes < 1 << 20)
    report.add(
      'bad-value',
      siteAt(node, ['maxSize']),
      `\`maxSize\` of \`buffer\` must be at least 1MiB, but is ${maxSize}.`,
      {
        hint: 'For example: `maxSize: 1GiB`.',
      },
    );
  return {
    ...(typeof disk === 'string' && { folder: disk }),
    maxBytes,
    ...(maxAge !== undefined && { maxAgeMs: durationMs(maxAge) }),
    ...(drain?.rate !== undefined && { rate: drain.rate }),
    whenFull,
  };
}

/** What a sink behind a buffer guarantees. */
export function bufferedDelivery({ level, reason }: Delivery, { maxAgeMs, whenFull }: BufferSettings): Delivery {
  const lost = [
    whenFull === 'dropOldest' && 'what waits longest is dropped when the buffer is full',
    maxAgeMs !== undefined && 'what has waited for longer than `maxAge` is dropped',
  ].filter(Boolean);
  if (lost.length > 0)
    return {
      level: 'at most once',
      reason: `Of its buffer, ${lost.join(', and ')}; after a crash records may also come twice. For a better level use \`whenFull: block\` without \`maxAge\`.`,
    };
  const told = whenFull === 'dropNewest' ? ' What comes while it is full becomes a dead letter.' : '';
  const repeated = 'The last write to the target may be done again after a crash.';
  const waiting = `Records wait in a buffer on disk: they outlive a crash, not the loss of that disk.${told}`;
  if (level === 'exactly once') return { level: 'at least once', reason: `${waiting} ${repeated}` };
  return { level, reason: `${reason} ${waiting}` };
}

/** A buffer as options that give it again. */
export function bufferToOptions({ folder, maxBytes, maxAgeMs, rate, whenFull }: BufferSettings): object {
  return {
    disk: folder ?? true,
    maxSize: `${maxBytes}B`,
    ...(maxAgeMs !== undefined && { maxAge: `${maxAgeMs}ms` }),
    ...(rate !== undefined && { drain: { rate } }),
    whenFull,
  };
}
