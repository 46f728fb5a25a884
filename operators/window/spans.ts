import { durationMs } from '../../src/operator.ts';
import { calendarSpan } from './calendar.ts';
import type { Options } from './options.ts';

/** `[start, end)` in ms since the epoch. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Windows whose bounds are known beforehand. */
export interface Spans {
  /** All windows that hold a time, the earliest first: one, or several when windows overlap. */
  holding(time: number): readonly Span[];
  /** The window that begins next after this one. */
  after(span: Span): Span;
}

/** The windows that the options ask for: tumbling, hopping or calendar. */
export function spansOf(given: Options): Spans {
  const offset = durationMs(given.offset ?? '0s');
  if (given.calendar !== undefined) {
    const find = calendarSpan(given.calendar.every, given.calendar.timeZone);
    return { holding: (time) => [find(time)], after: ({ end }) => find(end) };
  }
  const size = durationMs(given.hopping?.size ?? given.tumbling ?? '');
  const every = durationMs(given.hopping?.every ?? given.tumbling ?? '');
  return {
    holding(time) {
      const spans: Span[] = [];
      for (let start = cellStart(time, every, offset); start + size > time; start -= every)
        spans.push({ start, end: start + size });
      return spans.reverse();
    },
    after: ({ start, end }) => ({ start: start + every, end: end + every }),
  };
}

/** The beginning of the cell that holds a time: cells follow one another from the epoch plus `offset`, in both directions. */
export function cellStart(time: number, size: number, offset: number): number {
  return Math.floor((time - offset) / size) * size + offset;
}
