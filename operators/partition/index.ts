import { defineStep, kafkaPartition, Type } from '../../src/operator.ts';

const options = Type.Object(
  {
    count: Type.Integer({
      description: 'How many partitions: that of the Kafka topic that the records go to.',
      minimum: 1,
      maximum: 100_000,
      examples: [6],
    }),
  },
  { additionalProperties: false },
);

/** Chooses a partition from the key, as Kafka's default partitioner does. A record without a key is rejected. */
export const partition = defineStep({
  name: 'partition',
  summary: "Chooses each record's partition from its key, exactly as Kafka's own clients do.",
  details: `The partition is murmur2 over the key's UTF-8 bytes, without its sign, modulo \`count\`: equal to the Java client's default for
text keys. A number or boolean is hashed as its JSON text. A later \`keyBy\` takes the partition away again. A record without a key
is rejected with \`key-missing\`.`,
  options,
  shorthand: 'count',
  examples: [
    {
      title: 'Six partitions',
      options: 6,
      input: [{ key: 'G-0001', value: {} }, { key: 'G-0042', value: {} }, { key: 'größe', value: {} }, { value: {} }],
      output: [
        { key: 'G-0001', value: {}, partition: 0 },
        { key: 'G-0042', value: {}, partition: 5 },
        { key: 'größe', value: {}, partition: 2 },
      ],
      rejected: ['key-missing'],
    },
  ],
  create({ count }) {
    return {
      onRecord(record, step) {
        const { key } = record;
        if (key === undefined)
          step.reject(
            record,
            'key-missing',
            'The record has no key to choose a partition from. Put a `keyBy` before `partition`.',
          );
        else step.emit(record.withPartition(kafkaPartition(key, count)));
      },
    };
  },
});
