import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fileSink, fileSource } from '../../operators/file/index.ts';
import { StreamRecord } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { pullAll, settle, sinkContext, sourceContext, until } from './connector-contexts.ts';

const path = '/out/results.jsonl';
const records = (...values: unknown[]) => values.map((value) => new StreamRecord(value));
const linesOf = async (ports: ReturnType<typeof memoryPorts>) => (await ports.disk.readFile(path)).toString();

test('appends one line for each record, and goes on at the end after a restart', async () => {
  const ports = memoryPorts();
  for (const values of [[{ a: 1 }, 'é'], [[2]]]) {
    const sink = await fileSink.open({ path }, sinkContext(ports));
    expect(await sink.write(records(...values))).toBeUndefined();
    await sink.close();
  }
  expect(await linesOf(ports)).toBe('{"a":1}\n"é"\n[2]\n');
});

test('whatever a crash leaves, confirmed lines are there and every line is whole', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 30 }),
      fc.nat(),
      async (batches, operations, seed) => {
        const ports = memoryPorts(seed);
        let left = operations;
        ports.disk.before = () => {
          if (left-- === 0) throw Object.assign(new Error('the plug is pulled'), { code: 'EIO' });
        };
        let confirmed = '';
        try {
          const sink = await fileSink.open({ path }, sinkContext(ports));
          for (const batch of batches) {
            await sink.write(records(...batch));
            confirmed += batch.map((value) => `${JSON.stringify(value)}\n`).join('');
          }
        } catch {}
        ports.disk.before = () => {};
        ports.disk.crash(ports.random);
        const again = await fileSink.open({ path }, sinkContext(ports));
        await again.write(records('after'));
        const text = await linesOf(ports);
        expect(text.startsWith(confirmed)).toBe(true);
        for (const line of text.trimEnd().split('\n')) JSON.parse(line);
        expect(text.endsWith('"after"\n')).toBe(true);
      },
    ),
  ));

test('an unfinished write is cut off whole: a long line without an end, a hole inside, however far back', async () => {
  const line = (n: number) => `{"b":"${'x'.repeat(n)}"}\n`;
  const whole = `{"a":1}\n${line(70_000)}`;
  const leftovers = [
    line(200_000).slice(0, -1),
    `\0${line(5 << 20)}`,
    `${line(4 << 20)}`.replace('xxx', 'x\0x'),
    '\0'.repeat(9),
    `{"c":"\0"}\n${line(10).repeat(100_000)}`,
    `\0\n2\n`,
  ];
  for (const leftover of leftovers) {
    const ports = memoryPorts();
    await ports.disk.mkdir('/out');
    await (await ports.disk.open(path, 'w')).write(Buffer.from(whole + leftover), 0);
    const context = sinkContext(ports);
    await (await fileSink.open({ path }, context)).write(records(2));
    expect(await linesOf(ports)).toBe(`${whole}2\n`);
    expect(context.log.lines).toMatchObject([{ level: 'warn', fields: { bytes: leftover.length } }]);
  }
});

test('a file that ends as it should is left as it is, also when it is long', async () => {
  const ports = memoryPorts();
  await ports.disk.mkdir('/out');
  const whole = `${JSON.stringify('y'.repeat(100))}\n`.repeat(50_000);
  await (await ports.disk.open(path, 'w')).write(Buffer.from(whole), 0);
  const context = sinkContext(ports);
  await (await fileSink.open({ path }, context)).close();
  expect((await linesOf(ports)) === whole).toBe(true);
  expect(context.log.lines).toEqual([]);
});

test('a large batch is made durable piece by piece, so that a crash leaves little to look through', async () => {
  const ports = memoryPorts();
  const sink = await fileSink.open({ path }, sinkContext(ports));
  const operations: string[] = [];
  ports.disk.before = (operation) => void operations.push(operation);
  // 12 MB in UTF-8, of which no more than 3 MiB may be unsure at a time.
  await sink.write(records(...Array.from({ length: 60 }, () => 'é'.repeat(100_000))));
  expect(operations.join(' ')).toMatch(/^(write sync ?){4,}$/);
});

test('a full disk is waited out with one line in the log, and leaves no half line', async () => {
  const ports = memoryPorts();
  const context = sinkContext(ports);
  const sink = await fileSink.open({ path }, context);
  await sink.write(records('first'));
  ports.disk.capacity = 12;
  let written = false;
  const writing = sink.write(records('second', 'third')).then(() => {
    written = true;
  });
  for (let i = 0; i < 5; i++) {
    await until(() => ports.clock.sleeping === 1);
    ports.clock.advance(60_000);
    await settle();
  }
  expect(written).toBe(false);
  ports.disk.capacity = Number.POSITIVE_INFINITY;
  await until(() => ports.clock.sleeping === 1);
  ports.clock.advance(60_000);
  await writing;
  expect(await linesOf(ports)).toBe('"first"\n"second"\n"third"\n');
  expect(context.log.lines.map(({ level }) => level)).toEqual(['error', 'info']);
});

