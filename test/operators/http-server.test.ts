import { createHmac } from 'node:crypto';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { httpServerSource } from '../../operators/http-server/index.ts';
import { Repetitions } from '../../operators/http-server/repetitions.ts';
import { compilePath, linesOf } from '../../operators/http-server/request.ts';
import { type Journal, type JournalRecord, RawRecord, RunError, Secret } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { journalFolder, openForTest, pull, type SourceRun, type SourceSetup, until } from '../conformance/harness.ts';
import { loaded } from './topologies.ts';

let folder: Awaited<ReturnType<typeof journalFolder>>;
const runs: SourceRun[] = [];
beforeEach(async () => {
  folder = await journalFolder();
});
afterEach(async () => {
  await Promise.all(runs.splice(0).map((run) => run.stop()));
  await folder.remove();
});

/** An open source, and a way to send to it. */
async function open(options: Record<string, unknown> = {}, setup: Partial<SourceSetup> = {}) {
  const all = { listen: '127.0.0.1:0', path: '/readings/{id}', ...options };
  const run = await openForTest(httpServerSource, all, { directory: folder.path, ...setup });
  runs.push(run);
  const origin = /at (http:\/\/[^/]+)/.exec(run.log.lines.join('\n'))![1]!;
  const send = (body: string | Buffer, headers: Record<string, string> = {}, path = '/readings/g1', method = 'POST') =>
    fetch(origin + path, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(method !== 'GET' && { body }),
    });
  const status = async (...args: Parameters<typeof send>) => (await send(...args)).status;
  return { run, send, status, port: Number(new URL(origin).port), partition: run.partitions.get('0')! };
}

/** A journal that stores when the test says so, and says how much waits. */
function slowJournal() {
  const slow = {
    waiting: [] as (() => void)[],
    pendingBytes: 0,
    journal: (journal: Journal): Journal => ({
      append: async (record: JournalRecord) => {
        await new Promise<void>((resolve) => slow.waiting.push(resolve));
        return journal.append(record);
      },
      get pendingBytes() {
        return slow.pendingBytes;
      },
      get begin() {
        return journal.begin;
      },
      get end() {
        return journal.end;
      },
      read: (...args) => journal.read(...args),
      trim: (offset) => journal.trim(offset),
      close: () => journal.close(),
    }),
  };
  return slow;
}

const hmac = (secret: string, text: string | Buffer, encoding: 'hex' | 'base64' = 'hex') =>
  createHmac('sha256', secret).update(text).digest(encoding);

