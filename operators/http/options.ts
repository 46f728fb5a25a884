import type { Secret } from '../../src/operator.ts';

export interface HttpOptions {
  url: string;
  method?: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  headers?: Readonly<Record<string, string>>;
  token?: Secret;
  username?: string;
  password?: Secret;
  secretHeaders?: Readonly<Record<string, Secret>>;
  batch?: { records: number; format?: 'array' | 'ndjson' };
  concurrency?: number;
  idempotencyHeader?: string;
  timeout?: string;
}

/** Scheme, host and port; what comes from records stands behind them. */
export const originForm = /^https?:\/\/[^/?#{}\s\\]+(?=[/?#]|$)/i;

const ownHeaders = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

interface Problem {
  readonly path: (string | number)[];
  readonly message: string;
  readonly hint: string;
  readonly warning?: true;
}

/** What the schema cannot say about the options. No message repeats credentials. */
export function optionProblems(options: HttpOptions): Problem[] {
  const problems: Problem[] = [];
  const { token, username, password, method, batch } = options;
  const add = (path: Problem['path'], message: string, hint: string) => problems.push({ path, message, hint });
  const url = urlProblem(options.url);
  if (url) add(['url'], url, 'Write it as https://api.example.com/path/{field}.');
  if (token && username !== undefined)
    add(['token'], 'There is a `token` and a `username`.', 'Only one of the two can go along.');
  if ((username === undefined) !== (password === undefined)) {
    add([username === undefined ? 'password' : 'username'], 'Basic authentication needs both.', 'Add the other one.');
  }
  if (batch && method === 'DELETE') add(['batch'], 'A DELETE has no body, and so no batch.', 'Drop one of the two.');
  const taken = new Set<string>(token || username !== undefined ? ['authorization'] : []);
  taken.add((options.idempotencyHeader ?? 'Idempotency-Key').toLowerCase());
  for (const [list, names] of Object.entries({ secretHeaders: options.secretHeaders, headers: options.headers })) {
    for (const header of Object.keys(names ?? {})) {
      const lower = header.toLowerCase();
      if (ownHeaders.has(lower)) add([list, header], `The header \`${header}\` is set by HTTP itself.`, 'Drop it.');
      else if (taken.has(lower)) add([list, header], `The header \`${header}\` is set twice.`, 'Drop one of the two.');
      taken.add(lower);
    }
  }
  if (!url && isOpen(options)) {
    const message = 'Credentials go to another machine without TLS and can be read on the way.';
    problems.push({ path: ['url'], message, hint: 'Use https://.', warning: true });
  }
  return problems;
}

function urlProblem(url: string): string | undefined {
  const [origin = ''] = originForm.exec(url) ?? [];
  // Looked for before anything else, so that no message can repeat a password.
  if (origin.includes('@') || /^[^/]*\/\/[^/?#]*@/.test(url))
    return 'The `url` holds a user name or password: use `username` and `password`.';
  if (origin === '' || !URL.canParse(origin)) {
    return 'The `url` does not begin with `http://` or `https://` and a host that is written out; records cannot choose it.';
  }
  if (url.includes('#')) return 'The `url` holds a `#`, and what follows it is never sent.';
  const path = url.slice(origin.length).split('?', 1)[0]!;
  if (/(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path) || path.includes('\\'))
    return 'The path of the `url` goes up or holds a backslash.';
  return undefined;
}

function isOpen({ url, token, password, secretHeaders }: HttpOptions): boolean {
  const { protocol, hostname } = new URL(originForm.exec(url)![0]);
  if (protocol === 'https:' || /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname)) return false;
  return token !== undefined || password !== undefined || secretHeaders !== undefined;
}
