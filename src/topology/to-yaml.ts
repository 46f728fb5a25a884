import { stringify } from 'yaml';
import type { Definition } from '../operator.ts';
import { Secret } from '../secret.ts';
import { bufferToOptions } from './buffer-options.ts';
import { onErrorToOptions } from './error-options.ts';
import type { Plan, PlanStep } from './plan.ts';
import { stateToOptions } from './state-options.ts';
import { isFreeForm } from './stream-reader.ts';
import { alternatives, childSchemas, type OptionSchema } from './values.ts';

/**
 * Writes a plan as YAML that gives the same plan again. Throws a TypeError for what YAML cannot hold: functions, and secrets, which
 * are never written anywhere.
 */
export function toYaml(plan: Plan, catalogue: readonly Definition[]): string {
  const streams = plan.streams.map(({ name, from, steps }) => [
    name,
    [
      ...(from.length > 0 ? [{ from: from.length === 1 ? from[0] : from }] : []),
      ...steps.map((step) => item(step, catalogue)),
    ],
  ]);
  const { version, name, description, state, delivery } = plan;
  const top = {
    version,
    name,
    ...(description !== undefined && { description }),
    ...onErrorToOptions(plan),
    ...(state !== undefined && { state: stateToOptions(state) }),
    ...(delivery !== undefined && { delivery }),
  };
  return stringify(
    { ...top, streams: Object.fromEntries(streams) },
    { lineWidth: 0, blockQuote: false, aliasDuplicateObjects: false, version: '1.2' },
  );
}

function item(step: PlanStep, catalogue: readonly Definition[]) {
  const { kind, id, operator, options, description, when, late } = step;
  const definition = catalogue.find((one) => one.kind === kind && one.name === operator);
  if (!definition) throw new TypeError(`The plan names ${kind} \`${operator}\`, which is not in the catalogue.`);
  const schema = definition.options as OptionSchema;
  const written = escaped(options, alternatives(schema), id);
  const withLate = late === undefined || isFreeForm(definition) ? written : { ...(written as object), late };
  return {
    id,
    ...(description !== undefined && { description }),
    ...(when !== undefined && { when: escaped(when, [], id) }),
    [operator]: withLate,
    ...onErrorToOptions(step),
    ...(step.buffer && { buffer: bufferToOptions(step.buffer) }),
  };
}

function escaped(value: unknown, shapes: readonly OptionSchema[], id: string): unknown {
  if (typeof value === 'function') {
    const wayOut = shapes.some(({ format }) => format === 'function')
      ? 'Keep the topology in TypeScript, or make an operator of it (`defineStep`).'
      : 'Write it as an expression.';
    throw new TypeError(`\`${id}\` holds a function, which YAML cannot. ${wayOut}`);
  }
  if (value instanceof Secret)
    throw new TypeError(`\`${id}\` holds a secret, which is never written. Take it from \`\${secret:file/…}\`.`);
  // Schemas are read as they stand: nothing is filled into them.
  if (shapes.some(({ format }) => format === 'json-schema')) return value;
  if (typeof value === 'string') return value.replace(/\$(?=[{$])/g, '$$$$');
  if (Array.isArray(value)) {
    return value.map((one) =>
      escaped(
        one,
        shapes.flatMap(({ items }) => alternatives(items as OptionSchema | undefined)),
        id,
      ),
    );
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name, escaped(one, childSchemas(shapes, name), id)]),
  );
}
