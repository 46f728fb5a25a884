import { describe, expect, test } from 'vitest';
import { deadLetter, originalOf } from '../../../src/engine/dead-letter.ts';
import { RawRecord } from '../../../src/operator.ts';
import { StreamRecord } from '../../../src/record.ts';
import {
  at,
  options,
  planOf,
  runToEnd,
  sink,
  source,
  step,
  stream,
  TestLog,
  TestTarget,
  testSink,
  testSource,
} from './harness.ts';

const rejection = (record: StreamRecord) => ({
  record,
  code: 'schema-violation' as const,
  message: 'Not so.',
  reasons: undefined,
});
const place = {
  topology: 't',
  topologyHash: 'h',
  step: 's',
  operator: 'validate',
  stage: 'step' as const,
  source: 'in/1',
  at: at(9),
};

describe('a dead letter', () => {
  test('holds the bytes of its own record only, copied from the batch they lie in', () => {
    const raw = new RawRecord();
    raw.data = Buffer.from('beforePAYLOADafter');
    raw.start = 6;
    raw.end = 13;
    const { payload } = originalOf(raw);
    raw.data.fill(0);
    expect(payload.toString()).toBe('PAYLOAD');
  });

  test('names the partition its record came from, not the one that was being read when it was refused', () => {
    const record = new StreamRecord({}, 'a', at(1), 7, undefined, undefined, undefined, 'in/0');
    expect(deadLetter(rejection(record), place, undefined)).toMatchObject({
      origin: 'in/0',
      value: { source: 'in/0', offset: 7 },
    });
    const unknown = new StreamRecord({}, 'a', at(1), 7);
    expect(deadLetter(rejection(unknown), place, undefined)).toMatchObject({
      origin: 'in/1',
      value: { source: 'in/1' },
    });
  });

  test('may be refused once more, where its stream says what is to become of it then', async () => {
    const log = new TestLog();
    log.add('0', { payload: '{' });
    const target = new TestTarget();
    const dead = new TestTarget();
    dead.refuses = () => 'Full.';
    const plan = planOf(
      [
        stream('readings', [source('in', 'log'), step('key', 'testKeyBy'), sink('out', 'target')]),
        stream('bad', [sink('letters', 'dead', { otherwise: 'worse' })]),
        stream('worse', [sink('last', 'target')]),
      ],
      'bad',
    );
    const sinks = [testSink('target', target), testSink('dead', dead)];
    await runToEnd(options(plan, [testSource('log', log), ...sinks]));
    expect(target.written.map(({ record }) => record.value)).toMatchObject([{ code: 'sink-refused', step: 'letters' }]);
  });
});
