import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { influxSink } from '../../operators/influx/index.ts';
import { type OpenSink, Secret, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sinkContext } from '../operators/connector-contexts.ts';
import { needs, servicesFolder } from './services.ts';

const run = promisify(execFile);
const services = needs('INFLUX_URL', 'INFLUX_ORG', 'INFLUX_TOKEN', 'FLUXRUN');

interface Server {
  readonly url: string;
  readonly org: string;
  readonly token: string;
}
const shared: Server = { url: services.INFLUX_URL, org: services.INFLUX_ORG, token: services.INFLUX_TOKEN };

async function api(server: Server, path: string, body?: unknown): Promise<Response> {
  return fetch(`${server.url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Token ${server.token}`, 'content-type': 'application/json', accept: 'application/csv' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
}

async function makeBucket(server: Server): Promise<string> {
  const { orgs } = (await (await api(server, `/api/v2/orgs?org=${server.org}`)).json()) as { orgs: { id: string }[] };
  const name = `influx-test-${randomUUID()}`;
  const made = await api(server, '/api/v2/buckets', { orgID: orgs[0]!.id, name, retentionRules: [] });
  expect(made.status).toBe(201);
  return name;
}

/** Rows of a Flux query: the answer's CSV without its annotations. */
async function query(server: Server, flux: string): Promise<Record<string, string>[]> {
  const response = await api(server, `/api/v2/query?org=${server.org}`, {
    query: flux,
    type: 'flux',
    dialect: { annotations: [] },
  });
  const text = await response.text();
  if (response.status !== 200) throw new Error(text);
  return rowsOf(text);
}

function rowsOf(csv: string): Record<string, string>[] {
  const rows: Record<string, string>[] = [];
  let names: string[] = [];
  // A table ends with an empty line; the next one has its own header.
  for (const line of csv.split('\n').map((text) => text.replace(/\r$/, ''))) {
    if (line === '') names = [];
    else if (line.startsWith('#')) continue;
    else if (names.length === 0) names = line.split(',');
    else rows.push(Object.fromEntries(line.split(',').map((cell, i) => [names[i]!, cell])));
  }
  return rows;
}

function open(
  server: Server,
  bucket: string,
  more: object = {},
  context = sinkContext(systemPorts()),
): Promise<OpenSink> {
  const { url, org, token } = server;
  const options = {
    url,
    org,
    bucket,
    token: new Secret(token),
    measurement: 'genData',
    tags: ['generatorID', 'region'],
    ...more,
  };
  return influxSink.open(options, context);
}

const start = Date.UTC(2024, 0, 1);
const reading = (i: number, fuel: unknown = i, generator = `generator${i % 3}`) =>
  new StreamRecord({ generatorID: generator, region: 'US', fuel, alarm: 'no action' }, generator, start + i * 1000);
const everything = (bucket: string) =>
  `from(bucket: "${bucket}") |> range(start: 2023-01-01T00:00:00Z, stop: 2025-01-01T00:00:00Z)`;
const pivoted = (bucket: string) =>
  `${everything(bucket)} |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group() |> sort(columns: ["_time"])`;

services.describe('with a real InfluxDB', () => {
  test('what was confirmed is read back by Flux with its tags, fields and times, and writing it again changes nothing', async () => {
    const bucket = await makeBucket(shared);
    const sink = await open(shared, bucket);
    const records = Array.from({ length: 50 }, (_, i) => reading(i, i + 0.5));
    for (let i = 0; i < 2; i++) expect(await sink.write(records)).toBeUndefined();
    const rows = await query(shared, pivoted(bucket));
    expect(
      rows.map(({ _time, generatorID, region, fuel, alarm }) => ({ _time, generatorID, region, fuel, alarm })),
    ).toEqual(
      records.map(({ value, time }) => {
        const { generatorID, region, fuel, alarm } = value as Record<string, unknown>;
        return {
          _time: new Date(time).toISOString().replace('.000Z', 'Z'),
          generatorID,
          region,
          fuel: String(fuel),
          alarm,
        };
      }),
    );
  });

  test('each precision stores the same instants', async () => {
    const bucket = await makeBucket(shared);
    for (const precision of ['s', 'ms', 'us', 'ns']) {
      const sink = await open(shared, bucket, { precision, measurement: precision });
      await sink.write([reading(7)]);
    }
    const rows = await query(shared, `${everything(bucket)} |> filter(fn: (r) => r._field == "fuel") |> group()`);
    expect(rows.map(({ _time }) => _time)).toEqual(Array(4).fill('2024-01-01T00:00:07Z'));
  });

  test('points that the server refuses are found and named, all others are stored', async () => {
    const bucket = await makeBucket(shared);
    const sink = await open(shared, bucket);
    await sink.write([reading(0)]); // fuel is a float from now on
    const bad = new Set([3, 4, 500, 999]);
    const refused = await sink.write(Array.from({ length: 1000 }, (_, i) => reading(i, bad.has(i) ? 'a text' : i)));
    expect(refused?.map(({ index }) => index)).toEqual([...bad]);
    expect(refused![0]!.message).toMatch(/^InfluxDB answered 422: .*field type conflict.*"fuel"/);
    const [count] = await query(
      shared,
      `${everything(bucket)} |> filter(fn: (r) => r._field == "fuel") |> group() |> count()`,
    );
    expect(Number(count!['_value'])).toBe(1000 - bad.size);
  });

  test('whatever a record holds, the server takes its line: nothing spoils a request for others', async () => {
    const bucket = await makeBucket(shared);
    const sink = await open(shared, bucket, { tags: ['tag'] });
    const text = fc.oneof(
      fc
        .array(fc.constantFrom(',', '=', ' ', '"', '\\', 'a', '#', '\n', '\t', '\r', '\u0000', 'é', '🙂'), {
          maxLength: 5,
        })
        .map((c) => c.join('')),
      fc.string({ unit: 'binary', maxLength: 8 }),
    );
    const values = fc.sample(fc.record({ tag: text, text, number: fc.double(), flag: fc.boolean() }), {
      numRuns: 2000,
      seed: 5,
    });
    const refused = (await sink.write(values.map((value, i) => new StreamRecord(value, 'k', start + i)))) ?? [];
    // Refused before sending, for reasons of ours; the server never had one to refuse.
    expect(refused.filter(({ message }) => message.startsWith('InfluxDB answered'))).toEqual([]);
    const [count] = await query(
      shared,
      `${everything(bucket)} |> filter(fn: (r) => r._field == "flag") |> group() |> count()`,
    );
    expect(Number(count!['_value'])).toBe(values.length - refused.length);
    expect(refused.length).toBeLessThan(values.length / 2);
  });

  test('a wrong token, an unknown bucket and an unknown organization are told at once', async () => {
    const bucket = await makeBucket(shared);
    await expect(open({ ...shared, token: 'wrong' }, bucket)).rejects.toThrow(
      /answered 401: .* Check `token` of `readings.sink`\.$/,
    );
    await expect(open(shared, 'no-such-bucket')).rejects.toThrow(/there is no bucket `no-such-bucket`/);
    await expect(open({ ...shared, org: 'no-such-org' }, bucket)).rejects.toThrow(/in the organization `no-such-org`/);
  });

  test('the Flux of the case, run by the engine of Flux, says what we say of in-order data', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'penstock-flux-'));
    try {
      // Fuels around the limit, which itself is no alarm.
      const fuels = [500, 499.9, 500.1, 742, 310];
      const rows = Array.from({ length: 60 }, (_, i) => ({
        time: new Date(start + i * 1000).toISOString(),
        id: `generator${i % 5}`,
        fuel: fuels[(i * 7 + Math.floor(i / 5)) % fuels.length]!,
      }));
      const flux = `import "array"
array.from(rows: [${rows.map(({ time, id, fuel }) => `{_time: ${time}, generatorID: "${id}", fuel: float(v: ${fuel})}`).join(',\n')}])
  |> group(columns: ["generatorID"])
  |> last(column: "fuel")
  |> map(fn: (r) => ({r with alarm: if r.fuel < 500.0 then "refuel" else "no action"}))
  |> set(key: "region", value: "US")
  |> group() |> sort(columns: ["generatorID"])`;
      const script = join(folder, 'case.flux');
      await writeFile(script, flux);
      const { stdout } = await run(services.FLUXRUN, [script]);
      const said = rowsOf(stdout.replaceAll(/^#.*\r?\n/gm, '')).map(({ generatorID, fuel, alarm, region }) => [
        generatorID,
        Number(fuel),
        alarm,
        region,
      ]);
      const latest = new Map(rows.map(({ id, fuel }) => [id, fuel]));
      const expected = [...latest].sort().map(([id, fuel]) => [id, fuel, fuel < 500 ? 'refuel' : 'no action', 'US']);
      expect(said).toEqual(expected);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

services.describe('with an InfluxDB of our own that goes down', () => {
  let server: Server;
  let script: (command: string) => Promise<unknown>;

  beforeAll(async () => {
    const port = await freePort();
    const folder = join(tmpdir(), `penstock-influxd-${port}`);
    server = { url: `http://127.0.0.1:${port}`, org: 'ci', token: 'outage-token' };
    const environment = {
      ...process.env,
      INFLUX_PORT: String(port),
      INFLUX_RUN: folder,
      INFLUX_ORG: 'ci',
      INFLUX_TOKEN: server.token,
    };
    // Its output goes nowhere: the server it leaves behind must not hold our pipes.
    script = (command) =>
      new Promise<void>((resolve, reject) => {
        const child = execFile(join(servicesFolder, 'influx.sh'), [command], { env: environment });
        child.once('exit', (code) =>
          code === 0 ? resolve() : reject(new Error(`influx.sh ${command} ended with ${code}`)),
        );
      });
    await script('start');
  }, 120_000);
  afterAll(() => script?.('stop'));

  // A killed process may hold its port for a moment longer.
  async function resume(tries = 20): Promise<void> {
    try {
      await script('resume');
    } catch (error) {
      if (tries === 1) throw error;
      await resume(tries - 1);
    }
  }

  test('every point is there after three outages in the middle of writing', async () => {
    const bucket = await makeBucket(server);
    const context = sinkContext(systemPorts());
    const sink = await open(server, bucket, {}, context);
    let confirmed = 0;
    for (let outage = 1; outage <= 3; outage++) {
      let over = false;
      const down = script('crash')
        .then(() => resume())
        .catch((error) => {
          context.stop.abort();
          throw error;
        })
        .finally(() => {
          over = true;
        });
      down.catch(() => {});
      // Writes go on while the server is killed and until it is back.
      while (!over) {
        const records = Array.from({ length: 200 }, (_, i) => reading(confirmed + i));
        expect(await sink.write(records)).toBeUndefined();
        confirmed += records.length;
      }
      await down;
      const felt = context.log.lines.filter(({ message }) => message.startsWith('InfluxDB does not take writes'));
      expect(felt.length).toBeGreaterThanOrEqual(outage);
    }
    const [count] = await query(
      server,
      `${everything(bucket)} |> filter(fn: (r) => r._field == "fuel") |> group() |> count()`,
    );
    expect(Number(count!['_value'])).toBe(confirmed);
  }, 120_000);
});

// Below the ports that connections get: else a client that retries may meet itself on the port of the server that is down.
async function freePort(): Promise<number> {
  for (;;) {
    const port = 21_000 + Math.floor(Math.random() * 9000);
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}
