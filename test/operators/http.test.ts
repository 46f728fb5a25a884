import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { httpSink } from '../../operators/http/index.ts';
import { type Clock, type OpenSink, RunError, recordId, Secret, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { sinkContext, until } from './connector-contexts.ts';
import { loaded, mqtt } from './topologies.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}
type Reply = number | { status: number; headers?: Record<string, string>; body?: string } | 'hang up' | 'never';

let seen: Seen[];
/** What the server answers; 200 unless a test says otherwise. */
let reply: (request: Seen, response: ServerResponse) => Reply | Promise<Reply>;
let origin: string;
const server = createServer((request, response) => void serve(request, response));

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { method = '', url = '', headers } = request;
  const one = { method, url, headers, body: Buffer.concat(chunks).toString() };
  seen.push(one);
  const answer = await reply(one, response);
  if (answer === 'hang up') request.socket.destroy();
  else if (answer !== 'never') {
    const { status, headers = {}, body = '' } = typeof answer === 'number' ? { status: answer } : answer;
    response.writeHead(status, headers).end(body);
  }
}

beforeEach(async () => {
  seen = [];
  reply = () => 200;
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const records = (...values: unknown[]) =>
  values.map(
    (value, n) => new StreamRecord(value, (value as { k?: string })?.k, 0, n, undefined, undefined, undefined, 'in/0'),
  );

/** An open sink whose pauses take no time and are kept; the time-out of a request comes when `late` says so. */
async function open(options: Record<string, unknown> = {}) {
  const waits: number[] = [];
  const limits: (() => void)[] = [];
  const clock: Clock = {
    now: () => Date.UTC(2026, 0, 1),
    async sleep(ms, signal) {
      if (ms !== 30_000) return void waits.push(ms);
      await new Promise<void>((resolve) => {
        limits.push(resolve);
        signal?.addEventListener('abort', () => resolve());
      });
    },
  };
  const context = { ...sinkContext({ ...systemPorts(), clock, random: () => 0.5 }), recordId };
  const sink: OpenSink = await httpSink.open({ url: `${origin}/in`, ...options } as never, context);
  return { sink, context, waits, late: () => limits.splice(0).forEach((resolve) => void resolve()) };
}

test('sends each record as JSON, with the id by which it can be told, in order', async () => {
  const { sink } = await open();
  expect(await sink.write([...records({ a: 1 }, 'text', Buffer.from([1, 2]))])).toBeUndefined();
  expect(
    seen.map(({ method, url, headers, body }) => [
      method,
      url,
      headers['content-type'],
      headers['idempotency-key'],
      body,
    ]),
  ).toEqual([
    ['POST', '/in', 'application/json', 'in/0/0', '{"a":1}'],
    ['POST', '/in', 'text/plain; charset=utf-8', 'in/0/1', 'text'],
    ['POST', '/in', 'application/octet-stream', 'in/0/2', '\u0001\u0002'],
  ]);
});

describe('the address', () => {
  test('takes values into path and query, and no value changes anything else of it', () =>
    fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: fc.constantFrom('.', '/', '%', '2e', '\\', '@', '?', '#', '\n', 'ä') }),
        async (a, b) => {
          seen = [];
          const { sink } = await open({ url: `${origin}/x/{a}{b}/y?q={b}` });
          const refused = await sink.write(records({ a, b }));
          if (a === '' || b === '' || /^\.{1,2}$/.test(a + b)) {
            expect([refused?.map(({ index }) => index), seen]).toEqual([[0], []]);
            return;
          }
          expect(refused).toBeUndefined();
          const [{ url }] = seen as [Seen];
          const [, x, value, y, ...more] = url.split('?')[0]!.split('/');
          expect([x, decodeURIComponent(value!), y, more]).toEqual(['x', a + b, 'y', []]);
          expect([...new URL(url, origin).searchParams]).toEqual([['q', b]]);
        },
      ),
      {
        numRuns: 60,
        examples: [
          ['.', '.'],
          ['.', 'x'],
          ['%', '2e'],
        ],
      },
    ));

  test.each([
    ['https://{host}/in', /records cannot choose it/],
    ['https://api.example.com{path}', /records cannot choose it/],
    ['https://api.example.com:{port}/', /records cannot choose it/],
    ['ftp://api.example.com/', /begin with/],
    ['https://me:secret@api.example.com/', /user name or password/],
    ['https://api.example.com/a/../{x}', /goes up/],
    ['https://api.example.com/a#{x}', /holds a `#`/],
  ])('%s is refused before anything runs', async (url, message) => {
    const { problems } = loaded(`  a:\n    - ${mqtt('g')}\n    - http: { url: "${url}" }\n`);
    expect(problems.map((problem) => problem.message).join('\n')).toMatch(message);
    expect(JSON.stringify(problems)).not.toContain('secret');
    await expect(open({ url })).rejects.toThrow(message);
  });

  test('one that grows too long is refused', async () => {
    const { sink } = await open({ url: `${origin}/{a}` });
    expect(await sink.write(records({ a: 'x'.repeat(8_000) }))).toMatchObject([{ index: 0 }]);
    expect(await sink.write(records({ a: 'x'.repeat(7_999) }))).toBeUndefined();
  });
});

