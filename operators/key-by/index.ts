import { defineStep, field, fieldReader, jsonTypes, kindOf, Type } from '../../src/operator.ts';

const options = Type.Object(
  {
    field: field({
      description: 'The field that holds the key: text, a number, true or false.',
      examples: ['generatorID'],
    }),
    null: Type.Optional(
      Type.String({
        description: 'The key for records in which the field is missing or null. Without it they are rejected.',
        minLength: 1,
      }),
    ),
    unsafe: Type.Optional(
      Type.Boolean({
        description:
          'Group also where nothing says that all records of one key are in one partition of the source: each partition then has results of its own.',
        default: false,
      }),
    ),
  },
  { additionalProperties: false },
);

/** Gives each record its key. One without a key is rejected: never given a key that stands for nothing. */
export const keyBy = defineStep({
  name: 'keyBy',
  summary: 'Takes the key of each record from one of its fields.',
  details: `Keyed steps after it, such as windows, work per key; sinks such as Kafka use it as the record's key. Keys compare by type and
value: \`1\` and \`"1"\` are two keys. A record in which the field is missing or null is rejected with \`key-missing\`, unless
\`null\` names a key for it; an object, a list, NaN and infinities are rejected with \`key-invalid\`.`,
  options,
  shorthand: 'field',
  examples: [
    {
      title: 'The key is the generator; a record without one is rejected',
      options: 'generatorID',
      input: [{ value: { generatorID: 'g1' } }, { value: { fuel: 3 } }, { value: { generatorID: null } }],
      output: [{ key: 'g1', value: { generatorID: 'g1' } }],
      rejected: ['key-missing', 'key-missing'],
    },
    {
      title: 'A key inside a nested object, and one for records that have none',
      options: { field: 'device.id', null: 'unknown' },
      input: [{ value: { device: { id: 7 } } }, { value: { device: {} } }, { value: { device: { id: [] } } }],
      output: [
        { key: 7, value: { device: { id: 7 } } },
        { key: 'unknown', value: { device: {} } },
      ],
      rejected: ['key-invalid'],
    },
  ],
  type(_given, check) {
    const types = jsonTypes(check.expression(['field']));
    if (types.length > 0 && types.every((type) => type === 'object' || type === 'array' || type === 'null'))
      check.problem(['field'], `A key must be text, a number or a boolean; this field is an ${types.join(' or ')}.`);
    return check.input;
  },
  create({ field: name, null: fallback }) {
    const read = fieldReader(name);
    return {
      onRecord(record, step) {
        const key = read(record.value) ?? fallback;
        if (typeof key === 'string' || typeof key === 'boolean') step.emit(record.withKey(key));
        // -0 and 0 are one number, and must be one key in every state store.
        else if (typeof key === 'number' && Number.isFinite(key)) step.emit(record.withKey(key === 0 ? 0 : key));
        else if (key === undefined || key === null) {
          const found =
            read(record.value) === null ? `the field \`${name}\` is null` : `the record has no field \`${name}\``;
          step.reject(
            record,
            'key-missing',
            `No key: ${found}. Give \`keyBy\` the option \`null\` to take such records.`,
          );
        } else {
          const found = typeof key === 'number' ? String(key) : kindOf(key);
          step.reject(
            record,
            'key-invalid',
            `The field \`${name}\` is ${found}; a key is text, a finite number or a boolean.`,
          );
        }
      },
    };
  },
});
