import { duration, durationMs, type StateSettings, type Static, Type } from '../operator.ts';
import type { Surroundings } from './interpolate.ts';
import { checkOptions } from './options.ts';
import type { Report, Site } from './report.ts';
import { didYouMean, listed } from './suggest.ts';
import { found, type OptionSchema, ValueReader } from './values.ts';
import { nodeAt, siteAt, type Written, type WrittenMap } from './written.ts';

/** The schema of a topology's `state`. */
export const stateOptions = Type.Object(
  {
    store: Type.Optional(
      Type.Enum(['disk', 'memory', 'kafka'], {
        description:
          'Where state is kept. `disk`: in the state folder. `memory`: nowhere, it is lost with the process. `kafka`: in a changelog topic beside the source, committed in one transaction with offsets and output.',
        default: 'disk',
      }),
    ),
    every: Type.Optional(duration({ description: 'A checkpoint is taken so often.', default: '5s' })),
    ttl: Type.Optional(
      duration({
        description:
          'State of a key that no record has touched for so long in event time, and that waits for nothing, is dropped. Default: never.',
        examples: ['7d'],
      }),
    ),
    maxKeys: Type.Optional(
      Type.Integer({
        description: 'At most so many keys in one step of one partition. Default: no bound.',
        minimum: 1,
        examples: [100_000],
      }),
    ),
    overflow: Type.Optional(
      Type.Enum(['reject', 'dropOldest'], {
        description:
          'What happens to a record of one more key: it is rejected, or the key that was used least recently and waits for nothing is dropped.',
        default: 'reject',
      }),
    ),
    topic: Type.Optional(
      Type.String({
        description: 'With `store: kafka`: name of the changelog topic. Default: `<topology>-<source>-changelog`.',
        minLength: 1,
        maxLength: 249,
        pattern: '^[a-zA-Z0-9._-]+$',
      }),
    ),
    replication: Type.Optional(
      Type.Integer({
        description:
          "With `store: kafka`: copies of each partition of a changelog topic that has to be made. Default: the broker's.",
        minimum: 1,
        maximum: 32_767,
      }),
    ),
  },
  {
    additionalProperties: false,
    description: 'Where and how state is kept, as in `state: { store: disk, every: 1s }`.',
  },
);

/** The same, for what reads schemas. */
export const stateSchema = stateOptions as unknown as OptionSchema;

/** A topology's `state` as its author writes it. */
export type StateOptions = Static<typeof stateOptions>;

/** What a topology may promise as a whole. */
export const deliveries = ['exactlyOnce', 'atLeastOnce'] as const;
export type PlanDelivery = (typeof deliveries)[number];

/** The top-level keys that say how state is kept and what is promised, read, with their places. */
export interface Keeping {
  readonly settings?: StateSettings;
  readonly delivery?: PlanDelivery;
  /** Where `store: kafka` stands, or what implies it. */
  readonly storeSite?: Site;
}

/** Reads `state` and `delivery`. Reports what does not fit, and leaves it out. */
export function readKeeping(top: WrittenMap, from: Surroundings, report: Report): Keeping {
  const delivery = readDelivery(top.entries.get('delivery')?.value, from, report);
  const node = top.entries.get('state')?.value;
  const given = node && readState(node, from, report);
  // Exactly once is what transactions give: without them no sink could be.
  const settings: StateSettings | undefined =
    delivery?.value === 'exactlyOnce' && given?.store === undefined && (given || !node)
      ? { store: 'kafka', ...given }
      : given;
  const storeSite = given?.store === undefined ? delivery?.site : siteAt(node!, ['store']);
  if (node && settings) checkFit(node, settings, report);
  return {
    ...(settings && { settings }),
    // Of a `state` that could not be read nobody knows what it allows.
    ...(delivery && (given || !node) && { delivery: delivery.value }),
    ...(storeSite && { storeSite }),
  };
}

function readDelivery(node: Written | undefined, from: Surroundings, report: Report) {
  if (!node) return undefined;
  const reader = new ValueReader(from, report);
  const value = reader.read(node, [{ type: 'string' }]);
  if (reader.unread.size > 0) return undefined;
  const known = deliveries.find((one) => one === value);
  if (known) return { value: known, site: node };
  const near = typeof value === 'string' ? didYouMean(value, deliveries) : '';
  report.add(
    typeof value === 'string' ? 'bad-value' : 'wrong-type',
    node,
    `\`delivery\` must be one of ${listed(deliveries, 'or')}, but is ${found(node)}.${near}`,
    { hint: 'Drop it to let each sink do its best: `penstock plan` shows what that is.' },
  );
  return undefined;
}

function readState(node: Written, from: Surroundings, report: Report): StateSettings | undefined {
  const before = report.size;
  const reader = new ValueReader(from, report);
  const value = reader.read(node, [stateSchema]);
  checkOptions(
    { definition: { options: stateOptions }, name: 'state', written: node, report, unread: reader.unread },
    value,
  );
  if (report.size > before || reader.unread.size > 0) return undefined;
  const { every, ttl, ...rest } = value as StateOptions;
  return {
    ...(rest as StateSettings),
    ...lengthOf('every', every, node, report),
    ...lengthOf('ttl', ttl, node, report),
  };
}

// The longest that a timer can wait is about 24 days.
const lengths = {
  every: { most: 86_400_000, told: 'at most 1d' },
  ttl: { most: 3_153_600_000_000, told: 'at most 36500d' },
};

function lengthOf(name: 'every' | 'ttl', text: string | undefined, node: Written, report: Report) {
  if (text === undefined) return {};
  const ms = Math.round(durationMs(text));
  const { most, told } = lengths[name];
  if (ms >= 1 && ms <= most) return { [name]: ms };
  const site = nodeAt(node, [name]) ?? node;
  const message = `\`state.${name}\` must be ${ms < 1 ? 'at least 1ms' : told}, but is ${found(site)}.`;
  report.add('bad-value', site, message, { hint: `For example: \`${name}: ${name === 'ttl' ? '7d' : '1s'}\`.` });
  return {};
}

/** Reports settings that mean nothing beside the others. */
function checkFit(
  node: Written,
  { store, topic, replication, maxKeys, overflow }: StateSettings,
  report: Report,
): void {
  for (const [name, value] of [
    ['topic', topic],
    ['replication', replication],
  ] as const) {
    if (value === undefined || store === 'kafka') continue;
    report.add(
      'bad-value',
      siteAt(node, [name], 'key'),
      `\`${name}\` is about a changelog topic, but this topology keeps its state ${store === 'memory' ? 'in memory' : 'on disk'}.`,
      { hint: `Write \`store: kafka\` beside it, or drop \`${name}\`.` },
    );
  }
  if (overflow !== undefined && maxKeys === undefined) {
    report.add(
      'bad-value',
      siteAt(node, ['overflow'], 'key'),
      '`overflow` says what happens above `maxKeys`, but no `maxKeys` is given.',
      { hint: 'Write `maxKeys: 100000` beside it, or drop `overflow`.' },
    );
  }
}

/** The settings as options that give them again. */
export function stateToOptions({ every, ttl, ...rest }: StateSettings): StateOptions {
  return {
    ...rest,
    ...(every !== undefined && { every: `${every}ms` }),
    ...(ttl !== undefined && { ttl: `${ttl}ms` }),
  };
}
