import {
  defineStep,
  duration,
  durationMs,
  type FieldType,
  field,
  objectType,
  type RecordType,
  recordFields,
  type Static,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';
import { absences, type Presence } from './absences.ts';

const options = Type.Object(
  {
    absence: duration({
      description: 'A key is absent once no record of it lies in so long a stretch of event time behind its last one.',
      examples: ['5m'],
    }),
    recovered: Type.Optional(
      Type.Boolean({
        description: 'Whether the return of an absent key is an event too, with the length of its silence.',
        default: false,
      }),
    ),
    keep: Type.Optional(
      Type.Array(field({ description: 'A field of the record, not nested.' }), {
        description:
          'Fields that an event takes from its record: the last before the silence, or the one that ended it.',
        minItems: 1,
        uniqueItems: true,
        examples: [['generatorID', 'region']],
      }),
    ),
    forgetAfter: Type.Optional(
      duration({
        description:
          'With `recovered`: a key that has stayed away for so long after its absence was announced is forgotten; its return is then no event.',
        default: '30d',
      }),
    ),
  },
  { additionalProperties: false },
);

const minute = 60_000;

/** Emits an event when a key has had no record for a length of event time, once for each such silence, and on request when it is back. */
export const detect = defineStep<typeof options, Presence>({
  name: 'detect',
  summary: 'Emits an event when a key has had no record for a length of time.',
  details: `The records themselves end here: what goes out are events \`{ status, since, silence }\` with the key of the records and the fields of
\`keep\`. \`status\` is \`absent\`, or \`recovered\` for the first record after that; \`since\` is the event time of the last record before the silence, and
\`silence\` its length so far, both in ms. To have the records as well, let another stream continue the same one with \`from\`.

A key is absent as the watermark passes \`since + absence\`: a record exactly \`absence\` later is still in time. That is one event for one
silence, however long; the next can only come after a record. Whether there was a silence depends on the times of the records alone, not
on the order in which they arrive while the watermark waits for them. Where everything falls silent at once, nothing moves the
watermark but the \`idle\` time of the source: without it no absence is found until some record comes.
An \`absent\` event has the event time \`since + absence\`, a \`recovered\` one that of the record that ended the silence, and it comes as the watermark
reaches it. Each has a window that begins at \`since\`, so after a restart it has the same id as before.
A record that comes so late that its own absence would have been announced already goes to \`late\` (or \`otherwise\`, or the dead letters). One that
comes behind the watermark but not as late ends the silence that was announced too early.
A key is unknown before its first record and forgotten with its \`absent\` event, or, with \`recovered\`, \`forgetAfter\` later. The end of a bounded
input is the end of event time: every key that is not absent by then is announced.`,
  options,
  shorthand: 'absence',
  keyed: true,
  timed: true,
  late: true,
  stateDependsOn: ['keep'],
  examples: [
    {
      title: 'A generator that is silent for more than five minutes, and returns',
      options: { absence: '5m', recovered: true, keep: ['site'] },
      input: [
        { key: 'g1', time: 0, value: { site: 'US', fuel: 900 } },
        { key: 'g2', time: 5 * minute, value: { site: 'DE' } },
        { key: 'g2', time: 6 * minute, value: { site: 'DE' } },
        { key: 'g1', time: 8 * minute, value: { site: 'US', fuel: 899 } },
      ],
      output: [
        { key: 'g1', time: 5 * minute, value: { status: 'absent', since: 0, silence: 5 * minute, site: 'US' } },
        { key: 'g1', time: 8 * minute, value: { status: 'recovered', since: 0, silence: 8 * minute, site: 'US' } },
        {
          key: 'g2',
          time: 11 * minute,
          value: { status: 'absent', since: 6 * minute, silence: 5 * minute, site: 'DE' },
        },
        {
          key: 'g1',
          time: 13 * minute,
          value: { status: 'absent', since: 8 * minute, silence: 5 * minute, site: 'US' },
        },
      ],
    },
    {
      title: 'A silence of exactly that length is none; a record that is too old is late',
      options: '1m',
      input: [
        { key: 'g1', time: 0, value: {} },
        { key: 'g1', time: minute, value: {} },
        { key: 'g1', time: 3 * minute, value: {} },
        { key: 'g1', time: minute + 1, value: {} },
      ],
      output: [
        { key: 'g1', time: 2 * minute, value: { status: 'absent', since: minute, silence: minute } },
        { key: 'g1', time: 4 * minute, value: { status: 'absent', since: 3 * minute, silence: minute } },
      ],
      rejected: ['late'],
    },
  ],
  type: (given, check) => {
    checkGiven(given, check);
    return resultType(given, check);
  },
  create: (given, id) => absences(given, id),
});

const own = ['status', 'since', 'silence'];

function checkGiven(given: Static<typeof options>, check: TypeCheck): void {
  for (const name of ['absence', 'forgetAfter'] as const) {
    const text = given[name];
    if (text !== undefined && (durationMs(text) < 1 || !Number.isInteger(durationMs(text))))
      check.problem([name], `\`${name}\` is ${text}; it must be a whole number of milliseconds, at least 1ms.`);
  }
  if (given.forgetAfter !== undefined && given.recovered !== true)
    check.problem(['forgetAfter'], '`forgetAfter` means something only with `recovered: true`.', 'Remove it.');
  for (const [index, name] of (given.keep ?? []).entries()) {
    if (own.includes(name))
      check.problem(
        ['keep', index],
        `\`${name}\` is a field of the event itself.`,
        'Give yours another name, with `map`.',
      );
    if (name.includes('.'))
      check.problem(['keep', index], `\`${name}\` is a nested field; \`keep\` takes fields of the record itself.`);
  }
}

function resultType({ keep = [] }: Static<typeof options>, check: TypeCheck): RecordType {
  const known = recordFields(check.input);
  const kept = keep.map((name, index): [string, FieldType] => {
    return [name, { type: check.expression(['keep', index]), required: known?.get(name)?.required ?? false }];
  });
  return objectType(
    new Map<string, FieldType>([
      ...kept,
      ['status', { type: { type: 'string', enum: ['absent', 'recovered'] }, required: true }],
      ['since', { type: { type: 'number' }, required: true }],
      ['silence', { type: { type: 'number' }, required: true }],
    ]),
  );
}
