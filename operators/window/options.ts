import { type Aggregate, duration, field, functionOption, type Static, Type } from '../../src/operator.ts';

const value = (description: string) => Type.Optional(field({ description }));

const ownAggregate = Type.Unsafe<Aggregate>(
  Type.Object(
    {
      create: functionOption({ description: 'The state before the first record.' }),
      add: functionOption({ description: 'The state with one more record.' }),
      merge: functionOption({ description: 'The state of two parts, the older one first.' }),
      result: functionOption({ description: 'What the field of the result holds.' }),
    },
    { description: 'An aggregate of your own, in TypeScript: `defineAggregate({ … })`.', additionalProperties: false },
  ),
);

const aggregate = Type.Union(
  [
    Type.Enum(['count', 'first', 'last'], {
      type: 'string',
      description: '`count`: how many records. `first`, `last`: the whole value of the first or last record.',
    }),
    Type.Object(
      {
        first: value('The first value of this field, by event time.'),
        last: value('The last value of this field, by event time.'),
        min: value('The smallest number.'),
        max: value('The largest number.'),
        sum: value('The sum, added up in order of arrival.'),
        mean: value('The mean: sum divided by count.'),
        count: value('How many records have a value in this field.'),
        variance: value('The variance of the sample (divided by n - 1); null for fewer than two values.'),
        stddev: value('The standard deviation of the sample; null for fewer than two values.'),
        median: value('The median: exact for up to 1,000 values, then within 1 %.'),
        percentile: Type.Optional(
          Type.Object(
            {
              field: field({ description: 'The field whose values are looked at.' }),
              p: Type.Number({ description: 'The percentage of values below it.', minimum: 0, maximum: 100 }),
            },
            {
              description: 'The value below which `p` percent lie: exact for up to 1,000 values, then within 1 %.',
              additionalProperties: false,
            },
          ),
        ),
        countDistinct: value('How many different values: exact up to 1,000, then an estimate (standard error 1.6 %).'),
        topK: Type.Optional(
          Type.Object(
            {
              field: field({ description: 'The field whose values are compared.' }),
              k: Type.Integer({ description: 'How many.', minimum: 1, maximum: 1_000 }),
            },
            { description: 'The `k` largest numbers as a list, the largest first.', additionalProperties: false },
          ),
        ),
        collect: Type.Optional(
          Type.Object(
            {
              field: field({ description: 'The field whose values are collected.' }),
              max: Type.Integer({ description: 'How many stay: the newest.', minimum: 1, maximum: 10_000 }),
            },
            { description: 'The newest values as a list, in order of event time.', additionalProperties: false },
          ),
        ),
        own: Type.Optional(ownAggregate),
      },
      { additionalProperties: false, minProperties: 1, maxProperties: 1 },
    ),
  ],
  { description: 'What the field of the result holds.' },
);

/** Options of `window`. That exactly one kind of window is given is checked beyond the schema, with a message of its own. */
export const options = Type.Object(
  {
    tumbling: Type.Optional(duration({ description: 'Windows of this length, one after the other.' })),
    hopping: Type.Optional(
      Type.Object(
        {
          size: duration({ description: 'Window length.' }),
          every: duration({ description: 'A window begins this often: at most as far apart as windows are long.' }),
        },
        {
          description: 'Windows that overlap: a record belongs to each that holds its time.',
          additionalProperties: false,
        },
      ),
    ),
    session: Type.Optional(
      Type.Object(
        {
          gap: duration({ description: 'Records of one key at most this far apart belong to one session.' }),
          max: Type.Optional(
            duration({
              description:
                'Sessions are cut at every multiple of this since the epoch (plus `offset`), so that none is longer. Default: never.',
            }),
          ),
        },
        { description: 'Windows that last as long as the records of a key keep coming.', additionalProperties: false },
      ),
    ),
    rolling: Type.Optional(
      Type.Object(
        { size: duration({ description: 'How far back a window reaches.' }) },
        {
          description:
            'For each time at which a key has a record, a window of the time before it: `(time - size, time]`.',
          additionalProperties: false,
        },
      ),
    ),
    count: Type.Optional(
      Type.Integer({ description: 'A window for every so many records of a key, in order of arrival.', minimum: 1 }),
    ),
    calendar: Type.Optional(
      Type.Object(
        {
          every: Type.Enum(['1d', '1w', '1mo', '1y'], { description: 'A day, a week from Monday, a month or a year.' }),
          timeZone: Type.String({
            description: 'IANA name of the time zone whose midnight counts. Days of 23 and 25 hours are one window.',
            minLength: 1,
            examples: ['America/Denver'],
          }),
        },
        { description: 'Windows as the calendar of a place has them.', additionalProperties: false },
      ),
    ),
    aggregate: Type.Record(Type.String(), aggregate, {
      description: 'Each name is a field of the result; it says what is computed over the records of the window.',
      minProperties: 1,
    }),
    keep: Type.Optional(
      Type.Array(field({ description: 'A field of the record, not nested.' }), {
        description: 'Fields that the result takes from the last record of the window.',
        minItems: 1,
      }),
    ),
    offset: Type.Optional(
      duration({
        description: 'Windows begin this much after a multiple of their length since the epoch.',
        default: '0s',
      }),
    ),
    outOfOrder: Type.Optional(
      duration({
        description: "How long to wait for records out of order, beyond the source's own `outOfOrder`.",
        default: '0s',
      }),
    ),
    lateness: Type.Optional(
      duration({
        description:
          'How long after its end a window still takes records. A final result waits as long; with updates, each such record gives another result.',
        default: '0s',
      }),
    ),
    emit: Type.Optional(
      Type.Union(
        [
          Type.Enum(['final', 'onUpdate'], {
            type: 'string',
            description: '`final`: one result, when the window closes. `onUpdate`: one for each record as well.',
          }),
          Type.Object(
            { early: duration({ description: 'Steps of event time, counted from the start of the window.' }) },
            {
              description: 'A result at each step at which the window holds records that no result has seen.',
              additionalProperties: false,
            },
          ),
        ],
        {
          description:
            'When tumbling, hopping and calendar windows give results. Each takes the place of the one before, so sinks must be able to overwrite.',
          default: 'final',
        },
      ),
    ),
    fill: Type.Optional(
      Type.Union(
        [
          Type.Null({ description: 'Null; 0 for counts, an empty list for lists.' }),
          Type.Enum(['previous'], { type: 'string', description: 'What the aggregates of the window before came to.' }),
          Type.Object(
            {
              value: Type.Union([Type.Number(), Type.String(), Type.Boolean()], {
                description: 'The result of every aggregate.',
              }),
            },
            { description: 'A value of your choice.', additionalProperties: false },
          ),
        ],
        {
          description:
            'What the aggregates of a window without a record come to. Default: such windows give no result. `keep` holds what it held before.',
        },
      ),
    ),
    fillFor: Type.Optional(
      duration({
        description:
          'Windows that end later than this after the last record of a key are not filled: the key is forgotten.',
      }),
    ),
    label: Type.Optional(
      Type.Enum(['end', 'start', 'lastEvent'], {
        description:
          'The time that sinks write for the result: end or start of the window, or that of its last record.',
        default: 'end',
      }),
    ),
  },
  { additionalProperties: false },
);

export type Options = Static<typeof options>;
export type AggregateOptions = Static<typeof aggregate>;

/** The options that say what kind of windows there are. */
export const kinds = ['tumbling', 'hopping', 'rolling', 'session', 'count', 'calendar'] as const;
export type Kind = (typeof kinds)[number];
