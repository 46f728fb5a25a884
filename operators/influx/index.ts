import { defineSink, defineSource, durationMs, RunError, type SinkContext, Type } from '../../src/operator.ts';
import { urlProblem } from './answers.ts';
import { lineMaker } from './lines.ts';
import { checkAccess, checkNames, checkReading, sinkSettings, sourceSettings } from './options.ts';
import { Server } from './server.ts';
import { openSource, type SourceOptions } from './source.ts';
import { Writer } from './writer.ts';

/**
 * Reads the points of one or several buckets of InfluxDB 2 in the order of their times, again and again, each once. After a restart it goes on behind
 * the last checkpointed point. A server that is away is waited for; a wrong token or an absent bucket ends the run.
 */
export const influxSource = defineSource({
  name: 'influx',
  summary: 'Reads points from InfluxDB 2, and goes on with those that are written meanwhile.',
  details:
    'A record is one point: `_time` (RFC 3339, to the nanosecond), `_measurement`, its tags, and all fields that the series has at that time. `meta.topic` is `topicPrefix` and the bucket ' +
    "(or the measurement), for `kafka: { topic: '{meta.topic}' }`; `meta.headers` has `bucket` and `measurement`. A field that has the name of a tag gets `_1` behind it. Whole numbers " +
    'beyond 2^53 are texts; line ends inside texts come as `\\n`.\n\n' +
    'Points come in the order of their times, over all buckets. The position in a checkpoint is the newest time and which points of it have been delivered: after a restart none is left out, ' +
    'and none that a checkpoint holds comes again, also where many have one time.\n\n' +
    '**Late writes.** A point that is written with a time before the newest one that was read is not found: hold back what is new with `delay`, or look again with `overlap`. With `overlap: 10m` ' +
    'a point may come up to ten minutes behind the newest one, and one that has been overwritten in that time is delivered again. The position then holds sixteen characters for each point of the overlap, ' +
    'of the newest 100,000 at most. A bucket that is added later is read from the newest time on: give it a source of its own for what is older.\n\n' +
    '`bulk` reads everything again with each round. A replay reads points by their own times, as InfluxDB knows no other.\n\n' +
    'Pages are spans of time, as long as their answers fit into `page`; only those of one single nanosecond cannot be cut, and end the run when they do not fit. ' +
    'A server that is away or answers 408, 425, 429 or 5xx is asked again for ever, with growing pauses or after `Retry-After`; 400, 401, 403, 404 end the run.',
  options: Type.Object(sourceSettings),
  replays: true,
  times: ['influx', 'arrival'],
  check: checkReading,
  open: (options, context) => openSource(options as SourceOptions, context),
  examples: [
    {
      title: 'What a bucket holds, and what comes, for the Kafka topic `EGkafka_downsampled`',
      options: {
        url: 'http://127.0.0.1:8086',
        org: 'example',
        token: '${INFLUX_TOKEN}',
        bucket: 'kafka_downsampled',
        topicPrefix: 'EG',
        time: 'influx',
      },
    },
    {
      title: 'Two buckets, with what is written up to ten minutes late',
      options: {
        url: 'http://127.0.0.1:8086',
        org: 'example',
        token: '${INFLUX_TOKEN}',
        bucket: ['north', 'south'],
        measurements: ['genData'],
        poll: '5s',
        overlap: '10m',
        time: { from: 'influx', outOfOrder: '10m' },
      },
    },
  ],
});

/**
 * Writes each record as a point to InfluxDB 1.x, 2 or 3. A write is confirmed by the server's 204 and by nothing less; passing trouble is waited out for ever,
 * lines that the server refuses are found and go to the dead letter, a wrong token or bucket ends the run. Writing a point again changes nothing.
 */
export const influxSink = defineSink({
  name: 'influx',
  summary: 'Writes each record as a point to InfluxDB.',
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
    'numbers, names that InfluxDB keeps for itself (`time`, `_field`, `_measurement`), control characters in names and tags, times before 1677 or after 2262.\n\n' +
    'Versions 1 and 3 know databases, which `bucket` names, and no organizations. Version 1 takes `username` and `password` (sent in a header, never in the address) or a `token`; the 1.x ' +
    'write API of InfluxDB 2 works as well. Requests above 1 kB to another machine are sent with gzip.',
  options: sinkSettings,
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
    {
      title: 'InfluxDB 1.8, with a measurement for each region',
      options: {
        url: 'http://127.0.0.1:8086',
        version: 1,
        bucket: 'plant',
        username: 'penstock',
        password: '${INFLUX_PASSWORD}',
        measurement: 'gen-{region}',
        tags: ['generatorID'],
      },
    },
  ],
  delivery: () => ({
    level: 'effectively once',
    reason:
      'A point overwrites the one with the same measurement, tags and time: writing it again after a crash changes nothing.',
  }),
  upserts: () => true,
  type(given, check) {
    const { tags = [], fields = [], integers = [] } = given;
    check.expression(['measurement']);
    for (const [list, names] of Object.entries({ tags, fields, integers })) {
      for (const i of names.keys()) check.expression([list, i]);
    }
    checkAccess(given, check);
    checkNames(given, check);
  },
  async open(given, context) {
    const problem = urlProblem(given.url);
    if (problem) throw new RunError(`${problem} Check \`url\` of \`${context.id}\`.`);
    // Otherwise the client's own error would quote it.
    if (given.token && /[^\x21-\x7e]/.test(given.token.reveal())) {
      throw new RunError(`The \`token\` of \`${context.id}\` holds a character that no token has, such as a line end.`);
    }
    const { Point } = await import('@influxdata/influxdb-client');
    const { version, precision: wanted = 'ms', timeout = '30s' } = given;
    // What 1.x calls `u` is passed over by the 1.x endpoint of InfluxDB 2, which then takes the times for nanoseconds.
    const precision = version === 1 && wanted === 'us' ? 'ns' : wanted;
    const server = new Server({ ...given, precision, timeoutMs: durationMs(timeout) }, context);
    await greet(server, context);
    return new Writer(
      server,
      lineMaker({ ...given, precision }, (name) => new Point(name)),
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
