import {
  defineSink,
  duration,
  durationMs,
  field,
  RunError,
  type SinkContext,
  secret,
  Type,
  template,
} from '../../src/operator.ts';
import { isPlainName, lineMaker, reservedNames } from './lines.ts';
import { Server } from './server.ts';
import { Writer } from './writer.ts';

const options = Type.Object(
  {
    url: Type.String({ description: 'Address of the server.', examples: ['http://127.0.0.1:8086'], minLength: 1 }),
    org: Type.String({ description: 'Name or id of the organization.', minLength: 1 }),
    bucket: Type.String({ description: 'Name or id of the bucket. It must be there.', minLength: 1 }),
    token: secret({ description: 'A token that may write to the bucket.', examples: ['${INFLUX_TOKEN}'] }),
    measurement: template({ description: 'Name of the measurement.', examples: ['genData', 'gen-{region}'] }),
    tags: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description: 'Fields that become tags. Points with equal tags are one series.',
        default: [],
        examples: [['generatorID', 'region']],
        uniqueItems: true,
      }),
    ),
    fields: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description: 'Fields to write. Default: all that hold a number, text or boolean and are no tags.',
        minItems: 1,
        uniqueItems: true,
      }),
    ),
    integers: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description:
          'Fields to write as integers. All other numbers are floats, so that `5` and `5.5` do not conflict.',
        uniqueItems: true,
      }),
    ),
    time: Type.Optional(
      Type.Enum(['label', 'event', 'windowStart', 'windowEnd'], {
        description:
          'Time of the point. `label`: what the window step says. Default: `label` for results of windows, else `event`, the event time.',
      }),
    ),
    precision: Type.Optional(
      Type.Enum(['s', 'ms', 'us', 'ns'], {
        description: 'Unit in which times are sent. `s` cuts off what is finer.',
        default: 'ms',
      }),
    ),
    timeout: Type.Optional(
      duration({ description: 'A request that has no answer by then is sent again.', default: '30s' }),
    ),
  },
  { additionalProperties: false },
);

/**
 * Writes each record as a point to InfluxDB 2. A write is confirmed by the server's 204 and by nothing less; passing trouble is waited out for ever,
 * lines that the server refuses are found and go to the dead letter, a wrong token or bucket ends the run. Writing a point again changes nothing.
 */
export const influxSink = defineSink({
  name: 'influx',
  summary: 'Writes each record as a point to InfluxDB 2.',
  details:
    'Up to 5,000 points go in one request, one request at a time, so that an old point never lands after a newer one. ' +
    'Every point carries its own timestamp: sending it again overwrites it with itself.\n\n' +
    '| answer | what happens |\n| --- | --- |\n' +
    '| 204 | confirmed |\n' +
    '| no answer, 408, 425, 429, 5xx | the same points again, with growing pauses, or after `Retry-After`; the sources pause meanwhile |\n' +
    '| 201, 400, 413, 422 | the request is halved until the lines at fault are alone: they are rejected (`sink-refused`), all others are stored |\n' +
    '| 500 ten times in a row | the same search; a point is rejected only if others get through |\n' +
    '| 401, 403, 404, anything else | the run ends; nothing is lost |\n\n' +
    'Rejected before anything is sent: a tag that is missing or empty (the point would fall into another series), no field at all, NaN and infinite ' +
    'numbers, names that InfluxDB keeps for itself (`time`, `_field`, `_measurement`), control characters in names and tags, times before 1677 or after 2262.',
  options,
  examples: [
    {
      title: 'The latest reading of each generator',
      options: {
        url: 'http://127.0.0.1:8086',
        org: 'example',
        bucket: 'kafka_downsampled',
        token: '${INFLUX_TOKEN}',
        measurement: 'genData',
        tags: ['generatorID', 'region'],
      },
    },
  ],
  delivery: () => ({
    level: 'effectively once',
    reason:
      'A point overwrites the one with the same measurement, tags and time: writing it again after a crash changes nothing.',
  }),
  upserts: () => true,
  type({ url, tags = [], fields = [], integers = [] }, check) {
    check.expression(['measurement']);
    for (const [list, names] of Object.entries({ tags, fields, integers })) {
      for (const i of names.keys()) check.expression([list, i]);
    }
    const problem = urlProblem(url);
    if (problem) check.problem(['url'], problem, 'Write it as http://127.0.0.1:8086.');
    const named = [
      ...tags.map((name, i) => ['tags', i, name] as const),
      ...fields.map((name, i) => ['fields', i, name] as const),
    ];
    for (const [list, i, name] of named) {
      if (reservedNames.includes(name) || !isPlainName(name)) {
        check.problem(
          [list, i],
          `InfluxDB takes no ${list === 'tags' ? 'tag' : 'field'} of the name \`${name}\`.`,
          'Rename it with `map` before this sink.',
        );
      }
    }
    for (const [i, name] of fields.entries()) {
      if (tags.includes(name))
        check.problem(['fields', i], `\`${name}\` is a tag already.`, 'Take it out of one of the two lists.');
    }
  },
  async open(given, context) {
    const problem = urlProblem(given.url);
    if (problem) throw new RunError(`${problem} Check \`url\` of \`${context.id}\`.`);
    // Otherwise the client's own error would quote it.
    if (/[^\x21-\x7e]/.test(given.token.reveal())) {
      throw new RunError(`The \`token\` of \`${context.id}\` holds a character that no token has, such as a line end.`);
    }
    const { Point } = await import('@influxdata/influxdb-client');
    const server = new Server(
      { ...given, precision: given.precision ?? 'ms', timeoutMs: durationMs(given.timeout ?? '30s') },
      context,
    );
    await greet(server, context);
    return new Writer(
      server,
      lineMaker(given, (name) => new Point(name)),
      context,
    );
  },
});

// An empty write tells about the token and the bucket. A server that is not there yet is no error: writes wait for it.
async function greet(server: Server, { log }: SinkContext): Promise<void> {
  const answer = await server.write('');
  if (answer.kind === 'again')
    log.warn('InfluxDB cannot be reached yet: writes will wait for it.', {
      url: server.address,
      answer: answer.message,
    });
}

function urlProblem(text: string): string | undefined {
  // Looked for before anything else, so that no message can repeat a password.
  if (text.includes('@')) return 'The `url` holds a user name or password; InfluxDB 2 wants a `token` instead.';
  if (!URL.canParse(text)) return 'The `url` is no address.';
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return `The \`url\` begins with \`${url.protocol}\`; expected http: or https:.`;
  return undefined;
}
