import { connect } from 'node:net';
import { MqttClient } from 'mqtt';
import { Secret } from '../../src/operator.ts';
import { until } from '../conformance/harness.ts';
import { uniqueName, withAdmin } from './kafka-tools.ts';
import { needs } from './services.ts';

const { describe: _, ...found } = needs('KAFKA_BROKERS', 'MQTT_URL', 'INFLUX_URL', 'INFLUX_ORG', 'INFLUX_TOKEN');
/** The variables of the servers; empty where there are none, and all tests are skipped. */
export const servers: Readonly<Record<keyof typeof found, string>> = found;
const { MQTT_URL: broker } = servers;

/** A new topic with two partitions. */
export async function newTopic(): Promise<string> {
  const topic = uniqueName('conformance');
  await withAdmin((admin) => admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 2 }] }));
  return topic;
}

const [mqttHost, mqttPort] = broker === '' ? ['', 0] : [new URL(broker).hostname, Number(new URL(broker).port)];
/** The listener that asks for a user and a password. */
export const guarded = `mqtt://${mqttHost}:${mqttPort + 1}`;
export const login = (secret = 'test-secret') => ({ username: 'test', password: new Secret(secret) });

/** A client of the listener that asks for nothing. */
export async function mqttClient(): Promise<MqttClient> {
  const client = new MqttClient(() => connect(mqttPort, mqttHost), {
    clientId: uniqueName('conformance'),
    protocolVersion: 4,
    clean: true,
  });
  client.on('error', () => {});
  await until('the client is connected', () => client.connected);
  return client;
}

const { INFLUX_URL: url, INFLUX_ORG: org, INFLUX_TOKEN: token } = servers;
export const influxHeaders = { authorization: `Token ${token}`, 'content-type': 'application/json' };

/** A new bucket, by its name. */
export async function newBucket(): Promise<string> {
  const found = await fetch(`${url}/api/v2/orgs?org=${org}`, { headers: influxHeaders });
  const { orgs } = (await found.json()) as { orgs: { id: string }[] };
  const name = uniqueName('conformance');
  const body = JSON.stringify({ orgID: orgs[0]!.id, name, retentionRules: [] });
  const made = await fetch(`${url}/api/v2/buckets`, { method: 'POST', headers: influxHeaders, body });
  if (made.status !== 201) throw new Error(await made.text());
  return name;
}

/** The options that name the server. */
export const influxServer = (bucket: string, secret = token) => ({ url, org, bucket, token: new Secret(secret) });
