import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decode, encode } from '../../src/engine/codec.ts';
import { deadLetter } from '../../src/engine/dead-letter.ts';
import { recordId, StreamRecord } from '../../src/record.ts';

const record = new StreamRecord({ n: 1 }, 'a', 1_000, 7, { topic: 't' }, undefined, undefined, 'in/0');
const window = { step: 'w', start: 0, end: 60, label: 60 };

describe('the id of a record', () => {
  test('is its place in the source, or its window', () => {
    expect(recordId(record)).toBe('in/0/7');
    expect(recordId(record.withWindow(window))).toBe('w/a/0');
  });

  test('says which of several records made from one input it is, also where parts are made of parts', () => {
    expect(recordId(record.withPart('2'))).toBe('in/0/7#2');
    expect(recordId(record.withPart('2').withPart('0'))).toBe('in/0/7#2#0');
    expect(recordId(record.withWindow(window).withPart('2'))).toBe('w/a/0#2');
  });

  test('is that of the window alone once a window has chosen one of several', () => {
    expect(recordId(record.withPart('2').withWindow(window))).toBe('w/a/0');
  });
});

describe('the part of a record', () => {
  const place = {
    topology: 't',
    topologyHash: 'h',
    step: 's',
    operator: 'map',
    stage: 'step' as const,
    source: 'in/0',
    at: 0,
  };

  test('stays through everything that makes one record of one, through a checkpoint and in a dead letter', () => {
    const changes: ((given: StreamRecord) => StreamRecord)[] = [
      (given) => given.withValue({ n: 2 }),
      (given) => given.withKey('b'),
      (given) => given.withPartition(3),
      (given) => decode('name', encode('name', given)) as StreamRecord,
      (given) =>
        deadLetter({ record: given, code: 'step-failed', message: 'No.', reasons: undefined }, place, undefined),
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...changes), { maxLength: 6 }), (steps) => {
        const made = steps.reduce((given, step) => step(given), record.withPart('2') as StreamRecord);
        expect(made.part).toBe('2');
        expect([made.offset, made.origin, made.time]).toEqual([7, 'in/0', 1_000]);
      }),
    );
  });

  test('is named in a dead letter, and is absent there when the whole input was refused', () => {
    const rejection = { code: 'step-failed' as const, message: 'No.', reasons: undefined };
    expect(deadLetter({ record: record.withPart('2'), ...rejection }, place, undefined).value.part).toBe('2');
    expect(deadLetter({ record, ...rejection }, place, undefined).value).not.toHaveProperty('part');
  });
});
