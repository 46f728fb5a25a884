import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileSource } from '../../operators/file/index.ts';
import { type Disk, type Position, RawRecord } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { keep, pullAll, settle, sourceContext, until } from './connector-contexts.ts';

const path = '/data/in.jsonl';
const utf8 = (text: string) => Buffer.from(text, 'latin1');

async function portsWith(content: Buffer, readAtMost = Number.POSITIVE_INFINITY) {
  const ports = memoryPorts();
  await ports.disk.mkdir('/data');
  const file = await ports.disk.open(path, 'w');
  await file.write(content, 0);
  const append = async (more: Buffer) => file.write(more, (await ports.disk.size(path))!);
  // Short reads put the edges of reads everywhere.
  const disk: Disk = {
    open: async (name, flags) => {
      const real = await ports.disk.open(name, flags);
      const read: typeof real.read = (into, offset, length, at) =>
        real.read(into, offset, Math.min(length, readAtMost), at);
      return { ...real, read, close: () => real.close() };
    },
    readFile: (name) => ports.disk.readFile(name),
    mkdir: (name) => ports.disk.mkdir(name),
    list: (name) => ports.disk.list(name),
    rename: (from, to) => ports.disk.rename(from, to),
    remove: (name) => ports.disk.remove(name),
    size: (name) => ports.disk.size(name),
    syncDirectory: (name) => ports.disk.syncDirectory(name),
  };
  return { ports: { ...ports, disk }, memory: ports, append };
}

type Options = Parameters<typeof fileSource.open>[0] & { maxPayload?: string };
async function open(ports: Parameters<typeof sourceContext>[0], options: Partial<Options> = {}, at?: Position) {
  const context = sourceContext(ports, at === undefined ? {} : { '0': at });
  const source = await fileSource.open({ path, ...options }, context);
  return { source, context, partition: context.partitions[0]! };
}

async function read(content: Buffer, options: Partial<Options> = {}) {
  const { ports } = await portsWith(content);
  const { partition } = await open(ports, options);
  return pullAll(partition);
}

/** The plain truth about lines: what a reader of the whole file would say. */
function model(content: string, maxPayload: number) {
  const lines = (content.startsWith('\xef\xbb\xbf') ? content.slice(3) : content).split('\n');
  return lines.flatMap((raw, offset) => {
    const text = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
    if (text === '') return [];
    return [text.length > maxPayload ? { offset, refused: 'payload-too-large' } : { offset, text }];
  });
}
const seen = (records: Awaited<ReturnType<typeof pullAll>>) =>
  records.map(({ text, offset, refused }) => (refused ? { offset, refused } : { offset, text }));

// What looks like a mark or a line end, but stands inside a line.
const inside = ['', '', '\xef\xbb\xbf', '999999999999\r', '\r'];

const contents = fc
  .tuple(
    fc.constantFrom('', '\xef\xbb\xbf'),
    fc.array(
      fc.tuple(
        // Lengths around the limit of 12 bytes, and empty ones.
        fc.oneof(fc.constantFrom(0, 1, 11, 12, 13, 14, 40), fc.nat(30)),
        fc.constantFrom('\n', '\r\n', '\n', '\n\n', '\n\r\n'),
      ),
      { maxLength: 12 },
    ),
    fc.constantFrom('', 'x', 'xxxxxxxxxxxxx', '\r'),
  )
  .map(
    ([mark, lines, last]) =>
      mark + lines.map(([n, end], i) => inside[i % 5] + String(i % 10).repeat(n) + end).join('') + last,
  );

test('gives every line once, wherever the reads are cut and the run is stopped', () =>
  fc.assert(
    fc.asyncProperty(
      contents,
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 60 }),
      fc.array(fc.boolean(), { maxLength: 20 }),
      async (content, readAtMost, records, bytes, restarts) => {
        const { ports } = await portsWith(utf8(content), readAtMost);
        const all = [];
        let { partition } = await open(ports, { maxPayload: '12B' });
        for (let i = 0; ; i++) {
          const batch = await partition.pull({ records, bytes });
          if (batch === null) break;
          expect(batch.length).toBeLessThanOrEqual(records);
          all.push(...keep(batch));
          if (restarts[i]) {
            const stored = JSON.parse(JSON.stringify(batch.next));
            partition = (await open(ports, { maxPayload: '12B' }, stored)).partition;
          }
        }
        expect(seen(all)).toEqual(model(content, 12));
      },
    ),
    { numRuns: 500 },
  ));

