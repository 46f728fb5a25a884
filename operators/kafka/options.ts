import { path, type Secret, secret, Type, type TypeCheck } from '../../src/operator.ts';
import type { Compression } from './codecs.ts';

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
        mechanism: Type.Enum(['plain', 'scram-sha-256', 'scram-sha-512'], {
          description: 'As the listener is set up.',
        }),
        username: Type.String({ description: 'User name.' }),
        password: secret({ description: 'Password.' }),
      },
      { additionalProperties: false, description: 'Log in with a user name and a password.' },
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
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: Secret;
  };
}

/** The addresses as a list, without blanks and empty parts. */
export function brokerList(brokers: string | readonly string[]): string[] {
  const parts = typeof brokers === 'string' ? brokers.split(',') : brokers.flatMap((part) => part.split(','));
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** Reports credentials in the addresses: there they would be printed, and Kafka takes none. The problem never repeats them. */
export function checkBrokers(brokers: string | readonly string[], check: TypeCheck): void {
  if (!brokerList(brokers).some((address) => address.includes('@'))) return;
  check.problem(
    ['brokers'],
    'The addresses of the brokers hold a user name or password; a host and a port are expected.',
    'Put them into `sasl`: its `password` is not printed.',
  );
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
  readonly compression?: Compression;
  readonly createTopic?: { readonly partitions: number; readonly replication?: number };
}
