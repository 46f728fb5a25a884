import { inspect } from 'node:util';
import { withoutMoment } from '../dead-letter.ts';
import type { Rejection } from '../engine/node.ts';
import type { Key, StreamRecord } from '../record.ts';
import type { Arrival } from './arbitraries.ts';
import { plain } from './collector.ts';
import type { Outcome } from './law-run.ts';

/** A key as a reader tells it from another: `1` and `"1"` differ. */
export function showKey(key: Key | undefined): string {
  return key === undefined ? 'none' : JSON.stringify(key);
}

/** A record in one line, as its author thinks of it: place, key, time, value, and what else it has. */
export function showRecord({ key, time, value, window, partition, offset, origin, part }: StreamRecord): string {
  const more = [
    `#${offset}${part === undefined ? '' : `#${part}`}${origin === '' || origin === 'in/0' ? '' : ` of ${origin}`}`,
    key !== undefined && `key ${showKey(key)}`,
    !Number.isNaN(time) && `at ${showTime(time)}`,
    window && `window ${showTime(window.start)} to ${showTime(window.end)}, label ${showTime(window.label)}`,
    window && (window.pane !== 'final' || window.seq > 0) && `${window.pane} ${window.seq}`,
    partition !== undefined && `partition ${partition}`,
  ];
  return `${more.filter(Boolean).join(', ')}: ${JSON.stringify(plain(withoutMoment(value))) ?? 'nothing'}`;
}

/** The same for all that can happen to a step. */
export function showArrival(arrival: Arrival): string {
  if (!('record' in arrival)) return `silence, up to ${showTime(arrival.watermark)}`;
  return `${arrival.stream === undefined ? '' : `from \`${arrival.stream}\`: `}${showRecord(arrival.record)}`;
}

/** What differs between two runs: `-` for what is missing, `+` for what is there instead; what they share stands between them. */
export function showDifference(expected: Outcome | undefined, found: Outcome | undefined): string[] {
  if (!expected || !found) return linesOf(found ?? expected).map((line) => `  ${line}`);
  const lines = lineDiff(linesOf(expected), linesOf(found));
  if (lines.some((line) => !line.startsWith(' '))) return lines;
  // They differ in something that those lines do not show, such as the type of an object or a field of `meta`.
  const whole = ({ output, routed, rejected }: Outcome) =>
    [...output, ...routed, ...rejected].flatMap((one) => inspect(one).split('\n'));
  return lineDiff(whole(expected), whole(found));
}

/** Lines of two lists side by side, by their longest common part. */
export function lineDiff(expected: readonly string[], found: readonly string[]): string[] {
  // common[i][j]: length of the longest common part of what follows i in the one and j in the other.
  const common = Array.from({ length: expected.length + 1 }, () => new Array<number>(found.length + 1).fill(0));
  for (let i = expected.length - 1; i >= 0; i--)
    for (let j = found.length - 1; j >= 0; j--)
      common[i]![j] =
        expected[i] === found[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!);
  const lines: string[] = [];
  let [i, j] = [0, 0];
  while (i < expected.length || j < found.length) {
    if (i < expected.length && expected[i] === found[j]) {
      lines.push(`  ${expected[i++]}`);
      j++;
    } else if (j === found.length || (i < expected.length && common[i + 1]![j]! >= common[i]![j + 1]!))
      lines.push(`- ${expected[i++]}`);
    else lines.push(`+ ${found[j++]}`);
  }
  return lines;
}

function linesOf(outcome: Outcome | undefined): string[] {
  if (!outcome) return [];
  const rejections = outcome.rejected.map(
    ({ code, message, record }: Rejection) => `${code} ${showRecord(record)} (${message})`,
  );
  const routed = [...outcome.routed].flatMap(([stream, records]) =>
    records.map((record) => `to \`${stream}\`: ${showRecord(record)}`),
  );
  return [...outcome.output.map(showRecord), ...routed, ...rejections];
}

// Times of tests are small or whole seconds; milliseconds of the epoch read as a date.
function showTime(time: number): string {
  if (!Number.isFinite(time)) return time > 0 ? 'the end' : 'the beginning';
  if (Math.abs(time) >= 1e11 && Math.abs(time) <= 8.64e15) return new Date(time).toISOString();
  return time % 1_000 === 0 ? `${time / 1_000}s` : `${time}ms`;
}
