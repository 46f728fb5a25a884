import { defineSink, defineSource, duration, path, size, Type } from '../../src/operator.ts';
import { idHeader } from './entry.ts';
import { openJournalSink } from './sink.ts';
import { openJournalSource } from './source.ts';

const moment = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * Reads a journal that another topology, or another process, writes meanwhile. Several readers do not know of each other: each keeps its
 * place in its own checkpoint. It waits for a journal that is not there yet, and ends when its place has been removed.
 */
export const journalSource = defineSource({
  name: 'journal',
  summary: 'Reads the records of a journal on this machine, beside the topology that writes it.',
  details: `A journal is a folder of files that a \`journal\` sink writes: it stands for a topic where there is no broker. Any number of
topologies may read it; each keeps its place in its own checkpoint, and none holds back what the writer removes. A record is shown once it
is whole and durable, within a tenth of a second, and never changes after that, whatever crashes.

\`time: journal\` is the event time that the record had where it was written, \`time: arrival\` when it was written; both are the same when it is
read again. Key and headers are the record's own; the header \`${idHeader}\` tells it apart from all others. When records have been removed
(\`keep\` and \`maxBytes\` of the sink) before they were read, the run ends and says so. A journal of an \`mqtt\` source can be read too: payload and topic.`,
  options: Type.Object({
    path: path({ description: 'The folder, relative to the topology.', examples: ['./readings.journal'] }),
    start: Type.Optional(
      Type.String({
        description:
          'Where a reader begins that has no checkpoint: `earliest`, `latest`, or a moment such as `2026-11-01T00:00Z`: with the first record written then or later.',
        default: 'earliest',
        examples: ['latest', '2026-11-01T00:00Z'],
      }),
    ),
    follow: Type.Optional(
      Type.Boolean({ description: 'Wait at the end for more, instead of ending there.', default: true }),
    ),
  }),
  shorthand: 'path',
  replays: true,
  keepsArrival: true,
  times: ['arrival', 'journal'],
  check({ start = 'earliest' }, check) {
    if (start === 'earliest' || start === 'latest') return;
    if (moment.test(start) && !Number.isNaN(Date.parse(start))) return;
    check.problem(
      ['start'],
      `\`start\` is \`${start}\`; it must be \`earliest\`, \`latest\`, or a moment with its zone.`,
      'Write it as in `2026-11-01T00:00Z`.',
    );
  },
  open: openJournalSource,
  examples: [
    {
      title: 'What another topology has written, with the event times that it had there',
      options: { path: './readings.journal', time: 'journal' },
    },
  ],
});

/**
 * Appends each record, with key, headers and event time, to a journal on disk. A write is confirmed when the disk has it; after a crash what is
 * already there is not written again. One process may write a journal at a time.
 */
export const journalSink = defineSink({
  name: 'journal',
  summary: 'Appends each record, with key, headers and event time, to a journal on this machine.',
  details: `It stands for a topic where there is no broker: \`journal\` sources read it, in other topologies, meanwhile or later. The value is kept as
JSON; texts and bytes as they are. A value above 16 MiB, or that JSON cannot hold, is refused (\`sink-refused\`).

After a crash, records that were written after the last checkpoint come again. They are known by their ids and not written twice, and nothing
that a reader may have seen is taken back. One process writes a journal at a time; another one that tries is told so.
Old records go file by file, a quarter of \`maxBytes\` or 16 MiB at a time, whether they have been read or not: when they are older than \`keep\`, and when \`maxBytes\` needs the room.`,
  options: Type.Object(
    {
      path: path({
        description: 'The folder, relative to the topology; made if there is none.',
        examples: ['./readings.journal'],
      }),
      keep: Type.Optional(
        duration({ description: 'Records older than this go. Default: as long as there is room.', examples: ['7d'] }),
      ),
      maxBytes: Type.Optional(
        size({ description: 'The oldest records go when more room than this is needed.', default: '1GiB' }),
      ),
    },
    { additionalProperties: false },
  ),
  shorthand: 'path',
  delivery(_options, within) {
    if (within) {
      const reason = `Partitions whose state lives with the source share the journal: records written after their last commit are written again after a crash. Readers can tell them by the header \`${idHeader}\`.`;
      return { level: 'at least once', reason };
    }
    const reason =
      'After a crash, records that are already in the journal are known by their ids and not written again.';
    return { level: 'effectively once', reason };
  },
  readBack: ({ path }) => ({ source: 'journal', options: { path, follow: false }, idHeader }),
  open: openJournalSink,
  examples: [
    {
      title: 'Kept for a week, in at most 10 GiB',
      options: { path: './readings.journal', keep: '7d', maxBytes: '10GiB' },
    },
  ],
});
