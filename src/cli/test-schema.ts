const scalar = { type: ['string', 'number', 'boolean'] };
const key = { ...scalar, description: 'Key of the record.' };
const anything = (description: string) => ({ description });
/** A mapping with one of these keys is not the record itself, but says more of it than its value. */
const envelope = (marks: readonly string[], properties: Record<string, unknown>) => ({
  if: { type: 'object', anyOf: marks.map((mark) => ({ required: [mark] })) },
  // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
  then: { additionalProperties: false, properties },
});

/** The grammar of `tests` as definitions of the editor schema. */
export const testDefinitions = {
  test: {
    type: 'object',
    required: ['name', 'expect'],
    additionalProperties: false,
    properties: {
      name: { ...scalar, description: 'What it shows.' },
      env: { type: 'object', additionalProperties: scalar, description: 'All that `${NAME}` stands for in this test.' },
      params: { type: 'object', additionalProperties: scalar, description: 'Values for `params` of the topology.' },
      feed: { $ref: '#/definitions/feed' },
      steps: {
        type: 'array',
        description: 'What happens after `feed`, in order.',
        items: {
          anyOf: [
            {
              enum: ['checkpoint', 'crash', 'restart'],
              description:
                '`crash` goes on from the last `checkpoint`, else from the beginning. `restart` takes one first.',
            },
            {
              type: 'object',
              minProperties: 1,
              maxProperties: 1,
              additionalProperties: false,
              properties: {
                feed: { $ref: '#/definitions/feed' },
                clock: {
                  type: 'string',
                  description: 'Moves the clock to a time (RFC 3339), or on by a length of time.',
                },
                end: { type: 'boolean', description: 'Ends the input.' },
              },
            },
          ],
        },
      },
      end: {
        type: 'boolean',
        default: true,
        description: 'Whether the input ends after the last step, which closes windows.',
      },
      expect: {
        type: 'object',
        description:
          'What comes out, by stream or sink id, in order for each key. Of other sinks nothing may come out.',
        additionalProperties: { type: 'array', items: { $ref: '#/definitions/expected' } },
      },
    },
  },
  feed: {
    type: 'object',
    description: 'What reaches the sources, by stream.',
    additionalProperties: { type: 'array', items: { $ref: '#/definitions/fed' } },
  },
  fed: {
    description: 'A payload as text, a record, or one with `value` or `payload` and more about it.',
    ...envelope(['value', 'payload'], {
      at: { type: 'string', description: 'When it arrives, RFC 3339. Takes the clock along.' },
      key,
      topic: { ...scalar, description: 'The topic it comes on.' },
      value: anything('The record.'),
      payload: { ...scalar, description: 'What comes over the wire, as text.' },
    }),
  },
  expected: {
    description: 'A record, or one with `value` or `like` and its key.',
    ...envelope(['value', 'like'], {
      key,
      value: anything('Exactly this value.'),
      like: anything('A value with at least these fields.'),
    }),
  },
};
