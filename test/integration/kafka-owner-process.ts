/** A process that owns a partition, has written in an open transaction, and waits to be killed. */
import { kafkaSink, kafkaSource } from '../../operators/kafka/index.ts';
import { StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';
import { keepingLog, sinkContext } from '../operators/connector-contexts.ts';

const { brokers, topology, topic, out } = JSON.parse(process.argv[2]!);
const ports = systemPorts();
const transactions = await kafkaSource.transactions!(
  { brokers, topic } as never,
  {},
  { ports, log: keepingLog(), topology, id: 'in', signal: new AbortController().signal },
);
const state = await transactions.claim(`${topic}/0`);
const options = { brokers, topic: out, createTopic: { partitions: 2 } } as never;
const sink = await kafkaSink.open(options, { ...sinkContext(ports), transaction: state.transaction });
await sink.write([new StreamRecord({ n: 1 }, 'a', Date.now(), 0)]);
await state.commit({ puts: [['a', Buffer.from('1')]], removes: [] }, 1);
await sink.write([new StreamRecord({ n: 2 }, 'a', Date.now(), 1)]);
process.stdout.write('ready\n');
setInterval(() => {}, 1_000);
