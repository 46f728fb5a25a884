import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';

// Schemas of options are our own or an operator author's, and made by a library: to check them again costs a start more than all else.
const options = new Ajv({
  allErrors: true,
  verbose: true,
  strict: false,
  validateFormats: false,
  validateSchema: false,
});
// Schemas of several topologies may bear one `$id`: none is kept.
const ajv = new Ajv({ strict: false, validateFormats: false, logger: false, addUsedSchema: false });
const schemas = new WeakMap<object, ValidateFunction>();

/** All that is wrong with options, by their definition's schema. */
export function optionErrors(schema: object, value: unknown): readonly ErrorObject[] {
  let validate = schemas.get(schema);
  if (!validate) {
    validate = options.compile(schema);
    schemas.set(schema, validate);
  }
  return validate(value) ? [] : [...(validate.errors ?? [])];
}

/** Why a value is no JSON Schema of draft-07; `undefined` when it is one. */
export function schemaProblem(schema: unknown): string | undefined {
  if (typeof schema === 'boolean') return undefined;
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema))
    return 'it is neither a mapping nor true or false.';
  try {
    if (!ajv.validateSchema(schema)) {
      const error = ajv.errors?.[0];
      return `\`${error?.instancePath.slice(1).replaceAll('/', '.') || 'its top level'}\` ${error?.message}.`;
    }
    ajv.compile(schema);
    return undefined;
  } catch (error) {
    return `${(error as Error).message}.`;
  }
}
