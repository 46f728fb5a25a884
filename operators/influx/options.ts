import { duration, field, type Secret, secret, size, Type, type TypeCheck, template } from '../../src/operator.ts';
import { urlProblem } from './answers.ts';
import { parseInstant } from './instant.ts';
import { isPlainName, reservedNames } from './lines.ts';

const url = Type.String({ description: 'Address of the server.', examples: ['http://127.0.0.1:8086'], minLength: 1 });

/** Options of the source. */
export const sourceSettings = {
  url,
  org: Type.String({ description: 'Name or id of the organization.', minLength: 1 }),
  token: secret({ description: 'A token that may read the buckets.', examples: ['${INFLUX_TOKEN}'] }),
  bucket: Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
    description: 'Name of the bucket, or of several. They must be there.',
    examples: ['kafka_downsampled'],
  }),
  measurements: Type.Optional(
    Type.Array(Type.String({ minLength: 1 }), { description: 'Only these measurements. Default: all.', minItems: 1 }),
  ),
  mode: Type.Optional(
    Type.Enum(['timestamp', 'bulk'], {
      description: '`timestamp`: only rows that have not been read yet. `bulk`: all rows again with each round.',
      default: 'timestamp',
    }),
  ),
  start: Type.Optional(
    Type.String({
      description: 'Rows before this time are not read (RFC 3339). Default: all rows are.',
      examples: ['2026-01-01T00:00:00Z'],
    }),
  ),
  poll: Type.Optional(
    duration({ description: 'Pause between two rounds. Default: `10s`, in `bulk` mode `1h`.', examples: ['5s'] }),
  ),
  delay: Type.Optional(
    duration({
      description: 'Rows are read once they are so old, so that what is written late still finds its place in order.',
      default: '0s',
    }),
  ),
  overlap: Type.Optional(
    duration({
      description:
        'Each round looks again at so much time before the newest row, for what has been written there since.',
      default: '0s',
    }),
  ),
  page: Type.Optional(
    size({ description: 'Rows are read in pages: no answer of the server may be larger.', default: '4MiB' }),
  ),
  topicPrefix: Type.Optional(
    Type.String({ description: 'Put before the name in `meta.topic`.', default: '', examples: ['EG'] }),
  ),
  topicOf: Type.Optional(
    Type.Enum(['bucket', 'measurement'], {
      description: 'What `meta.topic` names, behind `topicPrefix`.',
      default: 'bucket',
    }),
  ),
  timeout: Type.Optional(
    duration({ description: 'A query that is silent for so long is asked again.', default: '30s' }),
  ),
};

/** Options of the sink. */
export const sinkSettings = Type.Object(
  {
    url,
    version: Type.Optional(
      Type.Enum([1, 2, 3], {
        description: 'InfluxDB 1.x (`/write`), 2 (`/api/v2/write`) or 3 (`/api/v3/write_lp`).',
        default: 2,
      }),
    ),
    org: Type.Optional(Type.String({ description: 'Version 2: name or id of the organization.', minLength: 1 })),
    bucket: Type.String({
      description:
        'Name of the bucket, with version 2 also its id; with versions 1 and 3 the database. It must be there.',
      minLength: 1,
    }),
    retentionPolicy: Type.Optional(
      Type.String({ description: "Version 1: the retention policy. Default: the database's own.", minLength: 1 }),
    ),
    token: Type.Optional(
      secret({ description: 'A token that may write to the bucket.', examples: ['${INFLUX_TOKEN}'] }),
    ),
    username: Type.Optional(Type.String({ description: 'Version 1: user name.', minLength: 1 })),
    password: Type.Optional(secret({ description: 'Version 1: password.' })),
    measurement: template({ description: 'Name of the measurement.', examples: ['genData', 'gen-{region}'] }),
    tags: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description: 'Fields that become tags. Points with equal tags are one series.',
        default: [],
        examples: [['generatorID', 'region']],
        uniqueItems: true,
      }),
    ),
    fields: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description: 'Fields to write. Default: all that hold a number, text or boolean and are no tags.',
        minItems: 1,
        uniqueItems: true,
      }),
    ),
    integers: Type.Optional(
      Type.Array(field({ description: 'A field.' }), {
        description:
          'Fields to write as integers. All other numbers are floats, so that `5` and `5.5` do not conflict.',
        uniqueItems: true,
      }),
    ),
    time: Type.Optional(
      Type.Enum(['label', 'event', 'windowStart', 'windowEnd'], {
        description:
          'Time of the point. `label`: what the window step says. Default: `label` for results of windows, else `event`, the event time.',
      }),
    ),
    precision: Type.Optional(
      Type.Enum(['s', 'ms', 'us', 'ns'], {
        description: 'Unit in which times are sent. `s` cuts off what is finer.',
        default: 'ms',
      }),
    ),
    timeout: Type.Optional(
      duration({ description: 'A request that has no answer by then is sent again.', default: '30s' }),
    ),
  },
  { additionalProperties: false },
);

