import {
  defineStep,
  duration,
  durationMs,
  field,
  fieldReader,
  jsonTypes,
  kindOf,
  type RejectCode,
  type Static,
  type Step,
  Type,
  type TypeCheck,
} from '../../src/operator.ts';

const name = { description: 'A field that tells the records of one key apart: text, a number, true or false.' };
const options = Type.Object(
  {
    within: duration({
      description:
        'Records whose event times are no further apart than this, either way, can be repeats of each other.',
      examples: ['10m'],
    }),
    by: Type.Optional(
      Type.Union([field(name), Type.Array(field(name), { minItems: 1 })], {
        description:
          'Field or list of fields: only a record that has the same key and the same values in them is a repeat. Default: the key alone.',
        examples: ['messageID'],
      }),
    ),
  },
  { additionalProperties: false },
);

/** Event times of the records that have passed, by the values of `by` as text. */
export type Passed = Record<string, number[]>;

/** Passes the first of equal records and drops its repeats on purpose. One too old to be compared is late, never passed twice. */
export const dedupe = defineStep<typeof options, Passed>({
  name: 'dedupe',
  summary: 'Drops the repeats of a record that has passed before.',
  details: `A record is a repeat when one of the same key, with the same values in \`by\`, has passed before it and their event times are
no further apart than \`within\`, in either direction: exactly \`within\` is still a repeat. The first to arrive passes. Distances are
measured to records that have passed, not to repeats, so a value that is sent again and again passes once in every \`within\`.
Repeats end here, on purpose and without a dead letter: their number is what came in less what went out, was rejected or late.
A record that lies more than \`within\` behind the watermark goes to \`late\` (or \`otherwise\`, or the dead letters): what it may repeat may be
forgotten by then. All others are compared exactly, so what is late or a repeat depends on the input alone, also after a restart.
A field of \`by\` that is missing or null is rejected with \`key-missing\`; an object, a list, NaN and infinities with \`key-invalid\`.
What has passed is forgotten at most three times \`within\` later, by event time. To tell very many records apart, such as by a message
id, make that field the key (\`keyBy\`) rather than \`by\`: the state of one key is kept and stored as a whole.`,
  options,
  shorthand: 'within',
  keyed: true,
  timed: true,
  late: true,
  stateDependsOn: ['by'],
  examples: [
    {
      title: 'Exactly ten seconds later is still a repeat; a millisecond more is not',
      options: '10s',
      input: [
        { key: 'm1', time: 20_000, value: 'first' },
        { key: 'm1', time: 30_000, value: 'again' },
        { key: 'm1', time: 30_001, value: 'anew' },
      ],
      output: [
        { key: 'm1', time: 20_000, value: 'first' },
        { key: 'm1', time: 30_001, value: 'anew' },
      ],
    },
    {
      title: 'Each alarm of a generator once in a minute',
      options: { by: 'alarm', within: '1m' },
      input: [
        { key: 'g1', time: 1_000, value: { alarm: 'refuel', fuel: 400 } },
        { key: 'g1', time: 2_000, value: { alarm: 'refuel', fuel: 399 } },
        { key: 'g1', time: 3_000, value: { alarm: 'cool' } },
        { key: 'g1', time: 4_000, value: { fuel: 398 } },
      ],
      output: [
        { key: 'g1', time: 1_000, value: { alarm: 'refuel', fuel: 400 } },
        { key: 'g1', time: 3_000, value: { alarm: 'cool' } },
      ],
      rejected: ['key-missing'],
    },
    {
      title: 'A record older than what is remembered is late',
      options: { within: '10s' },
      input: [
        { key: 'm1', time: 50_000, value: 1 },
        { key: 'm1', time: 40_000, value: 2 },
        { key: 'm1', time: 39_999, value: 3 },
      ],
      output: [{ key: 'm1', time: 50_000, value: 1 }],
      rejected: ['late'],
    },
  ],
  type(given, check) {
    checkOptions(given, check);
    return check.input;
  },
  create: createDedupe,
});

function checkOptions({ within, by }: Static<typeof options>, check: TypeCheck): void {
  const length = durationMs(within);
  if (length < 1 || !Number.isInteger(length))
    check.problem(['within'], `\`within\` is ${within}; it must be a whole number of milliseconds, at least 1ms.`);
  const paths = Array.isArray(by) ? by.map((_, index) => ['by', index]) : by === undefined ? [] : [['by']];
  for (const path of paths) {
    const types = jsonTypes(check.expression(path));
    if (types.length > 0 && types.every((type) => type === 'object' || type === 'array' || type === 'null'))
      check.problem(path, `\`by\` takes text, numbers and booleans; this field is an ${types.join(' or ')}.`);
  }
}

function createDedupe({ within: text, by = [] }: Static<typeof options>): Step<Passed> {
  const within = durationMs(text);
  const fields = [by].flat().map((path) => ({ path, read: fieldReader(path) }));
  // A record up to `within` behind the watermark is compared, and with what lies up to `within` before it.
  const memory = 2 * within;
  return {
    onRecord(record, step) {
      const { time, value } = record;
      if (Number.isNaN(time)) {
        step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
        return;
      }
      const values = fields.map(({ read }) => read(value));
      for (const [index, found] of values.entries()) {
        const refused = refusal(found, fields[index]!.path);
        if (refused !== undefined) {
          step.reject(record, ...refused);
          return;
        }
      }
      if (time + within < step.watermark) {
        step.late(record, `It is more than ${text} behind the watermark: what it may repeat may be forgotten.`);
        return;
      }
      const same = JSON.stringify(values);
      const passed = step.state ?? {};
      const times = passed[same] ?? [];
      if (times.some((before) => Math.abs(time - before) <= within)) return;
      if (step.state === undefined) step.timer(time + memory + 1);
      passed[same] = [...times, time];
      step.state = passed;
      step.emit(record);
    },
    onTimer(at, _key, step) {
      const left: Passed = {};
      for (const [same, times] of Object.entries(step.state ?? {})) {
        const kept = times.filter((time) => time + memory >= at);
        if (kept.length > 0) left[same] = kept;
      }
      const empty = Object.keys(left).length === 0;
      step.state = empty ? undefined : left;
      // Not once for each record: a sweep looks at all that is kept.
      if (!empty) step.timer(at + within);
    },
  };
}

// As for keys: one text for one value, and no value that stands for "none".
function refusal(value: unknown, path: string): [code: RejectCode, message: string] | undefined {
  if (value === undefined || value === null) {
    const found = value === null ? 'null' : 'missing';
    const advice = `Give it a value before \`dedupe\`, as with \`map\`: \`${path}: coalesce(${path}, "none")\`.`;
    return ['key-missing', `The field \`${path}\` is ${found}, so the record cannot be compared. ${advice}`];
  }
  if (typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return undefined;
  const found = typeof value === 'number' ? String(value) : kindOf(value);
  return ['key-invalid', `The field \`${path}\` is ${found}; \`dedupe\` compares text, finite numbers and booleans.`];
}
