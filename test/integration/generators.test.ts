import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, Penstock } from './penstock-process.ts';
import { needs } from './services.ts';

const {
  describe,
  KAFKA_BROKERS,
  KAFKA_CLASSPATH,
  MQTT_URL,
  INFLUX_URL,
  INFLUX_ORG,
  INFLUX_BUCKET,
  INFLUX_TOKEN,
  FLUXRUN,
} = needs(
  'KAFKA_BROKERS',
  'KAFKA_CLASSPATH',
  'MQTT_URL',
  'INFLUX_URL',
  'INFLUX_ORG',
  'INFLUX_BUCKET',
  'INFLUX_TOKEN',
  'FLUXRUN',
);
const run = promisify(execFile);
const topology = new URL('../../topologies/generators.yaml', import.meta.url).pathname;

// Half an hour of readings, at a time of its own in each run, so that runs on one broker do not meet.
const minutes = 30;
const start = Math.floor((Date.now() - (1 + Math.random() * 300) * 86_400_000) / 60_000) * 60_000;
const seed = String(Math.floor(Math.random() * 1e9));
const count = minutes * 60 * 3;
const lastTime = start + (minutes * 60 - 1) * 1_000;
/** Windows that event time has closed: their end, 30 s of lateness and 5 s of disorder have passed. */
const closed = Array.from({ length: minutes }, (_, i) => start + i * 60_000).filter(
  (s) => s + 60_000 + 35_000 <= lastTime,
);

interface Result {
  readonly generatorID: string;
  readonly ts: number;
  readonly fuel: number;
  readonly alarm: string;
  readonly region: string;
  readonly [field: string]: unknown;
}
interface KafkaRow {
  readonly partition: number;
  readonly id: string;
  readonly key: string;
  readonly value: Result;
}

/** Kafka's own Java client reads the topic from its beginning. */
async function readByJava(): Promise<KafkaRow[]> {
  const args = [
    '-cp',
    KAFKA_CLASSPATH,
    'org.apache.kafka.tools.consumer.ConsoleConsumer',
    '--bootstrap-server',
    KAFKA_BROKERS,
  ];
  const properties = ['print.key', 'print.partition', 'print.headers'].flatMap((name) => [
    '--formatter-property',
    `${name}=true`,
  ]);
  const { stdout } = await run(
    'java',
    [...args, '--topic', 'kafka_downsampled', '--from-beginning', '--timeout-ms', '4000', ...properties],
    { maxBuffer: 1 << 28 },
  );
  return stdout
    .split('\n')
    .filter(Boolean)
    .flatMap((line) => {
      const [partition, headers, key, value] = line.split('\t');
      const id = /penstock-id:([^,]+)/.exec(headers ?? '')?.[1] ?? '';
      const row = {
        partition: Number(partition!.replace('Partition:', '')),
        id,
        key: key!,
        value: JSON.parse(value!) as Result,
      };
      return row.value.ts >= start && row.value.ts <= lastTime ? [row] : [];
    });
}

/** The partitions that Kafka's own Java producer picks for these keys in a topic of six. */
async function javaPartitions(keys: readonly string[]): Promise<Map<string, number>> {
  const code = `
    import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
    public class P { public static void main(String[] a) { for (String k : a)
      System.out.println(k + " " + BuiltInPartitioner.partitionForKey(k.getBytes(java.nio.charset.StandardCharsets.UTF_8), 6)); } }`;
  const folder = mkdtempSync(join(tmpdir(), 'penstock-java-'));
  writeFileSync(join(folder, 'P.java'), code);
  const { stdout } = await run('java', ['-cp', KAFKA_CLASSPATH, join(folder, 'P.java'), ...keys]);
  rmSync(folder, { recursive: true });
  return new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.split(' ')[0]!, Number(line.split(' ')[1])]),
  );
}

async function flux(script: string): Promise<Record<string, string>[]> {
  const response = await fetch(`${INFLUX_URL}/api/v2/query?org=${encodeURIComponent(INFLUX_ORG)}`, {
    method: 'POST',
    headers: {
      authorization: `Token ${INFLUX_TOKEN}`,
      'content-type': 'application/vnd.flux',
      accept: 'application/csv',
    },
    body: script,
  });
  if (!response.ok) throw new Error(await response.text());
  return rows(await response.text());
}

function rows(csv: string): Record<string, string>[] {
  return csv.split(/\r?\n\r?\n/).flatMap((table) => {
    const [header, ...lines] = table.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#'));
    const names = header?.split(',') ?? [];
    return lines.map((line) => Object.fromEntries(line.split(',').map((cell, i) => [names[i] ?? '', cell])));
  });
}

