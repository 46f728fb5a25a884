import { defineStep, type JsonSchema, jsonSchema, TopologyError, Type } from '../../src/operator.ts';
import { BadSchema, compileSchema } from './schema.ts';

const options = Type.Object(
  {
    schema: jsonSchema({
      description:
        'JSON Schema (draft-07) that every record must satisfy: a file beside the topology, or the schema itself.',
      examples: ['./generator.schema.json'],
    }),
    refs: Type.Optional(
      Type.Record(Type.String(), jsonSchema({ description: 'A schema.' }), {
        description: 'Schemas that a `$ref` of `schema` may name, by their URI. Nothing is ever fetched.',
      }),
    ),
  },
  { additionalProperties: false },
);

/** Passes the records that satisfy a JSON Schema, and rejects the others with every reason. */
export const validate = defineStep({
  name: 'validate',
  summary: 'Passes only the records that satisfy a JSON Schema (draft-07).',
  details: `A record that does not is rejected with \`schema-violation\`: the message names the field, what it is and what is expected; \`reasons\` lists
all that is wrong with it (the first one only for very large records). Steps after it know the record's type, so \`lint\` finds
misspelt fields. Formats are checked. \`pattern\` runs in linear time, as RE2: look-ahead and back-references are refused when the topology is read.
A record nested too deeply for the schema is rejected as well. The schema never changes a record: \`default\` adds nothing.`,
  options,
  shorthand: 'schema',
  examples: [
    {
      title: 'A reading must have fuel, and it must be a number',
      options: {
        schema: {
          type: 'object',
          properties: { generatorID: { type: 'string' }, fuel: { type: 'number' } },
          required: ['generatorID', 'fuel'],
        },
      },
      input: [
        { value: { generatorID: 'g1', fuel: 480, load: 3 } },
        { value: { generatorID: 'g1', fuel: '480' } },
        { value: { fuel: 3 } },
      ],
      output: [{ value: { generatorID: 'g1', fuel: 480, load: 3 } }],
      rejected: ['schema-violation', 'schema-violation'],
    },
  ],
  type(given, check) {
    try {
      compileSchema(given.schema, given.refs);
    } catch (error) {
      if (!(error instanceof BadSchema)) throw error;
      check.problem(['schema'], error.message, error.hint);
    }
    return given.schema;
  },
  create({ schema, refs }: { schema: JsonSchema; refs?: Record<string, JsonSchema> }) {
    const validator = compiled(schema, refs);
    const { accepts } = validator;
    return {
      onRecord(record, step) {
        let accepted: boolean;
        try {
          accepted = accepts(record.value);
        } catch (error) {
          // The schema refers to itself, and the record goes deeper than the stack.
          if (!(error instanceof RangeError)) throw error;
          step.reject(record, 'schema-violation', 'The record is nested too deeply to be checked against the schema.');
          return;
        }
        if (accepted) {
          step.emit(record);
          return;
        }
        const reasons = validator.reasons(record.value);
        const more = reasons.length > 1 ? ` (and ${reasons.length - 1} more)` : '';
        step.reject(
          record,
          'schema-violation',
          `${reasons[0]?.message ?? 'The record does not satisfy the schema.'}${more}`,
          reasons,
        );
      },
    };
  },
});

function compiled(schema: JsonSchema, refs: Record<string, JsonSchema> | undefined) {
  try {
    return compileSchema(schema, refs);
  } catch (error) {
    if (!(error instanceof BadSchema)) throw error;
    throw new TopologyError([{ code: 'bad-schema', message: error.message, hint: error.hint }]);
  }
}