describe('headers', () => {
  test('take values from the record, but no line end or what no header can hold', async () => {
    const { sink } = await open({ headers: { 'X-Id': 'g-{id}', 'Content-Type': 'application/cloudevents+json' } });
    const refused = await sink.write(
      records({ id: 'a' }, { id: 'a\r\nX-Admin: 1' }, { id: 'ä' }, { id: 'a\0' }, { id: 7 }, {}),
    );
    expect(refused?.map(({ index }) => index)).toEqual([1, 2, 3, 5]);
    expect(seen.map(({ headers }) => [headers['x-id'], headers['content-type'], headers['x-admin']])).toEqual([
      ['g-a', 'application/cloudevents+json', undefined],
      ['g-7', 'application/cloudevents+json', undefined],
    ]);
  });

  test('credentials go along, and stay secret', async () => {
    const { sink } = await open({ token: new Secret('t0k'), secretHeaders: { 'X-API-Key': new Secret('k3y') } });
    await sink.write(records(1));
    expect(seen[0]!.headers).toMatchObject({ authorization: 'Bearer t0k', 'x-api-key': 'k3y' });
    await (await open({ username: 'me', password: new Secret('pä') })).sink.write(records(1));
    expect(seen[1]!.headers.authorization).toBe(`Basic ${Buffer.from('me:pä').toString('base64')}`);
    await expect(open({ token: new Secret('a\nb') })).rejects.toThrow(/`authorization`.*such as a line end/);
    await expect(open({ secretHeaders: { k: new Secret('a\nb') } })).rejects.not.toThrow(/a\nb/);
  });

  test('those of HTTP itself, and two of one name, are refused before anything runs', async () => {
    await expect(open({ headers: { Host: 'x' } })).rejects.toThrow(/set by HTTP itself/);
    await expect(open({ headers: { 'transfer-encoding': 'x' } })).rejects.toThrow(/set by HTTP itself/);
    await expect(open({ token: new Secret('x'), headers: { Authorization: 'x' } })).rejects.toThrow(/set twice/);
    await expect(open({ headers: { 'idempotency-key': 'x' } })).rejects.toThrow(/set twice/);
    await expect(open({ username: 'x' })).rejects.toThrow(/needs both/);
  });

  test('an id holds no more than a header can, and two ids stay two', async () => {
    const { sink } = await open();
    const ids = ['a b', 'a%20b', 'ä\r\n', 'x'.repeat(300), `${'x'.repeat(299)}y`];
    await sink.write(
      ids.map((origin) => new StreamRecord(1, undefined, 0, 0, undefined, undefined, undefined, origin)),
    );
    const sent = seen.map(({ headers }) => headers['idempotency-key'] as string);
    expect(new Set(sent).size).toBe(ids.length);
    for (const id of sent) expect(id).toMatch(/^[\x21-\x7e]{1,255}$/);
  });
});

