import { compareRecords, countBefore, defineStep, type StreamRecord, Type } from '../../src/operator.ts';

const options = Type.Object(
  {
    maxBuffered: Type.Optional(
      Type.Integer({
        description: 'At most so many records of one key wait. One more is rejected with `buffer-full`.',
        minimum: 1,
        default: 10_000,
      }),
    ),
  },
  { additionalProperties: false },
);

/** Puts the records of each key in order of event time. A record behind the watermark is late, never out of order. */
export const sort = defineStep<typeof options, StreamRecord[]>({
  name: 'sort',
  summary: 'Puts the records of each key in order of event time.',
  details: `A record waits until the watermark has passed its time, as none that belongs before it can then come any more; so it waits for
\`outOfOrder\` of its source. Records of one time come by their place in the source, so the order does not depend on how partitions happen to
interleave. Across keys there is no order. It is for steps that compare a record with the one before it: \`changed\`, \`lag\`, \`detect\`.
A record exactly at the watermark is on time. An older one is late and goes to \`late\` (or \`otherwise\`, or the dead letters).
What waits stands in the checkpoint; the end of a bounded input lets all of it go. When \`maxBuffered\` records of a key wait, the next one is
rejected with \`buffer-full\`: those that wait are kept, so that what comes out stays in order.`,
  options,
  keyed: true,
  timed: true,
  late: true,
  examples: [
    {
      title: 'Two keys; what is behind the watermark is late',
      options: {},
      input: [
        { key: 'a', time: 2_000, value: 'first of a' },
        { key: 'b', time: 2_000, value: 'of b, of the same time' },
        { key: 'a', time: 1_999, value: 'too old' },
        { key: 'a', time: 3_000, value: 'second of a' },
      ],
      output: [
        { key: 'a', time: 2_000, value: 'first of a' },
        { key: 'b', time: 2_000, value: 'of b, of the same time' },
        { key: 'a', time: 3_000, value: 'second of a' },
      ],
      rejected: ['late'],
    },
  ],
  create({ maxBuffered = 10_000 }) {
    return {
      onRecord(record, step) {
        const { time } = record;
        if (Number.isNaN(time)) {
          step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
          return;
        }
        if (time < step.watermark) {
          step.late(record, 'It is behind the watermark: records after it have gone on.');
          return;
        }
        const waiting = step.state ?? [];
        if (waiting.length >= maxBuffered) {
          const what = `${maxBuffered} records of this key wait to be put in order. Raise \`maxBuffered\`, or find out what holds the watermark back.`;
          step.reject(record, 'buffer-full', what);
          return;
        }
        const at = countBefore(waiting, (other) => compareRecords(other, record) <= 0);
        waiting.splice(at, 0, record);
        step.state = waiting;
        // One timer for the head of each key; the next is set when it has gone.
        if (at === 0) step.timer(time + 1);
      },
      onTimer(at, _key, step) {
        const waiting = step.state ?? [];
        const due = waiting.splice(
          0,
          countBefore(waiting, ({ time }) => time < at),
        );
        step.state = waiting.length === 0 ? undefined : waiting;
        if (waiting.length > 0) step.timer(waiting[0]!.time + 1);
        for (const record of due) step.emit(record);
      },
    };
  },
});
