import { path, type Secret, secret, Type, type TypeCheck } from '../../src/operator.ts';
import type { Compression } from './codecs.ts';
import type { RegistryWriting, SchemaFile } from './registry-options.ts';

/** Options that the source and the sink share: where the brokers are and how to get in. */
export const connectionOptions = {
  brokers: Type.Unsafe<string | readonly string[]>({
    description: 'Addresses to begin with, as a list or separated by commas. The other brokers are found through them.',
    anyOf: [
      { type: 'string', minLength: 1 },
      { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 },
    ],
    examples: ['127.0.0.1:9092', 'kafka-1:9092,kafka-2:9092'],
  }),
  clientId: Type.Optional(
    Type.String({
      description: 'Name of this client in the logs of the brokers. Default: name of the topology.',
      minLength: 1,
    }),
  ),
  ssl: Type.Optional(
    Type.Unsafe<boolean | SslOptions>({
      description: 'Connect with TLS. Paths of PEM files when the certificates are your own.',
      anyOf: [
        { type: 'boolean' },
        Type.Object(
          {
            ca: Type.Optional(path({ description: 'Certificate of the authority to trust.' })),
            cert: Type.Optional(path({ description: 'Certificate of this client.' })),
            key: Type.Optional(path({ description: 'Key of this client.' })),
          },
          { additionalProperties: false },
        ),
      ],
      default: false,
    }),
  ),
  sasl: Type.Optional(
    Type.Object(
      {
        mechanism: Type.Enum(['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'], {
          description: 'As the listener is set up.',
        }),
        username: Type.Optional(Type.String({ description: 'User name. Not with `oauthbearer`.', minLength: 1 })),
        password: Type.Optional(secret({ description: 'Password. Not with `oauthbearer`.' })),
        token: Type.Optional(secret({ description: '`oauthbearer`: the token.' })),
        tokenFile: Type.Optional(
          path({ description: '`oauthbearer`: a file that holds the token, read at each login.' }),
        ),
        tokenUrl: Type.Optional(
          Type.String({
            description: '`oauthbearer`: an endpoint that gives tokens to `clientId`, asked again before they expire.',
            examples: ['https://login.example/oauth2/token'],
          }),
        ),
        clientId: Type.Optional(Type.String({ description: 'Who asks the endpoint.', minLength: 1 })),
        clientSecret: Type.Optional(secret({ description: 'The secret of `clientId`.' })),
        scope: Type.Optional(Type.String({ description: 'Scopes to ask the endpoint for, with spaces between them.' })),
      },
      { additionalProperties: false, description: 'Log in with a user name and a password, or with a token.' },
    ),
  ),
};

export interface SslOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface Connection {
  readonly brokers: string | readonly string[];
  readonly clientId?: string;
  readonly ssl?: boolean | SslOptions;
  readonly sasl?: Sasl;
}

export interface Sasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512' | 'oauthbearer';
  readonly username?: string;
  readonly password?: Secret;
  readonly token?: Secret;
  readonly tokenFile?: string;
  readonly tokenUrl?: string;
  readonly clientId?: string;
  readonly clientSecret?: Secret;
  readonly scope?: string;
}

/** The addresses as a list, without blanks and empty parts. */
export function brokerList(brokers: string | readonly string[]): string[] {
  const parts = typeof brokers === 'string' ? brokers.split(',') : brokers.flatMap((part) => part.split(','));
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** Reports credentials in the addresses (there they would be printed, and Kafka takes none), and a login that lacks something. */
export function checkConnection({ brokers, sasl }: Connection, check: TypeCheck): void {
  if (brokerList(brokers).some((address) => address.includes('@'))) {
    check.problem(
      ['brokers'],
      'The addresses of the brokers hold a user name or password; a host and a port are expected.',
      'Put them into `sasl`: its `password` is not printed.',
    );
  }
  if (sasl !== undefined) checkLogin(sasl, check);
}

function checkLogin(sasl: Sasl, check: TypeCheck): void {
  const { mechanism } = sasl;
  const has = (names: readonly (keyof Sasl)[]) => names.filter((name) => sasl[name] !== undefined);
  const user = ['username', 'password'] as const;
  const client = ['clientId', 'clientSecret'] as const;
  const say = (message: string, hint: string) => check.problem(['sasl'], message, hint);
  if (mechanism !== 'oauthbearer') {
    const lacking = user.filter((name) => sasl[name] === undefined);
    if (lacking.length > 0) {
      say(
        `\`${mechanism}\` needs a \`username\` and a \`password\`; \`${lacking[0]}\` is not there.`,
        `Add \`${lacking[0]}\`.`,
      );
    }
    const [other] = has(['token', 'tokenFile', 'tokenUrl', ...client, 'scope']);
    if (other)
      say(
        `\`${other}\` belongs to \`mechanism: oauthbearer\`, and this is \`${mechanism}\`.`,
        `Leave \`${other}\` out.`,
      );
    return;
  }
  const from = has(['token', 'tokenFile', 'tokenUrl']);
  if (from.length !== 1) {
    const found = from.length === 0 ? 'none is given' : `\`${from.join('` and `')}\` are given`;
    say(`\`oauthbearer\` takes one of \`token\`, \`tokenFile\` and \`tokenUrl\`; ${found}.`, 'Give one of them.');
  }
  const [stray] = has(sasl.tokenUrl !== undefined ? user : [...user, ...client, 'scope']);
  if (stray) say(`\`${stray}\` has no use here.`, `Leave \`${stray}\` out.`);
  if (sasl.tokenUrl === undefined) return;
  if (has(client).length < 2) say('`tokenUrl` needs a `clientId` and a `clientSecret`.', 'Add both.');
  const problem = urlProblem(sasl.tokenUrl);
  if (problem) check.problem(['sasl', 'tokenUrl'], problem, 'Write it as `https://host/path`.');
}

function urlProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) return 'It is no address of the web.';
  if (url.username !== '' || url.password !== '') return 'It holds a user name or a password, which would be printed.';
  const here = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  return url.protocol === 'http:' && !here ? 'It would send the secret in the clear: `https` is expected.' : undefined;
}

/** Why the text cannot be the name of a topic; `undefined` when it can. */
export function topicProblem(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name === '.' || name === '..') return 'it is `.` or `..`';
  if (name.length > 249) return `it has ${name.length} characters, and at most 249 are allowed`;
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) return 'only letters a-z and A-Z, digits, `.`, `_` and `-` are allowed';
  return undefined;
}

export interface SinkOptions extends Connection {
  readonly topic: string;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly forwardHeaders?: boolean;
  readonly payload?: 'value' | 'original';
  readonly compression?: Compression;
  readonly registry?: RegistryWriting;
  readonly value?: SchemaFile;
  readonly keyAs?: SchemaFile;
  readonly createTopic?: {
    readonly partitions: number;
    readonly replication?: number;
    readonly config?: Readonly<Record<string, string | number | boolean>>;
  };
}
