import {
  compareRecords,
  countBefore,
  defineStep,
  durationMs,
  kindOf,
  orNull,
  putField,
  type RecordType,
  type Step,
  type StepContext,
  type StreamRecord,
  type TypeCheck,
  withFields,
} from '../../src/operator.ts';
import { examples } from './examples.ts';
import { checkOptions, type Options, options } from './options.ts';

/** The rows of one key, and the records that wait until they are known, each in order of event time. */
export interface Table {
  rows: StreamRecord[];
  waiting: StreamRecord[];
  /** When rows that have been replaced will be dropped, in ms of event time. */
  sweep?: number;
}

/** Adds the row that a table of the same key holds: as of the record's event time, or whatever is there when it arrives. */
export const lookup = defineStep<typeof options, Table>({
  name: 'lookup',
  summary: "Adds to each record the row that another stream holds for its key, as of the record's time.",
  details: `The stream \`table\` is read as a table: each of its records is the row of its key from its event time on, until the next one.
A record whose value is null removes the row. The result is the record's value with the row in the field \`as\`, null when there is none; its
key, time, place in the source and id are the record's own.

With \`asOf: event\` a record waits until the watermark has passed its time, and gets the newest row that is not newer than itself; a row of
the same time counts, and of two rows of one time the one further on in its source. So the results depend on the records alone, also after a
restart and in a replay. The records of a key come out in order of event time. A row behind the watermark is late: it goes to \`late\`
(or \`otherwise\`, or the dead letters) and changes nothing, as records of its time have been answered. A record behind the watermark is
answered at once when it is at most \`keepFor\` behind; else it is late.
Rows that have been replaced are forgotten \`keepFor\` later, the last row of a key never. When \`maxPerKey\` records or rows of a key are kept,
one more is rejected with \`buffer-full\`. A table that is written seldom holds the watermark back: give its source an \`idle\` time.

With \`asOf: latest\` a record is answered as it arrives, by the row that arrived last. No time is needed. What it gets depends on how the two
streams happen to interleave: \`penstock plan\` calls it not replayable.

A record that is not an object is rejected with \`schema-violation\`. \`when\` beside the step is asked of records, not of rows.
Sources that meet here share one task. Two Kafka sources have to be read by one process.`,
  options,
  keyed: true,
  timed: ({ asOf }) => asOf !== 'latest',
  late: true,
  stateDependsOn: ['table', 'asOf'],
  examples,
  notReplayable: ({ asOf }) =>
    asOf === 'latest'
      ? '`asOf: latest` takes the row that is there when a record arrives, and streams may interleave otherwise next time.'
      : undefined,
  type(given, check) {
    checkOptions(given, check);
    return typeOf(given, check);
  },
  create: (given) => (given.asOf === 'latest' ? latestRow(given) : rowAtTime(given)),
});

function typeOf({ as, type }: Options, check: TypeCheck): RecordType {
  const row = check.expression(['table']);
  return withFields(check.input, [[as, type === 'inner' ? row : orNull(row)]]);
}

function latestRow({ as, type = 'left' }: Options): Step<Table> {
  const answer = answerWith(as, type);
  return {
    onRecord(record, step) {
      if (isObject(record, step)) answer(record, step.state?.rows[0], step);
    },
    onInput(row, step) {
      step.state = row.value === null ? undefined : { rows: [row], waiting: [] };
    },
  };
}

function rowAtTime({ as, type = 'left', keepFor: text = '0s', maxPerKey = 10_000 }: Options): Step<Table> {
  const answer = answerWith(as, type);
  const keepFor = durationMs(text);

  // Drops the rows that no record can ask for once the watermark is here, and asks for the next time to look.
  const sweep = (table: Table, watermark: number, step: StepContext<Table>) => {
    const { rows } = table;
    const oldest = countBefore(rows, ({ time }) => time + keepFor < watermark) - 1;
    if (oldest >= 0) rows.splice(0, rows[oldest]!.value === null ? oldest + 1 : oldest);
    const next = rows.find((row, index) => index > 0 || row.value === null);
    delete table.sweep;
    if (next !== undefined) {
      table.sweep = next.time + keepFor + 1;
      step.timer(table.sweep);
    }
    step.state = rows.length + table.waiting.length === 0 ? undefined : table;
  };

  const timed = (record: StreamRecord, behind: number, step: StepContext<Table>) => {
    if (Number.isNaN(record.time))
      step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
    else if (record.time + behind < step.watermark)
      step.late(
        record,
        `It is ${step.watermark - record.time} ms behind the watermark: the rows of its time may be forgotten.`,
      );
    else return true;
    return false;
  };
  const put = (list: StreamRecord[], record: StreamRecord, what: string, step: StepContext<Table>) => {
    if (list.length >= maxPerKey) {
      const text = `${maxPerKey} ${what} of this key are kept. Raise \`maxPerKey\`, or find out what holds the watermark back.`;
      step.reject(record, 'buffer-full', text);
      return undefined;
    }
    const at = countBefore(list, (other) => compareRecords(other, record) <= 0);
    list.splice(at, 0, record);
    return at;
  };

  return {
    onRecord(record, step) {
      if (!isObject(record, step) || !timed(record, keepFor, step)) return;
      const table = step.state ?? { rows: [], waiting: [] };
      if (record.time < step.watermark) answer(record, rowAt(table.rows, record.time), step);
      else {
        // One timer for the head; the next is set when it has gone.
        if (put(table.waiting, record, 'records', step) === 0) step.timer(record.time + 1);
        step.state = table;
      }
    },
    onInput(row, step) {
      if (!timed(row, 0, step)) return;
      const table = step.state ?? { rows: [], waiting: [] };
      if (put(table.rows, row, 'rows', step) === undefined) return;
      if (table.sweep === undefined) sweep(table, step.watermark, step);
      else step.state = table;
    },
    onTimer(at, _key, step) {
      const table = step.state;
      if (table === undefined) return;
      const due = table.waiting.splice(
        0,
        countBefore(table.waiting, ({ time }) => time < at),
      );
      for (const record of due) answer(record, rowAt(table.rows, record.time), step);
      if (due.length > 0 && table.waiting.length > 0) step.timer(table.waiting[0]!.time + 1);
      sweep(table, at, step);
    },
  };
}

/** The row that is valid at this time. */
function rowAt(rows: readonly StreamRecord[], time: number): StreamRecord | undefined {
  return rows[countBefore(rows, (row) => row.time <= time) - 1];
}

function answerWith(as: string, type: Options['type']) {
  return (record: StreamRecord, row: StreamRecord | undefined, step: StepContext<Table>) => {
    const found = row?.value ?? null;
    if (found === null && type === 'inner') return;
    const value = { ...(record.value as object) };
    putField(value, as, found);
    step.emit(record.withValue(value));
  };
}

function isObject(record: StreamRecord, step: StepContext<Table>): boolean {
  const { value } = record;
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return true;
  step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`lookup\` adds a field to an object.`);
  return false;
}
