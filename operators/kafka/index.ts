import { defineSink, defineSource, field, Type, type TypeCheck, template } from '../../src/operator.ts';
import { codecNames } from './codecs.ts';
import { deliveryOf, joins } from './delivery.ts';
import { checkConnection, connectionOptions, topicProblem } from './options.ts';
import {
  checkRegistry,
  type RegistryOptions,
  registryOption,
  registryWritingOption,
  schemaFileOption,
} from './registry-options.ts';
import { sendBack } from './send-back.ts';
import { idHeader, openSink } from './sink.ts';
import { openSource } from './source.ts';
import { checkStart, startOption } from './start.ts';
import { checkTopics, topicOptions } from './subscription.ts';
import { openTransactions } from './transactions.ts';

/**
 * Reads Kafka topics as a member of a consumer group, one partition per task. The checkpoint says where to go on; the group's
 * offsets follow it. Records that are gone before they were read end the run instead of being skipped.
 */
export const kafkaSource = defineSource({
  name: 'kafka',
  summary: 'Reads the records of Kafka topics.',
  details:
    'Instances with the same `group` share the partitions; each keeps its partitions as far as an even share allows. Before partitions move, all that was ' +
    'read is checkpointed and the group told of it, so that with `start: group` the next instance neither repeats nor misses a record; what was read after the last checkpoint of an instance that crashed is read again. ' +
    'State on disk does not move with its partition: topologies with keyed steps need `state: { store: kafka }` to be shared out. Records that meet those of another source in one step have to be read by one process.\n\n' +
    'The checkpoint decides where to go on. `start` is for partitions that it does not hold: it has no default, as beginning at the wrong end loses or ' +
    'repeats records without a word. After each checkpoint the offsets are committed to the group, so that lag tools see them.\n\n' +
    'With a pattern in place of names, new topics that match are read from their first record on (`start: group`: from where the group stands, if it does). A topic of it that is deleted ' +
    'while it is read ends the run, as any other does.\n\n' +
    'If the records to read next were removed (retention), or the topic was deleted and made anew, the run ends with an error that names topic, ' +
    'partition and offset. A topic that was made anew and has grown past the old offset cannot be told from the old one.\n\n' +
    'With `state: { store: kafka }` the state of each partition is kept in a changelog topic, `<topology>-<source>-changelog`, made if it is not there: compacted, ' +
    'with as many partitions as the topic that is read. Of several topics each has a changelog of its own, with `-<topic>` behind the name. State, offsets and what sinks write to the same ' +
    'brokers are committed in one transaction per partition, with the transactional id `penstock-<topology>-<source>-<topic>-<partition>`. An instance that takes a partition over ' +
    'ends what the one before has begun, which can commit nothing after that; what it had not committed is read again. If the machine of an instance is lost, readers of committed records ' +
    'wait until its partitions are taken over, for 30 s (or twice the time between checkpoints) at most. A login needs the rights to write and describe these transactional ids.\n\n' +
    'With `registry`, the schema that each value names by its id decodes it: Avro, Protobuf (names of fields in lowerCamelCase, fields that are not there with their defaults, enums by name) or JSON Schema (which is not checked: `validate` does that). ' +
    'Whole numbers beyond 2^53 are rejected, as they would lose digits; so are ids that the registry does not have. A registry that is away is waited for. It needs the package `@kafkajs/confluent-schema-registry`.\n\n' +
    'A tombstone has the value `null`. The message key, as text, is the key of the record; headers are `meta.headers`, those that are no UTF-8 text as `base64:` and their bytes. Transactions are read committed. ' +
    'Records are read however they are compressed: gzip, snappy, lz4, zstd. A batch that takes more than 256 MiB unpacked, or cannot be unpacked, ends the run.',
  options: Type.Object({
    ...connectionOptions,
    ...topicOptions,
    group: Type.Optional(Type.String({ description: 'Consumer group. Default: name of the topology.', minLength: 1 })),
    start: Type.Optional(startOption),
    until: Type.Optional(
      Type.Enum(['end'], {
        description: '`end`: read up to where the partitions end when the run starts, then end. For replays and tests.',
      }),
    ),
    keyedBy: Type.Optional(
      field({
        description:
          'The field of the payload that the message key is equal to. With it, `keyBy` that field needs no repartitioning.',
        examples: ['generatorID'],
      }),
    ),
    keyFormat: Type.Optional(
      Type.Enum(['text', 'base64', 'json', 'registry', 'ignore'], {
        description:
          'How message keys are read. A key that is not UTF-8 is rejected as `text`; as `json` and `registry`, text, numbers, true and false are keys as they are, anything else as JSON.',
        default: 'text',
      }),
    ),
    registry: Type.Optional(registryOption),
  }),
  times: ['arrival', 'kafka'],
  replays: true,
  partitioned: true,
  partitionedBy: ({ keyedBy }) => keyedBy,
  sendBack: (options, { topic }) => sendBack(options, topic),
  check(options, check) {
    checkConnection(options, check);
    checkTopics(options, check);
    checkStart(options.start, check);
    checkRegistry(options.registry, check);
    checkReading(options, check);
  },
  examples: [
    {
      title: 'A topic whose messages are keyed by generatorID, from its first record on',
      options: {
        brokers: '127.0.0.1:9092',
        topic: 'emergency_generators',
        start: 'earliest',
        keyedBy: 'generatorID',
        time: 'kafka',
      },
    },
    {
      title: 'With TLS and a password',
      options: {
        brokers: 'kafka-1:9093,kafka-2:9093',
        ssl: true,
        sasl: { mechanism: 'scram-sha-512', username: 'penstock', password: '${KAFKA_PASSWORD}' },
        topic: 'sensors.temperature',
        group: 'alerts',
        start: 'latest',
      },
    },
    {
      title: 'Avro values, as a schema registry describes them',
      options: {
        brokers: '127.0.0.1:9092',
        topic: 'readings',
        start: 'group',
        registry: { url: 'http://127.0.0.1:8081' },
      },
    },
    {
      title: 'All topics of sensors, also those that come later, from the first of November on',
      options: {
        brokers: '127.0.0.1:9092',
        topics: { pattern: 'sensors\\..*' },
        start: { timestamp: '2026-11-01T00:00Z' },
      },
    },
  ],
  transactions: (options, settings, context) => openTransactions(options, settings, context),
  open: (options, context) => openSource(options, context),
});

