import { describe, expect, test } from 'vitest';
import { createTimeRule } from '../../../src/engine/time.ts';
import { RejectError } from '../../../src/errors.ts';
import { RawRecord, type TimeOption } from '../../../src/operator.ts';

const now = Date.UTC(2026, 10, 1);

function read(option: TimeOption, value: unknown, more: Partial<RawRecord> = {}): number | string {
  const raw = Object.assign(new RawRecord(), { arrival: now, ...more });
  try {
    return createTimeRule(option)!.read(raw, value);
  } catch (error) {
    if (!(error instanceof RejectError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

describe('event time of a record', () => {
  test.each([
    ['s', 1_793_491_200, Date.UTC(2026, 10, 1)],
    ['s', 1_793_491_199.9996, Date.UTC(2026, 10, 1) - 1],
    ['ms', 1_793_491_200_000, now],
    ['us', 1_793_491_200_000_000, now],
    ['ns', '1793491200000000000', now],
    ['rfc3339', '2026-11-01T00:00:00Z', now],
    ['rfc3339', '2026-11-01T02:00:00.5+02:00', now + 500],
  ] as const)('is read from a field in %s', (unit, ts, expected) => {
    expect(read({ field: 'ts', unit }, { ts })).toBe(expected);
  });

  test('is read from a nested field, and from own fields only', () => {
    expect(read({ field: 'a.ts', unit: 'ms' }, { a: { ts: now } })).toBe(now);
    expect(read({ field: 'constructor.length', unit: 'ms' }, {})).toMatch(
      /^time-invalid: .*`constructor.length` is missing/,
    );
  });

  test.each([
    [{}, /^time-invalid: The time field `ts` is missing; expected a number of ms\.$/],
    [{ ts: null }, /`ts` is null/],
    [{ ts: '2026' }, /outside 1990 to 2100/],
    [{ ts: 'soon' }, /`ts` is a string/],
    [{ ts: true }, /`ts` is a boolean/],
    [{ ts: Number.NaN }, /outside 1990/],
    [{ ts: 1_793_491_200 }, /gives 1970-.*Check the `unit`/],
    [null, /`ts` is missing/],
    ['text', /`ts` is missing/],
  ])('is refused with the reason: %j', (value, expected) => {
    expect(read({ field: 'ts', unit: 'ms' }, value)).toMatch(expected);
  });

  test('begins in 1990 and ends before 2100', () => {
    const far = { maxFuture: '5000w', field: 'ts', unit: 'ms' } as const;
    expect(read(far, { ts: Date.UTC(1990, 0, 1) })).toBe(Date.UTC(1990, 0, 1));
    expect(read(far, { ts: Date.UTC(1990, 0, 1) - 1 })).toMatch(/^time-invalid/);
    expect(read(far, { ts: Date.UTC(2100, 0, 1) - 1 })).toBe(Date.UTC(2100, 0, 1) - 1);
    expect(read(far, { ts: Date.UTC(2100, 0, 1) })).toMatch(/^time-invalid/);
  });

  test('may be `maxFuture` ahead of arrival and not a millisecond more', () => {
    const option = { field: 'ts', unit: 'ms', maxFuture: '10s' } as const;
    expect(read(option, { ts: now + 10_000 })).toBe(now + 10_000);
    expect(read(option, { ts: now + 10_001 })).toMatch(/^time-future: .*`maxFuture` allows 10 s/);
    expect(read({ field: 'ts', unit: 'ms' }, { ts: now + 60_001 })).toMatch(/^time-future/);
    const seconds = { field: 'a.ts', unit: 's', maxFuture: '10s' } as const;
    expect(read(seconds, { a: { ts: now / 1_000 + 10 } })).toBe(now + 10_000);
    expect(read(seconds, { a: { ts: now / 1_000 + 10.001 } })).toMatch(/^time-future/);
    expect(read({ from: 'kafka', maxFuture: '10s' }, {}, { timestamp: now + 10_000 })).toBe(now + 10_000);
    expect(read({ from: 'kafka', maxFuture: '10s' }, {}, { timestamp: now + 10_001 })).toMatch(/^time-future/);
  });

  test('is judged by the arrival that is stored with the record, so that reading it again later judges alike', () => {
    const option = { field: 'ts', unit: 'ms', maxFuture: '10s' } as const;
    const stored = { timestamp: now - 60_000 };
    for (const arrival of [now, now + 3_600_000]) {
      expect(read(option, { ts: now - 50_000 }, { ...stored, arrival })).toBe(now - 50_000);
      expect(read(option, { ts: now - 49_999 }, { ...stored, arrival })).toMatch(/^time-future: .* 10 s ahead/);
    }
    expect(read(option, { ts: now + 10_001 }, { timestamp: now + 60_000 })).toMatch(/^time-future/);
  });

  test('is read from a header, the first where there are several', () => {
    const at = (value: string | string[]) => ({ meta: { headers: { 'sent-at': value } } });
    const option = { header: 'sent-at', unit: 'ms' } as const;
    expect(read(option, {}, at(String(now)))).toBe(now);
    expect(read(option, {}, at([String(now - 1), String(now)]))).toBe(now - 1);
    expect(read({ header: 'sent-at', unit: 'rfc3339' }, {}, at('2026-11-01T00:00:00Z'))).toBe(now);
    expect(read(option, { 'sent-at': now })).toBe(
      'time-invalid: The time header `sent-at` is missing; expected a number of ms.',
    );
    expect(read({ header: 'constructor' }, {}, at('1'))).toMatch(/header `constructor` is missing/);
    expect(read(option, {}, at('soon'))).toMatch(/^time-invalid/);
    expect(read(option, {}, at(String(now + 60_001)))).toMatch(/^time-future/);
  });

  test('is the arrival, or the Kafka timestamp, where that is asked for', () => {
    expect(read('arrival', {})).toBe(now);
    expect(read({ from: 'arrival', idle: '5s' }, {})).toBe(now);
    expect(read('kafka', {}, { timestamp: now - 5 })).toBe(now - 5);
    expect(read('kafka', {})).toMatch(/^time-invalid/);
    expect(read('influx', {}, { timestamp: now - 5 })).toBe(now - 5);
  });

  test('is not told at all without `time`', () => {
    expect(createTimeRule(undefined)).toBeUndefined();
  });
});