/** How the sink gets in. */
export interface Access {
  readonly url: string;
  readonly version?: 1 | 2 | 3;
  readonly org?: string;
  readonly bucket: string;
  readonly retentionPolicy?: string;
  readonly token?: Secret;
  readonly username?: string;
  readonly password?: Secret;
}

/** Reports an address that is none. */
export function checkUrl(url: string, check: TypeCheck): void {
  const problem = urlProblem(url);
  if (problem) check.problem(['url'], problem, 'Write it as http://127.0.0.1:8086.');
}

/** What the schema cannot say of the source's options. */
export function checkReading({ url, start }: { url: string; start?: string }, check: TypeCheck): void {
  checkUrl(url, check);
  if (start !== undefined && parseInstant(start) === undefined)
    check.problem(['start'], '`start` is no time: expected RFC 3339.', 'Write it as 2026-01-01T00:00:00Z.');
}

/** What each version of InfluxDB needs to let us in, and what it does not know. */
export function checkAccess(given: Access, check: TypeCheck): void {
  const { version = 2, org, token, username, password, retentionPolicy } = given;
  checkUrl(given.url, check);
  if (version === 2 && org === undefined)
    check.problem([], 'There is no `org`, which InfluxDB 2 needs.', 'Add it, or say which `version` it is: 1, 2 or 3.');
  if (version === 2 && token === undefined)
    check.problem([], 'There is no `token`, which InfluxDB 2 needs.', 'Add `token`.');
  for (const [name, value] of Object.entries({ username, password, retentionPolicy })) {
    if (version !== 1 && value !== undefined)
      check.problem([name], `\`${name}\` is of InfluxDB 1.x only.`, 'Leave it out, or set `version: 1`.');
  }
  if (version !== 2 && org !== undefined)
    check.problem(['org'], `InfluxDB ${version} has no organizations.`, 'Leave `org` out, or set `version: 2`.');
  if ((username === undefined) !== (password === undefined))
    check.problem([], 'Only one of `username` and `password` is there.', 'Give both.');
  if (username !== undefined && token !== undefined)
    check.problem(['token'], 'There is a `token` beside `username` and `password`.', 'Leave one of them out.');
}

/** Tags and fields that InfluxDB would not take, or that stand in both lists. */
export function checkNames(
  { tags = [], fields = [] }: { tags?: readonly string[]; fields?: readonly string[] },
  check: TypeCheck,
): void {
  const named = [
    ...tags.map((name, i) => ['tags', i, name] as const),
    ...fields.map((name, i) => ['fields', i, name] as const),
  ];
  for (const [list, i, name] of named) {
    if (reservedNames.includes(name) || !isPlainName(name)) {
      check.problem(
        [list, i],
        `InfluxDB takes no ${list === 'tags' ? 'tag' : 'field'} of the name \`${name}\`.`,
        'Rename it with `map` before this sink.',
      );
    }
  }
  for (const [i, name] of fields.entries()) {
    if (tags.includes(name))
      check.problem(['fields', i], `\`${name}\` is a tag already.`, 'Take it out of one of the two lists.');
  }
}
