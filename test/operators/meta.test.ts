import fc from 'fast-check';
import { expect, test } from 'vitest';
import { meta } from '../../operators/meta/index.ts';
import { type Meta, StreamRecord } from '../../src/operator.ts';
import { Driver } from '../../src/testing.ts';
import { loaded } from './topologies.ts';

function through(options: object, given: Meta | undefined, value: unknown = {}): StreamRecord[] {
  const driver = new Driver(meta, options);
  driver.push(new StreamRecord(value, 'k', 5, 3, given, undefined, 2, 's/0', '1'));
  return [...driver.end()];
}

const name = fc.constantFrom('a', 'b', 'c', 'constructor', '__proto__');
const entries = fc.uniqueArray(fc.tuple(name, fc.string()), { selector: ([key]) => key });

test('headers that are given stand over those that were there, dropped ones go, and all else stays', () =>
  fc.assert(
    fc.property(entries, entries, fc.uniqueArray(name, { minLength: 1 }), (before, added, dropped) => {
      const headers = Object.fromEntries(added.map(([key], i) => [key, `{texts[${i}]}`]));
      const value = { texts: added.map(([, text]) => text) };
      const given = { topic: 't', retained: true, headers: Object.fromEntries(before) };
      const wanted = new Map(before.filter(([key]) => !dropped.includes(key)));
      for (const [key, text] of added) wanted.set(key, text);
      const [record] = through({ headers, dropHeaders: dropped }, given, value);
      expect(Object.entries(record!.meta!.headers!).sort()).toEqual([...wanted].sort());
      expect({ ...record!.meta, headers: undefined }).toEqual({ topic: 't', retained: true, headers: undefined });
      expect([record!.value, record!.key, record!.time, record!.partition, record!.part]).toEqual([
        value,
        'k',
        5,
        2,
        '1',
      ]);
      expect(Object.entries(given.headers)).toEqual(Object.entries(Object.fromEntries(before)));
    }),
  ));

test('a topic may come from the one before, also where there was nothing at all', () => {
  expect(through({ topic: '{meta.topic}.x' }, { topic: 'a' })[0]!.meta).toEqual({ topic: 'a.x' });
  expect(through({ topic: 'fixed' }, undefined)[0]!.meta).toEqual({ topic: 'fixed' });
  expect(through({ dropHeaders: ['a'] }, undefined)[0]!.meta).toEqual({});
  expect(through({ topic: '{meta.topic}.x' }, undefined)).toEqual([]);
});

test('its templates are checked where they stand', () => {
  const problems = (options: string) =>
    loaded(`
  a:
    - mqtt: { url: "mqtt://h", topics: a }
    - validate: { schema: reading.json }
    - meta: ${options}
    - print
`).problems.map(({ code, message }) => `${code} ${/`(.*?)`/.exec(message)?.[1]}`);
  expect(problems("{ topic: '{idd}', headers: { a: '{tmperature}' } }")).toEqual([
    'unknown-field idd',
    'unknown-field tmperature',
  ]);
  expect(problems('{}')).toHaveLength(1);
});
