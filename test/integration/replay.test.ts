import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { catalogue } from '../../operators/index.ts';
import { type ReplayFlags, replayCommand } from '../../src/cli/replay.ts';
import { type Run, start } from '../../src/index.ts';
import { StreamRecord } from '../../src/operator.ts';
import { loadTopology } from '../../src/topology/load.ts';
import { captured } from '../src/cli/captured.ts';
import { brokers, eventually, openSink, uniqueName, withAdmin } from './kafka-tools.ts';

const missing = brokers === '';
if (missing && process.env['CI']) throw new Error('Set KAFKA_BROKERS: in CI these tests may not be skipped.');
if (missing) console.log('Skipped: the tests of replays need KAFKA_BROKERS.');

// Yesterday, at a full minute: no record is ahead of its arrival, and retention takes none of them.
const begin = Math.floor((Date.now() - 86_400_000) / 60_000) * 60_000;
const at = (second: number) => begin + second * 1_000;
const iso = (second: number) => new Date(at(second)).toISOString();

describe.skipIf(missing)('a replay over Kafka', { timeout: 120_000 }, () => {
  let folder: string;
  let input: string;
  let output: string;
  let run: Run | undefined;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'penstock-replay-'));
    input = uniqueName('replay-in');
    output = uniqueName('replay-out');
  });
  afterEach(async () => {
    await run?.stop().catch(() => undefined);
    rmSync(folder, { recursive: true, force: true });
  });

  const topology = (field: string) => {
    const file = join(folder, 't.yaml');
    writeFileSync(
      file,
      `version: 1
name: ${input}
streams:
  readings:
    - id: in
      kafka: { brokers: "${brokers}", topic: ${input}, start: earliest, keyedBy: id, time: { from: kafka, outOfOrder: 2s } }
    - keyBy: id
    - id: latest
      windowLast: { every: 10s }
    - map: { shown: ${field} }
    - id: out
      kafka: { brokers: "${brokers}", topic: ${output}, createTopic: { partitions: 3 } }
`,
    );
    return file;
  };
  const flags: ReplayFlags = { grace: '1h', source: [], sink: 'print', logLevel: 'error', json: true };
  const replay = async (more: Partial<ReplayFlags>, field = 'n') => {
    const { code, stdout } = await captured(() => replayCommand(topology(field), { ...flags, ...more }));
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    return { code, lines: lines.slice(0, -1), summary: lines.at(-1) };
  };

  /** Fills the input, lets the live run work on it, and leaves it running. */
  async function live(seconds: number): Promise<void> {
    const sink = await openSink({ topic: input, createTopic: { partitions: 3 } });
    const records = Array.from(
      { length: seconds * 4 },
      (_, n) => new StreamRecord({ id: `g${n % 7}`, n }, `g${n % 7}`, at(n / 4)),
    );
    expect(await sink.write(records)).toBeUndefined();
    const { plan, problems } = loadTopology(topology('n'), { catalogue });
    expect(problems).toEqual([]);
    run = await start(plan!, { state: join(folder, 'state'), checkpointMs: 200 });
    await eventually(
      () => run!.status().partitions.reduce((sum, { read }) => sum + read, 0) === records.length,
      'the live run to read all',
    );
    await eventually(() => run!.status().sinks['out']?.pending === 0, 'the live run to write');
    await run.checkpoint();
  }
  const offsets = () => withAdmin((admin) => admin.fetchOffsets({ groupId: input, topics: [input] }));

  test('beside the live run gives the same, and finds it published, without touching it', async () => {
    await live(120);
    const before = JSON.stringify(await offsets());
    const { code, lines, summary } = await replay({ from: iso(20), to: iso(60) });
    expect([code, summary.results]).toEqual([0, { out: 28 }]);
    expect(new Set(lines.map(({ window }) => (window.start - begin) / 1_000))).toEqual(new Set([20, 30, 40, 50]));
    const compared = await replay({ from: iso(20), to: iso(60), diff: true });
    expect([compared.code, compared.summary.differences]).toEqual([0, []]);
    expect(JSON.stringify(await offsets())).toBe(before);
    expect(run!.status().partitions).toHaveLength(3);
  });

  test('of a changed topology names each record that would be another', async () => {
    await live(60);
    const { code, summary } = await replay({ from: iso(10), to: iso(30), diff: true }, 'n + 1');
    expect([code, summary.differences.length]).toEqual([1, 14]);
    for (const { kind, id, replayed, published } of summary.differences) {
      expect([kind, id]).toEqual(['different', expect.stringMatching(/^latest\/g\d\/\d+$/)]);
      expect(replayed.shown).toBe(published.shown + 1);
    }
    // Its last windows are still open in the live run, which has not seen event time pass their ends.
    const open = await replay({ from: iso(40), diff: true });
    expect(new Set(open.summary.differences.map(({ kind }: { kind: string }) => kind))).toEqual(new Set(['missing']));
  });
});
