import { defineStep, eitherType, inputStream, type Static, Type, type TypeCheck } from '../../src/operator.ts';

const options = Type.Object(
  {
    with: Type.Union(
      [
        inputStream({ description: 'A stream whose records come in here as well.' }),
        Type.Array(inputStream({ description: 'A stream whose records come in here as well.' }), {
          minItems: 1,
          uniqueItems: true,
        }),
      ],
      { description: 'Stream or streams whose records come in here as well.', examples: ['backup'] },
    ),
  },
  { additionalProperties: false },
);

/** Lets the records of other streams into this one, unchanged. It waits for nothing and puts nothing in order. */
export const merge = defineStep({
  name: 'merge',
  summary: 'Lets the records of other streams into this one.',
  details: `Records go on as they come, each with its own key, time and place in its source; of one source partition they stay in order,
between streams there is none. Where a stream begins, \`from: [a, b]\` does the same. The step is for the middle of a stream: what stands
before it applies to this stream's records alone. Its \`when\` is without effect. Both streams stay what they are: a record of the other
stream still goes wherever that stream goes.
A record that is reachable on two ways comes twice. A step behind it that works per key needs a \`keyBy\` behind the \`merge\`, or one in each stream.`,
  options,
  shorthand: 'with',
  examples: [
    {
      title: 'Readings of two kinds of device, brought to one form before they meet',
      options: 'fahrenheit',
      input: [
        { key: 'g1', value: { celsius: 20 } },
        { stream: 'fahrenheit', key: 'g2', value: { celsius: 21 } },
        { key: 'g1', value: { celsius: 22 } },
      ],
      output: [
        { key: 'g1', value: { celsius: 20 } },
        { key: 'g2', value: { celsius: 21 } },
        { key: 'g1', value: { celsius: 22 } },
      ],
    },
  ],
  type(given, check) {
    return inputTypes(given, check).reduce(eitherType, check.input);
  },
  create: () => ({
    onRecord: (record, step) => step.emit(record),
    onInput: (record, step) => step.emit(record),
  }),
});

function inputTypes({ with: given }: Static<typeof options>, check: TypeCheck) {
  return typeof given === 'string'
    ? [check.expression(['with'])]
    : given.map((_, index) => check.expression(['with', index]));
}
