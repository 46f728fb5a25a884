import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { type ExampleRecord, type StepDefinition, StreamRecord } from '../../src/operator.ts';
import { Driver } from '../../src/testing.ts';
import { loadTopology } from '../../src/topology/load.ts';
import { type Row, rows, without } from './table.ts';

const source = '{ kafka: { brokers: "b:9092", topic: t, time: kafka } }';

function ran({ step, input }: Row): ExampleRecord[] {
  const text = `version: 1\nname: t\nstreams:\n  a:\n    - ${source}\n    - ${step}\n    - print\n`;
  const { plan, problems } = loadTopology({ text, file: 't.yaml' }, { catalogue });
  expect(problems).toEqual([]);
  const { operator, options } = plan!.streams[0]!.steps[1]!;
  const definition = catalogue.find(({ kind, name }) => kind === 'step' && name === operator) as StepDefinition;
  const { value, key, time, meta } = input;
  const driver = new Driver(definition, options);
  driver.push(new StreamRecord(value, key, time ?? Number.NaN, 0, meta));
  const output = driver.end();
  expect(driver.rejectedCodes()).toEqual([]);
  return output.map((found) => ({
    value: found.value,
    ...(found.key !== undefined && { key: found.key }),
    ...(!Number.isNaN(found.time) && { time: found.time }),
    ...(found.meta && { meta: found.meta }),
  }));
}

test.each(rows)('$smt: $step', (row) => {
  const { time, meta } = row.input;
  // What a row does not speak of stays.
  const kept = { ...(time !== undefined && { time }), ...(meta && { meta }) };
  const key = row.input.key === undefined ? {} : { key: row.input.key };
  expect(ran(row)).toEqual(row.output === null ? [] : [{ ...kept, ...key, ...row.output }]);
});

// In the order of its documentation.
const ofConnect =
  'Cast DropHeaders ExtractField Filter Flatten HeaderFrom HoistField InsertField InsertHeader MaskField RegexRouter ReplaceField SetSchemaMetadata TimestampConverter TimestampRouter ValueToKey HasHeaderKey RecordIsTombstone TopicNameMatches';

test('each transform and predicate of Connect has its row, and each row is one line', () => {
  const named = [...rows, ...without].map(({ smt }) => smt.replace('predicate ', '').replace(/\W.*/, ''));
  expect([...new Set(named)].sort()).toEqual(ofConnect.split(' ').sort());
  expect(rows.filter(({ step }) => step.includes('\n'))).toEqual([]);
});

test('the page says what the rows say', async () => {
  const shown = ({ value, key, time, meta }: ExampleRecord) => `\`${JSON.stringify({ key, time, value, meta })}\``;
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const lines = rows.map(({ smt, does, step, input, output, note = '' }) =>
    [`**${smt}**: ${does}`, `\`${step}\``, shown(input), output === null ? 'nothing' : shown(output), note]
      .map(cell)
      .join(' | '),
  );
  const page = `# From Kafka Connect

What the single message transforms of Kafka Connect do, as one step each. Made from \`test/smt/table.ts\`, and each row is run; after a change: \`npx vitest run test/smt -u\`.

| Transform | Step | In | Out | |
| --- | --- | --- | --- | --- |
${lines.map((line) => `| ${line} |`).join('\n')}

Without a counterpart:

${without.map(({ smt, why }) => `- **${smt}.** ${why}`).join('\n')}
`;
  await expect(page).toMatchFileSnapshot('../../operators/SMT.md');
});
