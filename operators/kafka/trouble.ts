import { tlsRefusal } from '../../src/operator.ts';
import { Trouble, type TroubleKind } from './driver.ts';
import type { Sasl } from './options.ts';

/** The fields of kafkajs errors that tell them apart. */
interface Raw {
  readonly name?: string;
  readonly message?: string;
  /** Name of the protocol error. */
  readonly type?: string;
  /** Of the socket: `ECONNREFUSED` and so on. A number in protocol errors. */
  readonly code?: string | number;
  readonly retriable?: boolean;
  readonly broker?: string;
  readonly cause?: unknown;
}

const kinds: Readonly<Record<string, TroubleKind>> = {
  MESSAGE_TOO_LARGE: 'tooLarge',
  RECORD_LIST_TOO_LARGE: 'tooLarge',
  INVALID_TIMESTAMP: 'rejected',
  INVALID_RECORD: 'rejected',
  UNKNOWN_TOPIC_OR_PARTITION: 'unknownTopic',
  INVALID_TOPIC_EXCEPTION: 'badTopic',
  SASL_AUTHENTICATION_FAILED: 'final',
  UNSUPPORTED_SASL_MECHANISM: 'final',
  ILLEGAL_SASL_STATE: 'final',
  UNSUPPORTED_VERSION: 'final',
  UNSUPPORTED_COMPRESSION_TYPE: 'final',
  INVALID_REQUIRED_ACKS: 'final',
  INVALID_GROUP_ID: 'final',
  INVALID_PARTITIONS: 'final',
  INVALID_REPLICATION_FACTOR: 'final',
  POLICY_VIOLATION: 'final',
  INVALID_SESSION_TIMEOUT: 'final',
  INCONSISTENT_GROUP_PROTOCOL: 'final',
  GROUP_MAX_SIZE_REACHED: 'final',
  INVALID_TRANSACTION_TIMEOUT: 'final',
};

/** The error that lies at the bottom: kafkajs wraps it when it has given up retrying. */
export function rootOf(error: unknown): Raw {
  let raw = error as Raw;
  while (raw.type === undefined && typeof raw.cause === 'object' && raw.cause !== null) raw = raw.cause as Raw;
  return raw;
}

/** Puts an error of kafkajs into words, for a connection to `address`. What is not known to be final counts as passing. */
export function toTrouble(error: unknown, address: string, login?: Sasl): Trouble {
  if (error instanceof Trouble) return error;
  const raw = rootOf(error);
  if (raw instanceof Trouble) return raw;
  const kind = kindOf(raw);
  return new Trouble(kind, wording(raw, address, login), error);
}

function kindOf(raw: Raw): TroubleKind {
  if (raw.type !== undefined) {
    const known = kinds[raw.type];
    if (known !== undefined) return known;
    return raw.type.endsWith('_AUTHORIZATION_FAILED') ? 'final' : 'passing';
  }
  if (raw.name === 'KafkaJSSASLAuthenticationError' || raw.name === 'KafkaJSServerDoesNotSupportApiKey') return 'final';
  if (raw.name === 'KafkaJSNotImplemented' || isUndialled(raw)) return 'final';
  return 'passing';
}

