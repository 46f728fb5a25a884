import { describe, expect, test } from 'vitest';
import { parseDuration, parseSize } from '../../src/quantity.ts';

describe('a length of time', () => {
  test.each([
    ['1ns', 1e-6],
    ['1us', 1e-3],
    ['1ms', 1],
    ['1s', 1_000],
    ['1m', 60_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['1w', 604_800_000],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['1s1s', 2_000],
    ['0s', 0],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBeCloseTo(ms, 9));

  test.each(['10', '', 's', '10x', '10 s', ' 10s', '10s ', '-1s', '+1s', '1e3s', '.5s', '1.s', '1,5s', '10S', '10s5'])(
    '`%s` is none: a number and its unit, always both',
    (text) => expect(parseDuration(text)).toBeUndefined(),
  );

  test.each(['1mo', '1y', '1month', '1M'])('`%s` is none: how long it is depends on the calendar', (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );
});

describe('a size', () => {
  test.each([
    ['10B', 10],
    ['1kB', 1_000],
    ['1KiB', 1_024],
    ['1.5MiB', 1_572_864],
    ['2GB', 2e9],
  ])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(['10', '10kb', '10 MB', '1MB1MB', '-1B'])('`%s` is none', (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );
});
