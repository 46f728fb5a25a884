import fc from 'fast-check';
import { expect, test } from 'vitest';
import { value } from '../../operators/value/index.ts';
import { StreamRecord } from '../../src/operator.ts';
import { Driver } from '../../src/testing.ts';
import { loaded } from './topologies.ts';

const window = { step: 'w', start: 0, end: 10, label: 10, pane: 'final', seq: 0 } as const;

test('the value is what the expression gives, and all that stands beside it stays', () =>
  fc.assert(
    fc.property(fc.jsonValue(), (inner) => {
      // Numbers of JSON have one zero.
      const content = JSON.parse(JSON.stringify(inner)) as unknown;
      const record = new StreamRecord({ inner: content }, 'k', 5, 3, { topic: 't' }, window, 2, 's/0', '1');
      const driver = new Driver(value, { value: 'inner' });
      driver.push(record);
      expect(driver.end()).toEqual([record.withValue(content)]);
    }),
  ));

test('a record without what is asked for, and a function that gives nothing, are rejected', () => {
  for (const given of ['payload', () => undefined, 'payload.inner']) {
    const driver = new Driver(value, { value: given });
    driver.push(new StreamRecord({ other: 1 }));
    expect([driver.end(), driver.rejectedCodes()]).toEqual([[], ['expression-failed']]);
  }
  const driver = new Driver(value, { value: (all: { a: number }) => all.a * 2 });
  driver.push(new StreamRecord({ a: 2 }));
  expect(driver.end().map((record) => record.value)).toEqual([4]);
});

test('what comes after it is checked against the type of the new value', () => {
  const streams = (step: string, next: string) => `
  a:
    - mqtt: { url: "mqtt://h", topics: a }
    - validate: { schema: reading.json }
    - value: ${step}
    - filter: ${next}
    - print
`;
  const problems = (step: string, next: string) => loaded(streams(step, next)).problems.map(({ code }) => code);
  expect(problems(`'{"celsius": temperature}'`, "'celsius > 20'")).toEqual([]);
  expect(problems(`'{"celsius": temperature}'`, "'temperature > 20'")).toEqual(['unknown-field']);
  expect(problems("'temprature'", "'true'")).toEqual(['unknown-field']);
});
