import type { Span } from './spans.ts';

type Period = '1d' | '1w' | '1mo' | '1y';

const day = 86_400_000;

/** Whether this machine knows a time zone of that name. */
export function isTimeZone(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone });
    return true;
  } catch {
    return false;
  }
}

/**
 * Finds the day, week, month or year of a place that holds an instant. Where the clock jumps over midnight, the day begins at
 * the jump; where midnight comes twice, at the first one.
 */
export function calendarSpan(every: Period, timeZone: string): (time: number) => Span {
  const offsetAt = offsetOf(timeZone);
  let last: Span = { start: 0, end: 0 };
  return (time) => {
    // Most records fall into the period of the one before; asking the time zone is slow.
    if (time >= last.start && time < last.end) return last;
    let local = beginning(every, time + offsetAt(time), 0);
    while (time < instantOf(local, offsetAt)) local = beginning(every, local, -1);
    while (time >= instantOf(beginning(every, local, 1), offsetAt)) local = beginning(every, local, 1);
    last = { start: instantOf(local, offsetAt), end: instantOf(beginning(every, local, 1), offsetAt) };
    return last;
  };
}

/** The midnight, on the clock of the place, with which the period begins that holds `local`, or one some periods away. */
function beginning(every: Period, local: number, away: number): number {
  const date = new Date(local);
  date.setUTCHours(0, 0, 0, 0);
  if (every === '1d') return date.getTime() + away * day;
  if (every === '1w') return date.getTime() - ((date.getUTCDay() + 6) % 7) * day + away * 7 * day;
  if (every === '1mo') return date.setUTCMonth(date.getUTCMonth() + away, 1);
  return date.setUTCFullYear(date.getUTCFullYear() + away, 0, 1);
}

/** The instant at which the clock of the place first shows `local`, or jumps over it. */
function instantOf(local: number, offsetAt: (time: number) => number): number {
  // Offsets lie between -12 h and +14 h (more before 1900): these two instants are surely before and after it.
  const [before, after] = [offsetAt(local - 16 * 3_600_000), offsetAt(local + 16 * 3_600_000)];
  const candidates = [local - before, local - after].sort((a, b) => a - b) as [number, number];
  for (const time of candidates) if (time + offsetAt(time) === local) return time;
  let [low, high] = candidates;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(middle) === before) low = middle;
    else high = middle;
  }
  return high;
}

function offsetOf(timeZone: string): (time: number) => number {
  const format = new Intl.DateTimeFormat('en-US', { timeZone, timeZoneName: 'longOffset' });
  return (time) => {
    const [, sign, hours, minutes, seconds = '0'] =
      /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(format.format(time)) ?? [];
    if (sign === undefined) return 0;
    const ms = (Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds)) * 1_000;
    return sign === '-' ? -ms : ms;
  };
}
