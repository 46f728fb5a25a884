/**
 * Kafka's own judge of exactly once, StreamsEosTest: its generator feeds, Penstock is the application and is killed, its verifier
 * decides. Then one record is written a second time, and the verifier has to see it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import kafkajs, { type Admin } from 'kafkajs';
import { dismiss } from './group.ts';
import { randomFrom } from './input.ts';
import { Instance } from './instance.ts';
import { OwnBroker } from './own-broker.ts';
import { Progress } from './progress.ts';
import { streamsTopics, streamsTopology } from './streams-topology.ts';
import type { Delivery } from './topology.ts';
import { patiently, sleep, until } from './wait.ts';

const group = 'EosTest';
/** So many at least are generated. */
const leastRecords = 500;
const delivered = 'ALL-RECORDS-DELIVERED';
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));

interface StreamsOptions {
  readonly rounds: number;
  readonly complex: boolean;
  readonly seed: number;
  readonly delivery: Delivery;
}

/** Gives what the verifier said; throws when it, the generator or the application did not do its part. */
export async function streamsEos({ rounds, complex, seed, delivery }: StreamsOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-streams-'));
  const jars = execFileSync(here('streams-jars.sh'), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
  const broker = await OwnBroker.start();
  const admin = new kafkajs.Kafka({ brokers: [broker.address], logLevel: kafkajs.logLevel.NOTHING }).admin();
  const started: Instance[] = [];
  try {
    await admin.connect();
    const topics = streamsTopics(complex);
    await admin.createTopics({
      topics: [...topics, 'rejected'].map((topic) => ({ topic, numPartitions: 5 })),
    });
    writeFileSync(join(folder, 'judge.properties'), `bootstrap.servers=${broker.address}\n`);
    writeFileSync(join(folder, 'topology.yaml'), streamsTopology(broker.address, complex, delivery));
    const judge = [jars, join(folder, 'judge.properties')] as const;
    const generator = new Instance('generator', ['java', ...judgeArgs(judge, 'run')], folder);
    started.push(generator);
    const app = () => {
      const state = delivery === 'exactlyOnce' ? `state-${started.length}` : 'state';
      const args = ['--import', 'tsx', here('streams-app.ts'), join(folder, 'topology.yaml'), join(folder, state)];
      const instance = new Instance('application', [process.execPath, ...args], process.cwd());
      started.push(instance);
      return instance;
    };
    const last = await kill(admin, app, { rounds, seed });
    await until(async () => (await ended(admin, 'data')) >= leastRecords, 120_000);
    // Java ends with 143 when it is told to.
    await generator.end();
    await drained(admin, last, complex);
    const code = await last.end();
    if (code !== 0) throw new Error(`The application ended with ${code} on SIGTERM: ${last.log}`);
    await nothingRejected(admin);
    const verdict = await verify(judge, complex);
    if (!verdict.includes(delivered)) return verdict;
    await repeatOne(broker.address);
    const second = await verify(judge, complex);
    if (second.includes(delivered)) throw new Error('The verifier did not see a record that was written twice.');
    return verdict;
  } finally {
    for (const instance of started) await instance.kill();
    await admin.disconnect();
    await broker.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function kill(
  admin: Admin,
  app: () => Instance,
  { rounds, seed }: Pick<StreamsOptions, 'rounds' | 'seed'>,
): Promise<Instance> {
  const random = randomFrom(seed);
  const progress = new Progress('StreamsEosTest');
  let instance = app();
  for (let round = 1; round <= rounds; round++) {
    if (random() < 0.25) await sleep(300 + random() * 1_500);
    else {
      const before = await ended(admin, 'echo');
      await until(async () => !instance.running || (await ended(admin, 'echo')) > before, 120_000);
      await sleep(random() * 1_500);
    }
    if (instance.fell) throw new Error(`Round ${round}: ${instance.fell}`);
    await instance.kill();
    await dismiss(admin, group);
    instance = app();
    progress.round(round, rounds, `${await ended(admin, 'data')} records generated`);
  }
  return instance;
}

async function ended(admin: Admin, topic: string): Promise<number> {
  const offsets = await patiently(() => admin.fetchTopicOffsets(topic));
  return offsets.reduce((sum, { high }) => sum + Number(high), 0);
}

/** Waits until the group stands at the end of all that was generated. Markers of transactions stand behind the last record. */
async function drained(admin: Admin, app: Instance, complex: boolean): Promise<void> {
  const behind = async (topic: string, markers: number) => {
    const ends = await patiently(() => admin.fetchTopicOffsets(topic));
    const [at] = await patiently(() => admin.fetchOffsets({ groupId: group, topics: [topic] }));
    const of = new Map(at?.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
    return ends.some(({ partition, high }) => (of.get(partition) ?? -1) < Number(high) - markers);
  };
  const done = await until(async () => {
    if (app.fell) throw new Error(app.fell);
    return !(await behind('data', 0)) && !(complex && (await behind('repartition', 1)));
  }, 120_000);
  if (!done) throw new Error(`The application has not read all within 120 s: ${app.log.slice(-2_000)}`);
}

async function nothingRejected(admin: Admin): Promise<void> {
  const count = await ended(admin, 'rejected');
  if (count > 0) throw new Error(`${count} records or markers are in the dead letters; expected none.`);
}

/** Writes a record of `sum` a second time, behind the last of its partition. */
async function repeatOne(address: string): Promise<void> {
  const kafka = new kafkajs.Kafka({ brokers: [address], logLevel: kafkajs.logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: 'repeat' });
  await consumer.connect();
  await consumer.subscribe({ topic: 'sum', fromBeginning: true });
  const found = await new Promise<{ key: Buffer | null; value: Buffer | null; partition: number }>((resolve) => {
    void consumer.run({ eachMessage: async ({ message, partition }) => resolve({ ...message, partition }) });
  });
  await consumer.disconnect();
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic: 'sum', messages: [{ key: found.key, value: found.value, partition: found.partition }] });
  await producer.disconnect();
}

type JudgeAt = readonly [jars: string, properties: string];

function judgeArgs([jars, properties]: JudgeAt, what: string): string[] {
  const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error';
  return ['-Xmx384m', quiet, '-cp', jars, 'org.apache.kafka.streams.tests.StreamsEosTest', properties, what];
}

function verify(judge: JudgeAt, complex: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('java', judgeArgs(judge, complex ? 'verify-complex' : 'verify'));
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => {
        said = `${said}${text}`.slice(-20_000);
      });
    child.once('error', reject);
    child.once('close', () => resolve(said));
  });
}

if (import.meta.filename === process.argv[1]) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '50' },
      complex: { type: 'boolean', default: false },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      delivery: { type: 'string', default: 'exactlyOnce' },
    },
  });
  const { complex } = values;
  const delivery = values.delivery === 'atLeastOnce' ? 'atLeastOnce' : 'exactlyOnce';
  const said = await streamsEos({ rounds: Number(values.rounds), complex, seed: Number(values.seed), delivery });
  console.log(said.trim().slice(-2_000));
  const passed = said.includes(delivered);
  console.log(
    `StreamsEosTest ${complex ? 'complex' : 'simple'}, ${values.rounds} kills, seed ${values.seed}: ${passed ? delivered : 'FAILED'}`,
  );
  process.exit(passed ? 0 : 1);
}
