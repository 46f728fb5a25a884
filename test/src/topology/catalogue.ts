import {
  type Definition,
  defineSink,
  defineSource,
  defineStep,
  duration,
  type Expression,
  expression,
  field,
  inputStream,
  jsonSchema,
  path,
  type RecordType,
  secret,
  size,
  streamCondition,
  streamName,
  Type,
  template,
} from '../../../src/operator.ts';

/** Small operators that show all that a definition can ask of the loader. They are never run. */
const unused = (): never => {
  throw new Error('These operators are only read, never run.');
};
const closed = { additionalProperties: false };

export const broker = defineSource({
  name: 'broker',
  summary: 'Reads messages.',
  options: Type.Object({
    url: Type.String({ description: 'Address.', examples: ['mqtt://127.0.0.1:1883'] }),
    topics: Type.Array(Type.String(), { description: 'Topics.', minItems: 1, uniqueItems: true }),
    qos: Type.Optional(Type.Enum([0, 1, 2], { description: 'Quality of service.', default: 1 })),
    password: Type.Optional(secret({ description: 'Password.' })),
    keepAlive: Type.Optional(Type.Integer({ description: 'Seconds.', minimum: 1, maximum: 600 })),
    clean: Type.Optional(Type.Boolean({ description: 'Forget the session.', default: false })),
  }),
  times: ['arrival'],
  examples: [],
  check({ topics }, check) {
    for (const [index, topic] of topics.entries()) {
      if (topic === '#')
        check.problem(
          ['topics', index],
          'The topic `#` takes everything.',
          'Name the topics.',
          'error',
          'unsafe-topic',
        );
    }
  },
  open: unused,
});
export const log = defineSource({
  name: 'log',
  summary: 'Reads a partitioned log.',
  options: Type.Object({
    topic: Type.String({ description: 'Topic.' }),
    keyedBy: Type.Optional(field({ description: 'Field that is the key.' })),
  }),
  times: ['arrival', 'kafka'],
  partitioned: true,
  partitionedBy: ({ keyedBy }) => keyedBy,
  examples: [],
  open: unused,
});
export const logSink = defineSink({
  name: 'log',
  summary: 'Writes to a log.',
  options: Type.Object(
    {
      topic: template({ description: 'Topic.', examples: ['alarms'] }),
      key: Type.Optional(field({ description: 'Key.' })),
    },
    closed,
  ),
  shorthand: 'topic',
  examples: [],
  delivery: () => ({ level: 'at least once', reason: 'It is not real.' }),
  upserts: ({ key }) => key !== undefined,
  open: unused,
});
export const kafka = defineSource({
  name: 'kafka',
  summary: 'Reads a log that keeps state beside its records.',
  options: Type.Object({ topics: Type.Array(Type.String(), { description: 'Topics.', minItems: 1 }) }),
  times: ['kafka'],
  partitioned: true,
  partitionedBy: () => 'generatorID',
  examples: [],
  transactions: unused,
  open: unused,
});
export const kafkaSink = defineSink({
  name: 'kafka',
  summary: 'Writes to that log, in its transactions when there are any.',
  options: Type.Object({ topic: Type.String({ description: 'Topic.' }) }, closed),
  shorthand: 'topic',
  examples: [],
  delivery: (_, within) =>
    within
      ? { level: 'exactly once', reason: `It commits with \`${within.operator}\`.` }
      : { level: 'at least once', reason: 'Nothing commits it.' },
  open: unused,
});
export const show = defineSink({
  name: 'show',
  summary: 'Shows records.',
  options: Type.Object({ file: Type.Optional(path({ description: 'A file.' })) }, closed),
  examples: [],
  delivery: () => ({ level: 'at least once', reason: 'It is not real.' }),
  open: unused,
});
export const keyBy = defineStep({
  name: 'keyBy',
  summary: 'Keys records.',
  options: Type.Object({ field: field({ description: 'The key.', examples: ['generatorID'] }) }, closed),
  shorthand: 'field',
  examples: [],
  create: unused,
});
export const validate = defineStep({
  name: 'validate',
  summary: 'Checks records.',
  options: Type.Object({ schema: jsonSchema({ description: 'The schema.', examples: ['./x.json'] }) }, closed),
  shorthand: 'schema',
  examples: [],
  type: ({ schema }): RecordType => schema,
  create: unused,
});
export const windowLast = defineStep({
  name: 'windowLast',
  summary: 'Keeps the last record.',
  options: Type.Object(
    {
      every: duration({ description: 'Length.', examples: ['1m'] }),
      by: Type.Optional(field({ description: 'A field.' })),
      limit: Type.Optional(size({ description: 'A limit.' })),
      label: Type.Optional(Type.Enum(['end', 'start'], { description: 'A label.' })),
      emit: Type.Optional(Type.Enum(['final', 'onUpdate'], { description: 'When.' })),
    },
    closed,
  ),
  updates: ({ emit }) => emit === 'onUpdate',
  keyed: true,
  timed: true,
  late: true,
  examples: [],
  create: unused,
});
export const map = defineStep({
  name: 'map',
  summary: 'Computes fields.',
  options: Type.Record(Type.String(), expression({ description: 'The value.' }), { minProperties: 1 }),
  examples: [],
  create: unused,
});
export const set = defineStep({
  name: 'set',
  summary: 'Sets fields.',
  options: Type.Record(Type.String(), Type.Unknown(), { minProperties: 1 }),
  examples: [],
  create: unused,
});
export const filter = defineStep({
  name: 'filter',
  summary: 'Keeps some records.',
  options: Type.Object({ where: expression({ description: 'A condition.' }) }, closed),
  shorthand: 'where',
  examples: [],
  create: unused,
});
export const branch = defineStep({
  name: 'branch',
  summary: 'Routes records.',
  options: Type.Object(
    { to: streamName({ description: 'A stream.' }), if: expression({ description: 'When.' }) },
    closed,
  ),
  examples: [],
  create: unused,
});

export const pair = defineStep({
  name: 'pair',
  summary: 'Takes in another stream.',
  options: Type.Object({ with: inputStream({ description: 'A stream.', examples: ['prices'] }) }, closed),
  shorthand: 'with',
  keyed: true,
  timed: true,
  examples: [],
  create: unused,
});
export const split = defineStep({
  name: 'split',
  summary: 'Sends every record elsewhere.',
  options: Type.Unsafe<Readonly<Record<string, Expression>>>({
    type: 'object',
    patternProperties: { '^': streamCondition({ description: 'A condition.' }) },
  }),
  examples: [],
  ends: () => true,
  create: unused,
});

export const sources = { broker, log, kafka };
export const steps = { keyBy, validate, windowLast, map, set, filter, branch, pair, split };
export const sinks = { log: logSink, kafka: kafkaSink, show };
export const catalogue: readonly Definition[] = [
  ...Object.values(sources),
  ...Object.values(steps),
  ...Object.values(sinks),
];