test('a batch holds no more bytes than asked for, but at least one record', async () => {
  const { ports } = await portsWith(utf8('aaaa\nbbbb\ncccc\n'));
  const { partition } = await open(ports);
  const sizes = [];
  for (let batch = await partition.pull({ records: 10, bytes: 9 }); batch; ) {
    sizes.push(batch.length);
    batch = await partition.pull({ records: 10, bytes: sizes.length === 1 ? 1 : 9 });
  }
  expect(sizes).toEqual([2, 1]);
});

test('lines far longer than a read are whole, and those over the limit do not fill memory', async () => {
  const long = 'a'.repeat(5 << 20);
  const { ports } = await portsWith(utf8(`${long}\nb\n`));
  const whole = await pullAll((await open(ports, { maxPayload: '6MiB' })).partition);
  expect(whole.map(({ text }) => text.length)).toEqual([long.length, 1]);
  const refusing = (await open(ports, { maxPayload: '64kB' })).partition;
  const raw = new RawRecord();
  for (let batch = await refusing.pull({ records: 9, bytes: 1e9 }); batch; ) {
    batch.read(0, raw);
    expect(raw.data.length).toBeLessThanOrEqual(2 << 20);
    batch = await refusing.pull({ records: 9, bytes: 1e9 });
  }
});

test('says that a batch is clean only when decoding may skip its checks', async () => {
  const cleanOf = async (text: Buffer) => {
    const { ports } = await portsWith(text);
    return (await (await open(ports)).partition.pull({ records: 10, bytes: 1e6 }))!.clean;
  };
  expect(await cleanOf(Buffer.from('{"a":"é"}\n'))).toBe(true);
  expect(await cleanOf(Buffer.from('{"a":1}\n{"__proto__":1}\n'))).toBe(false);
  expect(await cleanOf(Buffer.from('{"a":"\\u0041"}\n'))).toBe(false);
  expect(await cleanOf(utf8('{"a":"\xff"}\n'))).toBe(false);
});

test('a file that is not there ends the run by its name', async () => {
  const opened = open(memoryPorts(), {});
  await expect(opened).rejects.toThrow('There is no file `/data/in.jsonl`. Check `path` of `readings.source`.');
});

test('a file shorter than its position ends the run, one just as long does not', async () => {
  const { ports } = await portsWith(utf8('a\nb\n'));
  expect(await pullAll((await open(ports, {}, { offset: 4, line: 2 })).partition)).toEqual([]);
  await expect(open(ports, {}, { offset: 5, line: 2 })).rejects.toThrow(/has 4 bytes, but 5 have been read/);
  await expect(open(ports, {}, 'elsewhere')).rejects.toThrow(/position of `readings.source` that is not one of a file/);
});

test('an error of the disk ends the run at the next pull, with the path', async () => {
  const { ports, memory } = await portsWith(utf8('a\n'));
  memory.disk.before = (operation) => {
    if (operation === 'read') throw new Error('EIO');
  };
  const { partition, source } = await open(ports);
  await settle();
  await expect(partition.pull({ records: 1, bytes: 1 })).rejects.toThrow('`/data/in.jsonl` cannot be read: EIO');
  await source.close();
});

test('a followed file gives appended lines once they are whole, and tells when it has caught up', async () => {
  const { ports, memory, append } = await portsWith(utf8('a\nhal'));
  const { partition, context } = await open(ports, { follow: true });
  const limits = { records: 10, bytes: 1e6 };
  expect(keep((await partition.pull(limits))!)).toMatchObject([{ text: 'a' }]);
  let pulled: ReturnType<typeof keep> | undefined;
  const pending = partition.pull(limits).then((batch) => {
    pulled = keep(batch!);
  });
  await until(() => memory.clock.sleeping === 1);
  expect(partition.caughtUp).toBe(true);
  await append(utf8('f'));
  memory.clock.advance(250);
  await until(() => memory.clock.sleeping === 1);
  expect(pulled).toBeUndefined();
  await append(utf8('\nb\n'));
  memory.clock.advance(250);
  await pending;
  expect(pulled).toMatchObject([
    { text: 'half', offset: 1 },
    { text: 'b', offset: 2 },
  ]);
  expect(partition.caughtUp).toBe(false);
  const last = partition.pull(limits);
  await until(() => memory.clock.sleeping === 1);
  context.stop.abort();
  expect(await last).toBeNull();
});

