import {
  compareRecords,
  countBefore,
  defineStep,
  durationMs,
  kindOf,
  objectType,
  orNull,
  putField,
  type RecordType,
  recordFields,
  recordId,
  type Step,
  type StepContext,
  StreamRecord,
  type TypeCheck,
  withFields,
} from '../../src/operator.ts';
import { examples } from './examples.ts';
import { checkOptions, type Options, options } from './options.ts';

/** A record that may still find partners. */
export interface Held {
  record: StreamRecord;
  /** It has found one. */
  matched: boolean;
}

/** The records of one key, each side in order of event time. */
export interface Sides {
  left: Held[];
  right: Held[];
}

/** Pairs the records of two streams that are near each other in event time. Pairs come at once, the lack of a partner when it is certain. */
export const join = defineStep<typeof options, Sides>({
  name: 'join',
  summary: 'Pairs the records of two streams that have the same key and lie near each other in time.',
  details: `Every two records of one key whose event times are at most \`within\` apart give a result, whichever came first: the distance is
taken both ways, and exactly \`within\` is a pair. A record with three partners gives three results. The result is the left record's value with
the right one in the field \`as\`. A pair goes out when its second record arrives. That a record has no partner is known once the
watermark is past its time plus \`within\` and \`lateness\`; \`left\` and \`outer\` then give a result for it.

The event time of a result is when it is complete: the later of the two times, or, without a partner, the record's time plus \`within\`. Any
earlier time could be behind the watermark already, and the result late for a window behind this step. Its place in the source, headers
and window are those of the left record (of the right one, when it is alone). Its id names both, so it is the same after a restart or in a replay.

A record more than \`lateness\` behind the watermark goes to \`late\` (or \`otherwise\`, or the dead letters), whichever side it is of: its
partners may be forgotten. So the results depend on the records alone and not on which side was faster; only their order does.
A left record that is not an object is rejected with \`schema-violation\`. \`when\` beside the step is asked of left records only.

What waits is kept in the checkpoint and dropped as soon as nothing can match it: \`2 * within + lateness\` of event time on each side. When
\`maxPerKey\` records of one side and key wait, the next one is rejected with \`buffer-full\` and pairs with nothing.
The two keys must have the same values and types: \`1\` and \`"1"\` are no pair. Sources that meet here share one task, and the slower one
holds the watermark back; give a source that may fall silent an \`idle\` time. Two Kafka sources have to be read by one process.`,
  options,
  keyed: true,
  timed: true,
  late: true,
  stateDependsOn: ['with'],
  examples,
  type: typeOf,
  create: createJoin,
});

function typeOf(given: Options, check: TypeCheck): RecordType {
  checkOptions(given, check);
  const { as, type = 'inner' } = given;
  const right = check.expression(['with']);
  const fields = recordFields(check.input);
  if (fields?.has(as)) {
    const what = `Left records have a field \`${as}\` already; the right record takes its place.`;
    check.problem(['as'], what, 'Choose another name to keep both.', 'warning');
  }
  if (type === 'inner') return withFields(check.input, [[as, right]]);
  const left = type === 'left' || fields === undefined ? check.input : optional(fields);
  return withFields(left, [[as, orNull(right)]]);
}

function optional(fields: NonNullable<ReturnType<typeof recordFields>>): RecordType {
  return objectType(new Map([...fields].map(([name, { type }]) => [name, { type, required: false }])));
}

function createJoin(given: Options, id: string): Step<Sides> {
  const { as, type = 'inner', maxPerKey = 10_000 } = given;
  const within = durationMs(given.within);
  const lateness = durationMs(given.lateness ?? '0s');
  // A record is forgotten when the watermark is further than this past it: all that is on time lies more than `within` after it.
  const span = within + lateness;

  const pair = (left: StreamRecord, right: StreamRecord) => {
    const value = { ...(left.value as object) };
    putField(value, as, right.value);
    return result(left, value, Math.max(left.time, right.time), `${id}:${recordId(right)}`);
  };
  const alone = (side: keyof Sides, record: StreamRecord) => {
    const value = side === 'left' ? { ...(record.value as object) } : {};
    putField(value, as, side === 'left' ? null : record.value);
    return result(record, value, record.time + within, `${id}:${side}`);
  };

  const take = (side: keyof Sides, record: StreamRecord, step: StepContext<Sides>) => {
    const { time, value } = record;
    if (Number.isNaN(time)) {
      step.reject(record, 'time-invalid', 'The record has no event time. Give its source a `time`.');
    } else if (side === 'left' && (typeof value !== 'object' || value === null || Array.isArray(value))) {
      step.reject(record, 'schema-violation', `The record is ${kindOf(value)}; \`join\` adds a field to an object.`);
    } else if (time + lateness < step.watermark) {
      step.late(record, `It is ${step.watermark - time} ms behind the watermark: its partners may be forgotten.`);
    } else {
      const sides = step.state ?? { left: [], right: [] };
      const own = sides[side];
      if (own.length >= maxPerKey) {
        const what = `${maxPerKey} records of this key wait on the ${side} side. Raise \`maxPerKey\`, shorten \`within\`, or find out what holds the watermark back.`;
        step.reject(record, 'buffer-full', what);
        return;
      }
      const others = sides[side === 'left' ? 'right' : 'left'];
      const partners = others.slice(
        countBefore(others, (other) => other.record.time < time - within),
        countBefore(others, (other) => other.record.time <= time + within),
      );
      const at = countBefore(own, (other) => compareRecords(other.record, record) <= 0);
      own.splice(at, 0, { record, matched: partners.length > 0 });
      step.state = sides;
      // One timer for the head of each side; the next is set when it has gone.
      if (at === 0) step.timer(time + span + 1);
      for (const partner of partners) {
        partner.matched = true;
        step.emit(side === 'left' ? pair(record, partner.record) : pair(partner.record, record));
      }
    }
  };

  return {
    onRecord: (record, step) => take('left', record, step),
    onInput: (record, step) => take('right', record, step),
    onTimer(at, _key, step) {
      const sides = step.state ?? { left: [], right: [] };
      const gone = (held: Held[]) =>
        held
          .splice(
            0,
            countBefore(held, ({ record }) => record.time + span < at),
          )
          .filter(({ matched }) => !matched);
      const [left, right] = [gone(sides.left), gone(sides.right)];
      const heads = [sides.left[0], sides.right[0]].filter((head) => head !== undefined);
      step.state = heads.length === 0 ? undefined : sides;
      for (const { record } of heads) step.timer(record.time + span + 1);
      if (type !== 'inner') for (const { record } of left) step.emit(alone('left', record));
      if (type === 'outer') for (const { record } of right) step.emit(alone('right', record));
    },
  };
}

function result(base: StreamRecord, value: object, time: number, part: string): StreamRecord {
  const { key, offset, meta, window, partition, origin } = base;
  return new StreamRecord(value, key, time, offset, meta, window, partition, origin, base.part).withPart(part);
}
