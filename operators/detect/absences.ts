import {
  compareRecords,
  durationMs,
  fieldReader,
  putField,
  type Step,
  type StepContext,
  StreamRecord,
} from '../../src/operator.ts';

/** Records of a key with no more than `absence` from each to the next: the first and the last of them, with the fields to keep. */
export interface Run {
  first: StreamRecord;
  last: StreamRecord;
}

/** What is known of one key. Plain data: it stands in checkpoints. */
export interface Presence {
  /** By time, and further than `absence` apart. */
  runs: Run[];
  /** The last record before the silence that has been announced and has not ended. Known only where its end is an event. */
  since?: StreamRecord;
}

/** The options of `detect`, as far as its behaviour needs them. */
export interface Given {
  readonly absence: string;
  readonly recovered?: boolean;
  readonly keep?: readonly string[];
  readonly forgetAfter?: string;
}

/** Holds the stretches in which a key sent records, as far as the watermark has not passed their end; each end is a silence. */
export function absences(given: Given, id: string): Step<Presence> {
  const absence = durationMs(given.absence);
  const recovered = given.recovered === true;
  const forgotten = absence + durationMs(given.forgetAfter ?? '30d');
  const kept = keeper(given.keep ?? []);
  const closes = ({ last }: Run) => last.time + absence + 1;

  const absent = (last: StreamRecord) =>
    last
      .withValue({ ...(last.value as object), status: 'absent', since: last.time, silence: absence })
      .withWindow({ step: id, start: last.time, end: last.time + absence + 1, label: last.time + absence });
  const back = (since: StreamRecord, { first }: Run) =>
    first
      .withValue({
        ...(first.value as object),
        status: 'recovered',
        since: since.time,
        silence: first.time - since.time,
      })
      .withWindow({ step: id, start: since.time, end: first.time + 1, label: first.time })
      .withPart('recovered');

  // All that is known for sure once the watermark is at `upto`, in the order of event time.
  const settle = (presence: Presence, upto: number, step: StepContext<Presence>): void => {
    const { runs } = presence;
    for (let run = runs[0]; run !== undefined; run = runs[0]) {
      if (presence.since !== undefined) {
        if (run.first.time > upto) return;
        if (recovered && run.first.time <= presence.since.time + forgotten) step.emit(back(presence.since, run));
        delete presence.since;
      } else {
        // `absence` may have grown since the runs were told apart, in a run of the topology before this one.
        while (connected(runs, 0, absence));
        if (closes(run) > upto) return;
        step.emit(absent(run.last));
        runs.shift();
        if (recovered) presence.since = run.last;
      }
    }
  };
  // The one thing that comes next for this key; other runs have their timers, or get them once they are the first.
  const arm = ({ runs: [run], since }: Presence, step: StepContext<Presence>): void => {
    if (run !== undefined) step.timer(since === undefined ? closes(run) : run.first.time);
    else if (since !== undefined) step.timer(since.time + forgotten + 1);
  };

  return {
    onRecord(record, step) {
      const { time } = record;
      if (Number.isNaN(time)) {
        step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
        return;
      }
      if (time + absence + 1 <= step.watermark) {
        step.late(record, `It is more than ${given.absence} behind the watermark: its absence would be over already.`);
        return;
      }
      const presence = step.state ?? { runs: [] };
      const begun = addTo(presence.runs, kept(record), absence);
      if (begun) step.timer(time + absence + 1);
      if (presence.since !== undefined) {
        settle(presence, step.watermark, step);
        arm(presence, step);
      }
      step.state = presence;
    },
    onTimer(at, _key, step) {
      const presence = step.state;
      if (presence === undefined) return;
      settle(presence, at, step);
      const { runs, since } = presence;
      const over = runs.length === 0 && (since === undefined || since.time + forgotten < at);
      step.state = over ? undefined : presence;
      if (!over) arm(presence, step);
    },
  };
}

/** Adds a record to the run that it touches, or to both that it connects. Gives `true` when it begins one of its own. */
function addTo(runs: Run[], record: StreamRecord, absence: number): boolean {
  const after = runs.findIndex(({ last }) => last.time + absence >= record.time);
  const run = runs[after];
  if (run === undefined || run.first.time - absence > record.time) {
    runs.splice(run === undefined ? runs.length : after, 0, { first: record, last: record });
    return true;
  }
  if (compareRecords(record, run.first) < 0) run.first = record;
  if (compareRecords(run.last, record) < 0) run.last = record;
  connected(runs, after, absence);
  return false;
}

/** Makes one of a run and the next when they touch. Answers whether they did. */
function connected(runs: Run[], at: number, absence: number): boolean {
  const [run, next] = [runs[at]!, runs[at + 1]];
  if (next === undefined || next.first.time - absence > run.last.time) return false;
  run.last = next.last;
  runs.splice(at + 1, 1);
  return true;
}

function keeper(names: readonly string[]): (record: StreamRecord) => StreamRecord {
  const fields = names.map((name) => ({ name, read: fieldReader(name) }));
  return ({ value, key, time, offset, meta, partition, origin }) => {
    const kept = {};
    for (const { name, read } of fields) {
      const found = read(value);
      if (found !== undefined) putField(kept, name, found);
    }
    return new StreamRecord(kept, key, time, offset, meta, undefined, partition, origin);
  };
}
