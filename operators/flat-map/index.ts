import {
  compileExpression,
  defineStep,
  expression,
  itemType,
  jsonTypes,
  kindOf,
  putField,
  RejectError,
  type Static,
  type Step,
  type StreamRecord,
  Type,
  type TypeCheck,
  withFields,
} from '../../src/operator.ts';

const options = Type.Object(
  {
    list: expression({
      description: 'Gives the list whose elements become records.',
      examples: ['readings', 'readings.filter(r, r.fuel < 500)'],
    }),
    as: Type.Optional(
      Type.String({
        description:
          'Name of a field that takes the element; the rest of the record stays beside it. Default: the element is the whole value.',
        minLength: 1,
        examples: ['reading'],
      }),
    ),
    max: Type.Optional(
      Type.Integer({ description: 'A record with a longer list is rejected.', minimum: 1, default: 10_000 }),
    ),
  },
  { additionalProperties: false },
);

/** Makes a record of each element of a list. A record whose list cannot be had, or is too long, is rejected whole. */
export const flatMap = defineStep({
  name: 'flatMap',
  summary: 'Makes a record of each element of a list.',
  details: `The records come in the order of the list, with the key, the event time and the source of the record that held it. The element becomes the
value, whether it is an object or not; with \`as\` the value is the record as it was, with the element in that field. An empty list gives no
record, on purpose and without a dead letter. What is not a list, such as null or a missing field, is rejected with \`expression-failed\`, as is
a list of more than \`max\` elements; nothing of it goes on.
Each record has an id of its own, the same after every restart: that of the record it is made of, and its place in the list. Key the records
anew (\`keyBy\`) when the elements belong to different keys. In TypeScript \`list\` may be a function.`,
  options,
  shorthand: 'list',
  examples: [
    {
      title: 'One record for each reading of a batch',
      options: 'readings',
      input: [
        { key: 'g1', time: 1_000, value: { readings: [{ fuel: 499 }, { fuel: 498 }] } },
        { key: 'g1', time: 2_000, value: { readings: [] } },
        { key: 'g1', time: 3_000, value: { readings: { fuel: 497 } } },
        { key: 'g1', time: 4_000, value: {} },
      ],
      output: [
        { key: 'g1', time: 1_000, value: { fuel: 499 } },
        { key: 'g1', time: 1_000, value: { fuel: 498 } },
      ],
      rejected: ['expression-failed', 'expression-failed'],
    },
    {
      title: 'Each alarm beside what else is known',
      options: { list: 'alarms', as: 'alarm' },
      input: [{ value: { generatorID: 'g1', alarms: ['refuel', 'cool'] } }],
      output: [
        { value: { generatorID: 'g1', alarms: ['refuel', 'cool'], alarm: 'refuel' } },
        { value: { generatorID: 'g1', alarms: ['refuel', 'cool'], alarm: 'cool' } },
      ],
    },
  ],
  type: typeOf,
  create: createFlatMap,
});

function typeOf({ list, as }: Static<typeof options>, check: TypeCheck) {
  const type = check.expression(['list']);
  const types = jsonTypes(type);
  if (types.length > 0 && !types.includes('array'))
    check.problem(
      ['list'],
      `\`list\` must be a list, but \`${String(list)}\` is ${types.join(' or ')}.`,
      'Put it in brackets to make it one: `[fuel]`.',
      'error',
      'type-mismatch',
    );
  if (as === '__proto__') check.problem(['as'], '`__proto__` cannot be the name of a field.', 'Choose another name.');
  return as === undefined ? itemType(type) : withFields(check.input, [[as, itemType(type)]]);
}

function createFlatMap({ list, as, max = 10_000 }: Static<typeof options>): Step {
  const evaluate = compileExpression(list);
  const made = (record: StreamRecord, element: unknown): unknown => {
    if (as === undefined) return element;
    const value = { ...(record.value as object) };
    putField(value, as, element);
    return value;
  };
  return {
    onRecord(record, step) {
      if (as !== undefined && !isObject(record.value))
        throw new RejectError('schema-violation', `The record is ${kindOf(record.value)}; \`as\` adds to an object.`);
      const elements = listOf(evaluate(record), max);
      for (const [place, element] of elements.entries())
        step.emit(record.withValue(made(record, element)).withPart(String(place)));
    },
  };
}

// All of it is looked at before anything goes on: a record is taken whole or not at all.
function listOf(found: unknown, max: number): readonly unknown[] {
  if (!Array.isArray(found))
    throw new RejectError('expression-failed', `\`list\` gave ${kindOf(found)}; expected a list.`);
  if (found.length > max)
    throw new RejectError(
      'expression-failed',
      `\`list\` gave ${found.length} elements, and \`max\` is ${max}. Raise it, or shorten the list before.`,
    );
  const empty = found.findIndex((element) => element === undefined || typeof element === 'function');
  if (empty >= 0)
    throw new RejectError(
      'expression-failed',
      `Element ${empty} of \`list\` is ${kindOf(found[empty])}; expected data.`,
    );
  return found;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
