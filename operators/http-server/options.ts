import { isIPv4, isIPv6 } from 'node:net';
import type { Secret } from '../../src/operator.ts';

export interface ServerOptions {
  listen?: string;
  path?: string;
  method?: 'POST' | 'PUT';
  token?: Secret;
  signature?: SignatureOptions;
  tls?: { cert: string; key: string; ca?: string };
  query?: string[];
  headers?: string[];
  remoteAddress?: boolean;
  idempotency?: { header?: string; window?: string; keys?: number; required?: boolean };
  maxBody?: string;
  timeout?: string;
  maxConnections?: number;
  journal?: { maxBytes?: string };
  format?: 'json' | 'text' | 'bytes';
  maxPayload?: string;
}

export interface SignatureOptions {
  header: string;
  secret: Secret;
  algorithm?: 'sha256' | 'sha512' | 'sha1';
  form?: 'body' | 'timestamped';
  tolerance?: string;
}

/** Where to listen. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Takes `host:port` apart; `undefined` when it is none. A name other than `localhost` is none: it could lead anywhere. */
export function parseListen(listen = '127.0.0.1:8080'): Address | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(listen) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) return undefined;
  if (bracketed === undefined ? !isIPv4(host) && host !== 'localhost' : !isIPv6(host)) return undefined;
  return { host, port };
}

function isLoopback({ host }: Address): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

interface Problem {
  readonly path: string[];
  readonly message: string;
  readonly hint: string;
  readonly warning?: true;
}

/** What is wrong or unwise with the address, and with what protects it. */
export function listenProblems({ listen, token, signature, tls }: ServerOptions): Problem[] {
  const address = parseListen(listen);
  if (address === undefined) {
    const message = `\`${listen}\` is no address to listen on.`;
    return [
      { path: ['listen'], message, hint: 'Write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080.' },
    ];
  }
  if (isLoopback(address)) return [];
  if (!token && !signature && !tls) {
    const message = `Anybody who reaches \`${listen}\` could send records.`;
    const hint = 'Add `token`, `signature` or `tls`, or listen on 127.0.0.1 behind a proxy that asks who is there.';
    return [{ path: ['listen'], message, hint }];
  }
  if (tls) return [];
  const message = `Whatever is sent to \`${listen}\`${token ? ', and the token with it,' : ''} can be read on the way.`;
  return [{ path: ['listen'], message, hint: 'Add `tls`, or let a proxy with TLS stand before it.', warning: true }];
}

/** What is wrong with the pattern of a path. */
export function pathProblem(pattern: string, query: readonly string[]): string | undefined {
  const levels = pattern.split('/').slice(1);
  const names = [...levels.flatMap((level) => /^\{(.*)\}$/.exec(level)?.[1] ?? []), ...query];
  if (/[?#]/.test(pattern)) return `\`${pattern}\` goes on after the path.`;
  const wrong = levels.find((level) => /[{}]/.test(level) && !/^\{[A-Za-z_][A-Za-z0-9_]*\}$/.test(level));
  if (wrong !== undefined) return `\`${wrong}\` captures no whole level, or under a name that is none.`;
  const twice = names.find((name, n) => names.indexOf(name) !== n || name === '__proto__');
  return twice === undefined ? undefined : `The field \`${twice}\` is captured twice, or is none that can be.`;
}
