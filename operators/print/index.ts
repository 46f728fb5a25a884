import { defineSink, field, Type } from '../../src/operator.ts';
import { openPrinter } from './printer.ts';

/**
 * Prints records to standard output: a line of JSON each, or a table of the latest record of each key, which a terminal shows in place.
 * Waits for a slow reader; a reader that goes away ends the run. Control characters of payloads never reach the terminal.
 */
export const printSink = defineSink({
  name: 'print',
  summary: 'Prints records to standard output.',
  details:
    'On a terminal, `format: table` draws the latest record of each key again in place; elsewhere it prints a compact line for each record. ' +
    'Logs go to standard error, so they never mix with it. A slow reader slows the topology down; one that closes the output ends the run.\n\n' +
    'Control characters in values are left out of tables and escaped in JSON: a payload cannot take over the terminal.',
  options: Type.Object(
    {
      format: Type.Optional(
        Type.Enum(['json', 'table'], {
          description: '`json`: the value as one line. `table`: for reading.',
          default: 'json',
        }),
      ),
      columns: Type.Optional(
        Type.Array(field({ description: 'A field.' }), {
          description: 'Fields of a table, in this order. Default: all fields that hold no object or list.',
          examples: [['fuel', 'alarm']],
          minItems: 1,
        }),
      ),
      title: Type.Optional(Type.String({ description: 'Stands above a table on a terminal.' })),
    },
    { additionalProperties: false },
  ),
  shorthand: 'format',
  examples: [
    { title: 'One line of JSON for each record', options: {} },
    {
      title: 'What each generator said last',
      options: { format: 'table', columns: ['fuel', 'alarm'], title: 'Generators' },
    },
  ],
  delivery: () => ({
    level: 'at least once',
    reason: 'What has been printed stays printed: after a crash, records since the last checkpoint are printed again.',
  }),
  upserts: () => true,
  open: async (options, context) => openPrinter(options, context, process.stdout),
});
