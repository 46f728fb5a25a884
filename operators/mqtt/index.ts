import {
  compileTopic,
  defineSink,
  defineSource,
  duration,
  size,
  Type,
  type TypeCheck,
  template,
  topicHygiene,
  topicProblems,
} from '../../src/operator.ts';
import { checkConnection, connectionOptions } from './options.ts';
import { type PropertyOptions, propertyOptions } from './properties.ts';
import { sendBack } from './send-back.ts';
import { openSink } from './sink.ts';
import { openSource, type SourceOptions } from './source.ts';

const qos = (description: string) => Type.Optional(Type.Enum([0, 1, 2], { description, default: 1 }));

/**
 * Subscribes to topics of an MQTT broker. Messages go into a journal on disk and are acknowledged once they are durable there, in
 * the order of their arrival; a run resumes from the journal. A broker that cannot be reached is waited for.
 */
export const mqttSource = defineSource({
  name: 'mqtt',
  summary: 'Subscribes to topics of an MQTT broker.',
  details:
    'A level in braces, as in `emergency_generators/{generatorID}`, matches like `+` and sets that field of the record, whatever the payload says. `+`, `#` and ' +
    '`$share/group/…` are as in MQTT.\n\n' +
    'With `qos: 1` or `2` a message is acknowledged once it is durable in the journal: what the broker was told is ours is never lost, also when the process is killed. A message whose ' +
    'acknowledgement did not get through comes again: deliveries are at least once. With `qos: 0` the broker keeps nothing for us while we are away. ' +
    'All that the broker lets be in flight (Mosquitto: 20, `max_inflight_messages`) shares one sync of the disk: a larger number there makes it faster.\n\n' +
    'The session at the broker is kept under `clientId`. When the broker has lost it, a warning says so, as messages may be missing. While the journal is full (`journal.maxBytes`) or the ' +
    'disk is, nothing is read from the broker, and the connection stays. A broker that is down is waited for, with growing pauses; wrong credentials and a refused topic end the run.\n\n' +
    'With `protocolVersion: 5` the user properties of a message are its headers, beside `contentType`, `responseTopic` and `correlationData` (as text, or `base64:` and its bytes when it is no UTF-8): ' +
    '`meta.headers.correlationData` in expressions, `time: { header: sent-at, unit: ms }` for event time. A message with more than 64 KiB of them is rejected.\n\n' +
    'With `journal: { keep: 7d }` the messages of the last days can be read again by `penstock replay`, with the times at which they came; nothing is asked of the broker for that.\n\n' +
    'A payload above `maxPayload` is rejected (`payload-too-large`); it is kept in full up to 16 MiB, and its first 64 KiB beyond. A message on a topic that matches none of `topics` is rejected (`topic-unknown`).',
  options: Type.Object({
    ...connectionOptions,
    topics: Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
      description: 'One topic or several, with `+`, `#` and captured levels such as `{generatorID}`.',
      examples: ['emergency_generators/{generatorID}'],
    }),
    qos: qos(
      'Quality of service. 0: may be lost. 1: at least once. 2: like 1, with fewer repetitions after a lost connection.',
    ),
    retained: Type.Optional(
      Type.Enum(['skip', 'include', 'initial'], {
        description:
          'Messages that the broker held for new subscribers. `skip`: pass them over. `include`: take them with each new subscription, so some come repeatedly. `initial`: take them until the first checkpoint only.',
        default: 'skip',
      }),
    ),
    sessionExpiry: Type.Optional(
      duration({
        description:
          'How long the broker keeps our session while we are away. MQTT 5 only; with MQTT 3.1.1 the broker decides.',
        default: '7d',
      }),
    ),
    journal: Type.Optional(
      Type.Object(
        {
          maxBytes: Type.Optional(
            size({ description: 'While it is so large, nothing more is taken in.', default: '1GiB' }),
          ),
          keep: Type.Optional(
            duration({
              description:
                'Messages that a checkpoint holds stay for so long after they came, so that `penstock replay` can read them again; `maxBytes` wins: the oldest of them go when room is needed. Default: they go at once.',
              examples: ['7d'],
            }),
          ),
        },
        {
          additionalProperties: false,
          description: 'The log on disk that messages are kept in until a checkpoint holds them.',
        },
      ),
    ),
  }),
  shorthand: 'url',
  replays: ({ journal }) => journal?.keep !== undefined,
  keepsArrival: true,
  times: ['arrival'],
  check(options, check) {
    checkConnection(options, check);
    const topics = [options.topics].flat();
    for (const [n, topic] of topics.entries()) {
      const path = Array.isArray(options.topics) ? ['topics', n] : ['topics'];
      for (const { message, hint, warning } of topicProblems(topic)) {
        if (warning) check.problem(path, message, hint, 'warning', 'unsafe-topic');
        else check.problem(path, message, hint);
      }
    }
  },
  captures: ({ topics }, topic) =>
    [topics]
      .flat()
      .map((pattern) => compileTopic(pattern).match(topic))
      .find((captured) => captured !== undefined),
  sendBack: (options, { topic, redriven }) => sendBack(options as SourceOptions, topic, redriven),
  open: (options, context) => openSource(options as SourceOptions, context),
  examples: [
    {
      title: 'All generators, with their name taken from the topic',
      options: {
        url: 'mqtt://127.0.0.1:1883',
        topics: 'emergency_generators/{generatorID}',
        time: { from: 'arrival', idle: '30s' },
      },
    },
    {
      title: 'Two kinds of topics over TLS, with a password',
      options: {
        url: 'mqtts://broker.example.com',
        topics: ['emergency_generators/+', 'sensors/#'],
        username: 'penstock',
        password: '${MQTT_PASSWORD}',
      },
    },
  ],
});

