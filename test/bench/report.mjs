// Preloaded into a measured process: leaves what the process has used in the file that BENCH_REPORT names.
import { writeFileSync } from 'node:fs';

const report = process.env.BENCH_REPORT;
process.on('exit', () => {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  writeFileSync(report, JSON.stringify({ cpuSeconds: (userCPUTime + systemCPUTime) / 1e6, peakMb: maxRSS / 1024 }));
});
