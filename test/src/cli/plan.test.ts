import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { planCommand } from '../../../src/cli/plan.ts';
import { captured } from './captured.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-plan-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The plan of one stream, as text without colours: in it a line tells of the step above. */
async function planOf(steps: string, head = ''): Promise<string[]> {
  const file = join(folder, 't.yaml');
  writeFileSync(file, `version: 1\nname: t\n${head}streams:\n  a:\n${steps}`);
  const { code, stdout, stderr } = await captured(() => planCommand(file, {}));
  expect([code, stderr]).toEqual([0, '']);
  return stdout.replace(/\u001b\[\d+m/g, '').split('\n');
}
const source = (options: string) => `    - kafka: { brokers: "h:1", topic: t, ${options} }\n`;
const influx = '    - influx: { url: "http://h:1", org: o, bucket: b, token: t, measurement: m, tags: [id] }\n';

describe('a plan', () => {
  const mqtt = (time: string) => `    - mqtt: { url: "mqtt://h", topics: [a/+], qos: 1, ${time} }\n`;
  test.each([
    [source('time: kafka'), []],
    [source('time: { field: ts, unit: ms }'), []],
    [source('time: arrival'), ['after a crash too']],
    [source('time: { from: arrival, idle: 5s }'), ['after a crash too']],
    [mqtt('time: arrival'), ['a restart sees the same']],
    ['    - simulate: { count: 1 }\n', []],
  ])('of a source %j says whether its times are others when it is read again', async (given, expected) => {
    const told = (await planOf(`${given}    - print\n`)).filter((line) => line.includes('not replayable: '));
    expect(told.map((line) => /a restart sees the same|after a crash too/.exec(line)?.[0])).toEqual(expected);
  });

  test.each([
    ['latest', ['not replayable']],
    ['event', []],
  ])('of a table that is looked up `asOf: %s` says whether a replay sees the same', async (asOf, expected) => {
    const other = `  b:\n${source('time: kafka, keyedBy: id')}    - keyBy: id\n`;
    const lookup = `    - id: known\n      lookup: { table: b, asOf: ${asOf}, as: site }\n`;
    const lines = await planOf(`${source('time: kafka, keyedBy: id')}    - keyBy: id\n${lookup}    - print\n${other}`);
    expect(lines.map((line) => line.trim().split(':')[0]).filter((line) => line === 'not replayable')).toEqual(
      expected,
    );
  });

  test.each([
    ['', ['at least once', 'effectively once', 'at least once']],
    ['state: { store: kafka }\n', ['exactly once', 'effectively once', 'at least once']],
  ])('with the head `%s` promises of each sink what it can keep', async (head, levels) => {
    const sinks = `    - kafka: { brokers: "h:1", topic: u }\n${influx}    - print\n`;
    const lines = await planOf(source('time: kafka, keyedBy: id') + sinks, head);
    const told = lines.flatMap((line) => /^\s+((?:exactly|effectively|at least) once): /.exec(line)?.[1] ?? []);
    expect(told).toEqual(levels);
  });
});
