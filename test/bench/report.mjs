// Preloaded into a measured process: leaves what the process has used in the file that BENCH_REPORT names.
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const report = process.env.BENCH_REPORT;
const resolution = 5;
const delays = monitorEventLoopDelay({ resolution });
delays.enable();
// What the start of a process takes is another matter.
setTimeout(() => delays.reset(), 3_000).unref();
const beyond = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolution);
process.on('exit', () => {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
  const pausesMs = { p50: beyond(delays.percentile(50)), p99: beyond(delays.percentile(99)), max: beyond(delays.max) };
  writeFileSync(report, JSON.stringify({ cpuSeconds, peakMb: maxRSS / 1024, pausesMs }));
});