function wording(raw: Raw, address: string, login: Sasl | undefined): string {
  const user = login?.username ?? login?.clientId;
  const at = raw.broker ?? address;
  const message = raw.message ?? String(raw);
  const type = raw.type ?? '';
  if (raw.name === 'KafkaJSSASLAuthenticationError' || type === 'SASL_AUTHENTICATION_FAILED') {
    const way = login?.mechanism.toUpperCase() ?? 'SASL';
    return login?.mechanism === 'oauthbearer'
      ? `Kafka at ${address} does not take the token${user === undefined ? '' : ` of client \`${user}\``} (${way}). Check that it has not expired, and that the listener trusts who has issued it.`
      : `Kafka at ${address} does not let user \`${user ?? ''}\` in (${way}). Check \`sasl.username\`, \`sasl.password\` and \`sasl.mechanism\`.`;
  }
  if (type === 'UNSUPPORTED_SASL_MECHANISM' || type === 'ILLEGAL_SASL_STATE') {
    return `Kafka at ${address} does not take this way to log in. Check \`sasl.mechanism\`, and that the port is the one of a SASL listener.`;
  }
  if (type.endsWith('_AUTHORIZATION_FAILED')) {
    const what = type.replace('_AUTHORIZATION_FAILED', '').toLowerCase().replaceAll('_', ' ');
    return `Kafka at ${address} denies access to the ${what}. Give ${user ? `user \`${user}\`` : 'this client'} the right to it (an ACL).`;
  }
  if (raw.name === 'KafkaJSConnectionError' || raw.name === 'KafkaJSConnectionClosedError' || isSocketCode(raw.code)) {
    return connectionWording(raw, at, message, login);
  }
  if (type === 'INVALID_TRANSACTION_TIMEOUT') {
    return `Kafka at ${address} does not let transactions stay open for twice the time between checkpoints. Take them more often (\`state.every\`), or raise its \`transaction.max.timeout.ms\`.`;
  }
  if (raw.name === 'KafkaJSRequestTimeoutError') return `Kafka at ${at} did not answer in time.`;
  return `Kafka at ${address} answered: ${message.replace(/\.?$/, '.')}`;
}

function connectionWording(raw: Raw, at: string, message: string, login: Sasl | undefined): string {
  const code = String(raw.code ?? '');
  if (code === 'ECONNREFUSED') {
    return `Nothing listens at ${at}, where Kafka was expected. Check \`brokers\`, and that Kafka is up.`;
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return `The name of the Kafka broker ${at} cannot be resolved. Check \`brokers\` and the DNS.`;
  }
  const refusal = tlsRefusal(raw, 'ssl');
  if (refusal !== undefined) return `Kafka at ${at} cannot be used: ${refusal}`;
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') {
    return `Kafka at ${at} does not speak TLS as expected (${code}). Check that the port is the one of an SSL listener.`;
  }
  if (message.includes('before secure TLS connection')) {
    return `Kafka at ${at} closed the connection before TLS had begun. Check that the port is the one of an SSL listener.`;
  }
  if (isUndialled(raw)) {
    const why = message.replace('Failed to connect: ', '');
    return `Kafka at ${at} cannot be connected to: ${why}. Check \`brokers\`, and that \`ssl.cert\` and \`ssl.key\` belong together.`;
  }
  if (/timeout/i.test(message) || code === 'ETIMEDOUT' || code === 'EHOSTUNREACH') {
    return `Kafka at ${at} cannot be reached: no answer in time. Check \`brokers\` and the firewall.`;
  }
  const closed = `Kafka at ${at} closed the connection${code ? ` (${code})` : ''}.`;
  // What a broker says of a bad token is lost in kafkajs, which goes on until the broker hangs up.
  return login?.mechanism === 'oauthbearer'
    ? `${closed} If it does so at once, it does not take the token (OAUTHBEARER): check that it has not expired, and that the listener trusts who has issued it.`
    : `${closed} If it does so at once, the port may want TLS (\`ssl\`) or a login (\`sasl\`).`;
}

// Not even tried: the address or the key is none.
function isUndialled({ name, message, code }: Raw): boolean {
  return name === 'KafkaJSConnectionError' && code === undefined && /^Failed to connect: /.test(message ?? '');
}

function isSocketCode(code: unknown): boolean {
  return typeof code === 'string' && /^(E[A-Z]+|ERR_(SSL|TLS)|SELF_SIGNED|UNABLE_|CERT_|DEPTH_)/.test(code);
}

/** Says that a topic is not there, and how to make it. */
export function noTopic(topic: string, address: string): string {
  return (
    `There is no topic \`${topic}\` at Kafka ${address}. Make it, for example with ` +
    `\`kafka-topics.sh --bootstrap-server ${address} --create --topic ${topic} --partitions 6\`.`
  );
}
