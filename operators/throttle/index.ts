import {
  defineStep,
  duration,
  durationMs,
  type Static,
  type Step,
  type StepContext,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

const options = Type.Object(
  {
    limit: Type.Integer({
      description: 'So many records of each key pass in each pane of `per`.',
      minimum: 1,
      examples: [10],
    }),
    per: duration({
      description: 'Length of a pane of event time. Panes are aligned to the epoch: `1s` begins at every full second.',
      examples: ['1s'],
    }),
    excess: Type.Optional(
      Type.Enum(['drop', 'reject'], {
        description:
          'What happens to the records above `limit`. `drop`: they end here, on purpose. `reject`: they go to `otherwise`, or the dead letters, with the code `over-limit`.',
        default: 'drop',
      }),
    ),
    lateness: Type.Optional(
      duration({
        description: 'A pane is kept for so long after the watermark has reached its end, for records that come late.',
        default: '0s',
      }),
    ),
  },
  { additionalProperties: false },
);

/** The panes of a key that are still open: start of each, and how many records it has let pass. */
export type Passed = [start: number, count: number][];

/** Passes the first records of each key in each pane of event time. One whose pane has closed is late, never passed beyond the limit. */
export const throttle = defineStep<typeof options, Passed>({
  name: 'throttle',
  summary: 'Passes at most so many records of each key in each pane of event time.',
  details: `Event time is cut into panes \`[start, start + per)\`, aligned to the epoch, and the first \`limit\` records of a key to arrive in a pane
pass. Nothing is held back or delayed. The others end here, on purpose and without a dead letter: their number is what came in less what
went out, was rejected or late. With \`excess: reject\` they go to \`otherwise\` instead, with the code \`over-limit\`.
Because panes lie fixed in event time, and not in a window that slides from record to record, how many pass in a pane never depends on
the order of arrival, on load or on a restart, and a replay of the same input passes the same records. Around the border of two panes
twice \`limit\` may pass within \`per\`; choose a shorter \`per\` where that matters.
A record whose pane has closed goes to \`late\` (or \`otherwise\`, or the dead letters), since its pane's count may be forgotten: the watermark
has reached the pane's end and \`lateness\` more. A key is forgotten when its last pane closes.`,
  options,
  keyed: true,
  timed: true,
  late: true,
  stateDependsOn: ['per'],
  examples: [
    {
      title: 'Two readings of each generator in a second',
      options: { limit: 2, per: '1s' },
      input: [
        { key: 'g1', time: 1_000, value: 1 },
        { key: 'g1', time: 1_400, value: 2 },
        { key: 'g2', time: 1_500, value: 3 },
        { key: 'g1', time: 1_999, value: 4 },
        { key: 'g1', time: 2_000, value: 5 },
      ],
      output: [
        { key: 'g1', time: 1_000, value: 1 },
        { key: 'g1', time: 1_400, value: 2 },
        { key: 'g2', time: 1_500, value: 3 },
        { key: 'g1', time: 2_000, value: 5 },
      ],
    },
    {
      title: 'What is too much is rejected, what is too old is late',
      options: { limit: 1, per: '1s', excess: 'reject' },
      input: [
        { key: 'g1', time: 1_000, value: 'first' },
        { key: 'g1', time: 1_500, value: 'second' },
        { key: 'g1', time: 3_000, value: 'third' },
        { key: 'g1', time: 1_600, value: 'too old' },
      ],
      output: [
        { key: 'g1', time: 1_000, value: 'first' },
        { key: 'g1', time: 3_000, value: 'third' },
      ],
      rejected: ['over-limit', 'late'],
    },
  ],
  type(given, check) {
    checkLengths(given, check);
    return check.input;
  },
  create: createThrottle,
});

function checkLengths({ per, lateness = '0s' }: Static<typeof options>, check: TypeCheck): void {
  if (durationMs(per) < 1 || !Number.isInteger(durationMs(per)))
    check.problem(['per'], `\`per\` is ${per}; it must be a whole number of milliseconds, at least 1ms.`);
  if (!Number.isInteger(durationMs(lateness)))
    check.problem(['lateness'], `\`lateness\` is ${lateness}; it must be a whole number of milliseconds.`);
}

function createThrottle(given: Static<typeof options>): Step<Passed> {
  const { limit, excess = 'drop' } = given;
  const per = durationMs(given.per);
  const lateness = durationMs(given.lateness ?? '0s');
  const closes = (start: number) => start + per + lateness;
  const refuse = (record: Parameters<Step['onRecord']>[0], start: number, step: StepContext<Passed>) => {
    if (excess === 'drop') return;
    const from = new Date(start).toISOString();
    const which = `${limit} record${limit === 1 ? '' : 's'} of its key passed before it in the ${given.per} from ${from}`;
    step.reject(record, 'over-limit', `${which}, and \`limit\` is ${limit}.`);
  };
  return {
    onRecord(record, step) {
      const { time } = record;
      if (Number.isNaN(time)) {
        step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
        return;
      }
      const start = Math.floor(time / per) * per;
      if (closes(start) <= step.watermark) {
        const end = new Date(start + per).toISOString();
        step.late(record, `Its pane ended at ${end} and closed before the record came.`);
        return;
      }
      const open = step.state ?? [];
      const pane = open.find(([begins]) => begins === start);
      if (pane === undefined) {
        step.state = [...open, [start, 1]];
        step.timer(closes(start));
      } else if (pane[1] >= limit) {
        refuse(record, start, step);
        return;
      } else pane[1]++;
      step.emit(record);
    },
    onTimer(at, _key, step) {
      const open = (step.state ?? []).filter(([start]) => closes(start) > at);
      // `lateness` may have been shorter when a timer was set, in a run before this one.
      for (const [start] of step.state ?? []) if (closes(start) > at && start + per <= at) step.timer(closes(start));
      step.state = open.length === 0 ? undefined : open;
    },
  };
}
