import {
  compareRecords,
  defineStep,
  duration,
  durationMs,
  field,
  type Static,
  type Step,
  type StreamRecord,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

const options = Type.Object(
  {
    every: duration({ description: 'Window length. Windows start at the epoch: `1m` closes at the full minute, UTC.' }),
    by: Type.Optional(field({ description: 'Only records in which this field is neither missing nor null count.' })),
    outOfOrder: Type.Optional(
      duration({
        description: "How long to wait for records out of order, beyond the source's own `outOfOrder`.",
        default: '0s',
      }),
    ),
    lateness: Type.Optional(
      duration({
        description: 'How long after its end a window still takes records. The result waits as long.',
        default: '0s',
      }),
    ),
    label: Type.Optional(
      Type.Enum(['lastEvent', 'end', 'start'], {
        description:
          "The time that sinks write for the result: the chosen record's own, or the end or start of the window.",
        default: 'lastEvent',
      }),
    ),
  },
  { additionalProperties: false },
);

/** The newest record of one window that is still open. Windows are known by their start. */
export interface Pane {
  readonly start: number;
  record: StreamRecord;
}

/** Keeps the newest record of every window still open, and emits it when the window closes. */
export const windowLast = defineStep<typeof options, Pane[]>({
  name: 'windowLast',
  summary: 'Emits the last record of each key when its time window closes.',
  details: `Windows are tumbling, aligned to the epoch, and hold \`[start, end)\`. The last record is the newest by event time; of two at
the same time, the one that stands later in the source. A window closes, once, when the watermark reaches
\`end + outOfOrder + lateness\`. A record whose window has closed goes to \`late\` (or \`otherwise\`, or the dead letters).
The result has the event time \`end - 1 ms\`, so that a second window of the same size catches it; \`label\` decides the time that sinks write.
Windows without a record emit nothing. A window that is open when the run stops stays open in the checkpoint; the end of a bounded
input closes all of them.`,
  options,
  keyed: true,
  timed: true,
  late: true,
  stateDependsOn: ['every'],
  examples: [
    {
      title: 'Of two readings at the same time, the later arrival stays',
      options: { every: '10s' },
      input: [
        { key: 'g1', time: 9_000, value: { fuel: 48.9 } },
        { key: 'g1', time: 9_000, value: { fuel: 50.1 } },
      ],
      output: [{ key: 'g1', time: 9_999, value: { fuel: 50.1 }, window: { start: 0, end: 10_000 } }],
    },
    {
      title: 'A record exactly at the end belongs to the next window; one whose window has closed is late',
      options: { every: '10s' },
      input: [
        { key: 'g1', time: 9_999, value: { fuel: 1 } },
        { key: 'g1', time: 10_000, value: { fuel: 2 } },
        { key: 'g1', time: 9_999, value: { fuel: 3 } },
      ],
      output: [
        { key: 'g1', time: 9_999, value: { fuel: 1 }, window: { start: 0, end: 10_000 } },
        { key: 'g1', time: 19_999, value: { fuel: 2 }, window: { start: 10_000, end: 20_000 } },
      ],
      rejected: ['late'],
    },
    {
      title: 'A reading without fuel does not hide the one before it',
      options: { every: '1m', by: 'fuel' },
      input: [
        { key: 'g1', time: 1_000, value: { fuel: 480, load: 3 } },
        { key: 'g1', time: 2_000, value: { fuel: null, load: 4 } },
      ],
      output: [{ key: 'g1', time: 59_999, value: { fuel: 480, load: 3 }, window: { start: 0, end: 60_000 } }],
    },
  ],
  type(given, check) {
    checkLength(given, check);
    if (given.by !== undefined) check.expression(['by']);
    return check.input;
  },
  create: (given, id) => createWindowLast(given, id),
});

function checkLength(given: Static<typeof options>, check: TypeCheck): void {
  const length = durationMs(given.every);
  if (length >= 1 && Number.isInteger(length)) return;
  check.problem(
    ['every'],
    `\`every\` is ${given.every}; a window is a whole number of milliseconds long, at least 1ms.`,
  );
}

function createWindowLast(given: Static<typeof options>, id: string): Step<Pane[]> {
  const every = durationMs(given.every);
  const wait = durationMs(given.outOfOrder ?? '0s') + durationMs(given.lateness ?? '0s');
  const { by, label = 'lastEvent' } = given;
  const shown = ({ start, record }: Pane): number =>
    label === 'lastEvent' ? record.time : label === 'end' ? start + every : start;
  return {
    onRecord(record, step) {
      const { time } = record;
      if (Number.isNaN(time)) {
        step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
        return;
      }
      const start = Math.floor(time / every) * every;
      const closes = start + every + wait;
      if (closes <= step.watermark) {
        step.late(record, `Its window ended at ${iso(start + every)} and closed before the record came.`);
        return;
      }
      if (by !== undefined && !hasField(record.value, by)) return;
      const panes = step.state;
      if (panes === undefined) step.state = [{ start, record }];
      else {
        for (const pane of panes) {
          if (pane.start !== start) continue;
          if (compareRecords(pane.record, record) <= 0) pane.record = record;
          return;
        }
        panes.push({ start, record });
      }
      step.timer(closes);
    },
    onTimer(at, _key, step) {
      const open: Pane[] = [];
      for (const pane of (step.state ?? []).sort((a, b) => a.start - b.start)) {
        const end = pane.start + every;
        if (end + wait <= at)
          step.emit(
            pane.record.withWindow({
              ...{ step: id, start: pane.start, end, label: shown(pane) },
              pane: step.ending ? 'drained' : 'final',
            }),
          );
        else open.push(pane);
      }
      // `lateness` may have grown since the timer was set, in a run before this one: then it is due later.
      for (const pane of open) step.timer(pane.start + every + wait);
      step.state = open.length === 0 ? undefined : open;
    },
  };
}

function hasField(value: unknown, path: string): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (!path.includes('.')) return Object.hasOwn(value, path) && (value as Record<string, unknown>)[path] != null;
  let found: unknown = value;
  for (const name of path.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, name)) return false;
    found = (found as Record<string, unknown>)[name];
  }
  return found != null;
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
