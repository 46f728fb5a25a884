import {
  duration,
  path,
  publishProblem,
  type Secret,
  secret,
  Type,
  type TypeCheck,
  topicHygiene,
} from '../../src/operator.ts';

/** Options that the source and the sink share: how to reach the broker. */
export const connectionOptions = {
  url: Type.String({
    description: 'Address of the broker: `mqtt://host:1883`, or `mqtts://host:8883` for TLS.',
    minLength: 1,
    examples: ['mqtt://127.0.0.1:1883'],
  }),
  clientId: Type.Optional(
    Type.String({
      description:
        'Name of this client at the broker; no two clients may have the same. The source needs a stable one, as its session at the broker is kept under it. Default: `penstock-<topology>-<step id>`, for a sink with a random end.',
      minLength: 1,
      maxLength: 65535,
    }),
  ),
  username: Type.Optional(Type.String({ description: 'User name.' })),
  password: Type.Optional(secret({ description: 'Password.' })),
  keepAlive: Type.Optional(
    duration({
      description: 'A connection silent for one and a half times as long counts as lost. `0s` switches that off.',
      default: '30s',
    }),
  ),
  protocolVersion: Type.Optional(
    Type.Enum([4, 5], { description: 'Protocol: 4 is MQTT 3.1.1, 5 is MQTT 5.', default: 4 }),
  ),
  will: Type.Optional(
    Type.Object(
      {
        topic: Type.String({ description: 'Topic to publish it to.', minLength: 1, examples: ['penstock/status'] }),
        payload: Type.String({ description: 'The message, as it stands.', examples: ['offline'] }),
        qos: Type.Optional(Type.Enum([0, 1, 2], { description: 'Quality of service.', default: 1 })),
        retain: Type.Optional(
          Type.Boolean({ description: 'The broker keeps it for new subscribers.', default: false }),
        ),
        delay: Type.Optional(
          duration({ description: 'Only if we are not back after so long. MQTT 5 only.', default: '0s' }),
        ),
      },
      {
        additionalProperties: false,
        description:
          'Last Will: what the broker publishes for us when our connection is lost without a good-bye. Not when the run ends as it should.',
      },
    ),
  ),
  tls: Type.Optional(
    Type.Object(
      {
        ca: Type.Optional(path({ description: 'Certificates to trust instead of the well-known ones (PEM).' })),
        cert: Type.Optional(path({ description: 'Our own certificate (PEM).' })),
        key: Type.Optional(path({ description: 'The key of our own certificate (PEM).' })),
        servername: Type.Optional(
          Type.String({ description: 'Name that the certificate must carry. Default: the host.' }),
        ),
        rejectUnauthorized: Type.Optional(
          Type.Boolean({ description: '`false` accepts any certificate: for tests only.', default: true }),
        ),
      },
      { additionalProperties: false, description: 'TLS, for an `mqtts://` address.' },
    ),
  ),
};

export interface ConnectionOptions {
  url: string;
  clientId?: string;
  username?: string;
  password?: Secret;
  keepAlive?: string;
  protocolVersion?: 4 | 5;
  will?: { topic: string; payload: string; qos?: 0 | 1 | 2; retain?: boolean; delay?: string };
  tls?: { ca?: string; cert?: string; key?: string; servername?: string; rejectUnauthorized?: boolean };
}

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** For messages; never holds credentials. */
  readonly text: string;
}

/** Takes a broker's address apart. Gives the problem instead when it is none; the problem never repeats credentials. */
export function parseAddress(url: string): Address | { message: string; hint: string } {
  const form = 'Write `mqtt://host:1883`, or `mqtts://host:8883` for TLS.';
  // Looked for before anything else, so that no message can repeat a password.
  if (url.includes('@')) {
    return {
      message: 'The address of the broker holds a user name or password.',
      hint: 'Put them into `username` and `password`: those are not printed.',
    };
  }
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^mqtts?:$/.test(parsed.protocol) || parsed.hostname === '') {
    return { message: `\`${url}\` is not the address of an MQTT broker.`, hint: form };
  }
  if (/^\/?$/.test(parsed.pathname) === false || parsed.search !== '' || parsed.hash !== '') {
    return { message: `\`${url}\` goes on after the port, which the address of a broker does not.`, hint: form };
  }
  const secure = parsed.protocol === 'mqtts:';
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  const port = parsed.port === '' ? (secure ? 8883 : 1883) : Number(parsed.port);
  return { host, port, secure, text: `${parsed.protocol}//${parsed.hostname}:${port}` };
}

/** What the schema cannot say about these options. */
export function checkConnection(options: ConnectionOptions, check: TypeCheck): void {
  const address = parseAddress(options.url);
  if ('message' in address) check.problem(['url'], address.message, address.hint);
  else if (!address.secure && options.tls) {
    check.problem(
      ['tls'],
      `\`tls\` is set, but the address \`${options.url}\` is one without TLS.`,
      'Write `mqtts://`.',
    );
  }
  if (options.password && options.username === undefined && options.protocolVersion !== 5) {
    check.problem(
      ['password'],
      'There is a `password` without a `username`, which MQTT 3.1.1 does not allow.',
      'Add `username`.',
    );
  }
  if (options.will) checkWill(options.will, options.protocolVersion, check);
  for (const [one, other] of [['cert', 'key'] as const, ['key', 'cert'] as const]) {
    if (options.tls?.[one] !== undefined && options.tls[other] === undefined) {
      check.problem(['tls', one], `\`${one}\` is of no use without \`${other}\`.`, `Add \`${other}\`.`);
    }
  }
}

function checkWill(will: NonNullable<ConnectionOptions['will']>, version: 4 | 5 | undefined, check: TypeCheck): void {
  const problem = publishProblem(will.topic);
  const said = `The topic of the will ${problem}`;
  if (problem !== undefined) check.problem(['will', 'topic'], `${said}.`, 'Write a single topic: `penstock/status`.');
  for (const { message, hint } of topicHygiene(will.topic))
    check.problem(['will', 'topic'], message, hint, 'warning', 'unsafe-topic');
  if (will.delay !== undefined && version !== 5)
    check.problem(['will', 'delay'], '`delay` is of MQTT 5 only.', 'Set `protocolVersion: 5`, or leave it out.');
}
