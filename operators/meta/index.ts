import { compileTemplate, defineStep, Type, template } from '../../src/operator.ts';

const options = Type.Object(
  {
    topic: Type.Optional(
      template({ description: 'The new `meta.topic`.', examples: ['{meta.topic}-{formatTime(time, "yyyyMMdd")}'] }),
    ),
    headers: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), template({ description: 'The value of the header.' }), {
        description: 'Headers that are added, or take the place of one of the same name.',
        examples: [{ region: '{region}' }],
      }),
    ),
    dropHeaders: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { description: 'Headers that go.', minItems: 1, uniqueItems: true }),
    ),
  },
  { additionalProperties: false, minProperties: 1 },
);

/** Changes what stands beside a record's value: its topic and its headers. A record whose template fails is rejected. */
export const meta = defineStep({
  name: 'meta',
  summary: 'Changes the topic and the headers that stand beside the value.',
  details: `What a source has read is \`meta.topic\` and \`meta.headers\` in expressions; this step changes both for the steps and sinks behind it, such
as \`kafka: { topic: '{meta.topic}', forwardHeaders: true }\`. Every template sees the record as it came in. A header that is dropped need not be
there; one that is dropped and given is given. A record whose template fails (a field is missing or null) is rejected with \`expression-failed\`.`,
  options,
  examples: [
    {
      title: 'A topic for each day, and a header from a field',
      options: {
        topic: '{meta.topic}-{formatTime(time, "yyyyMMdd")}',
        headers: { region: '{region}' },
        dropHeaders: ['debug'],
      },
      input: [
        {
          time: 1_767_225_599_999,
          meta: { topic: 'gen', headers: { debug: '1', trace: 'x' } },
          value: { region: 'US' },
        },
        { time: 1_767_225_600_000, meta: { topic: 'gen' }, value: { region: null } },
        { time: 1_767_225_600_000, meta: { topic: 'gen' }, value: { region: 'EU' } },
      ],
      output: [
        {
          time: 1_767_225_599_999,
          meta: { topic: 'gen-20251231', headers: { trace: 'x', region: 'US' } },
          value: { region: 'US' },
        },
        {
          time: 1_767_225_600_000,
          meta: { topic: 'gen-20260101', headers: { region: 'EU' } },
          value: { region: 'EU' },
        },
      ],
      rejected: ['expression-failed'],
    },
  ],
  type(given, check) {
    if (given.topic !== undefined) check.expression(['topic']);
    for (const name of Object.keys(given.headers ?? {})) check.expression(['headers', name]);
    return check.input;
  },
  create({ topic, headers = {}, dropHeaders = [] }) {
    const renderTopic = topic === undefined ? undefined : compileTemplate(topic);
    const given = Object.entries(headers).map(([name, text]) => [name, compileTemplate(text)] as const);
    const dropped = new Set(dropHeaders);
    return {
      onRecord(record, step) {
        const { meta = {} } = record;
        const kept = Object.entries(meta.headers ?? {}).filter(([name]) => !dropped.has(name));
        const added = given.map(([name, render]) => [name, render(record)] as const);
        const changed = {
          ...(renderTopic && { topic: renderTopic(record) }),
          ...((meta.headers || added.length > 0) && { headers: Object.fromEntries([...kept, ...added]) }),
        };
        step.emit(record.withMeta({ ...meta, ...changed }));
      },
    };
  },
});
