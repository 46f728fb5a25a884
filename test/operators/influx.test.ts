import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { influxSink } from '../../operators/influx/index.ts';
import { type Clock, Secret, StreamRecord } from '../../src/operator.ts';
import { memoryPorts, seededRandom } from '../../src/ports/memory.ts';
import { settle, sinkContext, until } from './connector-contexts.ts';

/** `silence` lasts until the request times out; `for ever` beyond that. */
type Reply = Response | Error | 'silence' | 'for ever';
const waitsForEver = 'for ever';
const reply = (status: number, message = '', headers = {}) =>
  new Response(status === 204 ? null : JSON.stringify({ message }), { status, headers });
const timeoutMs = 30_000;

/** A sink on a server that is a function, with a clock on which waiting takes no time. */
function fake(answer: (lines: string[], request: { url: string; init: RequestInit }) => Reply, seed = 1) {
  const waits: number[] = [];
  const requests: string[][] = [];
  let now = 0;
  let expire = () => {};
  const clock: Clock = {
    now: () => now,
    sleep: async (ms, signal) => {
      if (ms === timeoutMs) {
        await new Promise<void>((resolve) => {
          expire = resolve;
          signal!.addEventListener('abort', () => resolve());
        });
        return;
      }
      waits.push(ms);
      await settle();
      now += ms;
    },
  };
  const ports = {
    ...memoryPorts(),
    clock,
    random: seededRandom(seed),
    network: {
      connect: () => {
        throw new Error('not here');
      },
      fetch: async (url: string, init: RequestInit) => {
        const body = typeof init.body === 'string' ? init.body : gunzipSync(init.body as Buffer).toString();
        const lines = body === '' ? [] : body.split('\n');
        if (lines.length > 0) requests.push(lines);
        const said = answer(lines, { url, init });
        if (said instanceof Error) throw said;
        if (said !== 'silence' && said !== waitsForEver) return said;
        const cutOff = new Promise<void>((resolve) => init.signal!.addEventListener('abort', () => resolve()));
        if (said === 'silence') expire();
        await cutOff;
        throw init.signal!.reason;
      },
    },
  };
  return { context: sinkContext(ports), waits, requests };
}

const options = {
  url: 'http://127.0.0.1:8086',
  org: 'o',
  bucket: 'b',
  token: new Secret('s3cret'),
  measurement: 'm',
  tags: ['id'],
};
const points = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => new StreamRecord({ id: `g${from + i}`, n: from + i }, 'k', 1000));
const idOf = (line: string) => Number(/id=g(\d+)/.exec(line)![1]);

test('confirms what the server has confirmed, all in one request with token, bucket and precision', async () => {
  let seen: { url: string; init: RequestInit } | undefined;
  const { context, requests } = fake((_, request) => {
    seen = request;
    return reply(204);
  });
  const sink = await influxSink.open({ ...options, url: 'http://127.0.0.1:8086/', bucket: 'a&b' }, context);
  expect(await sink.write(points(3))).toBeUndefined();
  expect(requests).toEqual([['m,id=g0 n=0 1000', 'm,id=g1 n=1 1000', 'm,id=g2 n=2 1000']]);
  expect(seen!.url).toBe('http://127.0.0.1:8086/api/v2/write?org=o&bucket=a%26b&precision=ms');
  expect(seen!.init.headers).toMatchObject({ authorization: 'Token s3cret' });
  expect(seen!.init.redirect).toBe('manual');
});

/** A server with lines it refuses, that fails at random in passing; what it has is keyed as InfluxDB does it. */
function moodyServer(bad: ReadonlySet<number>, kind: 201 | 400 | 413 | 422, moods: readonly Reply[]) {
  const stored = new Map<number, number>();
  let turn = 0;
  const answer = (lines: string[]): Reply => {
    if (lines.length === 0) return reply(204);
    const mood = moods[turn++];
    if (mood) return mood;
    const fine = lines.filter((line) => !bad.has(idOf(line)));
    const refused = fine.length < lines.length;
    // All or nothing for 400 and 413; 422 and 201 store the rest. A point counts as often as it is stored for good.
    if (!refused || kind === 422 || kind === 201) for (const line of fine) stored.set(idOf(line), turn);
    return refused ? reply(kind, 'partial write') : reply(204);
  };
  return { stored, answer };
}
const mood = fc.constantFrom(429, 503, 500, 502, 408, 425, 'reset', 'silence');

