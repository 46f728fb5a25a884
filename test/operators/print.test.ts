import { execFile } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { printSink } from '../../operators/print/index.ts';
import { type Output, openPrinter, type PrintOptions } from '../../operators/print/printer.ts';
import { StreamRecord } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { settle, sinkContext, until } from './connector-contexts.ts';

const noon = Date.UTC(2024, 0, 1, 12, 0, 5);
const record = (key: string, value: unknown, time = noon) => new StreamRecord(value, key, time);

function printer(options: PrintOptions, terminal?: { columns: number; rows: number }) {
  const stream = new PassThrough();
  const output = Object.assign(stream, terminal && { isTTY: true, ...terminal });
  const ports = memoryPorts();
  const sink = openPrinter(options, sinkContext(ports), output as Output);
  return { sink, stream, ports, text: () => String(stream.read() ?? '') };
}

const escapeCharacter = '\u001b';
const command = new RegExp(`(${escapeCharacter}\\[(\\d*)[AKJ])|([^${escapeCharacter}]+)`, 'g');

/** What a terminal shows after this text: only what the sink uses is understood, so that anything else would show. */
function screen(text: string): string[] {
  const lines: string[] = [];
  let row = 0;
  for (const [, code, count, plain] of text.matchAll(command)) {
    if (code?.endsWith('A')) row -= Number(count);
    else if (code?.endsWith('K')) lines[row] = lines[row] ?? '';
    else if (code?.endsWith('J')) lines.length = row;
    else
      for (const [i, part] of plain!.split('\n').entries()) {
        if (i > 0) row++;
        if (part) lines[row] = part;
      }
  }
  return lines;
}

test('prints one line of JSON for each record, in order', async () => {
  const { sink, text } = printer({});
  await sink.write([record('g1', { a: 'x\ny' }), record('g2', 7), record('g3', undefined)]);
  await sink.close();
  expect(text()).toBe('{"a":"x\\ny"}\n7\nnull\n');
});

test('no value reaches the terminal with a control character in it, and JSON stays what it was', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('\u001b[2J', '\u009b31m', '\u007f', '\r', '\n', '\u0000', '\u202e', 'a', '"'), {
        maxLength: 6,
      }),
      fc.constantFrom('json', 'table'),
      async (parts, format) => {
        const value = { [`f${parts.join('')}`]: parts.join('') };
        const { sink, text } = printer({ format: format as 'json' });
        await sink.write([record(parts.join(''), value)]);
        const printed = text();
        expect(printed.slice(0, -1)).not.toMatch(/[\p{Cc}\u202e]/u);
        if (format === 'json') expect(JSON.parse(printed)).toEqual(value);
      },
    ),
  ));

test('elsewhere than on a terminal a table is a compact line for each record', async () => {
  const { sink, text } = printer({ format: 'table', columns: ['fuel', 'alarm', 'at.site', 'none'], title: 'x' });
  await sink.write([record('generator1', { fuel: 742.10001, alarm: 'no action', at: { site: 'US' } })]);
  expect(text()).toBe('12:00:05  generator1  fuel 742.1  alarm no action  at.site US  none –\n');
});

test('without columns all plain fields are shown, the key once, and a value that is no object as it is', async () => {
  const { sink, text } = printer({ format: 'table' });
  await sink.write([
    record('g1', { generatorID: 'g1', fuel: 5, nested: {} }),
    record('g2', 'text', Number.NaN),
    new StreamRecord(1).withWindow({ step: 's', start: 0, end: 60_000, label: 60_000 }),
  ]);
  expect(text()).toBe('12:00:05  g1  fuel 5\ng2  text\n00:01:00  1\n');
});

test('on a terminal the latest record of each key is drawn in place', async () => {
  const { sink, text, ports } = printer({ format: 'table', title: 'Generators' }, { columns: 80, rows: 24 });
  await sink.write([record('g1', { fuel: 1000.5, alarm: 'no action' }), record('g2', { fuel: 7, alarm: 'refuel' })]);
  let all = text();
  expect(screen(all)).toEqual([
    'Generators',
    'time      key    fuel  alarm',
    '12:00:05  g1   1000.5  no action',
    '12:00:05  g2        7  refuel',
  ]);
  ports.clock.advance(100);
  await sink.write([record('g1', { fuel: 3, alarm: 'refuel' })]);
  all += text();
  expect(screen(all)).toEqual([
    'Generators',
    'time      key  fuel  alarm',
    '12:00:05  g1      3  refuel',
    '12:00:05  g2      7  refuel',
  ]);
});

test('more rows or columns than the terminal has are cut, and counted', async () => {
  const { sink, text } = printer({ format: 'table' }, { columns: 14, rows: 5 });
  await sink.write(['g1', 'g2', 'g3', 'g4'].map((key) => record(key, { fuel: 1 })));
  expect(screen(text())).toEqual(['time      key ', '12:00:05  g1  ', '… and 3 more']);
});

test('a terminal is drawn at most ten times a second, and the last state always', async () => {
  const { sink, text, ports } = printer({ format: 'table' }, { columns: 80, rows: 24 });
  await sink.write([record('g', { n: 0 })]);
  const first = text();
  for (let n = 1; n < 50; n++) await sink.write([record('g', { n })]);
  expect(text()).toBe('');
  ports.clock.advance(100);
  await settle();
  const second = text();
  expect(second.split(`${escapeCharacter}[J`).length - 1).toBe(1);
  expect(screen(first + second).at(-1)).toMatch(/49$/);
  await sink.write([record('g', { n: 50 })]);
  await sink.close();
  expect(screen(first + second + text()).at(-1)).toMatch(/50$/);
});

test('waits for a slow reader', async () => {
  const stream = new PassThrough({ highWaterMark: 1 });
  let taken: (() => void) | undefined;
  stream._transform = (_chunk, _encoding, done) => {
    taken = () => done();
  };
  const sink = openPrinter({}, sinkContext(memoryPorts()), stream);
  let written = false;
  const writing = sink.write([record('g', 1)]).then(() => {
    written = true;
  });
  await until(() => taken !== undefined);
  expect(written).toBe(false);
  taken!();
  await writing;
});

test('a reader that goes away ends the run with a sentence, not with a stack', async () => {
  const stream = new PassThrough();
  const sink = openPrinter({}, sinkContext(memoryPorts()), stream);
  stream.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  await settle();
  await expect(sink.write([record('g', 1)])).rejects.toThrow(
    'Whoever read the output of `readings.sink` has closed it. Keep the reader open, or print less.',
  );
});

test('a broken pipe of the process itself is caught', async () => {
  const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const script = `
    import { printSink } from '${here('../../operators/print/index.ts')}';
    import { StreamRecord } from '${here('../../src/operator.ts')}';
    import { memoryPorts } from '${here('../../src/ports/memory.ts')}';
    import { sinkContext } from '${here('./connector-contexts.ts')}';
    const sink = await printSink.open({}, sinkContext(memoryPorts()));
    try { for (;;) await sink.write([new StreamRecord('x'.repeat(1000))]); } catch (e) { process.stderr.write(e.name + ': ' + e.message); }
  `;
  const child = execFile(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
  child.stdout!.once('data', () => child.stdout!.destroy());
  let said = '';
  child.stderr!.on('data', (text) => {
    said += text;
  });
  await new Promise((resolve) => child.once('close', resolve));
  expect(said).toContain('RunError: Whoever read the output');
});

test('promises what a printed line can promise', () => {
  expect(printSink.delivery({}).level).toBe('at least once');
});