describe('a request', () => {
  test('is answered only once it is durable, and then it is read with its path, fields and listed headers', async () => {
    const slow = slowJournal();
    const options = { query: ['site', 'none'], headers: ['X-Kind'], remoteAddress: true };
    const { send, partition } = await open(options, slow);
    let answered = false;
    const sent = send('{"fuel":1}', { 'X-Kind': 'a', 'X-Other': 'b' }, '/readings/g%201?site=n%C3%B6&other=1').then(
      (response) => {
        answered = true;
        return response;
      },
    );
    await until('it waits for the disk', () => slow.waiting.length === 1);
    expect(answered).toBe(false);
    slow.waiting[0]!();
    expect((await sent).status).toBe(202);
    const raw = new RawRecord();
    (await partition.pull({ records: 1, bytes: 1 }))!.read(0, raw);
    expect(raw.data.toString('utf8', raw.start, raw.end)).toBe('{"fuel":1}');
    expect(raw.captures).toEqual({ id: 'g 1', site: 'nö' });
    expect(raw.meta).toEqual({
      topic: '/readings/g%201',
      headers: { 'x-kind': 'a', 'remote-address': '127.0.0.1' },
    });
  });

  test('of lines is one record for each, all with one answer', async () => {
    const { status, partition } = await open({ maxPayload: '20B' });
    const body = `{"a":1}\r\n\n{"a":"${'x'.repeat(20)}"}\n{"a":3}\n{"a":"${'y'.repeat(12)}"}`;
    expect(await status(body, { 'content-type': 'application/x-ndjson; charset=utf-8' })).toBe(202);
    const records = await pull(partition, 4);
    expect(records.map(({ text, refused, offset }) => [text.slice(0, 7), refused, offset])).toEqual([
      ['{"a":1}', undefined, 0],
      ['{"a":"x', 'payload-too-large', 1],
      ['{"a":3}', undefined, 2],
      // As long as it may be.
      ['{"a":"y', undefined, 3],
    ]);
  });

  test.each<[number, string, Parameters<Awaited<ReturnType<typeof open>>['send']>]>([
    [404, 'another path', ['1', {}, '/other/g1']],
    [404, 'a path of more levels', ['1', {}, '/readings/g1/x']],
    [404, 'a path without its captured level', ['1', {}, '/readings/']],
    [404, 'a path that is no UTF-8', ['1', {}, '/readings/%ff']],
    [405, 'another method', ['1', {}, '/readings/g1', 'GET']],
    [415, 'another content type', ['1', { 'content-type': 'application/xml' }]],
    [415, 'a compressed body', ['1', { 'content-encoding': 'gzip' }]],
    [413, 'a large body', ['x'.repeat(101)]],
    [400, 'an empty body', ['']],
    [400, 'lines with nothing in them', ['\n\r\n', { 'content-type': 'application/jsonl' }]],
  ])('is answered with %i for %s, and nothing is kept', async (expected, _what, args) => {
    const { run, status, partition } = await open({ maxBody: '100B' });
    expect(await status(...args)).toBe(expected);
    expect(await status('x'.repeat(100))).toBe(202);
    expect((await pull(partition, 1))[0]!.text).toBe('x'.repeat(100));
    expect(run.journals[0]!.end).toBe(1);
  });

  test('that does not say how large it is, is still cut off at the limit', async () => {
    const { port, status } = await open({ maxBody: '100B' });
    const answer = await raw(
      port,
      `POST /readings/g1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${'32\r\n'.padEnd(54, 'x')}\r\n`.concat(
        `${'33\r\n'.padEnd(55, 'x')}\r\n`,
      ),
    );
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(await status('1')).toBe(202);
  });

  test('that breaks off is dropped, and the source still closes', async () => {
    const { run, port } = await open();
    const socket = connect(port, '127.0.0.1');
    socket.write(
      'POST /readings/g1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a"',
    );
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.resetAndDestroy();
    await until('it is counted', () => run.log.lines.some((line) => line.startsWith('warn')));
    await run.stop();
    expect(run.journals[0]!.end).toBe(0);
  });

  test('that never comes to its end is answered with 408 after the time it may take', async () => {
    const { port } = await open({ timeout: '100ms' });
    const head =
      'POST /readings/g1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{';
    expect(await raw(port, head)).toMatch(/^HTTP\/1.1 408 /);
  });
});

