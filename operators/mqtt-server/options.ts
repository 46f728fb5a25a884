import { isIP } from 'node:net';
import { duration, path, size, streamName, Type, type TypeCheck, topicProblems } from '../../src/operator.ts';
import { parseRouteList, type RouteOption, routeProblem } from './routes.ts';
import { patternProblem, type TopicRule } from './rules.ts';

const texts = (description: string, examples?: unknown[]) =>
  Type.Optional(
    Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }))], {
      description,
      ...(examples && { examples }),
    }),
  );
const count = (description: string, byDefault: number, least = 1) =>
  Type.Optional(Type.Integer({ description, default: byDefault, minimum: least }));

const limits = {
  connections: count('Connections of all listeners together, and of each.', 10_000),
  connectionsPerUser: count('Connections of one user. 0: no limit of its own.', 0, 0),
  packet: Type.Optional(
    size({
      description: 'A client that begins a larger packet is hung up on. CONNECT has at most 64 KiB.',
      default: '1MiB',
    }),
  ),
  messagesPerSecond: count('Messages, and subscriptions, of one client in a second.', 10_000),
  overRate: Type.Optional(
    Type.Enum(['slow', 'disconnect'], {
      description: 'Above that: `slow` reads on in the next second, so that the client waits; `disconnect` hangs up.',
      default: 'slow',
    }),
  ),
  inflight: count('QoS 1 and 2 messages of one client on their way into the journal; the next ones wait.', 100),
  connectTimeout: Type.Optional(
    duration({ description: 'A client has to get through TLS and to say CONNECT within this time.', default: '10s' }),
  ),
  keepAlive: Type.Optional(
    duration({
      description:
        'The longest keep-alive: one that is longer or 0 counts as this. A client silent for one and a half times as long is hung up on. `0s`: what the client says.',
      default: '1h',
    }),
  ),
  subscriptions: count('Subscriptions of one client.', 100),
  sessions: count('Sessions that are kept for clients that asked for it (`clean session` off).', 10_000),
  sessionExpiry: Type.Optional(
    duration({ description: 'A session without its client is forgotten after this time.', default: '1d' }),
  ),
  queued: count('Messages that wait for the client of one session. Those behind are dropped, and counted.', 1_000),
  retained: Type.Optional(size({ description: 'All that is held for new subscribers.', default: '64MiB' })),
};

