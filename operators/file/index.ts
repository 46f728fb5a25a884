import { basename } from 'node:path';
import { defineSink, defineSource, duration, field, path, size, Type } from '../../src/operator.ts';
import { openFiles } from './files.ts';
import { openAppend } from './sink.ts';
import { openFile } from './source.ts';

/**
 * Reads a file line by line, as JSON (or text, or bytes), or as CSV. Ends with the file, or follows it as it grows.
 * Empty lines are passed over; a line that is too long or no record goes to the dead letter; after a restart it reads on
 * behind the last checkpointed line. A file that has become shorter ends the run.
 */
export const fileSource = defineSource({
  name: 'file',
  summary: 'Reads the lines of a file as records.',
  details:
    'Lines end with `\\n` or `\\r\\n`; the last one may lack it, except while the file is followed: then it is a record only once it is whole. ' +
    'A byte order mark at the beginning is passed over, and so are empty lines. The position in a checkpoint is a byte offset: after a restart ' +
    'reading goes on there. If the file is shorter by then, the run ends with an error instead of reading something else.\n\n' +
    'With `*` in the name the files that match are read one after the other, in the order of their names, as if they were one; so names have to sort as the files were written, as those of the `rotate` of the sink do. ' +
    'With `follow` the last one is followed until another one comes. A file that shows up with an earlier name than the one being read is not read. Files whose names end in `.gz` are unpacked; after a restart they are read past up to the position.\n\n' +
    'A line longer than `maxPayload` is rejected (`payload-too-large`) and passed over without being held in memory. ' +
    'With `csv`, a cell may hold newlines inside quotes; a record with a wrong number of cells, or whose cell is not of its type, is rejected (`payload-malformed`). ' +
    'An empty cell of a number or boolean column is `null`.',
  options: Type.Object({
    path: path({
      description: 'The file, relative to the topology. With `*` in its name: several files.',
      examples: ['./readings.jsonl', './logs/readings.*.jsonl.gz'],
    }),
    follow: Type.Optional(
      Type.Boolean({
        description: 'Wait at the end for lines to be appended, instead of ending there.',
        default: false,
      }),
    ),
    csv: Type.Optional(
      Type.Object(
        {
          delimiter: Type.Optional(
            Type.String({ description: 'One character between cells.', default: ',', pattern: '^[\\x20-\\x7e\\t]$' }),
          ),
          header: Type.Optional(Type.Boolean({ description: 'The first line names the columns.', default: true })),
          columns: Type.Optional(
            Type.Array(Type.String({ minLength: 1 }), {
              description: 'Names of the columns, for a file without a header line (`header: false`).',
              minItems: 1,
              uniqueItems: true,
            }),
          ),
          types: Type.Optional(
            Type.Record(Type.String(), Type.Enum(['string', 'number', 'boolean']), {
              description: 'Types of columns that are not text.',
              examples: [{ fuel: 'number' }],
            }),
          ),
        },
        { additionalProperties: false, description: 'Read lines as CSV (RFC 4180) instead of as `format` says.' },
      ),
    ),
  }),
  shorthand: 'path',
  replays: true,
  times: [],
  check(options, check) {
    const { csv, follow, path: file } = options;
    if (follow && file.endsWith('.gz') && !file.includes('*')) {
      check.problem(['follow'], 'A compressed file cannot be followed.', 'Drop `follow`.');
    }
    if (/\*.*[\\/]/.test(file)) {
      check.problem(
        ['path'],
        'A folder has a `*`; only the name of the file may.',
        'Write it as `./logs/readings.*.jsonl`.',
      );
    }
    if (csv?.header === false && !csv.columns) {
      check.problem(
        ['csv'],
        'Without a header line nothing names the columns.',
        'List them: `columns: [generatorID, fuel]`.',
      );
    }
    if (csv?.columns && csv.header !== false) {
      check.problem(
        ['csv', 'columns'],
        'The columns are named twice: here and by the header line.',
        'Set `header: false`, or drop `columns`.',
      );
    }
  },
  examples: [
    {
      title: 'Lines of JSON, with event time in a field',
      options: { path: './readings.jsonl', time: { field: 'ts', unit: 'ms' } },
    },
    {
      title: 'CSV with a header line and typed columns',
      options: { path: './readings.csv', csv: { types: { fuel: 'number' } }, time: { field: 'time', unit: 'rfc3339' } },
    },
  ],
  open: (options, context) => (basename(options.path).includes('*') ? openFiles : openFile)(options, context),
});

