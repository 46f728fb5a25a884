import { Environment } from '@marcbachmann/cel-js';
import { allowMixedLists, registerFunctions } from './functions.ts';

/** Names that mean something else than a field of the record. */
export const variables: ReadonlySet<string> = new Set(['event', 'key', 'time', 'window', 'meta']);

/** Names of CEL's own types. */
export const typeNames: readonly string[] = 'int uint double bool string bytes list map null_type type'.split(' ');

/** The environment that expressions run in: the record as it is, of unknown type. */
export const runEnvironment = createBase()
  .registerVariable('event', 'dyn')
  .registerVariable('key', 'dyn')
  .registerVariable('time', 'dyn')
  .registerVariable('window', 'dyn')
  .registerVariable('meta', 'dyn');

const checkBase = createBase();
allowMixedLists(checkBase);

/** A schema as cel-js takes it: field name to type name or nested schema. */
export type CelSchema = { [field: string]: string | CelSchema };

/** The environment that an expression is type-checked in, once. */
export function checkEnvironment(event: string | CelSchema): Environment {
  const environment = checkBase.clone();
  if (typeof event === 'string') environment.registerVariable('event', event);
  else environment.registerVariable({ name: 'event', schema: event });
  return environment
    .registerVariable('key', 'dyn')
    .registerVariable('time', 'double')
    .registerVariable({
      name: 'window',
      schema: { start: 'double', end: 'double', label: 'double', pane: 'string', seq: 'double', step: 'string' },
    })
    .registerVariable({ name: 'meta', schema: { topic: 'string', headers: 'dyn', retained: 'bool', route: 'string' } });
}

/** Signatures of all functions by name, to say what a call should have been. */
export function signatures(name: string): string[] {
  const { functions } = checkBase.getDefinitions();
  return functions.filter((f) => f.name === name).map((f) => f.signature);
}

/** Names of all functions, to find the one that was meant. */
export function functionNames(): Set<string> {
  return new Set(
    checkBase
      .getDefinitions()
      .functions.map((f) => f.name)
      .filter((name) => !name.startsWith('__')),
  );
}

function createBase(): Environment {
  const environment = new Environment({
    homogeneousAggregateLiterals: false,
    enableOptionalTypes: true,
    limits: { maxAstNodes: 10_000, maxDepth: 100 },
  });
  registerFunctions(environment);
  return environment;
}