/** The options of the front door. */
export const serverOptions = {
  listen: Type.Optional(
    Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
      description:
        'Addresses to listen on: `mqtt://`, `mqtts://`, `ws://`, `wss://`, with host and port. Port 0 takes a free one, which the log names. Beyond loopback clients have to prove who they are: by `users`, or by `tls.clientCertificates: required`.',
      default: 'mqtt://127.0.0.1:1883',
      examples: [['mqtt://127.0.0.1:1883', 'mqtts://0.0.0.0:8883']],
    }),
  ),
  tls: Type.Optional(
    Type.Object(
      {
        cert: path({ description: 'Our certificate, and those between it and its authority (PEM).' }),
        key: path({ description: 'The key of our certificate (PEM).' }),
        ca: Type.Optional(path({ description: 'Authorities of client certificates (PEM).' })),
        clientCertificates: Type.Optional(
          Type.Enum(['none', 'optional', 'required'], {
            description:
              'Whether clients show a certificate. The common name of one that `ca` has signed is the name of the user, and no password is asked for.',
            default: 'none',
          }),
        ),
      },
      { additionalProperties: false, description: 'For `mqtts://` and `wss://`.' },
    ),
  ),
  users: Type.Optional(
    path({
      description:
        'A file of users and passwords, as `penstock mqtt-user` writes it. It is read again when it changes. Without it no password is asked for.',
    }),
  ),
  rules: Type.Optional(
    Type.Array(
      Type.Object(
        {
          user: texts('Users that this rule is for. Default: everyone, also those without a name.'),
          publish: texts('Topics that they may publish to, with `+`, `#`, `{username}` and `{clientId}`.', [
            'emergency_generators/{clientId}',
          ]),
          subscribe: texts('Topics that they may subscribe to, in the same form.', ['commands/{clientId}/#']),
        },
        { additionalProperties: false },
      ),
      {
        description:
          'Who may use which topics: what no rule allows is refused. Without rules every client may use all topics but those that begin with `$`, which are refused always.',
      },
    ),
  ),
  topics: texts(
    'Topics whose messages are records, with `+`, `#` and captured levels such as `{generatorID}`. Default: all, with nothing captured.',
    ['emergency_generators/{generatorID}'],
  ),
  passOn: texts(
    'Topics whose messages go to subscribers and are no records, in the same form: what is published down to the devices. They are not kept on disk.',
    ['commands/#'],
  ),
  routes: Type.Optional(
    Type.Union(
      [
        Type.String({ minLength: 1 }),
        Type.Array(
          Type.Object(
            {
              match: Type.String({ description: 'A regular expression (RE2) for the whole topic.', minLength: 1 }),
              to: Type.String({ description: 'The name of the route.', minLength: 1 }),
            },
            { additionalProperties: false },
          ),
          { minItems: 1 },
        ),
      ],
      {
        description:
          'Names for topics, as `meta.route`: that of the first expression that matches. A list, or one text in the form of `topic.regex.list` of the Confluent MQTT Proxy: `name:regex, name:regex`.',
        examples: [
          'temperature:.*temperature, brightness:.*brightness',
          [{ match: 'emergency_generators/.*', to: 'emergency_generators' }],
        ],
      },
    ),
  ),
  properties: Type.Optional(
    path({
      description:
        'Instead of `routes`: the properties file of a Confluent MQTT Proxy, whose `topic.regex.list` is read.',
    }),
  ),
  presence: Type.Optional(
    streamName({
      description:
        'The stream that takes what happens to clients: connected, disconnected, keepAliveMissed, lastWill, serverStarted.',
    }),
  ),
  retain: Type.Optional(
    Type.Boolean({
      description: 'Retained messages are held for new subscribers, until the process ends.',
      default: true,
    }),
  ),
  origins: Type.Optional(
    Type.Array(Type.String(), {
      description:
        'Origins of web pages that may connect by `ws://` or `wss://`, beside those of our own host and port.',
    }),
  ),
  limits: Type.Optional(Type.Object(limits, { additionalProperties: false, description: 'What clients can take up.' })),
  journal: Type.Optional(
    Type.Object(
      {
        maxBytes: Type.Optional(
          size({ description: 'While it is so large, nothing more is taken in.', default: '1GiB' }),
        ),
      },
      {
        additionalProperties: false,
        description: 'The log on disk that messages are kept in until a checkpoint holds them.',
      },
    ),
  ),
};

/** The options as they come from a plan: without defaults. */
export interface ServerOptions {
  listen?: string | string[];
  tls?: { cert: string; key: string; ca?: string; clientCertificates?: 'none' | 'optional' | 'required' };
  users?: string;
  rules?: TopicRule[];
  topics?: string | string[];
  passOn?: string | string[];
  routes?: string | RouteOption[];
  properties?: string;
  presence?: string;
  retain?: boolean;
  origins?: string[];
  limits?: {
    connections?: number;
    connectionsPerUser?: number;
    packet?: string;
    messagesPerSecond?: number;
    overRate?: 'slow' | 'disconnect';
    inflight?: number;
    connectTimeout?: string;
    keepAlive?: string;
    subscriptions?: number;
    sessions?: number;
    sessionExpiry?: string;
    queued?: number;
    retained?: string;
  };
  journal?: { maxBytes?: string };
  maxPayload?: string;
}

/** The address that is listened on when none is given. */
export const defaultListen = 'mqtt://127.0.0.1:1883';

/** One address to listen on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  readonly webSocket: boolean;
  /** `ws` and `wss`: the path that is asked for; `/` takes any. */
  readonly path: string;
  readonly url: string;
  /** The address with another port. */
  at(port: number): string;
}

const portsByDefault: Readonly<Record<string, number>> = { mqtt: 1883, mqtts: 8883, ws: 8083, wss: 8084 };

