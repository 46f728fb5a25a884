import { catalogue } from '../../operators/index.ts';
import { TopologyDriver } from '../../src/testing.ts';
import { loadTopology } from '../../src/topology/load.ts';

/** Loads a topology; the schema `reading.json` has `id` and `temperature`, `price.json` has `id` and `euro`. */
export function loaded(streams: string, head = '') {
  const text = `version: 1\nname: t\n${head}streams:\n${streams}`;
  return loadTopology({ text, file: '/topologies/t.yaml' }, { catalogue, env: {}, readFile });
}

const schemas: Record<string, object> = {
  'reading.json': { id: { type: 'string' }, temperature: { type: 'number' } },
  'price.json': { id: { type: 'string' }, euro: { type: 'number' } },
};
function readFile(path: string): string {
  const properties = schemas[path.split('/').at(-1)!]!;
  return JSON.stringify({ type: 'object', properties, required: Object.keys(properties) });
}

/** A time that sources take, at a whole minute. */
export const t0 = Date.UTC(2026, 0, 1);

/** An MQTT source for a flow mapping, with event time in the field `t`. */
export const mqtt = (topic: string, more = '') =>
  `{ mqtt: { url: "mqtt://nowhere.example.com", topics: "${topic}/{id}", time: { field: t, unit: ms${more} } } }`;

/** What is wrong with a topology, each problem as `code line:column message`. */
export function problemsOf(streams: string): string[] {
  return loaded(streams).problems.map(
    ({ code, message, place }) => `${code} ${place?.line}:${place?.column} ${message}`,
  );
}

/** Runs a topology on virtual time; throws when it has problems. */
export async function driven(streams: string): Promise<TopologyDriver> {
  const { plan, problems } = loaded(streams);
  if (!plan) throw new Error(problems.map(({ message, hint }) => `${message} ${hint ?? ''}`).join('\n'));
  return TopologyDriver.start(plan, catalogue);
}
