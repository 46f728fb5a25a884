import { connect, createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { postgresSink } from '../../operators/postgres/index.ts';
import { type OpenSink, RunError, Secret, StreamRecord } from '../../src/operator.ts';
import { sinkContextForTest, until } from '../conformance/harness.ts';
import { needs } from './services.ts';

const { describe, POSTGRES_URL, POSTGRES_CA } = needs('POSTGRES_URL', 'POSTGRES_CA');

describe('postgres', () => {
  const { hostname, port, pathname, username, password } = new URL(POSTGRES_URL || 'postgres://a:b@c:1/d');
  const url = `postgres://${hostname}:${port}${pathname}`;
  const schema = `t${process.pid}_${Date.now()}`;
  const admin = postgres(POSTGRES_URL, { max: 1, onnotice: () => undefined });
  const opened: OpenSink[] = [];

  beforeAll(async () => {
    await admin.unsafe(`CREATE SCHEMA ${schema}`);
    await admin.unsafe(`SET search_path TO ${schema}`);
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((sink) => sink.close()));
  });
  afterAll(async () => {
    await admin.unsafe(`DROP SCHEMA ${schema} CASCADE`);
    await admin.end();
  });

  /** Makes a table and opens a sink to it. */
  async function open(columns: string, options: Record<string, unknown> = {}, table = `t${opened.length}`, ports = {}) {
    if (columns !== '') {
      await admin.unsafe(`DROP TABLE IF EXISTS "${table.replaceAll('"', '""')}"`);
      await admin.unsafe(`CREATE TABLE "${table.replaceAll('"', '""')}" (${columns})`);
    }
    const { context, log, abort } = sinkContextForTest(ports);
    const all = { url, username, password: new Secret(password), schema, table, ...options };
    const sink = await postgresSink.open(all as never, context);
    opened.push(sink);
    const rows = async (order = '1') =>
      (await admin.unsafe(`SELECT * FROM "${table.replaceAll('"', '""')}" ORDER BY ${order}`)).map((row) => ({
        ...row,
      }));
    return { sink, rows, log, abort };
  }
  const records = (...values: unknown[]) =>
    values.map((value, n) => new StreamRecord(value, undefined, Date.UTC(2026, 0, 1), n));
  const indexes = (refused: Awaited<ReturnType<OpenSink['write']>>) =>
    (refused ?? []).map(({ index }) => index).sort((a, b) => a - b);

  test('appends rows, each value in the type of its column; a field that is missing takes the default', async () => {
    const types =
      "id serial, n int, x float8, big bigint, at timestamptz, b bytea, j jsonb, l int[], t text DEFAULT 'none', u uuid";
    const { sink, rows } = await open(types);
    const one = {
      n: 1,
      x: Number.NaN,
      big: 2n ** 60n,
      at: '2026-01-01T00:00:00Z',
      b: Buffer.from([0, 255]),
      j: { a: [1, null] },
      l: [1, 2],
      t: 'it\'s "ä" \\ {x}',
      u: '00000000-0000-0000-0000-000000000001',
    };
    expect(await sink.write(records(one, { n: 2 }, { n: null, t: null }))).toBeUndefined();
    const none = { x: null, big: null, at: null, b: null, j: null, l: null, u: null };
    expect(await rows()).toEqual([
      { id: 1, ...one, big: String(2n ** 60n), at: new Date('2026-01-01') },
      { id: 2, ...none, n: 2, t: 'none' },
      { id: 3, ...none, n: null, t: null },
    ]);
  });

  test('whatever tables, columns and values are called, they are names and values and nothing else', async () => {
    const odd = `x"; DROP TABLE t0; --`;
    const { sink, rows } = await open(`"a""b" text PRIMARY KEY, "select" text`, { key: ['a"b'] }, odd);
    await sink.write(records({ 'a"b': `'; DROP TABLE t0; --`, select: '$1' }));
    expect(await rows()).toEqual([{ 'a"b': `'; DROP TABLE t0; --`, select: '$1' }]);
  });

  test('with a key, any course of rows and deletions leaves what it would leave one by one; what is refused changes nothing', async () => {
    const { sink, rows } = await open('k int PRIMARY KEY, a int CHECK (a < 9), b int', {
      key: ['k'],
      deleteWhen: 'has(event.d)',
      tombstones: true,
    });
    // Few keys, and many rows that the server refuses, which other rows come before.
    const change = fc.record(
      {
        k: fc.nat(1),
        a: fc.constantFrom(1, 2, 3, 9, 'no number'),
        b: fc.nat(3),
        kind: fc.constantFrom('put', 'put', 'put', 'put', 'delete', 'dead'),
      },
      { requiredKeys: ['k', 'kind'] },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 12 }), { maxLength: 3 }), async (batches) => {
        await admin.unsafe('TRUNCATE t0');
        const model = new Map<number, { k: number; a: unknown; b: unknown }>();
        for (const batch of batches) {
          const given = batch.map(({ kind, ...row }, n) =>
            kind === 'dead'
              ? new StreamRecord(null, row.k, 0, n)
              : new StreamRecord(kind === 'delete' ? { ...row, d: true } : row, undefined, 0, n),
          );
          for (const [n, { value, key }] of given.entries()) {
            const { k, a, b } = (value ?? { k: key }) as { k: number; a?: unknown; b?: unknown };
            if (batch[n]!.kind !== 'put') model.delete(k);
            else if (a === undefined || (typeof a === 'number' && a < 9)) {
              const before = model.get(k) ?? { a: null, b: null };
              model.set(k, { k, a: a ?? before.a, b: b ?? before.b });
            }
          }
          await sink.write(given);
        }
        expect(await rows()).toEqual([...model.values()].sort((x, y) => x.k - y.k));
      }),
      { numRuns: 60 },
    );
  });

  test('rows that the server refuses are found, all others are written, and no message quotes a value', async () => {
    const { sink, rows } = await open('k text PRIMARY KEY, n int NOT NULL, c int CHECK (c < 5)', { key: ['k'] });
    const good = Array.from({ length: 300 }, (_, n) => ({ k: `g${n}`, n, c: 1 }));
    const bad = [
      { k: 'b0', n: 'se-cret', c: 1 },
      { k: 'b1', n: null, c: 1 },
      { k: 'b2', n: 1, c: 7 },
      { k: 'b\0', n: 1, c: 1 },
      { n: 1, c: 1 },
      { k: 'b5', n: 1, c: 1, other: 1 },
      { k: 'b6', n: 99999999999, c: 1 },
      'se-cret',
    ];
    const all = [...good];
    for (const [n, one] of bad.entries()) all.splice(n * 31, 0, one as never);
    const refused = await sink.write(records(...all));
    expect(indexes(refused)).toEqual(bad.map((_, n) => n * 31));
    expect(JSON.stringify(refused)).not.toMatch(/se-cret/);
    expect(refused!.toSorted((a, b) => a.index - b.index).map(({ message }) => /\((\w{5})/.exec(message)?.[1])).toEqual(
      ['22P02', '23502', '23514', '22P05', undefined, '42703', '22003', undefined],
    );
    expect(await rows()).toHaveLength(good.length);
  });

  test('keys that are one to the server and two to us are written in order all the same', async () => {
    const { sink, rows } = await open('at timestamptz PRIMARY KEY, n int', { key: ['at'] });
    const times = [
      '2026-01-01T00:00:00Z',
      '2026-01-01T01:00:00+01:00',
      '2026-01-01 00:00:00.000Z',
      '2026-01-02T00:00:00Z',
    ];
    expect(await sink.write(records(...times.map((at, n) => ({ at, n }))))).toBeUndefined();
    expect((await rows()).map(({ n }) => n)).toEqual([2, 3]);
  });

  test('columns name what is written; the time of the record and its id have columns of their own', async () => {
    const { sink, rows } = await open('id text UNIQUE, at timestamptz, fuel int, region text', {
      columns: { fuel: 'f', region: 'site.region' },
      idColumn: 'id',
      timeColumn: 'at',
    });
    const given = records({ f: 1, site: { region: 'US' }, id: 'x', other: 1 }, { f: 2 });
    for (let n = 0; n < 2; n++) expect(await sink.write(given)).toBeUndefined();
    expect(indexes(await sink.write([new StreamRecord({ f: 3 }, undefined, Number.NaN, 9)]))).toEqual([0]);
    const at = new Date('2026-01-01');
    expect(await rows()).toEqual([
      { id: 'id-0', at, fuel: 1, region: 'US' },
      { id: 'id-1', at, fuel: 2, region: null },
    ]);
  });

  test.each([
    ['another password', { password: new Secret('wrong') }, /28P01.*Check `username` \(test\) and `password`/],
    ['another database', { url: `postgres://${hostname}:${port}/nowhere` }, /3D000.*Check the database/],
    ['another table', { table: 'nothing' }, /there is no table `nothing` .*Check `table`/],
    ['another column', { columns: { nothing: 'a' } }, /42703.*Check `table`/],
    ['a key without a constraint', { key: ['a'] }, /42P10.*unique constraint/],
  ])('%s ends the run plainly as it starts', async (_what, options, message) => {
    await open('a int', {}, 'there');
    const opening = open('', { table: 'there', ...options });
    await expect(opening).rejects.toThrow(RunError);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.not.toThrow(/wrong|test-secret/);
  });

  test('a lost connection and a server that is away are waited for, and no row is lost', async () => {
    const gateway = await Gateway.start(Number(port));
    const { sink, rows, log } = await open('k int PRIMARY KEY', {
      url: `postgres://127.0.0.1:${gateway.port}${pathname}`,
      key: ['k'],
    });
    await sink.write(records({ k: 1 }));
    gateway.cut();
    expect(await sink.write(records({ k: 2 }))).toBeUndefined();
    await gateway.stop();
    const writing = sink.write(records({ k: 3 }));
    await until('it says that it waits', () => log.lines.some((line) => line.startsWith('warn')));
    await gateway.listen();
    expect(await writing).toBeUndefined();
    expect(await rows()).toEqual([{ k: 1 }, { k: 2 }, { k: 3 }]);
    await gateway.stop();
  });

  test('a connection on which nothing is answered any more is given up for a new one', async () => {
    const gateway = await Gateway.start(Number(port));
    const limits: (() => void)[] = [];
    // The time of a statement is over when the test says so; pauses take none.
    const clock = {
      now: () => 0,
      sleep: (ms: number) => (ms > 30_000 ? new Promise<void>((resolve) => limits.push(resolve)) : Promise.resolve()),
    };
    const viaGateway = { url: `postgres://127.0.0.1:${gateway.port}${pathname}`, key: ['k'] };
    const { sink, rows } = await open('k int PRIMARY KEY', viaGateway, 't0', { clock });
    gateway.mute();
    const writing = sink.write(records({ k: 1 }));
    await until('it waits for an answer', () => limits.length === 2);
    limits[1]!();
    expect(await writing).toBeUndefined();
    expect(await rows()).toEqual([{ k: 1 }]);
    await gateway.stop();
  });

  test('a server that is away as the run starts is waited for, and a forced end stops the waiting', async () => {
    const gateway = await Gateway.start(Number(port));
    await gateway.stop();
    const { sink, log, abort } = await open('k int', { url: `postgres://127.0.0.1:${gateway.port}${pathname}` });
    expect(log.lines).toEqual([expect.stringMatching(/^warn: PostgreSQL cannot be reached yet/)]);
    const writing = sink.write(records({ k: 1 }));
    writing.catch(() => undefined);
    await until('it waits', () => log.lines.length === 2);
    abort.abort();
    await expect(writing).rejects.toThrow(/Stopped before PostgreSQL .* had taken 1 rows/);
  });

  test('a lock that lasts is waited out', async () => {
    const { sink, rows, log } = await open('k int PRIMARY KEY', { key: ['k'], timeout: '200ms' });
    let release!: () => void;
    let locking!: Promise<unknown>;
    await new Promise<void>((locked) => {
      locking = admin.begin(async (sql) => {
        await sql.unsafe('LOCK TABLE t0');
        locked();
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      });
    });
    const writing = sink.write(records({ k: 1 }));
    await until('a statement has been broken off', () => log.lines.length > 0);
    release();
    expect(await writing).toBeUndefined();
    await locking;
    expect(await rows()).toEqual([{ k: 1 }]);
    expect(log.lines.map((line) => line.slice(0, 4))).toEqual(['warn', 'info']);
  });

  test('speaks TLS, and only with a server that it can trust', async () => {
    const { sink, rows } = await open('n int', {
      tls: { ca: POSTGRES_CA },
    });
    await admin.unsafe(
      'CREATE OR REPLACE FUNCTION uses_ssl() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() $$',
    );
    await admin.unsafe(`ALTER TABLE t0 ADD COLUMN used boolean DEFAULT ${schema}.uses_ssl()`);
    await sink.write(records({ n: 1 }));
    expect(await rows()).toEqual([{ n: 1, used: true }]);
    await expect(open('a int', { tls: {} }, 'trust')).rejects.toThrow(/no authority that is trusted here/);
  });
});

/** Stands before the server, and can be away. */
class Gateway {
  port = 0;
  readonly #to: number;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;

  static async start(to: number): Promise<Gateway> {
    const gateway = new Gateway(to);
    await gateway.listen();
    return gateway;
  }

  private constructor(to: number) {
    this.#to = to;
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => {
      const other = connect(this.#to, '127.0.0.1');
      for (const one of [socket, other]) this.#open.add(one.on('error', () => undefined));
      socket.pipe(other).pipe(socket);
    });
    this.#server = server;
    await new Promise<void>((resolve) => void server.listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as { port: number }).port;
  }

  /** What is open stays so, and nothing comes through any more. */
  mute(): void {
    for (const socket of this.#open) socket.unpipe().pause();
  }

  cut(): void {
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve));
    this.cut();
    await closed;
  }
}