describe('the whole case on real services', () => {
  let folder: string;
  let results: KafkaRow[];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'penstock-case-'));
    const env = { KAFKA_BROKERS, MQTT_URL, INFLUX_URL, INFLUX_ORG, INFLUX_BUCKET, INFLUX_TOKEN };
    const penstock = new Penstock(
      ['run', topology, '--state', join(folder, 'state'), '--checkpoint', '1s', '--json'],
      env,
    ).start();
    await eventually(
      () => penstock.stderr.includes('Subscribed'),
      30_000,
      () => penstock.stderr,
    );
    const simulation = [
      'simulate',
      '--url',
      MQTT_URL,
      '--generators',
      '3',
      '--count',
      String(count),
      '--fast',
      '--seed',
      seed,
    ];
    const simulate = new Penstock([...simulation, '--start', new Date(start).toISOString()]).start();
    expect([await simulate.exit, simulate.stderr]).toEqual([0, expect.stringContaining(`${count} written`)]);
    const log = () => penstock.stderr;
    // The journal is read in order: when the last reading is through, everything before it is.
    await eventually(async () => (await readByJava()).length >= closed.length * 3, 60_000, log);
    expect(await penstock.signal('SIGTERM')).toBe(0);
    const status = JSON.parse(penstock.stdout.trim().split('\n').at(-1)!) as {
      steps: Record<string, { in: number; rejected: number; late: number }>;
    };
    expect(status.steps['latest']).toMatchObject({ in: count, rejected: 0, late: 0 });
    results = await readByJava();
  }, 180_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('writes each generator once a minute to Kafka, keyed by it, in the partition that the Java client picks', async () => {
    expect(results.length).toBe(closed.length * 3);
    const partitions = await javaPartitions(['generator1', 'generator2', 'generator3']);
    for (const { key, partition, id, value } of results) {
      expect(key).toBe(value.generatorID);
      expect(partition).toBe(partitions.get(key));
      expect(id).toBe(`latest/${key}/${Math.floor(value.ts / 60_000) * 60_000}`);
      expect(value.region).toBe('US');
      expect(value.alarm).toBe(value.fuel < 500 ? 'refuel' : 'no action');
    }
    expect(new Set(results.map(({ value }) => value.alarm))).toEqual(new Set(['refuel', 'no action']));
  });

  test('writes the same to InfluxDB: tags, fields, and the time of the chosen reading', async () => {
    const found = await flux(`from(bucket: "${INFLUX_BUCKET}")
      |> range(start: ${new Date(start).toISOString()}, stop: ${new Date(lastTime + 1).toISOString()})
      |> filter(fn: (r) => r._measurement == "genData" and r.region == "US")
      |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
      |> group()`);
    const shown = (list: unknown[][]) => list.map((row) => row.join(' ')).sort();
    const fields = ['alarm', 'fuel', 'lat', 'lon', 'power', 'load', 'temperature', 'pressure'];
    expect(found.length).toBe(results.length);
    expect(
      shown(found.map((r) => [r['generatorID'], r['region'], Date.parse(r['_time']!), ...fields.map((f) => r[f])])),
    ).toEqual(shown(results.map(({ value: v }) => [v.generatorID, v.region, v.ts, ...fields.map((f) => v[f])])));
  });

  test('gives what the Flux task gives on the same readings, value by value', async () => {
    // The readings once more, by the same seed, now for the Flux engine, window by window as the task ran every minute.
    const file = join(folder, 'raw.yaml');
    const raw = join(folder, 'raw.jsonl');
    writeFileSync(
      file,
      `version: 1
name: raw
streams:
  raw:
    - simulate: { generators: 3, count: ${count}, seed: ${seed}, realTime: false, start: "${new Date(start).toISOString()}" }
    - file: ${raw}
`,
    );
    expect(await new Penstock(['run', file, '--state', join(folder, 'raw')]).start().exit).toBe(0);
    const { readFileSync } = await import('node:fs');
    const readings = readFileSync(raw, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Result);
    expect(readings.length).toBe(count);
    const columns = ['fuel', 'lat', 'lon', 'temperature', 'pressure', 'load', 'power'];
    const literal = (value: unknown) => (Number.isInteger(value) ? `${String(value)}.0` : String(value));
    const row = (r: Result) =>
      `{_time: ${new Date(r.ts).toISOString()}, generatorID: "${r.generatorID}", ${columns.map((c) => `${c}: ${literal(r[c])}`).join(', ')}}`;
    const script = join(folder, 'task.flux');
    writeFileSync(
      script,
      `import "array"
array.from(rows: [${readings.map(row).join(',\n')}])
  |> group(columns: ["generatorID"])
  |> range(start: ${new Date(start).toISOString()}, stop: ${new Date(start + minutes * 60_000).toISOString()})
  |> window(every: 1m)
  |> last(column: "fuel")
  |> map(fn: (r) => ({r with alarm: if r.fuel < 500.0 then "refuel" else "no action"}))
  |> set(key: "region", value: "US")
  |> group()
  |> keep(columns: ["_time", "generatorID", "alarm", "region", ${columns.map((c) => `"${c}"`).join(', ')}])`,
    );
    const { stdout } = await run(FLUXRUN, [script], { maxBuffer: 1 << 28 });
    const byFlux = rows(stdout)
      .map((r) =>
        [r['generatorID'], Date.parse(r['_time']!), r['alarm'], r['region'], ...columns.map((c) => Number(r[c]))].join(
          ' ',
        ),
      )
      .filter((line) => closed.includes(Math.floor(Number(line.split(' ')[1]) / 60_000) * 60_000))
      .sort();
    const ours = results
      .map(({ value: v }) => [v.generatorID, v.ts, v.alarm, v.region, ...columns.map((c) => v[c])].join(' '))
      .sort();
    expect(ours).toEqual(byFlux);
  }, 120_000);
});
