import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fileSink, fileSource } from '../../operators/file/index.ts';
import { type Batch, type Position, StreamRecord } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { keep, pullAll, settle, sinkContext, sourceContext, until } from './connector-contexts.ts';
import { loaded } from './topologies.ts';

const path = '/data/in.*.jsonl*';

async function portsWith(files: Record<string, string | Buffer>) {
  const ports = memoryPorts();
  await ports.disk.mkdir('/data');
  const put = async (name: string, content: string | Buffer) =>
    (await ports.disk.open(`/data/${name}`, 'w')).write(Buffer.from(content), 0);
  for (const [name, content] of Object.entries(files)) await put(name, content);
  return { ...ports, put };
}

async function open(ports: Parameters<typeof sourceContext>[0], at?: Position, options: object = {}) {
  const context = sourceContext(ports, at === undefined ? {} : { '0': at });
  const source = await fileSource.open({ path, format: 'text', ...options } as never, context);
  return { source, context, partition: context.partitions[0]! };
}

test('files are read in the order of their names as if they were one, packed or not, from wherever a checkpoint stands', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          lines: fc.array(fc.stringMatching(/^[a-z]{1,4}$/), { maxLength: 5 }),
          ends: fc.boolean(),
          packed: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      fc.integer({ min: 1, max: 4 }),
      fc.nat(20),
      async (given, records, pulls) => {
        const files = given.map(({ lines, ends, packed }, n) => {
          const text = lines.join('\n') + (ends && lines.length > 0 ? '\n' : '');
          return [`in.${n}.jsonl${packed ? '.gz' : ''}`, packed ? gzipSync(text) : text] as const;
        });
        const ports = await portsWith({ ...Object.fromEntries(files), 'in.jsonl': 'x\n', 'other.0.jsonl': 'x\n' });
        const first = await open(ports);
        const found: string[] = [];
        let at: Position | undefined;
        let batch: Batch | null = null;
        for (let n = 0; n < pulls; n++) {
          batch = await first.partition.pull({ records, bytes: 1_000 });
          if (batch === null) break;
          found.push(...keep(batch).map(({ text, offset }) => `${offset} ${text}`));
          at = batch.next;
        }
        await first.source.close();
        const again = await open(ports, at);
        found.push(...(await pullAll(again.partition)).map(({ text, offset }) => `${offset} ${text}`));
        await again.source.close();
        expect(found).toEqual(given.flatMap(({ lines }) => lines).map((text, offset) => `${offset} ${text}`));
      },
    ),
    { numRuns: 60 },
  ));

test('the last file is followed until another one comes; then what it ends in is a record', async () => {
  const ports = await portsWith({ 'in.1.jsonl': '1\n' });
  const { partition, context, source } = await open(ports, undefined, { follow: true });
  const found: string[] = [];
  const reading = (async () => {
    for (;;) {
      const batch = await partition.pull({ records: 10, bytes: 1_000 });
      if (batch === null) return;
      found.push(...keep(batch).map(({ text }) => text));
    }
  })();
  const waits = async () => {
    await until(() => ports.clock.sleeping > 0);
    ports.clock.advance(250);
    await settle();
  };
  await until(() => found.length === 1);
  await waits();
  await ports.put('in.1.jsonl', '1\n2\n3');
  await waits();
  await until(() => found.length === 2);
  await waits();
  expect(found).toEqual(['1', '2']);
  await ports.put('in.2.jsonl', '4\n5');
  await waits();
  await until(() => found.length === 4);
  expect(found).toEqual(['1', '2', '3', '4']);
  context.stop.abort();
  await reading;
  await source.close();
});

test('a file that is gone by the restart is passed over with a warning', async () => {
  const ports = await portsWith({ 'in.1.jsonl': '1\n2\n', 'in.2.jsonl': '3\n' });
  const { partition } = await open(ports);
  const at = (await partition.pull({ records: 2, bytes: 1_000 }))!.next;
  await ports.disk.remove('/data/in.1.jsonl');
  const again = await open(ports, at);
  expect((await pullAll(again.partition)).map(({ text, offset }) => [text, offset])).toEqual([['3', 2]]);
  expect(again.context.log.lines).toMatchObject([{ level: 'warn', fields: { path: '/data/in.1.jsonl' } }]);
});

test('no file that matches, and a position of another source, end the run plainly', async () => {
  const ports = await portsWith({ 'in.jsonl': '1\n', 'in.jsonl.2': '1\n' });
  await expect(open(ports)).rejects.toThrow(/No file is called `\/data\/in\.\*\.jsonl\*`/);
  await expect(open(ports, { offset: 1, line: 1 })).rejects.toThrow(/is of one file/);
});

test('packed data that is cut off or damaged ends the run by the name of the file', async () => {
  const whole = gzipSync('1\n2\n'.repeat(1_000));
  const damaged = Buffer.from(whole);
  damaged[20]! ^= 0xff;
  for (const bytes of [whole.subarray(0, -9), damaged]) {
    const ports = await portsWith({ 'in.1.jsonl.gz': bytes });
    const { partition } = await open(ports);
    await expect(pullAll(partition)).rejects.toThrow(/^`\/data\/in\.1\.jsonl\.gz` cannot be read: /);
  }
});

test('reads what the sink has written in compressed pieces', async () => {
  const ports = memoryPorts();
  const out = '/data/in.jsonl.gz';
  const sink = await fileSink.open({ path: out, gzip: true, rotate: { size: '60B' } }, sinkContext(ports));
  for (let n = 0; n < 9; n++) await sink.write([new StreamRecord({ n })]);
  expect((await ports.disk.list('/data')).length).toBeGreaterThan(2);
  const { partition } = await open(ports);
  expect((await pullAll(partition)).map(({ text }) => text)).toEqual(Array.from({ length: 9 }, (_, n) => `{"n":${n}}`));
});

test('a folder with a star, and a packed file that is to be followed, are found before anything runs', () => {
  const problems = (options: string) =>
    loaded(`  a:\n    - file: { ${options} }\n    - print: {}\n`).problems.map(({ message }) => message);
  expect(problems('path: "./*/a.jsonl"')).toEqual([expect.stringMatching(/folder has a `\*`/)]);
  expect(problems('path: ./a.jsonl.gz, follow: true')).toEqual([expect.stringMatching(/cannot be followed/)]);
  expect(problems('path: "./a.*.jsonl.gz", follow: true')).toEqual([]);
});
