import { compileExpression, defineStep, expression, jsonTypes, kindOf, Type } from '../../src/operator.ts';

const options = Type.Object(
  {
    where: expression({
      description: 'Records for which this is true go on; those for which it is false end here.',
      examples: ['fuel < 500'],
    }),
  },
  { additionalProperties: false },
);

/** Passes the records for which an expression is true. One that it cannot answer is rejected: never passed, never dropped. */
export const filter = defineStep({
  name: 'filter',
  summary: 'Passes only the records for which an expression is true.',
  details: `A record for which the expression is false ends here, on purpose and without a dead letter. A record for which it cannot be
answered (a field is missing or null, an operand has the wrong type, the answer is neither true nor false) is rejected with
\`expression-failed\`. To take a missing field as something, say so: \`coalesce(fuel, 0) < 500\`, \`has(fuel) && fuel < 500\`.`,
  options,
  shorthand: 'where',
  examples: [
    {
      title: 'Readings below 500; one without fuel is an error, not a "no"',
      options: 'fuel < 500',
      input: [{ value: { fuel: 499 } }, { value: { fuel: 500 } }, { value: { load: 3 } }, { value: { fuel: null } }],
      output: [{ value: { fuel: 499 } }],
      rejected: ['expression-failed', 'expression-failed'],
    },
    {
      title: 'A missing field as "no"',
      options: { where: 'has(fuel) && fuel < 500' },
      input: [{ value: { fuel: 499 } }, { value: { load: 3 } }],
      output: [{ value: { fuel: 499 } }],
    },
  ],
  type(_given, check) {
    const types = jsonTypes(check.expression(['where']));
    if (types.length > 0 && !types.includes('boolean'))
      check.problem(
        ['where'],
        `\`where\` gives a ${types.join(' or ')}; \`filter\` needs true or false.`,
        'Compare it with something, as in `fuel < 500`.',
      );
    return check.input;
  },
  create({ where }) {
    const evaluate = compileExpression(where);
    return {
      onRecord(record, step) {
        const answer = evaluate(record);
        if (answer === true) step.emit(record);
        else if (answer !== false)
          step.reject(record, 'expression-failed', `\`where\` gave ${kindOf(answer)}; \`filter\` needs true or false.`);
      },
    };
  },
});