/** Sends bytes and gives what comes back before the first answer ends or the connection does. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(''));
  });
}

describe('who may send', () => {
  test('a token is asked for, whole and right', async () => {
    const { status, send } = await open({ token: new Secret('s3cret') });
    const statuses = ['Bearer s3cret', 'bearer s3cret', 'Bearer s3cre', 'Bearer s3cret2', 'Basic s3cret', 's3cret', ''];
    const answers = await Promise.all(statuses.map((authorization) => status('1', { authorization })));
    expect(answers).toEqual([202, 202, 401, 401, 401, 401, 401]);
    expect((await send('1')).headers.get('www-authenticate')).toBe('Bearer');
  });

  test('a signature of the body is checked, in the forms in which GitHub and Shopify send it', async () => {
    const { status, run } = await open({ signature: { header: 'X-Sig', secret: new Secret('k') } });
    const good = hmac('k', '{"a":1}');
    const cases: [string | undefined, number][] = [
      [`sha256=${good}`, 202],
      [good, 202],
      [hmac('k', '{"a":1}', 'base64'), 202],
      [`sha1=${good}`, 401],
      [hmac('k', '{"a":2}'), 401],
      [hmac('l', '{"a":1}'), 401],
      [good.slice(0, -2), 401],
      ['', 401],
      [undefined, 401],
    ];
    for (const [signature, expected] of cases) {
      expect(await status('{"a":1}', signature === undefined ? {} : { 'x-sig': signature }), signature).toBe(expected);
    }
    expect(run.journals[0]!.end).toBe(3);
  });

  test('a signature with a time is good for as long as it is fresh, as Stripe sends it', async () => {
    const signature = { header: 'X-Sig', secret: new Secret('k'), form: 'timestamped', tolerance: '10s' };
    const clock = { ...systemPorts().clock, now: () => 1_000_000_000 };
    const { status } = await open({ signature }, { ports: { clock } });
    const signed = (seconds: number, body = '1') => `t=${seconds},v1=${hmac('k', `${seconds}.${body}`)}`;
    const cases: [string, number][] = [
      [signed(1_000_000), 202],
      [`t=1000000,v1=00,v0=1,v1=${hmac('k', '1000000.1')}`, 202],
      [signed(999_990), 202],
      [signed(999_989), 401],
      [signed(1_000_011), 401],
      [signed(1_000_000, '2'), 401],
      [signed(1_000_000).replace('t=1000000', 't=1000001'), 401],
      [`v1=${hmac('k', '1')}`, 401],
    ];
    for (const [header, expected] of cases) expect(await status('1', { 'x-sig': header }), header).toBe(expected);
  });

  test('an address for others is refused without anything that asks who is there', () => {
    const problems = (options: string) =>
      loaded(`  a:\n    - httpServer: { ${options} }\n    - print: {}\n`).problems.map(
        ({ severity, message }) => `${severity ?? 'error'} ${message}`,
      );
    expect(problems('listen: "0.0.0.0:80"')).toEqual([expect.stringMatching(/^error Anybody/)]);
    expect(problems('listen: "[::]:80"')).toEqual([expect.stringMatching(/^error Anybody/)]);
    expect(problems('listen: "0.0.0.0:80", token: x')).toEqual([expect.stringMatching(/^warning .*the token/)]);
    expect(problems('listen: "10.0.0.1:80", tls: { cert: ./a, key: ./b }')).toEqual([]);
    for (const own of ['127.0.0.1:80', '127.1.2.3:1', '[::1]:80', 'localhost:80'])
      expect(problems(`listen: "${own}"`)).toEqual([]);
    for (const none of ['example.com:80', '127.0.0.1', ':80', '127.0.0.1:65536', '::1:80', '127.evil.com:80'])
      expect(problems(`listen: "${none}"`), none).toEqual([expect.stringMatching(/^error .*no address/)]);
    expect(problems('path: "/a/{b}c"')).toEqual([expect.stringMatching(/captures no whole level/)]);
    expect(problems('path: "/{a}/{a}"')).toEqual([expect.stringMatching(/captured twice/)]);
    expect(problems('path: "/{a}", query: [a]')).toEqual([expect.stringMatching(/captured twice/)]);
  });

  test('a listening address that is taken ends the run by its name', async () => {
    const { port } = await open();
    const second = openForTest(httpServerSource, { listen: `127.0.0.1:${port}` }, { directory: `${folder.path}/2` });
    await expect(second).rejects.toThrow(RunError);
    await expect(second).rejects.toThrow(`127.0.0.1:${port}: another program listens there`);
  });
});

describe('back-pressure', () => {
  test('too much that waits for the disk is answered with 503 and a time to come again', async () => {
    const slow = slowJournal();
    const { send, run } = await open({}, slow);
    slow.pendingBytes = (16 << 20) + 1;
    const answer = await send('1');
    expect([answer.status, Number(answer.headers.get('retry-after'))]).toEqual([503, expect.any(Number)]);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(slow.waiting).toEqual([]);
    slow.pendingBytes = 0;
    const sent = send('2');
    await until('it is taken again', () => slow.waiting.length === 1);
    slow.waiting[0]!();
    expect((await sent).status).toBe(202);
    expect(run.journals[0]!.end).toBe(1);
  });

  test('what has been answered no longer counts', async () => {
    const { status } = await open();
    // More in all than may wait at a time.
    for (let n = 0; n < 18; n++) expect(await status(Buffer.alloc(1 << 20, 'x'))).toBe(202);
  });

  test('a request whose record is not durable in time, and one that waits when the run ends, are told to come again', async () => {
    const slow = slowJournal();
    const { status } = await open({ timeout: '50ms' }, slow);
    expect(await status('1')).toBe(503);
    const other = slowJournal();
    const ending = await open({}, { ...other, directory: `${folder.path}/2` });
    const sent = ending.status('1');
    await until('it waits', () => other.waiting.length === 1);
    const stopped = ending.run.source.close();
    expect(await sent).toBe(503);
    await stopped;
  });

  test('a journal that cannot be written ends the run, and the sender is told to come again', async () => {
    const journal = (whole: Journal) => ({
      ...slowJournal().journal(whole),
      append: async () => Promise.reject(new RunError('broken')),
    });
    const { run, status } = await open({}, { journal });
    expect(await status('1')).toBe(503);
    expect(run.failures.map(({ message }) => message)).toEqual(['broken']);
  });
});

describe('a request that comes again under its key', () => {
  test('is taken once, also while the first still waits', async () => {
    const slow = slowJournal();
    const { status, run } = await open({ idempotency: {} }, slow);
    const key = { 'Idempotency-Key': 'k1' };
    const sent = [status('1', key), status('1', key)];
    await until('one waits', () => slow.waiting.length === 1);
    slow.waiting[0]!();
    expect(await Promise.all([...sent, status('1', key)])).toEqual([202, 202, 202]);
    expect(slow.waiting).toHaveLength(1);
    const others = [status('1', { 'Idempotency-Key': 'k2' }), status('1')];
    await until('two more wait', () => slow.waiting.length === 3);
    for (const release of slow.waiting) release();
    expect(await Promise.all(others)).toEqual([202, 202]);
    expect(run.journals[0]!.end).toBe(3);
  });

  test('is refused without one where it is required, and with one that is too long', async () => {
    const { status } = await open({ idempotency: { header: 'X-Id', required: true } });
    expect(await status('1')).toBe(400);
    expect(await status('1', { 'x-id': 'k'.repeat(256) })).toBe(400);
    expect(await status('1', { 'x-id': 'k'.repeat(255) })).toBe(202);
  });

  test('is known for the window and no longer, up to a number of keys, and not when it could not be stored', () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), wait: fc.nat(6) }), { maxLength: 30 }),
        (most, requests) => {
          const repetitions = new Repetitions(5, most);
          let model: { key: string; at: number }[] = [];
          let now = 0;
          for (const { key, wait } of requests) {
            now += wait;
            let stored = false;
            void repetitions.once(key, now, () => {
              stored = true;
              return Promise.resolve();
            });
            model = model.filter(({ at }) => now - at < 5).slice(-most);
            // One more would be too many: the oldest makes room before it is looked for.
            if (model.length >= most) model = model.slice(model.length - most + 1);
            const known = model.some((entry) => entry.key === key);
            if (!known) model.push({ key, at: now });
            expect(stored).toBe(!known);
          }
        },
      ),
    ));

  test('is taken again after it could not be stored', async () => {
    const repetitions = new Repetitions(1_000, 10);
    await expect(repetitions.once('a', 0, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await repetitions.once('a', 0, () => Promise.resolve('yes'))).toBe('yes');
  });
});

test('after a restart reading goes on behind the checkpoint, and what it holds is trimmed', async () => {
  const first = await open();
  for (const body of ['1', '2', '3']) expect(await first.status(body)).toBe(202);
  const batch = await first.partition.pull({ records: 2, bytes: 1_000 });
  await first.run.source.committed!(new Map([['0', batch!.next]]));
  await first.run.stop();
  const again = await open({}, { positions: { '0': batch!.next } });
  expect((await pull(again.partition, 1)).map(({ text, offset }) => [text, offset])).toEqual([['3', 2]]);
  expect(again.partition.caughtUp).toBe(true);
  await again.run.stop();
  await expect(open({}, { positions: { '0': 9 } })).rejects.toThrow(/goes on at record 9.*holds records 0 to 3/);
});

test('refusals are told once and then counted, however many there are', async () => {
  const { clock } = memoryPorts();
  const { status, run } = await open({}, { ports: { clock } });
  for (let n = 0; n < 20; n++) await status('1', {}, '/nothing');
  const warnings = () => run.log.lines.filter((line) => line.startsWith('warn'));
  expect(warnings()).toHaveLength(1);
  clock.advance(60_000);
  await until('the count', () => warnings().length === 2);
});

test('lines and paths are taken apart without losing or making up anything', () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{0,3}$/)),
      fc.constantFrom('\n', '\r\n'),
      fc.boolean(),
      (lines, end, last) => {
        const body = lines.join(end) + (last ? end : '');
        expect(linesOf(Buffer.from(body)).map(String)).toEqual(lines.filter((line) => line !== ''));
      },
    ),
  );
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'grapheme' }), (text) => {
      expect(compilePath('/a/{x}')(`/a/${encodeURIComponent(text)}`)).toEqual({ x: text });
    }),
  );
});
