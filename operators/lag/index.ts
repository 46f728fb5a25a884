import {
  defineStep,
  field,
  fieldReader,
  kindOf,
  objectType,
  orNull,
  putField,
  type RecordType,
  type Static,
  TopologyError,
  Type,
  type TypeCheck,
  withFields,
} from '../../src/operator.ts';

const wanted = { description: 'A field of the record before; `a.b` goes into nested objects.' };
const options = Type.Object(
  {
    as: Type.String({
      description: 'Name of the field to add: what was there before, or null for the first records of a key.',
      minLength: 1,
      examples: ['before'],
    }),
    fields: Type.Optional(
      Type.Union([field(wanted), Type.Array(field(wanted), { minItems: 1 })], {
        description:
          'A field: its value is added. A list: an object with those that were there. Default: the whole value of the record before.',
        examples: ['temperature'],
      }),
    ),
    by: Type.Optional(
      Type.Integer({ description: 'How many records of the key back.', minimum: 1, maximum: 1_000, default: 1 }),
    ),
  },
  { additionalProperties: false },
);

/** Adds what an earlier record of the same key said, in order of arrival; null where there is none yet. */
export const lag = defineStep<typeof options, unknown[]>({
  name: 'lag',
  summary: 'Adds to each record what the record of its key before it said.',
  details: `The record before is the one that arrived before, whatever their times say; where records may be out of order, put a \`sort\`
before this step. With \`by: 2\` it is the one before that. The first \`by\` records of a key get null, and so does a record when the one
before had no such field. A list of fields gives an object with those that were there, \`a.b\` under the name \`a.b\`.
A record that is not an object is rejected with \`schema-violation\`, and the next one does not see it. What is kept of a key is the
wanted fields of its last \`by\` records, as they came in, also over a restart. Another \`by\` keeps
it, a larger one with null until enough records have come; and so do fields in place of the whole value.`,
  options,
  keyed: true,
  stateDependsOn: ['fields', 'by'],
  examples: [
    {
      title: 'The temperature before',
      options: { fields: 'temperature', as: 'before' },
      input: [
        { key: 'g1', value: { temperature: 70 } },
        { key: 'g2', value: { temperature: 60 } },
        { key: 'g1', value: { fuel: 400 } },
        { key: 'g1', value: { temperature: 72 } },
      ],
      output: [
        { key: 'g1', value: { temperature: 70, before: null } },
        { key: 'g2', value: { temperature: 60, before: null } },
        { key: 'g1', value: { fuel: 400, before: 70 } },
        { key: 'g1', value: { temperature: 72, before: null } },
      ],
    },
    {
      title: 'Two records back, as a whole',
      options: { by: 2, as: 'old' },
      input: [
        { key: 'g1', value: { n: 1 } },
        { key: 'g1', value: { n: 2 } },
        { key: 'g1', value: { n: 3 } },
        { key: 'g1', value: 4 },
      ],
      output: [
        { key: 'g1', value: { n: 1, old: null } },
        { key: 'g1', value: { n: 2, old: null } },
        { key: 'g1', value: { n: 3, old: { n: 1 } } },
      ],
      rejected: ['schema-violation'],
    },
  ],
  type: typeOf,
  migrate({ fields, by = 1 }, { options: before }) {
    const whole = before['fields'] === null;
    if (!whole && JSON.stringify(before['fields']) !== JSON.stringify(fields)) return undefined;
    const wantedOf = whole ? reader(fields) : (value: unknown) => value;
    return (state) => (state as unknown[]).slice(-by).map(wantedOf);
  },
  create({ fields, as, by = 1 }) {
    if (as === '__proto__') throw new TopologyError([{ code: 'bad-value', message: forbidden }]);
    const wantedOf = reader(fields);
    return {
      onRecord(record, step) {
        const { value } = record;
        if (typeof value !== 'object' || value === null || Array.isArray(value)) {
          step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`lag\` adds a field to an object.`);
          return;
        }
        const before = step.state ?? [];
        const full = before.length >= by;
        step.state = [...(full ? before.slice(1) : before), wantedOf(value)];
        step.emit(record.withValue({ ...value, [as]: full ? before[0] : null }));
      },
    };
  },
});

const forbidden = '`__proto__` cannot be the name of an added field.';

function reader(fields: Static<typeof options>['fields']): (value: unknown) => unknown {
  if (fields === undefined) return (value) => value;
  if (typeof fields === 'string') {
    const read = fieldReader(fields);
    return (value) => read(value) ?? null;
  }
  const reads = fields.map((name) => ({ name, read: fieldReader(name) }));
  return (value) => {
    const found = {};
    for (const { name, read } of reads) {
      const one = read(value);
      if (one !== undefined) putField(found, name, one);
    }
    return found;
  };
}

function typeOf({ fields, as }: Static<typeof options>, check: TypeCheck): RecordType {
  if (as === '__proto__') check.problem(['as'], forbidden, 'Choose another name.');
  return withFields(check.input, [[as, orNull(typeBefore(fields, check))]]);
}

function typeBefore(fields: Static<typeof options>['fields'], check: TypeCheck): RecordType {
  if (fields === undefined) return check.input;
  if (typeof fields === 'string') return check.expression(['fields']);
  const types = fields.map((name, index) => [name, check.expression(['fields', index])] as const);
  return objectType(new Map(types.map(([name, type]) => [name, { type, required: false }])));
}
