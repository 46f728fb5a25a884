import { expect, test } from 'vitest';
import { catalogue } from '../operators/index.ts';
import type { Definition, ExampleRecord, StepDefinition } from '../src/operator.ts';
import { StreamRecord } from '../src/record.ts';
import { Driver } from '../src/testing.ts';
import { loadTopology } from '../src/topology/load.ts';

const examples = catalogue.flatMap((definition) =>
  definition.examples.map((example) => ({
    definition,
    example,
    name: `${definition.kind} ${definition.name}: ${example.title}`,
  })),
);
const record = ({ value, key, time, partition, window }: ExampleRecord, offset: number) =>
  new StreamRecord(
    value,
    key,
    time ?? Number.NaN,
    offset,
    undefined,
    window && { ...window, step: 'before', label: window.end, pane: 'final', seq: 0 },
    partition,
    'in/0',
  );

/** Only what the example speaks of: a step may set more than its page wants to show. */
function shown(found: StreamRecord, wanted: ExampleRecord | undefined): ExampleRecord {
  const { value, key, time, partition, window } = found;
  return {
    value,
    ...(wanted?.key !== undefined && { key: key! }),
    ...(wanted?.time !== undefined && { time }),
    ...(wanted?.partition !== undefined && { partition: partition! }),
    ...(wanted?.window && window && { window: { start: window.start, end: window.end } }),
  };
}

/** A whole topology around one operator, as YAML. */
function topologyOf({ kind, name, keyed }: Definition & { keyed?: boolean }, options: unknown): string {
  const item = { id: 'example', [name]: options };
  const source = { simulate: { time: 'arrival' } };
  const sink = { print: null };
  const items =
    kind === 'source'
      ? [item, sink]
      : kind === 'sink'
        ? [source, item]
        : [source, ...(keyed ? [{ keyBy: 'generatorID' }] : []), item, sink];
  const streams = { example: items };
  return JSON.stringify({ version: 1, name: 'example', streams });
}

function optionsAsRead(definition: Definition, options: unknown): unknown {
  const readFile = () => '{"type":"object"}';
  const text = topologyOf(definition, options);
  const env = Object.fromEntries([...text.matchAll(/\$\{([A-Z_]+)\}/g)].map(([, name]) => [name, 'x']));
  const loaded = loadTopology({ text, file: 'example.yaml' }, { catalogue, env, readFile });
  const step = loaded.plan?.streams[0]?.steps.find(({ id }) => id === 'example');
  // The readings of the simulator have fields of their own; an example may name others, or routes that are not here.
  const problems = loaded.problems.filter(
    ({ code, severity }) =>
      severity !== 'warning' && !['unknown-field', 'type-mismatch', 'unknown-stream'].includes(code),
  );
  expect(problems).toEqual([]);
  if (step) return step.options;
  const { shorthand } = definition;
  return shorthand !== undefined && (typeof options !== 'object' || Array.isArray(options))
    ? { [shorthand]: options }
    : options;
}

test.each(examples)('$name', ({ definition, example }) => {
  const options = optionsAsRead(definition, example.options);
  if (definition.kind !== 'step' || !example.input) return;
  const driver = new Driver(definition as StepDefinition, options).push(...example.input.map(record));
  const output = driver.end();
  expect(output.map((found, index) => shown(found, example.output?.[index]))).toEqual(example.output ?? []);
  expect(driver.rejectedCodes()).toEqual(example.rejected ?? []);
});
