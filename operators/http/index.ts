import { defineSink, duration, RunError, secret, Type, template } from '../../src/operator.ts';
import { type HttpOptions, optionProblems } from './options.ts';
import { Server } from './server.ts';
import { requestMaker } from './target.ts';
import { Writer } from './writer.ts';

const name = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/**
 * Sends each record, or batches of them, in an HTTP request, and counts it as written once the server has answered 2xx. Passing trouble is waited out
 * for ever, what the server refuses goes to the dead letter, wrong credentials or a wrong address end the run.
 */
export const httpSink = defineSink({
  name: 'http',
  summary: 'Sends each record in an HTTP request.',
  details:
    '| answer | what happens |\n| --- | --- |\n' +
    '| 2xx | written |\n' +
    '| no answer in time, 408, 425, 429, 5xx | the same request again, with growing pauses, or after `Retry-After`; the sources pause meanwhile |\n' +
    '| 401, 403; 404 where `url` takes nothing from the record | the run ends; nothing is lost |\n' +
    '| 3xx | the run ends: redirects are not followed |\n' +
    '| any other 4xx | the record is rejected (`sink-refused`); a batch is halved until the records at fault are alone |\n\n' +
    'Host and path are those of `url`: values from the record are percent-encoded, and one that is empty or would change the path (`.`, `..`) is refused. So is a value for a header that holds a line end ' +
    'or anything beyond ASCII.\n\n' +
    'The body is the value as JSON; without `batch`, texts and bytes go out as they are. `DELETE` has no body. What belongs to one key is sent in order: one request at a time, or, with `concurrency`, one at a time for each key. ' +
    'Each request carries the id of its record as `Idempotency-Key`, the same after any restart, by which a server can tell repetitions; for a batch it is a hash of the ids in it, and batches may be cut elsewhere after a restart.',
  options: Type.Object(
    {
      url: template({
        description: 'Address. Values from the record may stand in the path and in the query only.',
        examples: ['https://api.example.com/generators/{generatorID}'],
      }),
      method: Type.Optional(
        Type.Enum(['POST', 'PUT', 'PATCH', 'DELETE'], { description: 'Method of the requests.', default: 'POST' }),
      ),
      headers: Type.Optional(
        Type.Record(Type.String({ pattern: name }), template({ description: 'Value of the header.' }), {
          description: 'Headers by name; their values may take values from the record.',
          examples: [{ 'X-Region': '{region}' }],
        }),
      ),
      token: Type.Optional(
        secret({ description: 'Goes along as `Authorization: Bearer …`.', examples: ['${API_TOKEN}'] }),
      ),
      username: Type.Optional(Type.String({ description: 'User name, for basic authentication.' })),
      password: Type.Optional(secret({ description: 'Password, for basic authentication.' })),
      secretHeaders: Type.Optional(
        Type.Record(Type.String({ pattern: name }), secret({ description: 'Value of the header.' }), {
          description: 'Headers whose values are secrets, such as `X-API-Key`.',
        }),
      ),
      batch: Type.Optional(
        Type.Object(
          {
            records: Type.Integer({ description: 'At most so many records in a request.', minimum: 1, maximum: 5_000 }),
            format: Type.Optional(
              Type.Enum(['array', 'ndjson'], {
                description: '`array`: a list. `ndjson`: one record in each line.',
                default: 'array',
              }),
            ),
          },
          {
            additionalProperties: false,
            description: 'Send several records in one request. Those whose `url` or `headers` differ go apart.',
          },
        ),
      ),
      concurrency: Type.Optional(
        Type.Integer({
          description:
            'So many requests at a time. Those of one key still follow each other; without a key there is no order.',
          default: 1,
          minimum: 1,
          maximum: 256,
        }),
      ),
      idempotencyHeader: Type.Optional(
        Type.String({
          description: 'Header that bears the id of the record.',
          default: 'Idempotency-Key',
          pattern: name,
        }),
      ),
      timeout: Type.Optional(
        duration({ description: 'A request that has no answer by then is sent again.', default: '30s' }),
      ),
    },
    { additionalProperties: false },
  ),
  shorthand: 'url',
  delivery({ url, method, batch, idempotencyHeader: header = 'Idempotency-Key' }) {
    if (method === 'PUT' && url.includes('{') && !batch) {
      const reason = 'What is sent again after a crash takes the place of what it put at the same address before.';
      return { level: 'effectively once', reason };
    }
    const reason = batch
      ? 'What was sent since the last checkpoint is sent again after a crash, maybe in other batches. Put an id of your own into the records.'
      : `What was sent since the last checkpoint is sent again after a crash. A server can tell it by the header \`${header}\`.`;
    return { level: 'at least once', reason };
  },
  type(options, check) {
    check.expression(['url']);
    for (const header of Object.keys(options.headers ?? {})) check.expression(['headers', header]);
    for (const { path, message, hint, warning } of optionProblems(options as HttpOptions)) {
      if (warning) check.problem(path, message, hint, 'warning');
      else check.problem(path, message, hint);
    }
  },
  async open(given, context) {
    const options = given as HttpOptions;
    const problem = optionProblems(options).find(({ warning }) => !warning);
    if (problem) throw new RunError(`${problem.message} ${problem.hint} See \`${context.id}\`.`);
    return new Writer(options, requestMaker(options, context), new Server(options, context), context);
  },
  examples: [
    {
      title: 'An alarm for each generator, in order',
      options: { url: 'https://api.example.com/alarms', token: '${API_TOKEN}' },
    },
    {
      title: 'The latest state of each generator, at an address of its own',
      options: { url: 'https://api.example.com/generators/{generatorID}', method: 'PUT', concurrency: 8 },
    },
    {
      title: 'Batches of lines',
      options: { url: 'http://127.0.0.1:9000/ingest', batch: { records: 500, format: 'ndjson' } },
    },
  ],
});
