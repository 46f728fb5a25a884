import { RejectError } from '../errors.ts';
import { durationMs, type RawRecord, type TimeOption } from '../operator.ts';

/** How one source tells time; made once from its `time` option. */
export interface TimeRule {
  /** Event time of a record in ms; throws a RejectError `time-invalid` or `time-future`. */
  readonly read: (raw: RawRecord, value: unknown) => number;
  readonly outOfOrderMs: number;
  /** Silence after which a caught-up partition is idle; Infinity for never. */
  readonly idleMs: number;
}

// Plausible times only: a number of seconds read as milliseconds lands in 1970 and would make nothing but late records.
const earliest = Date.UTC(1990, 0, 1);
const latest = Date.UTC(2100, 0, 1);
const msPerUnit = { s: 1_000, ms: 1, us: 1e-3, ns: 1e-6 } as const;
const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** Makes the rule of a source; `undefined` when it declares no time. */
export function createTimeRule(option: TimeOption | undefined): TimeRule | undefined {
  if (option === undefined) return undefined;
  const given = typeof option === 'string' ? { from: option } : option;
  const base = {
    outOfOrderMs: durationMs(given.outOfOrder ?? '0s'),
    idleMs: given.idle === undefined ? Number.POSITIVE_INFINITY : durationMs(given.idle),
  };
  if (given.from === 'arrival') return { ...base, read: (raw) => raw.arrival };
  const maxFutureMs = durationMs(given.maxFuture ?? '1m');
  const bounded = (time: number, raw: RawRecord): number => {
    const arrival = storedArrival(raw);
    if (time > arrival + maxFutureMs) {
      throw new RejectError(
        'time-future',
        `The time ${iso(time)} lies ${Math.round((time - arrival) / 1_000)} s ahead of arrival; \`maxFuture\` allows ${maxFutureMs / 1_000} s.`,
      );
    }
    return time;
  };
  if (given.from !== undefined)
    return { ...base, read: (raw) => bounded(plausible(raw.timestamp, 'record timestamp'), raw) };
  const { field = 'time', header, unit = 'ms' } = given;
  const name = header === undefined ? `field \`${field}\`` : `header \`${header}\``;
  const parse = unit === 'rfc3339' ? parseText : (found: unknown) => parseNumber(found, name, unit);
  const judged = (found: unknown, raw: RawRecord) => bounded(plausible(parse(found, name), header ?? field), raw);
  if (header !== undefined) return { ...base, read: (raw) => judged(headerOf(raw, header), raw) };
  const read = fieldReader(field);
  const checked = (raw: RawRecord, value: unknown) => judged(read(value), raw);
  if (unit !== 'ms' || field.includes('.')) return { ...base, read: checked };
  // The usual case without a call: no object inherits a number, so what is found here is the record's own.
  return {
    ...base,
    read: (raw, value) => {
      const time = (value as Record<string, unknown> | null)?.[field];
      const usual =
        Number.isInteger(time) && (time as number) >= earliest && (time as number) <= storedArrival(raw) + maxFutureMs;
      return usual && (time as number) < latest ? (time as number) : checked(raw, value);
    },
  };
}

// What is stored with the record is the same whenever it is read again: a replay refuses what the live run has refused. A producer's
// clock that is ahead of ours is no reason to believe it.
function storedArrival({ arrival, timestamp }: RawRecord): number {
  return timestamp < arrival ? timestamp : arrival;
}

function fieldReader(field: string): (value: unknown) => unknown {
  const names = field.split('.');
  const [first] = names;
  if (names.length === 1) return (value) => own(value, first!);
  return (value) => names.reduce(own, value);
}

function own(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

// The first of several: whoever passes a message on adds headers behind those that are there.
function headerOf({ meta }: RawRecord, name: string): unknown {
  const found = own(meta?.headers, name);
  return Array.isArray(found) ? found[0] : found;
}

function parseNumber(found: unknown, name: string, unit: keyof typeof msPerUnit): number {
  // Nanoseconds do not fit a JSON number exactly, so senders write them as text too.
  const number = typeof found === 'string' && /^\d+$/.test(found) ? Number(found) : found;
  if (typeof number !== 'number') throw missing(found, name, `a number of ${unit}`);
  return unit === 'ms' ? Math.floor(number) : Math.floor(number * msPerUnit[unit]);
}

function parseText(found: unknown, name: string): number {
  if (typeof found !== 'string' || !rfc3339.test(found)) {
    throw missing(found, name, 'an RFC 3339 text such as 2026-11-01T12:00:00Z');
  }
  return Date.parse(found);
}

function missing(found: unknown, name: string, expected: string): RejectError {
  const was = found === undefined ? 'is missing' : `is ${found === null ? 'null' : `a ${typeof found}`}`;
  return new RejectError('time-invalid', `The time ${name} ${was}; expected ${expected}.`);
}

function plausible(time: number, field: string): number {
  if (time >= earliest && time < latest) return time;
  throw new RejectError(
    'time-invalid',
    `\`${field}\` gives ${iso(time)}, which is outside 1990 to 2100. Check the \`unit\` of the source's \`time\`.`,
  );
}

function iso(time: number): string {
  return Math.abs(time) <= 8.64e15 ? new Date(time).toISOString() : `${time} ms`;
}