describe('an answer', () => {
  test.each<[Reply, number[]]>([
    [500, [500]],
    [503, [500]],
    [408, [500]],
    [425, [500]],
    [429, [500]],
    ['hang up', [500]],
    [{ status: 429, headers: { 'retry-after': '7' } }, [7_250]],
    [{ status: 503, headers: { 'retry-after': 'Thu, 01 Jan 2026 00:00:09 GMT' } }, [9_250]],
    [{ status: 503, headers: { 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' } }, [250]],
    [{ status: 503, headers: { 'retry-after': '99999999' } }, [3_600_250]],
    [{ status: 503, headers: { 'retry-after': 'soon' } }, [500]],
  ])('%j means the same request again, after a pause', async (trouble, expected) => {
    const { sink, waits } = await open();
    reply = () => (seen.length === 1 ? trouble : 200);
    expect(await sink.write(records({ a: 1 }))).toBeUndefined();
    expect(waits).toEqual(expected);
    expect(seen[0]).toEqual(seen[1]);
  });

  test('that does not come in time means the request again; pauses grow, and the log tells of it once in a while', async () => {
    const { sink, waits, late, context } = await open();
    reply = () => (seen.length === 1 ? 'never' : seen.length < 30 ? 500 : 200);
    const writing = sink.write(records(1));
    await until(() => seen.length === 1);
    late();
    await writing;
    expect(waits.slice(0, 8)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    expect(context.log.lines.map(({ level }) => level)).toEqual(['warn', 'warn', 'info']);
  });

  test.each([401, 403, 404, 301, 307])('%i ends the run, says where, and follows nothing', async (status) => {
    const { sink } = await open();
    reply = () => ({ status, headers: { location: `${origin}/elsewhere` }, body: 'pri-vate' });
    const writing = sink.write(records({ a: 'pri-vate' }));
    await expect(writing).rejects.toThrow(RunError);
    await expect(writing).rejects.toThrow(`${origin} answered ${status}`);
    await expect(writing).rejects.not.toThrow(/pri-vate/);
    expect(seen).toHaveLength(1);
  });

  test('any other 4xx refuses the record and no other, and so does 404 where the record chose the address', async () => {
    const { sink } = await open();
    const statuses = [400, 200, 405, 409, 410, 413, 422, 204];
    reply = () => statuses[seen.length - 1]!;
    const refused = await sink.write(records(...statuses));
    expect(refused).toEqual(
      [0, 2, 3, 4, 5, 6].map((index) => ({ index, message: `The server answered ${statuses[index]}.` })),
    );
    reply = () => 404;
    const chosen = await open({ url: `${origin}/{id}`, method: 'PUT' });
    expect(await chosen.sink.write(records({ id: 1 }))).toEqual([{ index: 0, message: 'The server answered 404.' }]);
  });

  test('may be as long as it likes: no more than a part is read', async () => {
    const { sink } = await open();
    let sent = 0;
    let closed = false;
    reply = (_request, response) => {
      if (seen.length > 1) return 200;
      response.once('close', () => {
        closed = true;
      });
      response.writeHead(200);
      const endless = function* () {
        for (; !closed && sent < 1 << 30; sent += 1 << 16) yield Buffer.alloc(1 << 16);
      };
      Readable.from(endless()).pipe(response);
      return 'never';
    };
    expect(await sink.write(records(1, 2))).toBeUndefined();
    await until(() => closed);
    expect(sent).toBeLessThan(64 << 20);
  });

  test('a forced end stops the trying', async () => {
    const { sink, context } = await open();
    reply = () => {
      context.stop.abort();
      return 500;
    };
    await expect(sink.write(records(1))).rejects.toThrow(/Stopped before .* had taken 1 records/);
  });
});

describe('batches', () => {
  test('of neighbours with one address are lists or lines', async () => {
    for (const format of ['array', 'ndjson'] as const) {
      seen = [];
      const { sink } = await open({ url: `${origin}/{k}`, batch: { records: 2, format } });
      await sink.write(
        records({ k: 'a', n: 1 }, { k: 'a', n: 2 }, { k: 'a', n: 3 }, { k: 'b', n: 4 }, { k: 'a', n: 5 }),
      );
      const values = seen.map(({ url, body }) => [
        url,
        format === 'array'
          ? JSON.parse(body)
          : body
              .trim()
              .split('\n')
              .map((line) => JSON.parse(line)),
      ]);
      expect(values.map(([url, list]) => [url, list.map(({ n }: { n: number }) => n)])).toEqual([
        ['/a', [1, 2]],
        ['/a', [3]],
        ['/b', [4]],
        ['/a', [5]],
      ]);
      expect(seen[0]!.headers['content-type']).toBe(format === 'array' ? 'application/json' : 'application/x-ndjson');
      expect(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(4);
    }
  });

  test('that are refused are halved until the culprits are alone: all others are written once and in order', () =>
    fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(19), { maxLength: 5 }),
        fc.integer({ min: 1, max: 20 }),
        async (culprits, size) => {
          const written: number[] = [];
          reply = ({ body }) => {
            const values = (JSON.parse(body) as { n: number }[]).map(({ n }) => n);
            if (values.some((n) => culprits.includes(n))) return 422;
            written.push(...values);
            return 200;
          };
          const { sink } = await open({ batch: { records: size } });
          const all = Array.from({ length: 20 }, (_, n) => n);
          const refused = await sink.write(records(...all.map((n) => ({ n }))));
          expect((refused ?? []).map(({ index }) => index)).toEqual([...culprits].sort((a, b) => a - b));
          expect(written).toEqual(all.filter((n) => !culprits.includes(n)));
        },
      ),
      { numRuns: 25 },
    ));
});

test('with concurrency, requests of different keys go at the same time, and those of one key never', async () => {
  const { sink } = await open({ concurrency: 8 });
  const busy = new Map<string, number>();
  const order = new Map<string, number[]>();
  let most = 0;
  const waiting: (() => void)[] = [];
  reply = async ({ body }) => {
    const { k, n } = JSON.parse(body) as { k: string; n: number };
    busy.set(k, (busy.get(k) ?? 0) + 1);
    expect(busy.get(k)).toBe(1);
    most = Math.max(most, [...busy.values()].filter((count) => count > 0).length);
    order.set(k, [...(order.get(k) ?? []), n]);
    await new Promise<void>((resolve) => waiting.push(resolve));
    busy.set(k, 0);
    return 200;
  };
  const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
  const writing = sink.write(records(...Array.from({ length: 30 }, (_, n) => ({ k: keys[n % 6], n }))));
  let done = false;
  void writing.then(() => {
    done = true;
  });
  await until(() => waiting.length > 1, 'two requests at a time');
  while (!done) {
    waiting.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await writing).toBeUndefined();
  expect(most).toBeGreaterThan(1);
  for (const [k, n] of order) expect(n, k).toEqual(n.toSorted((x, y) => x - y));
  expect(seen).toHaveLength(30);
});

test('with concurrency, records without a key do not wait for each other', async () => {
  const { sink } = await open({ concurrency: 3 });
  const waiting: (() => void)[] = [];
  reply = () => new Promise((resolve) => waiting.push(() => resolve(200)));
  const writing = sink.write(records(1, 2, 3));
  await until(() => waiting.length === 3, 'three requests at a time');
  for (const answer of waiting) answer();
  expect(await writing).toBeUndefined();
});

test('promises more where what is sent again changes nothing', () => {
  const level = (options: object) => httpSink.delivery(options as never).level;
  expect(level({ url: 'http://a/{id}', method: 'PUT' })).toBe('effectively once');
  for (const options of [
    { url: 'http://a/{id}' },
    { url: 'http://a/', method: 'PUT' },
    { url: 'http://a/{id}', method: 'PUT', batch: { records: 2 } },
  ])
    expect(level(options)).toBe('at least once');
});
