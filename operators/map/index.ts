import {
  compileExpression,
  defineStep,
  type Evaluate,
  type Expression,
  expression,
  kindOf,
  putField,
  RejectError,
  type Step,
  type StreamRecord,
  TopologyError,
  Type,
  withFields,
} from '../../src/operator.ts';

/** Field names and their expressions; in TypeScript also one function that gives the new fields. */
// biome-ignore lint/suspicious/noExplicitAny: the value's type is the caller's; the chain narrows it
export type MapOptions = { readonly [field: string]: Expression } | ((value: any, record: StreamRecord<any>) => object);

const fields = Type.Record(
  Type.String(),
  expression({ description: "The field's new value.", examples: ['fuel < 500 ? "refuel" : "no action"'] }),
  { description: 'Each name is a field of the result, each text the expression that computes it.', minProperties: 1 },
);
const options = Type.Unsafe<MapOptions>(fields);

/** Adds computed fields to the record, or overrides them. A record whose expression fails is rejected whole. */
export const map = defineStep({
  name: 'map',
  summary: 'Adds computed fields to the record, or overrides them.',
  details: `The result is the record with these fields; all others stay. Every expression sees the record as it came in, not what its
neighbours compute. When one of them fails (a field is missing or null, an operand has the wrong type) the record is rejected
with \`expression-failed\` and nothing of it goes on. In TypeScript \`map\` also takes a function: what it returns is added in the same way.`,
  options,
  examples: [
    {
      title: 'An alarm when fuel is below 500',
      options: { alarm: 'fuel < 500 ? "refuel" : "no action"' },
      input: [{ value: { fuel: 499.9 } }, { value: { fuel: 500 } }, { value: { load: 1 } }],
      output: [{ value: { fuel: 499.9, alarm: 'refuel' } }, { value: { fuel: 500, alarm: 'no action' } }],
      rejected: ['expression-failed'],
    },
    {
      title: 'Both expressions see the record as it came in',
      options: { temperature: 'temperature * 9 / 5 + 32', celsius: 'temperature' },
      input: [{ value: { temperature: 100 } }],
      output: [{ value: { temperature: 212, celsius: 100 } }],
    },
  ],
  type(given, check) {
    if (typeof given === 'function') return undefined;
    const types = Object.keys(given).map((name) => [name, check.expression([name])] as const);
    if (Object.hasOwn(given, '__proto__')) check.problem(['__proto__'], forbidden, 'Choose another name.');
    return withFields(check.input, types);
  },
  writes: (given) => (typeof given === 'function' ? [] : Object.keys(given)),
  create: (given) => (typeof given === 'function' ? fromFunction(given) : fromExpressions(given)),
});

const forbidden = '`__proto__` cannot be the name of a computed field.';

function fromExpressions(given: { readonly [field: string]: Expression }): Step {
  if (Object.hasOwn(given, '__proto__')) throw new TopologyError([{ code: 'bad-value', message: forbidden }]);
  const computed: [string, Evaluate][] = Object.entries(given).map(([name, source]) => [
    name,
    compileExpression(source),
  ]);
  return {
    onRecord(record, step) {
      const value: Record<string, unknown> = { ...fieldsOf(record) };
      for (const [name, evaluate] of computed) {
        const result = evaluate(record);
        if (result === undefined)
          throw new RejectError(
            'expression-failed',
            `\`${name}\` gave nothing; a function must return a value, or null.`,
          );
        value[name] = result;
      }
      step.emit(record.withValue(value));
    },
  };
}

function fromFunction(given: Expression): Step {
  const evaluate = compileExpression(given);
  return {
    onRecord(record, step) {
      const value: Record<string, unknown> = { ...fieldsOf(record) };
      const added = evaluate(record);
      if (typeof added !== 'object' || added === null || Array.isArray(added))
        throw new RejectError(
          'expression-failed',
          `The function gave ${kindOf(added)}; it must return the new fields as an object.`,
        );
      for (const [name, result] of Object.entries(added)) putField(value, name, result);
      step.emit(record.withValue(value));
    },
  };
}

function fieldsOf({ value }: StreamRecord): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new RejectError('schema-violation', `The record is ${kindOf(value)}; \`map\` adds fields to an object.`);
}
