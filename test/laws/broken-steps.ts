import { defineStep, duration, durationMs, type StreamRecord, Type } from '../../src/operator.ts';

/** Steps with one fault each. The laws are awake when each fault is found by the law that speaks of it. */
const options = Type.Object({ every: Type.Optional(duration({ description: 'Window length.' })) });
const common = { summary: 'Is wrong.', options, examples: [] };
type Counted = { seen: number };
const counting = (record: StreamRecord, seen: number) => record.withValue({ seen });

/** Counts the records of a key, rightly: the laws hold. */
export const counts = defineStep<typeof options, Counted>({
  ...common,
  name: 'counts',
  keyed: true,
  create: () => ({
    onRecord(record, step) {
      const seen = (step.state?.seen ?? 0) + 1;
      step.state = { seen };
      step.emit(counting(record, seen));
    },
  }),
});

/** Counts in a variable of its own, which no checkpoint holds. */
export const countsInClosure = defineStep<typeof options, Counted>({
  ...common,
  name: 'countsInClosure',
  keyed: true,
  create() {
    const seen = new Map<unknown, number>();
    return {
      onRecord(record, step) {
        seen.set(record.key, (seen.get(record.key) ?? 0) + 1);
        step.state = { seen: 0 };
        step.emit(counting(record, seen.get(record.key)!));
      },
    };
  },
});

/** Emits what gathered in one turn of the event loop at its end: all of a batch at once. */
export const emitsPerBatch = defineStep({
  ...common,
  name: 'emitsPerBatch',
  create() {
    let gathered: StreamRecord[] = [];
    return {
      onRecord(record, step) {
        if (gathered.length === 0)
          queueMicrotask(() => {
            step.emit(record.withValue(gathered.length));
            gathered = [];
          });
        gathered.push(record);
      },
    };
  },
});

/** Emits a record when the next one comes, whatever its key: the last one of all keys lies in one place. */
export const leaksKeys = defineStep<typeof options, Counted>({
  ...common,
  name: 'leaksKeys',
  keyed: true,
  create() {
    let last: StreamRecord | undefined;
    return {
      onRecord(record, step) {
        step.state = { seen: 1 };
        step.emit(record.withValue({ same: last?.key === record.key }));
        last = record;
      },
    };
  },
});

/** Drops every record whose time is a multiple of five seconds, and tells nobody. */
export const drops = defineStep({
  ...common,
  name: 'drops',
  create: () => ({
    onRecord(record, step) {
      if (record.time % 5_000 !== 0) step.emit(record);
    },
  }),
});

/** Emits a record, and then once more. */
export const doubles = defineStep({
  ...common,
  name: 'doubles',
  create: () => ({
    onRecord(record, step) {
      step.emit(record);
      if (record.time % 2_000 === 0) step.emit(record);
    },
  }),
});

/** Emits two results for a record, each with an id of its own. */
export const repeats = defineStep({
  ...common,
  name: 'repeats',
  create: () => ({
    onRecord(record, step) {
      step.emit(record);
      step.emit(record.withPart('1'));
    },
  }),
});

/** Throws at a value that it does not like. */
export const throws = defineStep({
  ...common,
  name: 'throws',
  create: () => ({
    onRecord(record, step) {
      if (record.value === 2) throw new TypeError('two');
      step.emit(record);
    },
  }),
});

/** Looks at the clock of the machine. */
export const readsClock = defineStep({
  ...common,
  name: 'readsClock',
  create: () => ({ onRecord: (record, step) => step.emit(record.withValue(new Date().getMinutes())) }),
});

let everSeen = 0;
/** Numbers its records for as long as the process lives. */
export const numbersForEver = defineStep({
  ...common,
  name: 'numbersForEver',
  create: () => ({ onRecord: (record, step) => step.emit(record.withValue(everSeen++)) }),
});

/** Puts into a result how far event time has come: that depends on other partitions. */
export const tellsWatermark = defineStep({
  ...common,
  name: 'tellsWatermark',
  create: () => ({ onRecord: (record, step) => step.emit(record.withValue({ behind: step.watermark - record.time })) }),
});

/** A window that takes the record at its end too, or emits when it is not yet due, or takes records after it has closed. */
export function wrongWindow(wrong: 'end' | 'late' | 'none') {
  return defineStep<typeof options, StreamRecord[]>({
    ...common,
    name: `wrongWindow-${wrong}`,
    keyed: true,
    timed: true,
    late: true,
    create({ every = '4s' }) {
      const size = durationMs(every);
      const startOf = (time: number) => (wrong === 'end' ? Math.ceil(time / size) - 1 : Math.floor(time / size)) * size;
      return {
        onRecord(record, step) {
          const end = startOf(record.time) + size;
          if (wrong === 'late' ? end < step.watermark : end <= step.watermark) return step.late(record, 'Late.');
          step.state = [...(step.state ?? []), record];
          step.timer(end);
        },
        onTimer(at, _key, step) {
          const all = step.state ?? [];
          const due = all.filter(({ time }) => startOf(time) + size <= at);
          const start = startOf(due[0]!.time);
          const window = { step: 'w', start, end: start + size, label: start };
          step.emit(due[0]!.withValue(due.map(({ offset }) => offset)).withWindow(window));
          const rest = all.filter((one) => !due.includes(one));
          step.state = rest.length === 0 ? undefined : rest;
        },
      };
    },
  });
}
