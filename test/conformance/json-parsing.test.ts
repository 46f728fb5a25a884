import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createDecoder } from '../../src/engine/decode.ts';
import { RejectError } from '../../src/errors.ts';
import { RawRecord } from '../../src/operator.ts';
import type { PlanStep } from '../../src/topology/plan.ts';
import {
  options,
  planOf,
  runToEnd,
  sink,
  source,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
} from '../src/engine/harness.ts';

const suites = process.env['PENSTOCK_SUITES'] ?? new URL('../../../shared/suites', import.meta.url).pathname;
const file = `${suites}/json-parsing/cases.jsonl`;
const there = existsSync(file);
if (!there) console.log(`json-parsing: skipped, no ${file}; set PENSTOCK_SUITES`);
if (!there && process.env['CI']) throw new Error(`CI needs the suite ${file}.`);

interface Case {
  readonly name: string;
  readonly expect: 'accept' | 'reject' | 'either';
  readonly bytes_b64: string;
}

interface Letter {
  readonly payload: string;
  readonly payloadEncoding: BufferEncoding;
}
// A plain source: no event time is asked of these payloads.
const bare = (planned: PlanStep): PlanStep => (planned.kind === 'source' ? { ...planned, options: {} } : planned);

const decode = createDecoder({});
function outcome(payload: Buffer): { accepted: boolean; code?: string; value?: unknown } {
  const raw = new RawRecord();
  // The payload stands in a larger buffer, as it does in a batch.
  raw.data = Buffer.concat([Buffer.from('{"a":'), payload, Buffer.from('}')]);
  raw.start = 5;
  raw.end = 5 + payload.length;
  try {
    return { accepted: true, value: decode(raw, false) };
  } catch (error) {
    if (!(error instanceof RejectError)) throw error;
    return { accepted: false, code: error.code };
  }
}

describe.skipIf(!there)('decoding JSON', () => {
  test('takes or refuses every payload of the suite as it says, and loses none: value out, or the same bytes in a dead letter', async () => {
    const cases = readFileSync(file, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Case);
    expect(cases.length).toBeGreaterThanOrEqual(318);
    const [log, out, dead] = [new TestLog(), new TestTarget(), new TestTarget()];
    log.add('0', ...cases.map((c) => ({ payload: Buffer.from(c.bytes_b64, 'base64') })));
    const plan = planOf(
      [
        stream('all', [source('in', 'log', undefined), sink('out', 'target')]),
        stream('bad', [sink('letters', 'dead')]),
      ],
      'bad',
    );
    await runToEnd(
      options({ ...plan, streams: plan.streams.map((s) => ({ ...s, steps: s.steps.map(bare) })) }, [
        testSource('log', log),
        testSink('target', out),
        testSink('dead', dead),
      ]),
    );
    const accepted = new Map(out.written.map(({ record }) => [record.offset, record.value]));
    const refused = new Map(dead.written.map(({ record }) => [record.offset, record.value as Letter]));
    expect(accepted.size + refused.size).toBe(cases.length);
    const wrong = cases.filter(
      (c, i) => (c.expect === 'accept' && !accepted.has(i)) || (c.expect === 'reject' && !refused.has(i)),
    );
    console.log(`json-parsing: ${cases.length - wrong.length} of ${cases.length} as the suite says`);
    expect(wrong.map((c) => c.name)).toEqual([]);
    for (const [i, letter] of refused) {
      expect(
        Buffer.from(letter.payload, letter.payloadEncoding).equals(Buffer.from(cases[i]!.bytes_b64, 'base64')),
      ).toBe(true);
    }
    for (const [i, value] of accepted) {
      expect(value).toEqual(JSON.parse(Buffer.from(cases[i]!.bytes_b64, 'base64').toString()));
    }
  });

  test('refuses what would be changed on the way: other encodings, halves of surrogate pairs', () => {
    for (const payload of ['"\\ud800"', '{"\\udfff":1}', '["\\uD83D"]']) {
      expect(outcome(Buffer.from(payload))).toEqual({ accepted: false, code: 'payload-encoding' });
    }
    expect(outcome(Buffer.from('"\\ud83d\\ude00 🚀"'))).toEqual({ accepted: true, value: '😀 🚀' });
    expect(outcome(Buffer.from('"a"', 'utf16le')).accepted).toBe(false);
  });
});
