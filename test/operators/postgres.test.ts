import fc from 'fast-check';
import { expect, test } from 'vitest';
import { latestOfEachKey, statements } from '../../operators/postgres/batches.ts';
import { postgresSink } from '../../operators/postgres/index.ts';
import { type Row, rowMaker, statement } from '../../operators/postgres/rows.ts';
import { StreamRecord } from '../../src/operator.ts';
import { memoryPorts } from '../../src/ports/memory.ts';
import { sinkContext } from './connector-contexts.ts';
import { loaded, mqtt } from './topologies.ts';

const where = 'url: "postgres://127.0.0.1/plant", username: me, table: t';
const problems = (options: string) =>
  loaded(`  a:\n    - ${mqtt('g')}\n    - postgres: { ${options} }\n`)
    .problems.map(({ message }) => message)
    .join('\n');

test.each([
  ['url: "postgres://me:se-cret@h/d", username: me, table: t', /holds a user name or password/],
  ['url: "mysql://h/d", username: me, table: t', /no address of a database/],
  ['url: "postgres://h", username: me, table: t', /no address of a database/],
  ['url: "postgres://h/d?sslmode=disable", username: me, table: t', /no address of a database/],
  ['url: "postgres://db.example.com/d", username: me, password: x, table: t', /without `tls` can be read/],
  [`${where}, idColumn: ${'x'.repeat(64)}`, /`idColumn` is no name/],
  [`${where}, key: [a], idColumn: b`, /`idColumn` is for appending/],
  [`${where}, deleteWhen: "true"`, /no telling which row to delete/],
  [`${where}, key: [a, b], tombstones: true`, /`key` is not one column/],
  [`${where}, key: [a], columns: { b: b }`, /key column `a` is not among/],
  [`${where}, idColumn: a, columns: { a: b }`, /column `a` is written twice/],
  [`${where}, idColumn: a, timeColumn: a`, /column `a` is written twice/],
])('%s is found before anything runs', (options, message) => {
  expect(problems(options)).toMatch(message);
  expect(problems(options)).not.toContain('se-cret');
});

test('nothing is wrong with options as they should be', () => {
  expect(problems(where)).toBe('');
  expect(problems(`${where}, key: [a, at], timeColumn: at, columns: { a: id, 'b"c': x }`)).toBe('');
});

test('what records are called cannot get out of its quotes', () =>
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('"', "'", ';', '\\', 'a', '$1') }), { minLength: 1 }),
      fc.boolean(),
      (names, deletes) => {
        const options = { url: '', username: '', schema: 's"', table: 't"; --', key: names };
        const outside = statement(options, deletes, names).replace(/"(?:[^"]|"")*"/g, '');
        expect(outside).toMatch(/^[A-Za-z_ ,.():$1=]*$/);
      },
    ),
  ));

test('a record that no row can hold is refused', () => {
  const make = rowMaker(
    { url: '', username: '', table: 't', key: ['k'], timeColumn: 'at', tombstones: true },
    sinkContext(memoryPorts()),
  );
  const at =
    (value: unknown, time = 0, key?: string) =>
    () =>
      make(new StreamRecord(value, key, time), 0);
  for (const value of [
    'text',
    null,
    [1],
    7,
    undefined,
    {},
    { k: null },
    { a: 1 },
    { k: 1, ['x'.repeat(64)]: 1 },
    { k: 1, '': 1 },
    { k: 1, 'a\0': 1 },
  ])
    expect(at(value), JSON.stringify(value)).toThrow();
  for (const time of [Number.NaN, Number.POSITIVE_INFINITY, 1e15]) expect(at({ k: 1 }, time)).toThrow(/time/);
  expect(at({ k: 0 })()).toMatchObject({
    deletes: false,
    columns: ['at', 'k'],
    json: '{"k":0,"at":"1970-01-01T00:00:00.000Z"}',
  });
  expect(at(null, Number.NaN, 'x')()).toMatchObject({ deletes: true, columns: ['k'], json: '{"k":"x"}' });
});

test('rows that are left out are covered by one that is kept, and the rest stays in order', () => {
  const change = fc.record({ k: fc.nat(2), columns: fc.subarray(['a', 'b']), deletes: fc.boolean() });
  const apply = (rows: readonly Row[]) => {
    const table = new Map<string, Record<string, number>>();
    for (const { key, deletes, columns, index } of rows) {
      if (deletes) table.delete(key!);
      else table.set(key!, { ...table.get(key!), ...Object.fromEntries(columns.map((column) => [column, index])) });
    }
    return Object.fromEntries(table);
  };
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const rows = changes.map(
        ({ k, columns, deletes }, index): Row => ({
          index,
          key: String(k),
          columns: deletes ? [] : ['k', ...columns],
          deletes,
          json: '{}',
        }),
      );
      const latest = latestOfEachKey(rows);
      expect(apply(latest.map(({ row }) => row))).toEqual(apply(rows));
      expect(
        latest
          .flatMap(({ row, covered }) => [...covered, row])
          .map(({ index }) => index)
          .sort((a, b) => a - b),
      ).toEqual(rows.map(({ index }) => index));
      for (const { row, covered } of latest) {
        const order = [...covered, row].map(({ index }) => index);
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }
      for (const together of statements(latest)) {
        const keys = together.map(({ row }) => row.key);
        expect(new Set(keys).size).toBe(keys.length);
        expect(new Set(together.map(({ row }) => JSON.stringify([row.deletes, row.columns]))).size).toBe(1);
      }
      expect(statements(latest).flat()).toEqual(latest);
    }),
  );
});

test('promises each row once with a key or an id, and says what to add without', () => {
  const level = (more: object) => postgresSink.delivery({ url: '', username: '', table: 't', ...more } as never);
  expect(level({ key: ['a'] }).level).toBe('effectively once');
  expect(level({ idColumn: 'a' }).level).toBe('effectively once');
  expect(level({})).toMatchObject({ level: 'at least once', reason: expect.stringMatching(/`key`.*`idColumn`/) });
});