/** Takes an address apart; gives the problem instead when it is none. */
export function parseListen(text: string): ListenAddress | { message: string; hint: string } {
  const hint = 'Write `mqtt://127.0.0.1:1883`, or the same with `mqtts`, `ws` or `wss`.';
  const [, scheme = '', host = '', port, path = '/'] =
    /^(mqtts?|wss?):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?(\/[^?#\s]*)?$/.exec(text) ?? [];
  if (scheme === '' || Number(port ?? 0) > 65_535)
    return { message: `\`${text.replace(/\/\/.*@/, '//…@')}\` is no address to listen on.`, hint };
  const webSocket = scheme.startsWith('ws');
  if (!webSocket && path !== '/')
    return { message: `\`${text}\` goes on after the port, which only \`ws\` and \`wss\` do.`, hint };
  const at = (number: number) => `${scheme}://${host}:${number}${path === '/' ? '' : path}`;
  const number = port === undefined ? portsByDefault[scheme]! : Number(port);
  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: number,
    secure: scheme === 'mqtts' || scheme === 'wss',
    webSocket,
    path,
    url: at(number),
    at,
  };
}

/** Only programs of this machine can reach it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** What the schema cannot say about these options. */
export function checkServer(options: ServerOptions, check: TypeCheck): void {
  const given = [options.listen ?? defaultListen].flat();
  const secure: boolean[] = [];
  for (const [n, text] of given.entries()) {
    const at = Array.isArray(options.listen) ? ['listen', n] : ['listen'];
    const address = parseListen(text);
    if ('message' in address) check.problem(at, address.message, address.hint);
    else {
      secure.push(address.secure);
      checkAddress(address, options, (message, hint, severity) => check.problem(at, message, hint, severity));
    }
  }
  if (options.tls && secure.length > 0 && !secure.includes(true)) {
    check.problem(['tls'], '`tls` is set, but no address is one with TLS.', 'Write `mqtts://` or `wss://`.');
  }
  const { ca, clientCertificates = 'none' } = options.tls ?? {};
  if (clientCertificates !== 'none' && ca === undefined) {
    check.problem(
      ['tls', 'clientCertificates'],
      `\`clientCertificates: ${clientCertificates}\` is set, but nothing says whose certificates are good.`,
      'Give the certificate of their authority as `tls.ca`.',
    );
  }
  checkTopics(options, check);
  checkRoutes(options, check);
}

function checkAddress(
  { secure, host, url }: ListenAddress,
  { tls, users }: ServerOptions,
  problem: (message: string, hint: string, severity?: 'warning') => void,
): void {
  if (secure && !tls)
    problem(`\`${url}\` is an address with TLS, but there is no \`tls\`.`, 'Add `tls: { cert: …, key: … }`.');
  if (isLoopback(host)) return;
  const proven = secure && tls?.clientCertificates === 'required';
  if (users === undefined && !proven) {
    problem(
      `\`${url}\` can be reached from other machines, and clients there would not have to prove who they are.`,
      secure
        ? 'Add `users`, or `tls: { clientCertificates: required, ca: … }`; or listen on 127.0.0.1.'
        : 'Add `users`, and better listen on `mqtts://`, as passwords go over the network; or listen on 127.0.0.1.',
    );
  } else if (!secure) {
    problem(
      `Passwords of clients at \`${url}\` go over the network as they are.`,
      'Listen on `mqtts://` or `wss://`.',
      'warning',
    );
  }
}

function checkTopics(options: ServerOptions, check: TypeCheck): void {
  for (const option of ['topics', 'passOn'] as const) {
    const given = options[option] ?? [];
    for (const [n, topic] of [given].flat().entries()) {
      for (const { message, hint, warning } of topicProblems(topic)) {
        // Whoever listens takes in everything on purpose.
        if (!warning) check.problem(Array.isArray(given) ? [option, n] : [option], message, hint);
      }
    }
  }
  for (const [n, rule] of (options.rules ?? []).entries()) {
    for (const what of ['publish', 'subscribe'] as const) {
      for (const pattern of [rule[what] ?? []].flat()) {
        const problem = patternProblem(pattern);
        if (problem) check.problem(['rules', n, what], problem.message, problem.hint);
      }
    }
  }
}

function checkRoutes({ routes, properties }: ServerOptions, check: TypeCheck): void {
  if (routes !== undefined && properties !== undefined) {
    check.problem(['properties'], 'Both `routes` and `properties` are given.', 'Leave one of them out.');
  }
  if (routes === undefined) return;
  const read = typeof routes === 'string' ? parseRouteList(routes) : routes;
  const problem = 'message' in read ? read : routeProblem(read);
  if (problem) check.problem(['routes'], problem.message, problem.hint);
}