test('every good point is stored and every bad one refused by its index, whatever goes wrong on the way', () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 40 }),
      fc.uniqueArray(fc.nat(39), { maxLength: 6 }),
      fc.constantFrom(201 as const, 400 as const, 413 as const, 422 as const),
      fc.array(fc.option(mood, { nil: undefined }), { maxLength: 12 }),
      async (count, badOnes, kind, moods) => {
        const bad = new Set(badOnes.filter((i) => i < count));
        const replies = moods.map((m) =>
          m === 'reset' ? new TypeError('fetch failed') : m === 'silence' ? m : m && reply(m as number),
        );
        const { stored, answer } = moodyServer(bad, kind, replies as Reply[]);
        const { context } = fake(answer);
        const sink = await influxSink.open(options, context);
        const refused = (await sink.write(points(count))) ?? [];
        expect(refused.map(({ index }) => index)).toEqual([...bad].sort((a, b) => a - b));
        for (const { message } of refused) expect(message).toBe(`InfluxDB answered ${kind}: partial write`);
        expect([...stored.keys()].sort((a, b) => a - b)).toEqual(
          points(count)
            .map((_, i) => i)
            .filter((i) => !bad.has(i)),
        );
      },
    ),
    { numRuns: 300 },
  ));

test('points are never sent out of order: an old value cannot land on a newer one', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.option(fc.constantFrom(500, 503, 422), { nil: undefined }), { maxLength: 30 }),
      async (moods) => {
        let turn = 0;
        let value = -1;
        const { context } = fake((lines) => {
          if (lines.length === 0) return reply(204);
          for (const line of lines) value = idOf(line); // even a refused request may have been stored
          const status = moods[turn++];
          return reply(status ?? 204);
        });
        const sink = await influxSink.open(options, context);
        for (let i = 0; i < 5; i++) await sink.write(points(4, 4 * i));
        if (moods.every((m) => m !== 422)) expect(value).toBe(19);
      },
    ),
  ));

test('Retry-After is in seconds, or a date, and pauses for no less', async () => {
  const answers = [
    reply(429, '', { 'retry-after': '2' }),
    reply(503, '', { 'retry-after': new Date(60_000).toUTCString() }),
  ];
  const { context, waits } = fake((lines) => (lines.length > 0 && answers.shift()) || reply(204));
  const sink = await influxSink.open(options, context);
  await sink.write(points(1));
  expect(waits[0]).toSatisfy((ms: number) => ms >= 2000 && ms < 2600);
  expect(waits[1]).toSatisfy((ms: number) => ms >= 57_000 && ms < 58_600);
});

test('pauses grow, are jittered, and never exceed half a minute; an outage is one line in the log now and then', async () => {
  let left = 45;
  const { context, waits } = fake((lines) => (lines.length > 0 && left-- > 0 ? reply(503) : reply(204)));
  const sink = await influxSink.open(options, context);
  await sink.write(points(1));
  expect(waits.length).toBe(45);
  for (const [i, wait] of waits.entries()) expect(wait).toBeLessThanOrEqual(Math.min(30_000, 500 * 2 ** (i + 1)));
  expect(Math.max(...waits)).toBeGreaterThan(20_000);
  expect(new Set(waits).size).toBeGreaterThan(40);
  expect(context.log.lines.map(({ level }) => level)).toEqual(['warn', 'warn', 'warn', 'info']);
});

test('a line that makes the server fail is found and refused, the others are stored', () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 60 }), fc.nat(), fc.boolean(), async (count, pick, two) => {
      const poison = new Set([pick % count, two && count > 3 ? (pick + 1) % count : pick % count]);
      const stored = new Set<number>();
      const { context } = fake((lines) => {
        if (lines.some((line) => poison.has(idOf(line)))) return reply(500, 'internal error');
        for (const line of lines) stored.add(idOf(line));
        return reply(204);
      });
      const sink = await influxSink.open(options, context);
      const refused = (await sink.write(points(count)))!;
      expect(refused.map(({ index }) => index)).toEqual([...poison].sort((a, b) => a - b));
      expect(refused[0]!.message).toMatch(/answers 500 whenever this point is in a request/);
      expect(stored.size).toBe(count - poison.size);
    }),
    { numRuns: 50 },
  ));

