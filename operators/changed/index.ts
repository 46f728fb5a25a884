import {
  defineStep,
  duration,
  durationMs,
  field,
  fieldReader,
  kindOf,
  objectType,
  putField,
  type RecordType,
  type Static,
  type Step,
  type StreamRecord,
  Type,
  type TypeCheck,
  withFields,
} from '../../src/operator.ts';

const watched = { description: 'A field to watch; `a.b` goes into nested objects.' };
const options = Type.Object(
  {
    fields: Type.Union([field(watched), Type.Array(field(watched), { minItems: 1 })], {
      description: 'Field or list of fields: a record passes when at least one of them has changed.',
      examples: ['alarm'],
    }),
    first: Type.Optional(
      Type.Boolean({
        description:
          'Whether the first record of a key passes. `false`: it is only what the next one is compared with.',
        default: true,
      }),
    ),
    previous: Type.Optional(
      Type.String({
        description:
          'Name of a field to add: an object with the fields as they were before, or null for the first record of a key.',
        minLength: 1,
        examples: ['before'],
      }),
    ),
    forget: Type.Optional(
      duration({
        description:
          'A key is forgotten once the watermark is further than this past its newest record; its next record is a first one again. Default: never.',
        examples: ['1d'],
      }),
    ),
  },
  { additionalProperties: false },
);

/** The watched fields of a key's last record, those that were there, by name. `time` is the newest seen, when keys are forgotten. */
export interface Last {
  values: Record<string, unknown>;
  time?: number;
}

/** Passes a record when a field differs from the record of its key that arrived before it; the others end here, on purpose. */
export const changed = defineStep<typeof options, Last>({
  name: 'changed',
  summary: 'Passes a record only when one of its fields differs from the record before it.',
  details: `Each record is compared with the one of its key that arrived before it, whether that one passed or not. Values are compared as
JSON, by type and content: \`1\` and \`"1"\` differ, the order of an object's fields does not matter, and a field that is missing differs
from one that is null. A record without a change ends here, on purpose and without a dead letter: their number is what came in less
what went out or was rejected. Records are taken as they arrive; where they may be out of order, put a \`sort\` before this step.
What is kept of a key is the watched fields of one record, also over a restart, and when some of them are watched
no longer. It is kept for as long as the state folder, unless \`forget\` is set: that needs a source with a \`time\`, and a record without event time is then rejected with \`time-invalid\`.
With \`previous\`, a record that is not an object is rejected with \`schema-violation\`; a field \`a.b\` stands there under the name \`a.b\`.`,
  options,
  shorthand: 'fields',
  keyed: true,
  stateDependsOn: ['fields'],
  examples: [
    {
      title: 'An alarm goes out when it comes and when it ends',
      options: 'alarm',
      input: [
        { key: 'g1', value: { alarm: 'refuel', fuel: 499 } },
        { key: 'g1', value: { alarm: 'refuel', fuel: 498 } },
        { key: 'g2', value: { alarm: 'refuel', fuel: 400 } },
        { key: 'g1', value: { alarm: null, fuel: 900 } },
        { key: 'g1', value: { fuel: 899 } },
      ],
      output: [
        { key: 'g1', value: { alarm: 'refuel', fuel: 499 } },
        { key: 'g2', value: { alarm: 'refuel', fuel: 400 } },
        { key: 'g1', value: { alarm: null, fuel: 900 } },
        { key: 'g1', value: { fuel: 899 } },
      ],
    },
    {
      title: 'With what was there before, and without the first record',
      options: { fields: ['alarm', 'engine.on'], first: false, previous: 'before' },
      input: [
        { key: 'g1', value: { engine: { on: true } } },
        { key: 'g1', value: { engine: { on: false, rpm: 3 } } },
        { key: 'g1', value: { engine: { on: false, rpm: 0 } } },
        { key: 'g1', value: { engine: { on: false }, alarm: 'cool' } },
      ],
      output: [
        { key: 'g1', value: { engine: { on: false, rpm: 3 }, before: { 'engine.on': true } } },
        { key: 'g1', value: { engine: { on: false }, alarm: 'cool', before: { 'engine.on': false } } },
      ],
    },
  ],
  type: typeOf,
  migrate({ fields }, { options: before }) {
    const known = [before['fields']].flat();
    const names = [fields].flat();
    if (!names.every((name) => known.includes(name))) return undefined;
    return (state) => {
      const { values, ...rest } = state as Last;
      return { ...rest, values: Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name))) };
    };
  },
  create: createChanged,
});

const forbidden = '`__proto__` cannot be the name of an added field.';

function typeOf({ fields, previous, forget }: Static<typeof options>, check: TypeCheck): RecordType {
  const found = Array.isArray(fields)
    ? fields.map((name, index) => [name, check.expression(['fields', index])] as const)
    : [[fields, check.expression(['fields'])] as const];
  if (forget !== undefined && (durationMs(forget) < 1 || !Number.isInteger(durationMs(forget))))
    check.problem(['forget'], `\`forget\` is ${forget}; it must be a whole number of milliseconds, at least 1ms.`);
  if (previous === undefined) return check.input;
  if (previous === '__proto__') check.problem(['previous'], forbidden, 'Choose another name.');
  const before = objectType(new Map(found.map(([name, type]) => [name, { type, required: false }])));
  return withFields(check.input, [[previous, { anyOf: [before, { type: 'null' }] }]]);
}

function createChanged(given: Static<typeof options>): Step<Last> {
  const fields = [given.fields].flat().map((name) => ({ name, read: fieldReader(name) }));
  const { first = true, previous } = given;
  const forget = given.forget === undefined ? undefined : durationMs(given.forget);
  const valuesOf = (value: unknown): Record<string, unknown> => {
    const values = {};
    for (const { name, read } of fields) {
      const found = read(value);
      if (found !== undefined) putField(values, name, found);
    }
    return values;
  };
  return {
    onRecord(record, step) {
      const { value, time } = record;
      if (forget !== undefined && Number.isNaN(time)) {
        step.reject(record, 'time-invalid', '`forget` needs event time. Give the source of this record a `time`.');
        return;
      }
      if (previous !== undefined && !isObject(value)) {
        step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`previous\` adds to an object.`);
        return;
      }
      const before = step.state;
      const values = valuesOf(value);
      if (forget === undefined) step.state = { values };
      else {
        const newest = Math.max(time, before?.time ?? time);
        const kept = newest + forget >= step.watermark;
        // One timer for a key: it finds out by itself that newer records have come.
        if (kept && before?.time === undefined) step.timer(newest + forget + 1);
        step.state = kept ? { values, time: newest } : undefined;
      }
      if (before === undefined ? first : !equal(before.values, values))
        step.emit(previous === undefined ? record : withPrevious(record, previous, before?.values ?? null));
    },
    onTimer(at, _key, step) {
      const { time } = step.state ?? {};
      const due = time === undefined || forget === undefined ? Number.POSITIVE_INFINITY : time + forget + 1;
      if (due <= at) step.state = undefined;
      else if (due !== Number.POSITIVE_INFINITY) step.timer(due);
    },
  };
}

function withPrevious(record: StreamRecord, name: string, before: object | null): StreamRecord {
  const value = { ...(record.value as object) };
  putField(value, name, before);
  return record.withValue(value);
}

/** JSON values are equal by type and content; the order of fields does not matter. NaN, which only functions make, equals itself. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => equal(item, b[index]));
  if (!isObject(a) || !isObject(b)) return false;
  if (a instanceof Date || b instanceof Date)
    return a instanceof Date && b instanceof Date && equal(a.getTime(), b.getTime());
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && equal(a[name as never], b[name as never]))
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