test('a forced end stops the waiting for room', async () => {
  const ports = memoryPorts();
  const context = sinkContext(ports);
  const sink = await fileSink.open({ path }, context);
  ports.disk.capacity = 0;
  const writing = sink.write(records('x'));
  writing.catch(() => {});
  await until(() => ports.clock.sleeping === 1);
  context.stop.abort();
  await expect(writing).rejects.toThrow(/Stopped while `\/out\/results.jsonl` could not be written/);
});

test('a failed sync ends the run: what was written counts as lost', async () => {
  const ports = memoryPorts();
  const sink = await fileSink.open({ path }, sinkContext(ports));
  ports.disk.before = (operation) => {
    if (operation === 'sync') throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
  };
  await expect(sink.write(records('x'))).rejects.toThrow(/could not be made durable: EIO/);
});

test('a confirmed line survives the plug being pulled, unless sync is off', async () => {
  for (const sync of [true, false]) {
    const ports = memoryPorts();
    const sink = await fileSink.open({ path, sync }, sinkContext(ports));
    await sink.write(records('x'));
    ports.disk.crash();
    expect(await linesOf(ports)).toBe(sync ? '"x"\n' : '');
    expect(fileSink.delivery({ path, sync }).level).toBe(sync ? 'effectively once' : 'at least once');
  }
});

test('what was written after the checkpoint is cut off, and nothing else', async () => {
  const ports = memoryPorts();
  const sink = await fileSink.open({ path }, sinkContext(ports));
  const before = sink.position!();
  await sink.write(records(1, 22));
  const position = sink.position!();
  await sink.write(records(333, 4444));
  for (const [at, left] of [
    [position, '1\n22\n'],
    [before, ''],
    [undefined, '1\n22\n333\n4444\n'],
    [{ path: '/out/other.jsonl', bytes: 2 }, '1\n22\n333\n4444\n'],
  ] as const) {
    ports.disk.damage(path, () => Buffer.from('1\n22\n333\n4444\n'));
    const context = { ...sinkContext(ports), ...(at !== undefined && { position: at }) };
    const again = await fileSink.open({ path }, context);
    expect(context.log.lines.map(({ level }) => level)).not.toContain('warn');
    expect(await linesOf(ports)).toBe(left);
    await again.write(records('x'));
    ports.disk.crash();
    expect(await linesOf(ports)).toBe(`${left}"x"\n`);
  }
});

test('a file that is not the one of the checkpoint any more is appended to, with a warning', async () => {
  // Too short, gone, and longer but with no line that ends at the checkpoint.
  for (const there of ['1\n', undefined, '{"somebody":"else"}\n']) {
    const ports = memoryPorts();
    await ports.disk.mkdir('/out');
    if (there !== undefined) await (await ports.disk.open(path, 'w')).write(Buffer.from(there), 0);
    const context = { ...sinkContext(ports), position: { path, bytes: 5 } };
    await (await fileSink.open({ path }, context)).write(records('x'));
    expect(await linesOf(ports)).toBe(`${there ?? ''}"x"\n`);
    expect(context.log.lines).toMatchObject([{ level: 'warn', fields: { expectedBytes: 5 } }]);
  }
});

test('promises each result once, but not where partitions commit one by one', () => {
  const kafka = { operator: 'kafka', options: {} };
  expect(fileSink.delivery({ path }).level).toBe('effectively once');
  expect(fileSink.delivery({ path }, kafka)).toMatchObject({
    level: 'at least once',
    reason: expect.stringContaining('store: disk'),
  });
});

test('values that JSON cannot hold are refused, each by its index, and the others are written', async () => {
  const ports = memoryPorts();
  const sink = await fileSink.open({ path }, sinkContext(ports));
  const refused = await sink.write(records(1, undefined, 2, 10n));
  expect(refused?.map(({ index }) => index)).toEqual([1, 3]);
  expect(await linesOf(ports)).toBe('1\n2\n');
});

/** Reads the whole output of a rotated sink: names and texts, in the order of the names. */
async function filesOf(ports: ReturnType<typeof memoryPorts>): Promise<[string, string][]> {
  const names = (await ports.disk.list('/out')).sort();
  return Promise.all(
    names.map(async (name) => [name, (await ports.disk.readFile(`/out/${name}`)).toString()] as [string, string]),
  );
}

