import { expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { loadTopology } from '../../src/topology/load.ts';

test('every name of a field is checked against the record', () => {
  const text = `version: 1
name: t
streams:
  a:
    - mqtt: { url: "mqtt://h", topics: a }
    - validate: { schema: { type: object, properties: { region: { type: string }, fuel: { type: number } } } }
    - influx: { url: "http://h", org: o, bucket: b, token: t, measurement: "gen-{rgion}", tags: [region, regoin], fields: [fuel, fule], integers: [feul] }
`;
  const { problems } = loadTopology({ text, file: 't.yaml' }, { catalogue });
  expect(problems.map(({ code, message }) => `${code} ${/`(.*)`/.exec(message)?.[1]}`)).toEqual(
    ['rgion', 'regoin', 'fule', 'feul'].map((name) => `unknown-field ${name}`),
  );
});

const problemsOf = (step: string) =>
  loadTopology({ text: `version: 1\nname: t\nstreams:\n  a:\n${step}\n`, file: 't.yaml' }, { catalogue }).problems.map(
    ({ message }) => message,
  );

test.each([
  [
    'bucket: b, measurement: m',
    ['There is no `org`, which InfluxDB 2 needs.', 'There is no `token`, which InfluxDB 2 needs.'],
  ],
  ['version: 1, bucket: b, measurement: m', []],
  ['version: 3, bucket: b, measurement: m, token: t', []],
  ['version: 3, bucket: b, measurement: m, org: o', ['InfluxDB 3 has no organizations.']],
  ['version: 1, bucket: b, measurement: m, username: u', ['Only one of `username` and `password` is there.']],
  [
    'version: 1, bucket: b, measurement: m, username: u, password: p, token: t',
    ['There is a `token` beside `username` and `password`.'],
  ],
  ['org: o, token: t, bucket: b, measurement: m, retentionPolicy: r', ['`retentionPolicy` is of InfluxDB 1.x only.']],
])('what a version of InfluxDB needs and does not know is told: %s', (given, expected) => {
  const text = `    - mqtt: { url: "mqtt://h", topics: a }\n    - influx: { url: "http://h", ${given} }`;
  expect(problemsOf(text)).toEqual(expected);
});

test('a start that is no time, and an address that is none, are told of the source', () => {
  const source = (more: string) =>
    `    - influx: { org: o, token: t, bucket: b, time: influx, ${more} }\n    - print: {}`;
  expect(problemsOf(source('url: "http://h", start: "2026-01-01T00:00:00.123456789+01:00"'))).toEqual([]);
  expect(problemsOf(source('url: "http://h", start: yesterday'))).toEqual(['`start` is no time: expected RFC 3339.']);
  expect(problemsOf(source('url: "ftp://h"'))).toEqual([expect.stringContaining('begins with `ftp:`')]);
});
