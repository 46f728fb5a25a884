import { compileExpression, defineStep, expression, RejectError, Type } from '../../src/operator.ts';

const options = Type.Object(
  {
    value: expression({
      description: 'Gives the new value: an object, or anything else that JSON can hold.',
      examples: ['payload', '{"line": event}'],
    }),
  },
  { additionalProperties: false },
);

/** Puts what an expression gives in the place of the record's value. A record whose expression fails is rejected. */
export const value = defineStep({
  name: 'value',
  summary: 'Puts what an expression gives in the place of the whole value.',
  details: `\`map\` adds fields and keeps the others; here nothing stays but what the expression names. Key, time, headers and window stay. In
TypeScript it takes a function of the value. A record whose expression fails is rejected with \`expression-failed\`.`,
  options,
  shorthand: 'value',
  examples: [
    {
      title: 'What lies in an envelope; a record without one is rejected',
      options: 'payload',
      input: [{ key: 'g1', value: { schema: 7, payload: { fuel: 480 } } }, { value: { fuel: 480 } }],
      output: [{ key: 'g1', value: { fuel: 480 } }],
      rejected: ['expression-failed'],
    },
    {
      title: 'An object of other fields',
      options: '{"id": generatorID, "low": fuel < 500}',
      input: [{ value: { generatorID: 'g1', fuel: 480, load: 3 } }],
      output: [{ value: { id: 'g1', low: true } }],
    },
  ],
  type: (_given, check) => check.expression(['value']),
  create(given) {
    const evaluate = compileExpression(given.value);
    return {
      onRecord(record, step) {
        const result = evaluate(record);
        if (result === undefined)
          throw new RejectError('expression-failed', 'The function gave nothing; it must return a value, or null.');
        step.emit(record.withValue(result));
      },
    };
  },
});