const readingOf = ({ url, username, password }: RegistryOptions) => ({
  url,
  ...(username !== undefined && { username }),
  ...(password && { password }),
});

function checkReading(
  { registry, keyFormat, format = 'json' }: { registry?: unknown; keyFormat?: string; format?: string },
  check: TypeCheck,
): void {
  if (registry !== undefined && format !== 'json') {
    check.problem(
      ['format'],
      `With \`registry\`, schemas say how values are read, and not \`format: ${format}\`.`,
      'Leave `format` out.',
    );
  }
  if (registry === undefined && keyFormat === 'registry') {
    check.problem(['keyFormat'], '`keyFormat: registry` needs a `registry`.', 'Add `registry: { url: … }`.');
  }
}

/**
 * Writes records to Kafka as JSON, durable at all replicas, in order per key. Waits for a broker that is away; refuses what the
 * topic never takes; after a crash, what was written since the last checkpoint is written again with the same `penstock-id`.
 */
export const kafkaSink = defineSink({
  name: 'kafka',
  summary: 'Writes each record to a Kafka topic, as JSON.',
  details:
    'A key is written as text, numbers and booleans as JSON. Its partition is the one that a Java producer chooses, unless a `partition` step has chosen. ' +
    "Each record carries a header `penstock-id`, the same text for the same result after any restart, and its event time as the record's timestamp. The value `null` is " +
    'a tombstone; bytes (`format: bytes`) are written as they are.\n\n' +
    'With `registry` and `value`, values are written by a schema, behind its id (the wire format of Confluent and Java). The registry is asked as the sink opens, and a schema that it does not take ends the start, in its own words. ' +
    'A value that does not fit is refused, with the names of its fields; so are NaN in JSON and whole numbers beyond 2^53. Fields that the schema does not have are left out. `null` stays a tombstone.\n\n' +
    'A topic that keeps records for a length of time (`retention.ms`, a week by default) deletes them by that timestamp: results for old event times are gone ' +
    'within minutes. Give such a topic `message.timestamp.type=LogAppendTime`, or a longer retention.\n\n' +
    'A write is confirmed when all in-sync replicas have it (`acks=all`, idempotent producer). A broker that is away is waited for, in order per key. ' +
    'Refused, and sent to `otherwise`, are: a record larger than the topic takes, a timestamp that the topic does not take, a key field that is missing, a topic name from the data that ' +
    'Kafka does not allow or that is not there. A topic written out in full that is not there, or a missing right, ends the run.\n\n' +
    'A dead letter also has the headers that Kafka Connect gives it (`__connect.errors.topic`, `.partition`, `.offset`, `.connector.name`, `.task.id`, `.stage`, `.class.name`, `.exception.class.name`, ' +
    '`.exception.message`), and the key that it came with.\n\n' +
    'In a topology with `state: { store: kafka }` whose source has the same `brokers`, `ssl` and `sasl`, records are written in the transaction of the source partition that they come from, and seen ' +
    'by readers of committed records when the checkpoint is taken: exactly once. A refused record is left out, the transaction goes on without it. An error after which nobody knows what was ' +
    'written makes the partition go on from its last commit.',
  options: Type.Object(
    {
      ...connectionOptions,
      topic: template({
        description: 'The topic: a name, or a template that makes one from the record.',
        examples: ['kafka_downsampled', "{meta.topic.replace('/', '.')}"],
      }),
      key: Type.Optional(
        field({
          description: "The field whose value is the message key. Default: the record's key.",
          examples: ['generatorID'],
        }),
      ),
      headers: Type.Optional(
        Type.Record(Type.String({ minLength: 1 }), template({ description: 'The value of the header.' }), {
          description: 'More headers, by name.',
          examples: [{ region: '{region}' }],
        }),
      ),
      forwardHeaders: Type.Optional(
        Type.Boolean({
          description:
            "The record's own headers (`meta.headers`) are written as well; those of `headers` stand over them.",
          default: false,
        }),
      ),
      payload: Type.Optional(
        Type.Enum(['value', 'original'], {
          description:
            'What is written of a dead letter. `value`: the record that tells all of it. `original`: the payload that was refused, with its key and headers, and what is known of it in the header `penstock-dead-letter`; readers of Kafka Connect take that.',
          default: 'value',
        }),
      ),
      compression: Type.Optional(
        Type.Enum([...codecNames], { description: 'How batches are compressed.', default: 'none' }),
      ),
      registry: Type.Optional(registryWritingOption),
      value: Type.Optional(
        schemaFileOption('Write values by this schema, with its id in the registry before them. Default: JSON.'),
      ),
      keyAs: Type.Optional(schemaFileOption('Write keys by this schema, with its id in the registry before them.')),
      createTopic: Type.Optional(
        Type.Object(
          {
            partitions: Type.Integer({ description: 'Number of partitions.', minimum: 1 }),
            replication: Type.Optional(
              Type.Integer({ description: 'Copies of each partition; 3 in production.', minimum: 1, default: 1 }),
            ),
            config: Type.Optional(
              Type.Record(
                Type.String({ minLength: 1 }),
                Type.Union([Type.String(), Type.Number(), Type.Boolean()], { description: 'Its value.' }),
                {
                  description: 'Settings of the topic, as Kafka names them.',
                  examples: [{ 'retention.ms': 86_400_000, 'cleanup.policy': 'compact' }],
                },
              ),
            ),
          },
          { additionalProperties: false, description: 'Make the topic if it is not there.' },
        ),
      ),
    },
    { additionalProperties: false },
  ),
  examples: [
    {
      title: 'Keyed by generatorID',
      options: { brokers: '127.0.0.1:9092', topic: 'kafka_downsampled', key: 'generatorID' },
    },
    {
      title: 'As Avro, with the schema in a registry, to a topic that is made if it is not there',
      options: {
        brokers: '127.0.0.1:9092',
        topic: 'readings',
        key: 'generatorID',
        registry: { url: 'http://127.0.0.1:8081' },
        value: { avro: './reading.avsc' },
        compression: 'zstd',
        createTopic: { partitions: 6, replication: 3, config: { 'retention.ms': 604_800_000 } },
      },
    },
    {
      title: 'Each MQTT topic to the Kafka topic of the same name',
      options: { brokers: '127.0.0.1:9092', topic: "{meta.topic.replace('/', '.')}" },
    },
  ],
  delivery: (options, within) => deliveryOf(options, within),
  joins: (options, source) => joins(options, source),
  // A field that is named as the key is a primary key: compaction, and readers of the topic as a table, keep the newest record of each.
  upserts: ({ key }) => key !== undefined,
  type(options, check) {
    const { topic, key, headers } = options;
    checkConnection(options, check);
    if (topic.includes('{')) check.expression(['topic']);
    else {
      const problem = topicProblem(topic);
      if (problem) check.problem(['topic'], `\`${topic}\` is no name for a Kafka topic: ${problem}.`);
    }
    if (key !== undefined) check.expression(['key']);
    checkRegistry(options.registry, check);
    if (options.registry === undefined && (options.value || options.keyAs)) {
      const what = options.value ? 'value' : 'keyAs';
      check.problem([what], `\`${what}\` needs a schema registry.`, 'Add `registry: { url: … }`.');
    }
    for (const name of Object.keys(headers ?? {})) check.expression(['headers', name]);
  },
  readBack: ({ brokers, ssl, sasl, topic, registry, value, keyAs }) =>
    topic.includes('{')
      ? undefined
      : {
          source: 'kafka',
          // What was written has the time that it was written with, however far ahead.
          options: {
            brokers,
            ...(ssl !== undefined && { ssl }),
            ...(sasl && { sasl }),
            ...(registry && value && { registry: readingOf(registry) }),
            ...(keyAs && { keyFormat: value ? 'registry' : 'base64' }),
            topic,
            time: { from: 'kafka', maxFuture: '36500d' },
          },
          idHeader,
        },
  open: (options, context) => openSink(options, context),
});
