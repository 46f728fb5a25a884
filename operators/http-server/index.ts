import { defineSource, duration, path, secret, size, Type } from '../../src/operator.ts';
import { listenProblems, parseListen, pathProblem, type ServerOptions } from './options.ts';
import { compilePath } from './request.ts';
import { openSource } from './source.ts';

/**
 * Takes records by HTTP. A request is answered with 202 once all its records are durable in a journal on disk; a run resumes from the journal.
 * What cannot be taken right now is answered with 503, what will never be taken with 4xx; both are counted in the log.
 */
export const httpServerSource = defineSource({
  name: 'httpServer',
  summary: 'Listens for records that others send by HTTP, such as webhooks.',
  details:
    'The answer is `202` once every record of the request is durable in the journal: what the sender was told is ours is never lost, also when the process is killed. A sender that got no answer, ' +
    'or `503`, sends again: deliveries are at least once. With `idempotency` a repetition under the same key is answered without being taken again, as long as the process lives.\n\n' +
    '| answer | why |\n| --- | --- |\n' +
    '| 202 | all records of the request are durable |\n' +
    '| 400 | empty, cut off on the way, or without the header of `idempotency` |\n' +
    '| 401 | a wrong or missing token or signature |\n' +
    '| 404, 405 | another path or method |\n' +
    '| 408 | the request took longer than `timeout` |\n' +
    '| 413 | the body is larger than `maxBody` |\n' +
    '| 415 | a content type that `format` does not read, or a compressed body |\n' +
    '| 503 | the journal is full or too much waits for the disk; `Retry-After` says when to try again |\n\n' +
    'Content types for `format: json`: `application/json` (and `…+json`) is one record; `application/x-ndjson` and `application/jsonl` are one record in each line. ' +
    '`format: text` takes `text/…`, and lines as well; `format: bytes` takes all bodies as they are. A body that is no JSON is taken and then rejected (`payload-malformed`), so that it stands in the dead letters; ' +
    'so is a line above `maxPayload`.\n\n' +
    'A level of `path` in braces, as in `/readings/{generatorID}`, and the parameters in `query` set those fields of the record, whatever the body says. `meta.topic` is the path of the request, `meta.headers` ' +
    'holds the headers that are listed in `headers`, in small letters.\n\n' +
    'On an address that others can reach the source refuses to listen without `token`, `signature` or `tls`. Tokens and signatures are compared in constant time.',
  options: Type.Object({
    listen: Type.Optional(
      Type.String({
        description: 'Address and port to listen on.',
        default: '127.0.0.1:8080',
        examples: ['127.0.0.1:8080', '0.0.0.0:8443', '[::1]:8080'],
      }),
    ),
    path: Type.Optional(
      Type.String({
        description: 'Path of the requests. A level in braces is captured as a field.',
        default: '/',
        examples: ['/readings/{generatorID}'],
        pattern: '^/',
      }),
    ),
    method: Type.Optional(Type.Enum(['POST', 'PUT'], { description: 'Method of the requests.', default: 'POST' })),
    token: Type.Optional(
      secret({ description: 'Requests must bear it: `Authorization: Bearer …`.', examples: ['${HOOK_TOKEN}'] }),
    ),
    signature: Type.Optional(
      Type.Object(
        {
          header: Type.String({
            description: 'Header that holds the signature.',
            examples: ['X-Hub-Signature-256'],
            pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
          }),
          secret: secret({ description: 'The secret that the sender signs with.' }),
          algorithm: Type.Optional(
            Type.Enum(['sha256', 'sha512', 'sha1'], { description: 'Hash of the HMAC.', default: 'sha256' }),
          ),
          form: Type.Optional(
            Type.Enum(['body', 'timestamped'], {
              description:
                '`body`: the HMAC of the body in hex or base64, with or without `sha256=` before it, as GitHub and Shopify send it. `timestamped`: `t=<seconds>,v1=<hex>`, over time, dot and body, as Stripe sends it.',
              default: 'body',
            }),
          ),
          tolerance: Type.Optional(
            duration({ description: '`timestamped`: an older or newer time is refused.', default: '5m' }),
          ),
        },
        { additionalProperties: false, description: 'Requests must be signed with a shared secret (HMAC).' },
      ),
    ),
    tls: Type.Optional(
      Type.Object(
        {
          cert: path({ description: 'Our certificate (PEM).' }),
          key: path({ description: 'The key of our certificate (PEM).' }),
          ca: Type.Optional(path({ description: 'Senders must show a certificate of this authority (PEM).' })),
        },
        { additionalProperties: false, description: 'Speak HTTPS.' },
      ),
    ),
    query: Type.Optional(
      Type.Array(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), {
        description:
          'Query parameters to take as fields, as text. Of one that stands several times the first is taken.',
        uniqueItems: true,
        examples: [['site']],
      }),
    ),
    headers: Type.Optional(
      Type.Array(Type.String({ pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }), {
        description: 'Headers to keep as `meta.headers`. All others are dropped.',
        uniqueItems: true,
        examples: [['x-github-event']],
      }),
    ),
    remoteAddress: Type.Optional(
      Type.Boolean({
        description: 'Keep the address of the sender, as the header `remote-address`.',
        default: false,
      }),
    ),
    idempotency: Type.Optional(
      Type.Object(
        {
          header: Type.Optional(
            Type.String({
              description: 'Header that holds the key of a request.',
              default: 'Idempotency-Key',
              pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            }),
          ),
          window: Type.Optional(duration({ description: 'A key is remembered for so long.', default: '10m' })),
          keys: Type.Optional(
            Type.Integer({
              description: 'At most so many keys are remembered; the oldest goes first.',
              default: 100_000,
              minimum: 1,
              maximum: 10_000_000,
            }),
          ),
          required: Type.Optional(Type.Boolean({ description: 'Refuse requests without the header.', default: false })),
        },
        {
          additionalProperties: false,
          description:
            'Take a request only once that comes again under the same key. Keys are forgotten with the process.',
        },
      ),
    ),
    maxBody: Type.Optional(size({ description: 'A larger request is refused.', default: '1MiB' })),
    timeout: Type.Optional(duration({ description: 'A request must be whole, and on disk, by then.', default: '30s' })),
    maxConnections: Type.Optional(
      Type.Integer({
        description: 'Further connections are closed at once.',
        default: 256,
        minimum: 1,
        maximum: 65_536,
      }),
    ),
    journal: Type.Optional(
      Type.Object(
        {
          maxBytes: Type.Optional(
            size({ description: 'While it is so large, nothing more is taken in.', default: '1GiB' }),
          ),
        },
        {
          additionalProperties: false,
          description: 'The log on disk that records are kept in until a checkpoint holds them.',
        },
      ),
    ),
  }),
  shorthand: 'listen',
  times: ['arrival'],
  check(options, check) {
    const { path: pattern = '/', query = [], signature } = options as ServerOptions;
    for (const { path: place, message, hint, warning } of listenProblems(options as ServerOptions)) {
      if (warning) check.problem(place, message, hint, 'warning');
      else check.problem(place, message, hint);
    }
    const problem = pathProblem(pattern, query);
    if (problem) check.problem(['path'], problem, 'Write it as `/readings/{generatorID}`.');
    if (signature?.tolerance !== undefined && signature.form !== 'timestamped') {
      check.problem(['signature', 'tolerance'], '`tolerance` needs `form: timestamped`.', 'Drop one of the two.');
    }
  },
  captures: ({ path: pattern = '/' }, topic) => compilePath(pattern)(topic),
  open: (options, context) => openSource(options as ServerOptions, parseListen(options.listen), context),
  examples: [
    {
      title: 'Readings of generators, with their name taken from the path',
      options: { path: '/readings/{generatorID}', token: '${HOOK_TOKEN}', time: { from: 'arrival', idle: '30s' } },
    },
    {
      title: 'Webhooks of GitHub over TLS, each taken once',
      options: {
        listen: '0.0.0.0:8443',
        path: '/github',
        tls: { cert: './hook.pem', key: './hook.key.pem' },
        signature: { header: 'X-Hub-Signature-256', secret: '${HOOK_SECRET}' },
        headers: ['x-github-event'],
        idempotency: { header: 'X-GitHub-Delivery' },
      },
    },
  ],
});
