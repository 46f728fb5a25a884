/**
 * Ten minutes without the target at 5,000 readings a second, compressed in time: 3,000,000 readings go through a buffered sink while the
 * target is away, then it comes back. All have to be there, in order per key, and the memory has to stay small.
 *
 *     npm run outage [readings]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openBufferStore } from '../../src/engine/buffer-store.ts';
import { BufferedSink } from '../../src/engine/buffered-sink.ts';
import { type OpenSink, StreamRecord } from '../../src/operator.ts';
import { systemPorts } from '../../src/ports/system.ts';

const readings = Number(process.argv[2] ?? 3_000_000);
const keys = 50;
const batch = 5_000;
const limitMiB = 300;
const ports = systemPorts();
const log = { debug() {}, info() {}, warn() {}, error: (message: string) => process.stderr.write(`${message}\n`) };
const folder = await mkdtemp(join(tmpdir(), 'penstock-outage-'));
const ended = new AbortController();

let up = false;
let arrived = 0;
let wrong = 0;
const next = new Array<number>(keys).fill(0);
const target: OpenSink = {
  async write(records) {
    while (!up) await sleep(20);
    for (const { key, value } of records) {
      arrived++;
      // In order, without a gap and without a repetition, as nothing crashes here.
      if ((value as { n: number }).n !== next[Number(key)]!++) wrong++;
    }
    return undefined;
  },
  close: async () => undefined,
};

const settings = { maxBytes: 8 * 2 ** 30, whenFull: 'block' as const };
const sink = await BufferedSink.open({
  id: 'out',
  settings,
  store: await openBufferStore(ports.disk, folder, {
    maxBytes: settings.maxBytes,
    blocks: true,
    log,
    clock: ports.clock,
  }),
  ports,
  log,
  signal: ended.signal,
  open: async () => target,
  refuse: async () => undefined,
  fail: (error) => {
    throw error;
  },
});

let peak = 0;
const look = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage().rss);
}, 50);
const began = performance.now();
for (let from = 0; from < readings; from += batch) {
  const records = Array.from({ length: Math.min(batch, readings - from) }, (_, index) => {
    const n = from + index;
    const value = {
      generatorID: `generator${n % keys}`,
      n: Math.floor(n / keys),
      fuel: n % 1_000,
      lat: 40.66,
      lon: -111.996,
    };
    return new StreamRecord(value, n % keys, 1_700_000_000_000 + n, n, undefined, undefined, undefined, 'in/0');
  });
  await sink.write(records);
}
const away = { s: (performance.now() - began) / 1_000, rssMiB: Math.round(peak / 2 ** 20), ...sink.counts };
up = true;
const back = performance.now();
await sink.drained();
const drained = { s: (performance.now() - back) / 1_000, rssMiB: Math.round(peak / 2 ** 20), ...sink.counts };
clearInterval(look);
await sink.close();
await rm(folder, { recursive: true });
const good = arrived === readings && wrong === 0 && peak < limitMiB * 2 ** 20;
process.stdout.write(`${JSON.stringify({ readings, arrived, wrong, away, drained, limitMiB, good })}\n`);
process.exitCode = good ? 0 : 1;
