import type { Status } from '../engine/status.ts';
import type { Range } from './replay-plan.ts';

const everyMs = 200;
const barWidth = 24;

/** Shows on a terminal how far a replay has come; shows nothing elsewhere. */
export function showProgress(
  run: { status(): Status },
  range: Range,
  stream: Pick<NodeJS.WriteStream, 'isTTY' | 'write'> = process.stderr,
): { end(): void } {
  if (!stream.isTTY) return { end() {} };
  const began = performance.now();
  const timer = setInterval(
    () => stream.write(`\r\x1b[2K${progressLine(run.status(), range, performance.now() - began)}`),
    everyMs,
  ).unref();
  return {
    end() {
      clearInterval(timer);
      stream.write('\r\x1b[2K');
    },
  };
}

/** One line: a bar as far as event time tells, records, records per second. */
export function progressLine({ partitions, time }: Status, { from, to }: Range, tookMs: number): string {
  const read = partitions.reduce((sum, partition) => sum + partition.read, 0);
  const rate = tookMs > 0 ? Math.round((read * 1_000) / tookMs) : 0;
  const told = `${read.toLocaleString('en')} records, ${rate.toLocaleString('en')}/s`;
  const newest = time.flatMap((task) => task.watermark ?? []);
  if (newest.length === 0 || !Number.isFinite(to - from)) return told;
  const share = Math.min(1, Math.max(0, (Math.min(...newest) - from) / (to - from)));
  const full = Math.round(share * barWidth);
  return `${'█'.repeat(full)}${'░'.repeat(barWidth - full)} ${Math.floor(share * 100)} %  ${told}`;
}
