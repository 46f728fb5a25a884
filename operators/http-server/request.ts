import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { durationMs } from '../../src/operator.ts';
import type { ServerOptions, SignatureOptions } from './options.ts';

/** A request that is not taken, and the answer to it. The message names no value of the request. */
export class Refusal extends Error {
  readonly status: number;
  /** Seconds. */
  readonly retryAfter: number | undefined;
  constructor(status: number, message: string, retryAfter?: number) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Makes a pattern of a path ready: gives the captured levels of a path, or `undefined` when it does not match. */
export function compilePath(pattern: string): (path: string) => Readonly<Record<string, string>> | undefined {
  const levels = pattern.split('/');
  return (path) => {
    const found = path.split('/');
    if (found.length !== levels.length) return undefined;
    const captured: Record<string, string> = {};
    for (const [n, level] of levels.entries()) {
      const text = decoded(found[n]!);
      if (text === undefined) return undefined;
      const name = /^\{(.*)\}$/.exec(level)?.[1];
      if (name !== undefined && text !== '') captured[name] = text;
      else if (level !== text) return undefined;
    }
    return captured;
  };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Whether the request bears the token. Takes as long for one that is nearly right as for any other. */
export function bearsToken({ authorization = '' }: IncomingHttpHeaders, token: string): boolean {
  const [, given = ''] = /^Bearer +(.*)$/i.exec(authorization) ?? [];
  // Of equal length whatever was given.
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(token));
}

/** Whether the body was signed with the secret, and lately, where the signature tells when. */
export function isSigned(headers: IncomingHttpHeaders, body: Buffer, options: SignatureOptions, now: number): boolean {
  const { header, secret, algorithm = 'sha256', form = 'body', tolerance = '5m' } = options;
  const given = headers[header.toLowerCase()];
  if (typeof given !== 'string') return false;
  const hmac = createHmac(algorithm, secret.reveal());
  if (form === 'body') {
    const digest = hmac.update(body).digest();
    const text = given.startsWith(`${algorithm}=`) ? given.slice(algorithm.length + 1) : given;
    return matches(text, 'hex', digest) || matches(text, 'base64', digest);
  }
  const parts = given.split(',').map((part) => part.trim());
  const time = parts.find((part) => /^t=\d{1,12}$/.test(part))?.slice(2);
  if (time === undefined || Math.abs(now - Number(time) * 1000) > durationMs(tolerance)) return false;
  const digest = hmac.update(`${time}.`).update(body).digest();
  // While a secret is being changed there may be several.
  return parts.some((part) => part.startsWith('v1=') && matches(part.slice(3), 'hex', digest));
}

function matches(text: string, encoding: 'hex' | 'base64', digest: Buffer): boolean {
  const given = Buffer.from(text, encoding);
  return given.length === digest.length && timingSafeEqual(given, digest);
}

const lineTypes = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/x-jsonlines',
]);

/** Whether the body is one record, or one in each line. Throws a Refusal for a type that `format` does not read. */
export function shapeOf(headers: IncomingHttpHeaders, format: ServerOptions['format'] = 'json'): 'one' | 'lines' {
  const encoding = headers['content-encoding'];
  // Nobody can tell how large it becomes.
  if (encoding !== undefined && encoding !== 'identity') throw new Refusal(415, 'Send the body without compression.');
  if (format === 'bytes') return 'one';
  const [type = ''] = (headers['content-type'] ?? '').toLowerCase().split(';');
  const name = type.trim();
  if (lineTypes.has(name)) return 'lines';
  if (
    format === 'text' ? name.startsWith('text/') : name === 'application/json' || /^[\w.-]+\/[\w.-]+\+json$/.test(name)
  )
    return 'one';
  const wanted = format === 'text' ? 'text/plain' : 'application/json or application/x-ndjson';
  throw new Refusal(415, `Send the body as ${wanted}.`);
}

/** The lines of a body that hold anything. */
export function linesOf(body: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let from = 0; from < body.length; ) {
    const found = body.indexOf(10, from);
    const end = found === -1 ? body.length : found;
    const line = body.subarray(from, body[end - 1] === 13 ? Math.max(from, end - 1) : end);
    if (line.length > 0) lines.push(line);
    from = end + 1;
  }
  return lines;
}