/**
 * Publishes each record to an MQTT broker and counts it as written once the broker has confirmed it. A broker that cannot be
 * reached is waited for; a record whose topic or size the broker will never take is refused.
 */
export const mqttSink = defineSink({
  name: 'mqtt',
  summary: 'Publishes each record to an MQTT broker.',
  details:
    'The payload is the value as JSON; texts and bytes go out as they are. `topic` takes values from the record: one that is empty or holds `+`, `#`, `/` or a control character is refused ' +
    '(`sink-refused`), as it would make another topic.\n\n' +
    'With `qos: 1` or `2` a record counts as written once the broker has confirmed it. After a restart the records since the last checkpoint are published again. With ' +
    '`protocolVersion: 5` each message carries the user property `penstock-id`, the same for the same result after any restart, by which receivers can tell repetitions.\n\n' +
    'A command that is to be answered carries `responseTopic` and `correlationData`; the answer is read by an `mqtt` source as `meta.headers.correlationData`. With MQTT 3.1.1 the id of the request ' +
    'is a level of the topic instead: `generators/{generatorID}/cmd/{requestId}` here, `generators/{generatorID}/reply/{requestId}` there.',
  options: Type.Object(
    {
      ...connectionOptions,
      topic: template({ description: 'Topic to publish to.', examples: ['generators/{generatorID}/alarm'] }),
      qos: qos(
        'Quality of service. 0: may be lost. 1: at least once. 2: like 1, with fewer repetitions after a lost connection.',
      ),
      retain: Type.Optional(
        Type.Boolean({
          description: 'The broker keeps the last message of each topic for new subscribers.',
          default: false,
        }),
      ),
      payload: Type.Optional(
        Type.Enum(['value', 'original'], {
          description:
            'What is published of a dead letter. `value`: the record that tells all of it. `original`: the payload that was refused; with MQTT 5 what is known of it is in user properties, named as the headers of Kafka Connect.',
          default: 'value',
        }),
      ),
      expiry: Type.Optional(
        duration({
          description: 'The broker drops the message when it could not be delivered for so long. MQTT 5 only.',
          examples: ['1m'],
        }),
      ),
      contentType: Type.Optional(
        template({ description: 'Content type of the payload. MQTT 5 only.', examples: ['application/json'] }),
      ),
      userProperties: Type.Optional(
        Type.Record(Type.String(), template({ description: 'The value.' }), {
          description: 'User properties of the message. MQTT 5 only.',
          examples: [{ region: '{region}' }],
        }),
      ),
      responseTopic: Type.Optional(
        template({
          description: 'Topic that the receiver is to answer on. MQTT 5 only.',
          examples: ['generators/{generatorID}/reply'],
        }),
      ),
      correlationData: Type.Optional(
        template({
          description: 'What the receiver is to send back with its answer. MQTT 5 only.',
          examples: ['{requestId}'],
        }),
      ),
    },
    { additionalProperties: false },
  ),
  delivery({ qos = 1, protocolVersion }) {
    if (qos === 0) {
      return { level: 'at most once', reason: 'QoS 0 is not confirmed by the broker. Set `qos: 1` for at least once.' };
    }
    const id =
      protocolVersion === 5
        ? 'Receivers can tell repetitions by the user property `penstock-id`.'
        : 'With `protocolVersion: 5` receivers can tell repetitions by the user property `penstock-id`.';
    return {
      level: 'at least once',
      reason: `An MQTT broker cannot undo or merge what was published before a restart. ${id}`,
    };
  },
  type(options, check) {
    checkConnection(options, check);
    check.expression(['topic']);
    checkProperties(options, check);
    // Captures stand for one level each, whatever they hold.
    for (const { message, hint } of topicHygiene(options.topic.replace(/\{[^}]*\}/g, 'x')))
      check.problem(['topic'], message, hint, 'warning', 'unsafe-topic');
    if (/[+#]/.test(options.topic.replace(/\{[^}]*\}/g, ''))) {
      check.problem(
        ['topic'],
        `\`${options.topic}\` holds a wildcard, and one can only publish to a single topic.`,
        'Write the topic out; values from the record go into braces.',
      );
    }
  },
  open: openSink,
  examples: [
    {
      title: 'A command that its device answers with the id of the request',
      options: {
        url: 'mqtt://127.0.0.1:1883',
        protocolVersion: 5,
        topic: 'generators/{generatorID}/cmd',
        responseTopic: 'generators/{generatorID}/reply',
        correlationData: '{requestId}',
        expiry: '1m',
      },
    },
    {
      title: 'An alarm for each generator, confirmed by the broker',
      options: { url: 'mqtt://127.0.0.1:1883', topic: 'generators/{generatorID}/alarm', qos: 1 },
    },
  ],
});

function checkProperties(options: PropertyOptions & { protocolVersion?: 4 | 5 }, check: TypeCheck): void {
  for (const name of propertyOptions) {
    const given = options[name];
    if (given === undefined) continue;
    if (options.protocolVersion !== 5)
      check.problem([name], `\`${name}\` is of MQTT 5 only.`, 'Set `protocolVersion: 5`, or leave it out.');
    if (typeof given === 'object') for (const property of Object.keys(given)) check.expression([name, property]);
    else if (name !== 'expiry') check.expression([name]);
  }
}