test('a followed file that shrinks or goes away ends the run', async () => {
  for (const happens of ['truncate', 'remove'] as const) {
    const { ports, memory } = await portsWith(utf8('a\n'));
    const { partition } = await open(ports, { follow: true });
    await partition.pull({ records: 1, bytes: 1 });
    const pulled = partition.pull({ records: 1, bytes: 1 });
    pulled.catch(() => {});
    await until(() => memory.clock.sleeping === 1);
    if (happens === 'remove') await memory.disk.remove(path);
    else memory.disk.damage(path, () => Buffer.alloc(1));
    memory.clock.advance(250);
    await expect(pulled).rejects.toThrow(
      happens === 'remove' ? /has been removed/ : /has 1 bytes, but 2 have been read/,
    );
  }
});

// ---- CSV

const cell = fc.oneof(
  fc.constantFrom('', 'a', '"', '""', ',', '\n', '\r\n', 'x"y', '"a",b', ' '),
  fc.string({ maxLength: 6 }),
);
const written = (text: string) => (/["\r\n,]/.test(text) || text === '' ? `"${text.replaceAll('"', '""')}"` : text);

test('CSV that was written by the rules is read back, wherever the reads are cut and the run is stopped', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 }),
      fc.constantFrom('\n', '\r\n'),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(8),
      async (rows, newline, readAtMost, stopAfter) => {
        const text = [['k', 'v'], ...rows].map((row) => row.map(written).join(',')).join(newline);
        const { ports } = await portsWith(Buffer.from(text), readAtMost);
        const first = (await open(ports, { csv: {} })).partition;
        const values = [];
        let next: Position | undefined;
        for (let i = 0; i < stopAfter; i++) {
          const batch = await first.pull({ records: 1, bytes: 1e6 });
          if (!batch) break;
          values.push(...keep(batch));
          next = batch.next;
        }
        values.push(...(await pullAll((await open(ports, { csv: {} }, next)).partition)));
        expect(values.map(({ value }) => value)).toEqual(rows.map(([k, v]) => ({ k, v })));
      },
    ),
    { numRuns: 300 },
  ));

test('CSV cells have the types that are named; what does not fit is refused by line and column, without its content', async () => {
  const { ports } = await portsWith(utf8('id;fuel;on\ng1;742.5;true\ng2;;\ng3;abc;true\ng4;1\n"g5;1;true\n'));
  const options = { csv: { delimiter: ';', types: { fuel: 'number', on: 'boolean' } } } as const;
  const records = await pullAll((await open(ports, options)).partition);
  expect(records.map(({ value, refused, offset }) => refused ?? [offset, value])).toEqual([
    [1, { id: 'g1', fuel: 742.5, on: true }],
    [2, { id: 'g2', fuel: null, on: null }],
    'payload-malformed',
    'payload-malformed',
    'payload-malformed',
  ]);
  expect(records[2]!.text).toBe('g3;abc;true');
});

test('a quote inside a cell that has none around it is a quote', async () => {
  const records = await read(utf8('a,b\n5" pipe,1\nx,2"\ny,3\n'), { csv: {} });
  expect(records.map(({ value }) => value)).toEqual([
    { a: '5" pipe', b: '1' },
    { a: 'x', b: '2"' },
    { a: 'y', b: '3' },
  ]);
});

test('numbers of CSV are decimal and finite', async () => {
  const rows = ['1', '-1.5', '+2', '.5', '1e3', '0x10', 'Infinity', '1e999', '1 2', 'NaN'];
  const records = await read(utf8(`${rows.join('\n')}\n`), {
    csv: { header: false, columns: ['n'], types: { n: 'number' } },
  });
  expect(records.map(({ value }) => (value as { n: number } | undefined)?.n)).toEqual([
    1,
    -1.5,
    2,
    0.5,
    1000,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test('bad UTF-8 in CSV is refused, the rest is read', async () => {
  const records = await read(utf8('a,b\n\xff,1\nx,2\n'), { csv: {} });
  expect(records.map(({ value, refused }) => refused ?? value)).toEqual(['payload-encoding', { a: 'x', b: '2' }]);
});

test('a header line that cannot name columns ends the run', async () => {
  await expect(read(utf8(''), { csv: {} })).rejects.toThrow('expected a header line with the names of the columns');
  await expect(read(utf8('a,a\n1,2\n'), { csv: {} })).rejects.toThrow('names the column `a` twice');
  await expect(read(utf8('a,"b\n1,2\n'), { csv: {} })).rejects.toThrow('is not CSV: cell 2 opens a quote');
});
