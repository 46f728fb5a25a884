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
