import {
  defineStep,
  type JsonSchema,
  kindOf,
  objectType,
  type RecordType,
  TopologyError,
  Type,
  withFields,
} from '../../src/operator.ts';

const options = Type.Record(Type.String(), Type.Unknown({ description: "The field's new value, as it stands." }), {
  description: 'Each name is a field of the result, with its value.',
  minProperties: 1,
});

/** Adds fields with fixed values to the record, or overrides them. */
export const set = defineStep({
  name: 'set',
  summary: 'Adds fields with fixed values to the record, or overrides them.',
  details: `Values are taken as they stand: text is text and not an expression (that is \`map\`). All other fields stay. A record that is
not an object is rejected with \`schema-violation\`.`,
  options,
  examples: [
    {
      title: 'A region for every record',
      options: { region: 'US', 'origin.version': 2 },
      input: [{ value: { fuel: 480, region: null } }, { value: 7 }],
      output: [{ value: { fuel: 480, region: 'US', 'origin.version': 2 } }],
      rejected: ['schema-violation'],
    },
  ],
  type(given, check) {
    if (Object.hasOwn(given, '__proto__')) check.problem(['__proto__'], forbidden, 'Choose another name.');
    return withFields(
      check.input,
      Object.entries(given).map(([name, value]) => [name, typeOf(value)]),
    );
  },
  writes: (given) => Object.keys(given),
  create(given) {
    if (Object.hasOwn(given, '__proto__')) throw new TopologyError([{ code: 'bad-value', message: forbidden }]);
    const fields = { ...given };
    return {
      onRecord(record, step) {
        const { value } = record;
        if (typeof value !== 'object' || value === null || Array.isArray(value))
          step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`set\` adds fields to an object.`);
        else step.emit(record.withValue({ ...value, ...fields }));
      },
    };
  },
});

const forbidden = '`__proto__` cannot be the name of a field that is set.';

function typeOf(value: unknown): RecordType {
  if (value === null) return { type: 'null' };
  if (Array.isArray(value)) return { type: 'array' };
  if (typeof value !== 'object') return { type: typeof value } as JsonSchema;
  const fields = Object.entries(value).map(([name, item]) => [name, { type: typeOf(item), required: true }] as const);
  return objectType(new Map(fields));
}
