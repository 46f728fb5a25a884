import { duration, durationMs, inputStream, type Static, Type, type TypeCheck } from '../../src/operator.ts';

/** Options of `join`. */
export const options = Type.Object(
  {
    with: inputStream({
      description: 'The stream to join with: the right side. It needs a key as well.',
      examples: ['payments'],
    }),
    within: duration({
      description:
        'Two records of one key are a pair when their event times are no further apart than this, either way; exactly this far is a pair.',
      examples: ['30s'],
    }),
    as: Type.String({
      description: 'Field of the result that holds the right record; the fields of the left one stand beside it.',
      minLength: 1,
      examples: ['payment'],
    }),
    type: Type.Optional(
      Type.Enum(['inner', 'left', 'outer'], {
        description:
          'What becomes of records without a partner. `inner`: nothing. `left`: a left one gives a result with null in `as`. `outer`: a right one gives a result as well, with the field `as` alone.',
        default: 'inner',
      }),
    ),
    lateness: Type.Optional(
      duration({
        description:
          'Records so far behind the watermark still find their partners; results without a partner wait as long.',
        default: '0s',
      }),
    ),
    maxPerKey: Type.Optional(
      Type.Integer({
        description: 'At most so many records of one key wait on each side. One more is rejected with `buffer-full`.',
        minimum: 1,
        default: 10_000,
      }),
    ),
  },
  { additionalProperties: false },
);

/** Options of `join` as its users give them. */
export type Options = Static<typeof options>;

/** Reports lengths of time that are no whole number of milliseconds, and a name that no field can have. */
export function checkOptions({ within, lateness, as }: Options, check: TypeCheck): void {
  for (const [name, text] of Object.entries({ within, lateness })) {
    if (text !== undefined && !Number.isInteger(durationMs(text)))
      check.problem([name], `\`${name}\` is ${text}; expected a whole number of milliseconds.`);
  }
  if (as === '__proto__')
    check.problem(['as'], '`__proto__` cannot be the name of an added field.', 'Choose another name.');
}
