import type { Expression, Secret } from '../../src/operator.ts';

export interface PostgresOptions {
  url: string;
  username: string;
  password?: Secret;
  schema?: string;
  table: string;
  columns?: Readonly<Record<string, string>>;
  key?: string[];
  idColumn?: string;
  timeColumn?: string;
  deleteWhen?: Expression;
  tombstones?: boolean;
  tls?: { ca?: string; cert?: string; key?: string; servername?: string; rejectUnauthorized?: boolean };
  timeout?: string;
}

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  /** For messages. */
  readonly text: string;
}

/** Takes the address apart; `undefined` when it is none. */
export function parseAddress(url: string): Address | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, hostname, port, pathname, search, hash } = new URL(url);
  const [, name] = /^\/([^/]+)$/.exec(pathname) ?? [];
  if (!/^postgres(ql)?:$/.test(protocol) || hostname === '' || name === undefined || search + hash !== '')
    return undefined;
  let database: string;
  try {
    database = decodeURIComponent(name);
  } catch {
    return undefined;
  }
  const host = hostname.replace(/^\[|\]$/g, '');
  const number = port === '' ? 5432 : Number(port);
  return { host, port: number, database, text: `postgres://${hostname}:${number}/${name}` };
}

/** PostgreSQL cuts off what is longer, and may then find another column. */
export function isName(text: string): boolean {
  return text !== '' && Buffer.byteLength(text) <= 63 && !text.includes('\0');
}

interface Problem {
  readonly path: (string | number)[];
  readonly message: string;
  readonly hint: string;
  readonly warning?: true;
}

/** What the schema cannot say about the options. No message repeats credentials. */
export function optionProblems(options: PostgresOptions): Problem[] {
  const problems: Problem[] = [];
  const add = (path: Problem['path'], message: string, hint: string) => problems.push({ path, message, hint });
  const { url, schema, table, columns, key, idColumn, timeColumn, deleteWhen, tombstones, tls } = options;
  const address = parseAddress(url);
  // Looked for before anything else, so that no message can repeat a password.
  if (url.includes('@'))
    add(['url'], 'The `url` holds a user name or password.', 'Put them into `username` and `password`.');
  else if (!address)
    add(['url'], 'The `url` is no address of a database.', 'Write it as postgres://127.0.0.1:5432/database.');
  else if (!tls && options.password && !/^(localhost|127\.[\d.]+|::1)$/.test(address.host)) {
    const message = 'What is written to another machine without `tls` can be read on the way.';
    problems.push({ path: ['url'], message, hint: 'Add `tls: {}`.', warning: true });
  }
  const named = { schema, table, idColumn, timeColumn };
  for (const [option, name] of Object.entries(named)) {
    if (name !== undefined && !isName(name))
      add([option], `\`${option}\` is no name that PostgreSQL can hold.`, 'A name has 1 to 63 bytes.');
  }
  for (const name of [...Object.keys(columns ?? {}), ...(key ?? [])]) {
    if (!isName(name))
      add(['table'], 'The name of a column is none that PostgreSQL can hold.', 'A name has 1 to 63 bytes.');
  }
  const own = [idColumn, timeColumn].filter((name) => name !== undefined);
  const twice = own.find((name, n) => own.indexOf(name) !== n || columns?.[name] !== undefined);
  if (twice !== undefined)
    add(['columns'], `The column \`${twice}\` is written twice.`, 'Take it out of one of the two places.');
  for (const [n, name] of (key ?? []).entries()) {
    if (columns && !Object.hasOwn(columns, name) && name !== timeColumn)
      add(['key', n], `The key column \`${name}\` is not among \`columns\`.`, 'Add it, with its field.');
  }
  if (key && idColumn !== undefined)
    add(['idColumn'], '`idColumn` is for appending, and `key` replaces rows.', 'Drop one of the two.');
  if (!key && deleteWhen !== undefined)
    add(['deleteWhen'], 'Without `key` there is no telling which row to delete.', 'Add `key`.');
  if (tombstones && key?.length !== 1)
    add(['tombstones'], 'The key of a record is one value, and `key` is not one column.', 'Use `deleteWhen`.');
  return problems;
}