test('a server that fails for everything is waited for, however long: no point is refused, and none overtakes', () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 100 }), fc.nat(200), fc.nat(30), async (count, failing, again) => {
      let turn = 0;
      const sent: number[] = [];
      const { context } = fake((lines) => {
        if (lines.length === 0) return reply(204);
        turn++;
        if (turn <= failing || (turn > failing + 3 && turn <= failing + 3 + again)) return reply(500);
        sent.push(...lines.map(idOf));
        return reply(204);
      });
      const sink = await influxSink.open(options, context);
      expect(await sink.write(points(count))).toBeUndefined();
      expect(new Set(sent).size).toBe(count);
      expect(sent.at(-1)).toBe(count - 1);
    }),
  ));

test('a wrong token, a forbidden or unknown bucket, or no InfluxDB at all end the run and say what to check', async () => {
  const cases: [Response, RegExp][] = [
    [
      reply(401, 'unauthorized access'),
      /^InfluxDB at http:\/\/127.0.0.1:8086 answered 401: unauthorized access: it does not know the token. Check `token` of `readings.sink`.$/,
    ],
    [reply(403), /may not write to bucket `b`. Check `token` and `bucket`/],
    [
      reply(404, 'bucket "b" not found'),
      /404: bucket "b" not found: there is no bucket `b` in the organization `o`. Check `bucket`, `org` and `url`/,
    ],
    [
      reply(301, '', { location: 'https://elsewhere/' }),
      /sends us on to https:\/\/elsewhere\/. Put that address into `url`/,
    ],
    [reply(200), /no answer of the write API of InfluxDB 2. Check `version` and `url`/],
    [reply(405), /no answer of the write API/],
  ];
  for (const [response, message] of cases) {
    // Told at once, by an empty write; and when it happens later, by the write itself.
    await expect(influxSink.open(options, fake(() => response.clone()).context)).rejects.toThrow(message);
    const { context } = fake((lines) => (lines.length > 0 ? response : reply(204)));
    const sink = await influxSink.open(options, context);
    await expect(sink.write(points(1))).rejects.toThrow(message);
  }
});

test('a server that is not there yet is no reason to end: writes wait', async () => {
  let up = false;
  const { context } = fake((lines) => {
    if (lines.length > 0) up = true;
    return up ? reply(204) : Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } });
  });
  const sink = await influxSink.open(options, context);
  expect(context.log.lines).toMatchObject([{ level: 'warn', fields: { answer: 'ECONNREFUSED' } }]);
  expect(await sink.write(points(1))).toBeUndefined();
});

test('a forced end stops the retries and says that the points come again', async () => {
  const { context } = fake((lines) => reply(lines.length > 0 ? 503 : 204));
  const sink = await influxSink.open(options, context);
  const writing = sink.write(points(2));
  setImmediate(() => context.stop.abort());
  await expect(writing).rejects.toThrow(/Stopped before InfluxDB at .* had confirmed 2 points .*503/);
});

test('a forced end does not wait for an answer that may never come', async () => {
  const { context } = fake((lines) => (lines.length > 0 ? waitsForEver : reply(204)));
  const sink = await influxSink.open(options, context);
  const writing = sink.write(points(1));
  setImmediate(() => context.stop.abort());
  await expect(writing).rejects.toThrow(/Stopped before InfluxDB/);
});

test('no timer is left behind once a write is answered', async () => {
  const memory = memoryPorts();
  const fetch = async () => reply(204);
  const sink = await influxSink.open(options, sinkContext({ ...memory, network: { ...memory.network, fetch } }));
  await sink.write(points(1));
  expect(memory.clock.sleeping).toBe(0);
});

test('an outage is not taken for a poisoned line by a flood of single lines', async () => {
  let turn = 0;
  const { context, requests } = fake((lines) => (lines.length > 0 && turn++ < 300 ? reply(500) : reply(204)));
  const sink = await influxSink.open(options, context);
  expect(await sink.write(points(2000))).toBeUndefined();
  const whole = requests.filter((lines) => lines.length === 2000).length;
  expect(requests.length - whole).toBeLessThanOrEqual(32 * Math.ceil(300 / 42));
  expect(whole).toBeGreaterThan(60);
});

