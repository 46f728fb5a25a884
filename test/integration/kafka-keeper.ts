import kafkajs from 'kafkajs';
import { afterEach } from 'vitest';
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import {
  type OpenSink,
  type PartitionState,
  type StateSettings,
  StreamRecord,
  type Transactions,
} from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { keepingLog, sinkContext } from '../operators/connector-contexts.ts';
import { brokers, eventually, Reading, uniqueName, withAdmin } from './kafka-tools.ts';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

/** What keeps the state of one topic: as many instances as a test wants, all of one topology. */
export class Keeper {
  readonly topology: string;
  readonly topic: string;
  readonly log = keepingLog();

  static async make(partitions = 1): Promise<Keeper> {
    const topic = uniqueName('in');
    await withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: partitions }] }));
    return new Keeper(topic, uniqueName('app'));
  }

  constructor(topic: string, topology: string) {
    this.topic = topic;
    this.topology = topology;
  }

  async instance(settings: StateSettings = {}): Promise<Transactions> {
    const transactions = await kafkaSource.transactions!({ brokers, topic: this.topic } as never, settings, {
      ports: systemPorts(),
      log: this.log,
      topology: this.topology,
      id: 'in',
      signal: new AbortController().signal,
    });
    opened.push(transactions);
    return transactions;
  }

  async claim(instance?: Transactions, partition = 0): Promise<PartitionState> {
    const state = await (instance ?? (await this.instance())).claim(`${this.topic}/${partition}`);
    opened.push(state);
    return state;
  }
}

/** A sink that writes in the transaction. */
export async function sinkIn(state: PartitionState, topic: string, more: object = {}): Promise<OpenSink> {
  const options = { brokers, topic, createTopic: { partitions: 2 }, ...more } as never;
  const sink = await kafkaSink.open(options, { ...sinkContext(systemPorts()), transaction: state.transaction });
  opened.push(sink);
  return sink;
}

export const numbered = (n: number, key = 'a') => new StreamRecord({ n }, key, Date.now(), n);

/**
 * What a reader of committed records sees, in the order of the partitions, once there are so many: a broker confirms a commit before it has
 * marked it in every partition.
 */
export async function committedNumbers(topic: string, atLeast = 0): Promise<number[]> {
  let numbers: number[] = [];
  await eventually(async () => {
    const reading = await Reading.open({ topic, group: uniqueName('g'), start: 'earliest', until: 'end' });
    numbers = (await reading.toEnd()).values().map((value) => (value as { n: number }).n);
    return numbers.length >= atLeast;
  }, 'the records of a commit');
  return numbers;
}

/** A transactional producer of kafkajs itself: a neighbour that has nothing to do with us. */
export async function neighbour() {
  const kafka = new kafkajs.Kafka({ brokers: [brokers], logLevel: 0 });
  const producer = kafka.producer({ transactionalId: uniqueName('neighbour'), maxInFlightRequests: 1 });
  await producer.connect();
  opened.push({ close: () => producer.disconnect() });
  return producer;
}
