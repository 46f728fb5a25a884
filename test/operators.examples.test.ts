import { expect, test } from 'vitest';
import { catalogue } from '../operators/index.ts';
import type { Definition, Example, ExampleRecord, StepDefinition } from '../src/operator.ts';
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
const record = ({ value, key, time, partition, meta, window }: ExampleRecord, offset: number) =>
  new StreamRecord(
    value,
    key,
    time ?? Number.NaN,
    offset,
    meta,
    window && { ...window, step: 'before', label: window.end, pane: 'final', seq: 0 },
    partition,
    'in/0',
  );

/** Only what the example speaks of: a step may set more than its page wants to show. */
function shown(found: StreamRecord, wanted: ExampleRecord | undefined): ExampleRecord {
  const { value, key, time, partition, meta, window } = found;
  return {
    value,
    ...(wanted?.key !== undefined && { key: key! }),
    ...(wanted?.time !== undefined && { time }),
    ...(wanted?.partition !== undefined && { partition: partition! }),
    ...(wanted?.meta && meta && { meta }),
    ...(wanted?.window && window && { window: { start: window.start, end: window.end } }),
  };
}

/** A whole topology around one operator, as YAML. */
function topologyOf(definition: Definition, { options, ...example }: Example): string {
  const { kind, name } = definition;
  const { keyed, ends } = definition as Partial<StepDefinition>;
  const item = { id: 'example', [name]: options };
  const source = { simulate: { time: 'arrival' } };
  const sink = { print: null };
  const items =
    kind === 'source'
      ? [item, sink]
      : kind === 'sink'
        ? [source, item]
        : [source, ...(keyed ? [{ keyBy: 'generatorID' }] : []), item, ...(ends?.(options as never) ? [] : [sink])];
  // What an example's further inputs come from: all of them need a key and a time.
  const others = [...new Set((example.input ?? []).flatMap(({ stream }) => stream ?? []))];
  const read = others.map((stream) => [stream, [source, { keyBy: 'generatorID' }]]);
  const streams = { example: items, ...Object.fromEntries(read) };
  return JSON.stringify({ version: 1, name: 'example', streams });
}

function optionsAsRead(definition: Definition, example: Example): unknown {
  const { options, code } = example;
  // Functions, which no YAML holds.
  if (code !== undefined) return options;
  const readFile = () => '{"type":"object"}';
  const text = topologyOf(definition, example);
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
  const options = optionsAsRead(definition, example);
  if (definition.kind !== 'step' || !example.input) return;
  const driver = new Driver(definition as StepDefinition, options);
  for (const [index, given] of example.input.entries()) {
    if (given.stream === undefined) driver.push(record(given, index));
    else driver.pushInput(given.stream, record(given, index));
  }
  const sent = new Map<string | undefined, readonly StreamRecord[]>([[undefined, driver.end()], ...driver.routed]);
  const wanted = example.output ?? [];
  const streams = new Set([...sent.keys(), ...wanted.map(({ stream }) => stream)]);
  for (const stream of streams) {
    const here = wanted.filter((one) => one.stream === stream);
    const found = (sent.get(stream) ?? []).map((one, index) => shown(one, here[index]));
    expect(found).toEqual(here.map(({ stream: _, ...rest }) => rest));
  }
  expect(driver.rejectedCodes()).toEqual(example.rejected ?? []);
});