/**
 * Appends each record's value to a file, as a line of JSON. A write is confirmed when the line is on the disk.
 * A full disk is waited out; what was written after the last checkpoint is cut off when the file is opened after a crash.
 */
export const fileSink = defineSink({
  name: 'file',
  summary: 'Appends the value of each record to a file, as a line of JSON.',
  details:
    'A full disk is waited out, with one line in the log: nothing is lost, the sources pause meanwhile. Any other error of the disk ends the run. ' +
    'A checkpoint holds how long the file is. When a run goes on from one, whatever was written after it is cut off, as its records come again: so each result stands in the file once. ' +
    'So let nothing but this sink write to the file. One that is gone or has become shorter meanwhile is appended to, with a warning; a run that begins anew appends to what is there. The folder is made if there is none.\n\n' +
    'With `rotate` the files are numbered. A file is final once a checkpoint was taken after the next one had been begun: until then a crash may take back its end, and the files behind it. A run that begins anew begins a new file. ' +
    'With `csv` a missing field and null are an empty cell, an empty text is `""`, lists and objects are JSON; a value that is no object is rejected (`sink-refused`). ' +
    'With `gzip` each batch is compressed by itself, so small batches compress badly.',
  options: Type.Object(
    {
      path: path({ description: 'The file, relative to the topology.', examples: ['./latest.jsonl'] }),
      sync: Type.Optional(
        Type.Boolean({
          description: 'Confirm a write only when the disk has it. Without it a power cut may lose confirmed lines.',
          default: true,
        }),
      ),
      csv: Type.Optional(
        Type.Object(
          {
            columns: Type.Array(field({ description: 'A field.' }), {
              description: 'Fields to write, in this order. They are the header line of each file.',
              minItems: 1,
              uniqueItems: true,
              examples: [['generatorID', 'fuel']],
            }),
            delimiter: Type.Optional(
              Type.String({
                description: 'One character between cells.',
                default: ',',
                pattern: '^[\\x20\\x21\\x23-\\x7e\\t]$',
              }),
            ),
          },
          { additionalProperties: false, description: 'Write lines of CSV (RFC 4180) instead of JSON.' },
        ),
      ),
      gzip: Type.Optional(Type.Boolean({ description: 'Compress what is written.', default: false })),
      rotate: Type.Optional(
        Type.Object(
          {
            size: Type.Optional(size({ description: 'A new file is begun before one would grow larger.' })),
            every: Type.Optional(duration({ description: 'A new file is begun when one is so old.' })),
          },
          {
            additionalProperties: false,
            minProperties: 1,
            description: 'Begin new files now and then: `results.jsonl` becomes `results.000001.jsonl` and so on.',
          },
        ),
      ),
    },
    { additionalProperties: false },
  ),
  shorthand: 'path',
  type({ csv }, check) {
    for (const i of csv?.columns.keys() ?? []) check.expression(['csv', 'columns', i]);
  },
  examples: [
    { title: 'Results as lines of JSON', options: { path: './latest.jsonl' } },
    {
      title: 'A compressed file of CSV for each hour',
      options: {
        path: './readings.csv.gz',
        csv: { columns: ['generatorID', 'fuel'] },
        gzip: true,
        rotate: { every: '1h' },
      },
    },
  ],
  delivery({ sync }, within) {
    if (sync === false) {
      return { level: 'at least once', reason: '`sync: false` may lose lines in a power cut. Set `sync: true`.' };
    }
    if (within) {
      const reason =
        'Partitions whose state lives with the source share the file: lines written after their last commit are written again after a crash. Keep the state on disk (`state: { store: disk }`).';
      return { level: 'at least once', reason };
    }
    const reason = 'After a crash the file is cut back to the last checkpoint before anything is written again.';
    return { level: 'effectively once', reason };
  },
  readBack: ({ path, csv, gzip, rotate }) =>
    csv || gzip || rotate ? undefined : { source: 'file', options: { path } },
  open: openAppend,
});
