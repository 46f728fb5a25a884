import {
  defineSink,
  duration,
  durationMs,
  expression,
  field,
  path,
  RunError,
  secret,
  Type,
} from '../../src/operator.ts';
import { optionProblems, type PostgresOptions } from './options.ts';
import { rowMaker } from './rows.ts';
import { Server } from './server.ts';
import { Writer } from './writer.ts';

const columnName = (description: string) => Type.String({ description, minLength: 1 });

/**
 * Writes each record as a row of a PostgreSQL table: appends it, or, with `key`, puts it in the place of the row with the same key. A server that is
 * away is waited for; a row that it refuses is found and goes to the dead letter; wrong credentials or no such table end the run.
 */
export const postgresSink = defineSink({
  name: 'postgres',
  summary: 'Writes each record as a row of a PostgreSQL table.',
  details:
    'Needs the package `postgres` (`npm install postgres`). Up to 5,000 rows go in one statement, one statement at a time and in order.\n\n' +
    '| trouble | what happens |\n| --- | --- |\n' +
    '| no connection, a server that starts, stops or is out of room, a lock or deadlock | the same rows again, with growing pauses; the sources pause meanwhile |\n' +
    '| a value that does not fit its column, a constraint, a trigger that raises | the statement is halved until the rows at fault are alone: they are rejected (`sink-refused`), all others are written |\n' +
    '| wrong credentials, no such database, table or listed column, no unique constraint on `key`, no right to write | the run ends; nothing is lost |\n\n' +
    'The server converts values to the types of the columns as it does for JSON: texts become times, numbers, UUIDs; lists become arrays; objects become `json`. Bytes become `bytea`. ' +
    'Without `columns` each field goes into the column of its name: one without a column is rejected with its record, and a column without a field keeps its default or, when a row is replaced, its value. ' +
    'With `columns` only those are written, and a missing field is `NULL`.\n\n' +
    'With `key` a row replaces the one with the same values there, which needs a unique constraint on exactly these columns; of several in one batch the last one counts. A record whose key is missing or null is rejected.',
  options: Type.Object(
    {
      url: Type.String({
        description: 'Address of the server and name of the database.',
        examples: ['postgres://127.0.0.1:5432/plant'],
        minLength: 1,
      }),
      username: Type.String({ description: 'User name.', minLength: 1 }),
      password: Type.Optional(secret({ description: 'Password.', examples: ['${POSTGRES_PASSWORD}'] })),
      schema: Type.Optional(
        Type.String({ description: "Schema of the table. Default: the server's search path.", minLength: 1 }),
      ),
      table: Type.String({ description: 'Name of the table. It must be there.', minLength: 1 }),
      columns: Type.Optional(
        Type.Record(Type.String({ minLength: 1 }), field({ description: 'A field.' }), {
          description:
            'Columns to write, each with the field that goes into it. Default: all fields, under their own names.',
          examples: [{ generator_id: 'generatorID', fuel: 'fuel' }],
        }),
      ),
      key: Type.Optional(
        Type.Array(columnName('A column.'), {
          description:
            'Columns that tell rows apart: a row replaces the one with the same values there. Without it rows are appended.',
          minItems: 1,
          uniqueItems: true,
          examples: [['generator_id']],
        }),
      ),
      idColumn: Type.Optional(
        columnName(
          'For appending: a text column with a unique constraint that gets the id of the record, the same after any restart. A row that is there already is not written again.',
        ),
      ),
      timeColumn: Type.Optional(
        columnName('A column that gets the time of the record: its label for results of windows, else its event time.'),
      ),
      deleteWhen: Type.Optional(
        expression({
          description: 'A record for which this is true deletes the row with its `key`.',
          examples: ["op == 'delete'"],
        }),
      ),
      tombstones: Type.Optional(
        Type.Boolean({
          description: 'A record that is null deletes the row whose `key`, one column, is the key of the record.',
          default: false,
        }),
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
          { additionalProperties: false, description: 'Speak TLS. `{}` trusts the well-known authorities.' },
        ),
      ),
      timeout: Type.Optional(
        duration({ description: 'A statement that takes longer is broken off and tried again.', default: '30s' }),
      ),
    },
    { additionalProperties: false },
  ),
  delivery({ key, idColumn }) {
    if (key) {
      const reason = 'A row that is written again after a crash replaces itself.';
      return { level: 'effectively once', reason };
    }
    if (idColumn !== undefined) {
      const reason = `A row whose \`${idColumn}\` is in the table already is not written again.`;
      return { level: 'effectively once', reason };
    }
    const reason =
      'Rows appended since the last checkpoint are appended again after a crash. Give a `key`, or an `idColumn`.';
    return { level: 'at least once', reason };
  },
  upserts: ({ key }) => key !== undefined,
  type(options, check) {
    for (const column of Object.keys(options.columns ?? {})) check.expression(['columns', column]);
    if (options.deleteWhen !== undefined) check.expression(['deleteWhen']);
    for (const { path: place, message, hint, warning } of optionProblems(options as PostgresOptions)) {
      if (warning) check.problem(place, message, hint, 'warning');
      else check.problem(place, message, hint);
    }
  },
  async open(given, context) {
    const options = given as PostgresOptions;
    const problem = optionProblems(options).find(({ warning }) => !warning);
    if (problem) throw new RunError(`${problem.message} ${problem.hint} See \`${context.id}\`.`);
    const server = await Server.open(options, durationMs(options.timeout ?? '30s'), context);
    const writer = new Writer(options, rowMaker(options, context), server, context);
    try {
      await writer.greet();
    } catch (error) {
      await server.close();
      throw error;
    }
    return writer;
  },
  examples: [
    {
      title: 'The latest reading of each generator',
      options: {
        url: 'postgres://127.0.0.1:5432/plant',
        username: 'penstock',
        password: '${POSTGRES_PASSWORD}',
        table: 'generators',
        columns: { generator_id: 'generatorID', fuel: 'fuel' },
        key: ['generator_id'],
        timeColumn: 'at',
      },
    },
    {
      title: 'Every alarm once, under its own id',
      options: {
        url: 'postgres://db.example.com/plant',
        username: 'penstock',
        password: '${POSTGRES_PASSWORD}',
        tls: {},
        table: 'alarms',
        idColumn: 'penstock_id',
      },
    },
  ],
});