test('neither token nor payload is in an error, a log line or a refusal', async () => {
  const quoted = `unable to parse 'm,id=g0 secret="it's n=0': missing field value`;
  const { context } = fake((lines) => (lines.length > 0 ? reply(400, quoted) : reply(204)));
  const sink = await influxSink.open(options, context);
  const [refused] = (await sink.write(points(1)))!;
  expect(refused!.message).toBe("InfluxDB answered 400: unable to parse '…': missing field value");
  const broken = { ...options, token: new Secret('s3cret\n') };
  const failed = await influxSink.open(broken, fake(() => reply(204)).context).catch((error: Error) => error.message);
  expect(failed).toBe('The `token` of `readings.sink` holds a character that no token has, such as a line end.');
  const credentials = influxSink.open({ ...options, url: 'http://me:s3cret@host' }, fake(() => reply(204)).context);
  await expect(credentials).rejects.toThrow(
    /^The `url` holds a user name or password, which have options of their own. Check `url` of `readings.sink`.$/,
  );
  for (const line of context.log.lines) expect(JSON.stringify(line)).not.toContain('s3cret');
});

test('records that make no point are refused by index without disturbing the rest', async () => {
  const { context, requests } = fake(() => reply(204));
  const sink = await influxSink.open(options, context);
  const records = [
    points(1)[0]!,
    new StreamRecord({ n: 1 }, 'k', 1),
    points(1, 7)[0]!,
    new StreamRecord({ id: 'x' }, 'k', 1),
  ];
  expect((await sink.write(records))!.map(({ index }) => index)).toEqual([1, 3]);
  expect(requests).toEqual([['m,id=g0 n=0 1000', 'm,id=g7 n=7 1000']]);
  expect(await sink.write([])).toBeUndefined();
  expect(requests.length).toBe(1);
});

test('very large points are spread over several requests', async () => {
  const { context, requests } = fake(() => reply(204));
  const sink = await influxSink.open({ ...options, tags: [] }, context);
  await sink.write(Array.from({ length: 12 }, (_, i) => new StreamRecord({ i, text: 'x'.repeat(1 << 20) }, 'k', i)));
  expect(requests.length).toBe(3);
  expect(requests.flat().length).toBe(12);
});

test('bodies are compressed unless the server is on this machine', async () => {
  for (const [url, encoding] of [
    ['http://127.0.0.1:1', undefined],
    ['http://localhost:1', undefined],
    ['http://[::1]:1', undefined],
    ['https://influx.example', 'gzip'],
    ['http://127.example', 'gzip'],
  ] as const) {
    let headers: Record<string, string> = {};
    const { context, requests } = fake((lines, { init }) => {
      if (lines.length > 0) headers = init.headers as Record<string, string>;
      return reply(204);
    });
    const sink = await influxSink.open({ ...options, url }, context);
    await sink.write(points(100));
    expect(headers['content-encoding']).toBe(encoding);
    expect(requests[0]!.length).toBe(100);
    await sink.write(points(1));
    expect(headers['content-encoding']).toBeUndefined();
  }
});

test('what cannot be a tag or field, and two roles for one name, are found before anything runs', () => {
  const problems: string[] = [];
  const check = {
    input: undefined,
    expression: () => undefined,
    problem: (path: readonly (string | number)[], message: string) =>
      void problems.push(`${path.join('.')}: ${message}`),
  };
  influxSink.type?.({ ...options, url: 'influx:8086', tags: ['id', 'time'], fields: ['id', '_field'] }, check);
  expect(problems).toEqual([
    'url: The `url` begins with `influx:`; expected http: or https:.',
    'tags.1: InfluxDB takes no tag of the name `time`.',
    'fields.1: InfluxDB takes no field of the name `_field`.',
    'fields.0: `id` is a tag already.',
  ]);
  problems.length = 0;
  influxSink.type?.({ ...options, url: 'nowhere' }, check);
  influxSink.type?.(options, check);
  expect(problems).toEqual(['url: The `url` is no address.']);
  expect(influxSink.delivery(options).level).toBe('effectively once');
});