describe('csv', () => {
  test('has the header of its columns once, and only those fields', async () => {
    const ports = memoryPorts();
    const options = { path, csv: { columns: ['b', 'a.x'], delimiter: ';' } };
    for (const value of [{ b: 1, a: { x: 'é' }, c: 2 }, { b: null }]) {
      const sink = await fileSink.open(options, sinkContext(ports));
      expect(await sink.write(records(value))).toBeUndefined();
    }
    expect(await linesOf(ports)).toBe('b;a.x\n1;é\n;\n');
  });

  test('is read back as it was written, whatever the texts hold', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            s: fc.string({ unit: fc.constantFrom('a', '"', ',', ';', '\n', '\r', ' ', 'é', '\t') }),
            n: fc.double({ noNaN: true, noDefaultInfinity: true }),
            b: fc.boolean(),
          }),
          { minLength: 1 },
        ),
        fc.constantFrom(',', ';', '\t'),
        async (values, delimiter) => {
          const ports = memoryPorts();
          const sink = await fileSink.open({ path, csv: { columns: ['s', 'n', 'b'], delimiter } }, sinkContext(ports));
          expect(await sink.write(records(...values))).toBeUndefined();
          const context = sourceContext(ports);
          const csv = { delimiter, types: { n: 'number', b: 'boolean' } } as const;
          await fileSource.open({ path, csv } as never, context);
          const read = await pullAll(context.partitions[0]!);
          expect(read.map(({ value }) => value)).toEqual(values.map(({ s, n, b }) => ({ s, n: n + 0, b })));
        },
      ),
    ));

  test('refuses what is no object, and a zero byte, by which an unfinished write is told', async () => {
    const ports = memoryPorts();
    const sink = await fileSink.open({ path, csv: { columns: ['a'] } }, sinkContext(ports));
    const refused = await sink.write(records(1, null, [1], { a: '\0' }, { a: { b: 10n } }, { a: [1, '"'] }));
    expect(refused?.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
    expect(await linesOf(ports)).toBe('a\n"[1,""\\""""]"\n');
  });

  test('with other columns than those of the file is refused', async () => {
    const ports = memoryPorts();
    await (await fileSink.open({ path, csv: { columns: ['a'] } }, sinkContext(ports))).write(records({ a: 1 }));
    for (const columns of [['b'], ['a', 'b']]) {
      await expect(fileSink.open({ path, csv: { columns } }, sinkContext(ports))).rejects.toThrow(
        /does not begin with the columns/,
      );
    }
  });
});

describe('rotation', () => {
  const rotate = { size: '20B', every: '1h' };

  test('begins a new file before one grows too large, and when it is old; each has the header', async () => {
    const ports = memoryPorts();
    const sink = await fileSink.open({ path, rotate, csv: { columns: ['a'] } }, sinkContext(ports));
    for (const a of ['123456789', '12345678', 'next']) await sink.write(records({ a }));
    ports.clock.advance(3_599_999);
    await sink.write(records({ a: 5 }));
    ports.clock.advance(1);
    await sink.write(records({ a: 6 }));
    expect(await filesOf(ports)).toEqual([
      ['results.000001.jsonl', 'a\n123456789\n'],
      ['results.000002.jsonl', 'a\n12345678\nnext\n5\n'],
      ['results.000003.jsonl', 'a\n6\n'],
    ]);
  });

  test('goes on in the file of the checkpoint, and what came behind it is gone', async () => {
    const ports = memoryPorts();
    const first = await fileSink.open({ path, rotate }, sinkContext(ports));
    await first.write(records('one'));
    const position = first.position!();
    for (const text of ['two', 'a long third one', 'a long fourth one']) await first.write(records(text));
    expect((await filesOf(ports)).length).toBe(3);
    const again = await fileSink.open({ path, rotate }, { ...sinkContext(ports), position });
    await again.write(records('2'));
    ports.disk.crash();
    expect(await filesOf(ports)).toEqual([['results.000001.jsonl', '"one"\n"2"\n']]);
  });

  test('without a checkpoint begins behind all files that are there, and never touches them', async () => {
    const ports = memoryPorts();
    await ports.disk.mkdir('/out');
    for (const name of ['results.000007.jsonl', 'results.000002.jsonl', 'other.000099.jsonl', 'results.jsonl'])
      await ports.disk.open(`/out/${name}`, 'w');
    await (await fileSink.open({ path, rotate }, sinkContext(ports))).write(records(1));
    // The file of the checkpoint is gone.
    const context = { ...sinkContext(ports), position: { path, number: 3, bytes: 5, since: 0 } };
    await (await fileSink.open({ path, rotate }, context)).write(records(2));
    expect(context.log.lines).toMatchObject([{ level: 'warn' }]);
    expect((await filesOf(ports)).filter(([name]) => name > 'results.000002.jsonl')).toEqual([
      ['results.000007.jsonl', ''],
      ['results.000008.jsonl', '1\n'],
      ['results.000009.jsonl', '2\n'],
      ['results.jsonl', ''],
    ]);
  });
});

test('compressed output is unpacked by gzip as one, and is not appended to when nothing tells how much of it is whole', async () => {
  const ports = memoryPorts();
  const sink = await fileSink.open({ path, gzip: true }, sinkContext(ports));
  for (const value of [1, 2]) await sink.write(records(value));
  const position = sink.position!();
  await sink.write(records(3));
  const again = await fileSink.open({ path, gzip: true }, { ...sinkContext(ports), position });
  await again.write(records(4));
  expect(gunzipSync(await ports.disk.readFile(path)).toString()).toBe('1\n2\n4\n');
  await expect(fileSink.open({ path, gzip: true }, sinkContext(ports))).rejects.toThrow(/no checkpoint tells how much/);
});
