import { describe, expect, test } from 'vitest';
import { catalogue } from '../../../operators/index.ts';
import { testFiles } from '../../../src/cli/test-command.ts';
import { describeResults } from '../../../src/cli/test-report.ts';

const head = `version: 1
name: t
streams:
  readings:
    - mqtt: { url: "\${MQTT_URL}", topics: "a/{id}", time: { field: ts, unit: ms, idle: 10s } }
    - keyBy: id
    - id: latest
      windowLast: { every: 1m }
    - print: json
tests:
`;
const run = (tests: string) => testFiles([{ text: head + tests, file: 't.yaml' }], catalogue);
const env = 'env: { MQTT_URL: "mqtt://x" }';
const fed = 'feed: { readings: [{ topic: a/b, value: { ts: 1767268800000, n: 1 } }] }';

describe('penstock test', () => {
  test('a sink or dead letter that a test does not speak of must stay empty', async () => {
    const { results } = await run(
      `  - { name: sink, ${env}, ${fed}, expect: {} }\n  - { name: dead, ${env}, feed: { readings: [x] }, expect: { readings: [] } }\n`,
    );
    expect(results.map(({ passed, differences }) => [passed, differences.map(({ output }) => output)])).toEqual([
      [false, ['readings.print']],
      [false, ['deadLetters']],
    ]);
  });
  test('`end: false` leaves windows open, until the clock has moved far enough', async () => {
    const clock = (steps: string, out: string) =>
      `  - { name: clock, ${env}, ${fed}, end: false, steps: [${steps}], expect: { readings: [${out}] } }\n`;
    const one = '{ key: b, value: { ts: 1767268800000, n: 1, id: b } }';
    const { results } = await run(clock('', '') + clock('clock: 9s', '') + clock('clock: 11s', one));
    expect(results.map(({ passed }) => passed)).toEqual([true, true, true]);
  });
  test('a crash, a restart and an end lead to the same results', async () => {
    const one = '{ ts: 1767268800000, n: 1, id: b }';
    const after = (steps: string) =>
      `  - { name: s, ${env}, ${fed}, steps: [${steps}], expect: { readings: [${one}] } }\n`;
    const all = ['crash', 'restart', 'checkpoint, crash', 'clock: 11s, crash', 'end: true', 'crash, restart, crash'];
    const { results } = await run(all.map(after).join(''));
    expect(describeResults(results, false)).toContain(`${all.length} passed`);
  });
  test('reads no variable but the test’s own, and says which one is missing', async () => {
    const { results, problems } = await run(`  - { name: x, ${fed}, expect: {} }\n`);
    expect([results, problems.map(({ code }) => code)]).toEqual([[], ['unset-variable']]);
  });
  test('what is wrong in a test is told with its place, and nothing runs', async () => {
    const { results, problems } = await run(
      `  - nam: x
    feed: { reading: [{ topci: a/b, payload: x }] }
    steps: [crsh, { clock: 5 }, { end: true }, crash]
    expect: { readings.prin: [{ value: 1, like: 2 }], readings: 4 }
    ${env}
  - 7
`,
    );
    expect(results).toEqual([]);
    expect(problems.map(({ code, place }) => `${place?.line}:${place?.column} ${code}`)).toEqual([
      '11:5 unknown-key',
      '11:5 missing-key',
      '12:13 unknown-stream',
      '12:25 unknown-key',
      '13:13 bad-value',
      '13:28 bad-value',
      '13:48 misplaced-step',
      '14:15 unknown-stream',
      '14:49 bad-value',
      '14:65 wrong-type',
      '16:5 wrong-type',
    ]);
    expect(problems.map(({ message }) => message).join(' ')).toMatch(
      /`name`\?.*`readings`\?.*`topic`\?.*`crash`\?.*`readings.print`\?/,
    );
  });
  test('shows the fields that differ, and lets nothing act on the terminal', async () => {
    const { results } = await run(
      `  - name: "no\\e[31m"\n    ${env}\n    ${fed}\n    expect: { readings: [{ ts: 1767268800000, n: 2, id: b }] }\n`,
    );
    const shown = describeResults(results, false);
    expect(shown).toContain('        - n: 2\n        + n: 1\n');
    expect(shown).toContain('✗');
    expect(shown).toMatch(/t\.yaml:11\n/);
    expect(shown).not.toContain('\u001b');
  });
});