// ---- The same over real sockets, where the client library has its say

test('over real sockets: resets, half answers and a slow server are waited out, and a request without an answer is cut off', async () => {
  const stored: string[] = [];
  let turn = 0;
  let cutOff = false;
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    if (body === '') return response.writeHead(204).end();
    switch (turn++) {
      case 0:
        return request.socket.destroy();
      case 1:
        request.socket.write('HTTP/1.1 20');
        return request.socket.destroy();
      case 2:
        request.socket.once('close', () => {
          cutOff = true;
        });
        return; // never answers
      default:
        stored.push(...body.split('\n'));
        return response.writeHead(204).end();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const memory = memoryPorts();
  const context = sinkContext({ ...memory, network: { ...memory.network, fetch } });
  const { port } = server.address() as AddressInfo;
  try {
    const sink = await influxSink.open({ ...options, url: `http://127.0.0.1:${port}` }, context);
    let done = false;
    const writing = sink.write(points(3)).then((refused) => {
      done = true;
      return refused;
    });
    await until(() => {
      // The clock stands still while a request is under way, but for the one that is never answered.
      if (memory.clock.sleeping > 0 && (turn === 1 || turn === 2 || turn === 3)) memory.clock.advance(5000);
      return done;
    });
    expect(await writing).toBeUndefined();
    expect(stored.map(idOf)).toEqual([0, 1, 2]);
    await until(() => cutOff);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test.each([
  [
    { version: 1, bucket: 'db', retentionPolicy: 'week', username: 'me', password: new Secret('pä:ss') },
    '/write?db=db&precision=ms&rp=week',
    `Basic ${Buffer.from('me:pä:ss').toString('base64')}`,
  ],
  [{ version: 1, bucket: 'db', precision: 's', token: new Secret('t') }, '/write?db=db&precision=s', 'Token t'],
  [{ version: 1, bucket: 'db' }, '/write?db=db&precision=ms', undefined],
  [
    { version: 3, bucket: 'd b', precision: 'us', token: new Secret('t') },
    '/api/v3/write_lp?db=d+b&precision=microsecond',
    'Bearer t',
  ],
])('each version has its own address and way in: %j', async (given, target, authorization) => {
  const seen: { url: string; authorization: string | undefined }[] = [];
  const { context } = fake((_, { url, init }) => {
    seen.push({ url, authorization: (init.headers as Record<string, string>)['authorization'] });
    return reply(204);
  });
  const sink = await influxSink.open({ url: options.url, measurement: 'm', ...given } as never, context);
  await sink.write(points(1));
  expect(seen).toEqual(Array(2).fill({ url: `${options.url}${target}`, authorization }));
});

test('InfluxDB 1.x stores the good lines of a request with bad ones, and says 200 to an empty one: neither loses a point', async () => {
  const stored = new Set<number>();
  const { context } = fake((lines) => {
    if (lines.length === 0) return reply(200);
    for (const id of lines.map(idOf)) if (id !== 3) stored.add(id);
    return lines.some((line) => idOf(line) === 3) ? reply(400, 'partial write: field type conflict') : reply(204);
  });
  const sink = await influxSink.open({ ...given1, token: new Secret('t') } as never, context);
  expect((await sink.write(points(9)))?.map(({ index }) => index)).toEqual([3]);
  expect([...stored].sort()).toEqual([0, 1, 2, 4, 5, 6, 7, 8]);
});
const given1 = { url: options.url, version: 1, bucket: 'db', measurement: 'm', tags: ['id'] };

test('a wrong password and an absent database of InfluxDB 1.x end the run and name what to check', async () => {
  const open = (status: number) =>
    influxSink.open(
      { ...given1, username: 'me', password: new Secret('s3cret') } as never,
      fake(() => reply(status)).context,
    );
  await expect(open(401)).rejects.toThrow(
    /the user or the password. Check `username` and `password` of `readings.sink`/,
  );
  await expect(open(404)).rejects.toThrow(
    /no database `db`, or this is no InfluxDB 1. Check `bucket`, `version` and `url`/,
  );
  await expect(open(200)).resolves.toBeDefined();
});
