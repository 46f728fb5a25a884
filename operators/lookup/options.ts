import {
  duration,
  durationMs,
  inputStream,
  recordFields,
  type Static,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

/** Options of `lookup`. */
export const options = Type.Object(
  {
    table: inputStream({
      description:
        'The stream that makes up the table: each of its records is the new row of its key, and null removes the row. It needs a key as well.',
      examples: ['prices'],
    }),
    as: Type.String({ description: 'Field of the result that holds the row.', minLength: 1, examples: ['price'] }),
    asOf: Type.Optional(
      Type.Enum(['event', 'latest'], {
        description:
          "Which row. `event`: the one that was valid at the record's event time; the record waits until the table is complete up to there. `latest`: the one that is there when the record arrives, so that a replay may give other results.",
        default: 'event',
      }),
    ),
    type: Type.Optional(
      Type.Enum(['left', 'inner'], {
        description: 'A record without a row goes on with null (`left`) or ends here (`inner`).',
        default: 'left',
      }),
    ),
    keepFor: Type.Optional(
      duration({
        description:
          '`event`: rows stay known for so long after they have been replaced, and a record so far behind the watermark is still answered.',
        default: '0s',
      }),
    ),
    maxPerKey: Type.Optional(
      Type.Integer({
        description:
          '`event`: at most so many records, and so many rows, of one key are kept. One more is rejected with `buffer-full`.',
        minimum: 1,
        default: 10_000,
      }),
    ),
  },
  { additionalProperties: false },
);

/** Options of `lookup` as its users give them. */
export type Options = Static<typeof options>;

/** Reports what the schema of the options cannot say. */
export function checkOptions(given: Options, check: TypeCheck): void {
  const { as, asOf, keepFor } = given;
  if (keepFor !== undefined && !Number.isInteger(durationMs(keepFor)))
    check.problem(['keepFor'], `\`keepFor\` is ${keepFor}; expected a whole number of milliseconds.`);
  for (const name of ['keepFor', 'maxPerKey'] as const)
    if (asOf === 'latest' && given[name] !== undefined)
      check.problem(
        [name],
        `\`${name}\` has no meaning with \`asOf: latest\`: only one row of a key is kept.`,
        'Remove it.',
      );
  if (as === '__proto__')
    check.problem(['as'], '`__proto__` cannot be the name of an added field.', 'Choose another name.');
  else if (recordFields(check.input)?.has(as)) {
    const what = `The records have a field \`${as}\` already; the row takes its place.`;
    check.problem(['as'], what, 'Choose another name to keep both.', 'warning');
  }
}
