import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { window } from '../../operators/window/index.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

const hour = 3_600_000;
const day = 24 * hour;
const spanOf = (every: string, timeZone: string, time: number): [start: number, end: number] => {
  const driver = new Driver(window, { calendar: { every, timeZone }, aggregate: { n: 'count' } });
  const [result] = driver.push(new StreamRecord(0, 'g1', time)).end();
  return [result!.window!.start, result!.window!.end];
};
const utc = (text: string) => Date.parse(`${text}Z`);

describe('window: calendar', () => {
  test.each([
    ['1d', 'UTC', '2026-01-01T00:00', '2026-01-01T00:00', '2026-01-02T00:00'],
    ['1d', 'UTC', '2026-01-01T23:59:59.999', '2026-01-01T00:00', '2026-01-02T00:00'],
    ['1d', 'UTC', '1969-12-31T23:59:59.999', '1969-12-31T00:00', '1970-01-01T00:00'],
    ['1d', 'Asia/Kolkata', '2026-01-01T18:29:59.999', '2025-12-31T18:30', '2026-01-01T18:30'],
    ['1d', 'Asia/Kolkata', '2026-01-01T18:30', '2026-01-01T18:30', '2026-01-02T18:30'],
    ['1w', 'UTC', '2026-01-04T23:59:59.999', '2025-12-29T00:00', '2026-01-05T00:00'],
    ['1w', 'UTC', '2026-01-05T00:00', '2026-01-05T00:00', '2026-01-12T00:00'],
    ['1mo', 'UTC', '2028-02-29T23:59:59.999', '2028-02-01T00:00', '2028-03-01T00:00'],
    ['1mo', 'UTC', '2028-12-31T12:00', '2028-12-01T00:00', '2029-01-01T00:00'],
    ['1y', 'Pacific/Auckland', '2026-12-31T10:59:59.999', '2025-12-31T11:00', '2026-12-31T11:00'],
    ['1y', 'Pacific/Auckland', '2026-12-31T11:00', '2026-12-31T11:00', '2027-12-31T11:00'],
    // The clock jumps over midnight: the day begins at the jump, here at 01:00.
    ['1d', 'America/Sao_Paulo', '2018-11-04T03:00', '2018-11-04T03:00', '2018-11-05T02:00'],
    ['1d', 'America/Sao_Paulo', '2018-11-04T02:59:59.999', '2018-11-03T03:00', '2018-11-04T03:00'],
    // Midnight comes twice: the first one counts.
    ['1d', 'America/Havana', '2026-11-01T04:30', '2026-11-01T04:00', '2026-11-02T05:00'],
    // At 00:01 the clock went back into the day before: that hour belongs to the day that had begun.
    ['1d', 'America/St_Johns', '2010-11-07T03:00', '2010-11-07T02:30', '2010-11-08T03:30'],
    // A date that this place never had.
    ['1d', 'Pacific/Apia', '2011-12-30T09:59:59.999', '2011-12-29T10:00', '2011-12-30T10:00'],
    ['1d', 'Pacific/Apia', '2011-12-30T10:00', '2011-12-30T10:00', '2011-12-31T10:00'],
  ])('%s in %s holds %s in [%s, %s)', (every, timeZone, time, start, end) => {
    expect(spanOf(every, timeZone, utc(time))).toEqual([utc(start), utc(end)]);
  });

  test.each([
    ['America/Denver', '2026-03-08T12:00', 23],
    ['America/Denver', '2026-11-01T12:00', 25],
    ['America/Denver', '2026-11-02T12:00', 24],
    ['Europe/Berlin', '2026-03-29T12:00', 23],
    ['Europe/Berlin', '2026-10-25T12:00', 25],
    ['Australia/Lord_Howe', '2026-04-05T00:00', 24.5],
  ])('the day in %s at %s has %d hours', (timeZone, time, hours) => {
    const [start, end] = spanOf('1d', timeZone, utc(time));
    expect((end - start) / hour).toBe(hours);
    expect(spanOf('1d', timeZone, start)).toEqual([start, end]);
    expect(spanOf('1d', timeZone, start - 1)[1]).toBe(start);
    expect(spanOf('1d', timeZone, end - 1)).toEqual([start, end]);
    expect(spanOf('1d', timeZone, end)[0]).toBe(end);
  });

  test('a week with a change of clocks has an hour more or less', () => {
    const [start, end] = spanOf('1w', 'Europe/Berlin', utc('2026-03-29T12:00'));
    expect([new Date(start).toISOString(), end - start]).toEqual(['2026-03-22T23:00:00.000Z', 7 * day - hour]);
  });

  test('a record after the end of its day is late', () => {
    const options = { calendar: { every: '1d', timeZone: 'America/Denver' }, aggregate: { n: 'count' } };
    const end = utc('2026-03-09T06:00');
    const times = [end - day, end - 1, end - 2, end, end - 1];
    const driver = new Driver(window, options).push(...times.map((time) => new StreamRecord(0, 'g1', time)));
    expect(driver.rejectedCodes()).toEqual(['late']);
    expect(driver.end().map((r) => (r.value as { n: number }).n)).toEqual([1, 2, 1]);
  });

  test('windows follow one another without gap or overlap, and begin at what the clock of the place shows as midnight', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/Sao_Paulo',
      'Pacific/Apia',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
    ];
    const clocks = new Map(
      zones.map((timeZone) => [
        timeZone,
        new Intl.DateTimeFormat('en-GB', { timeZone, dateStyle: 'full', timeStyle: 'medium' }),
      ]),
    );
    fc.assert(
      fc.property(
        fc.constantFrom('1d', '1w', '1mo', '1y'),
        fc.constantFrom(...zones),
        fc.integer({ min: utc('1975-01-01T00:00'), max: utc('2037-01-01T00:00') }),
        (every, zone, time) => {
          const [start, end] = spanOf(every, zone, time);
          expect(start <= time && time < end).toBe(true);
          expect(spanOf(every, zone, end)[0]).toBe(end);
          expect(spanOf(every, zone, start - 1)[1]).toBe(start);
          const clock = clocks.get(zone)!;
          // Only a jump of the clock over midnight lets a day begin later than at 00:00.
          const shown = clock.format(start);
          const jumped = clock.format(start - 1).endsWith('23:59:59');
          expect(shown.endsWith('00:00:00') || jumped).toBe(true);
          if (every === '1w') expect(shown).toMatch(/^Mon/);
          if (every === '1mo' || every === '1y') expect(shown).toMatch(/ 1 \w+/);
          if (every === '1y') expect(shown).toContain('January');
        },
      ),
      // Nepal moved its clock by a quarter of an hour at midnight.
      { numRuns: 1_000, examples: [['1d', 'Asia/Kathmandu', 504901800000]] },
    );
  }, 60_000);
});
