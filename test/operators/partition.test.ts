import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { partition } from '../../operators/partition/index.ts';
import { kafkaPartition, murmur2, murmur2Bytes } from '../../src/murmur2.ts';
import { StreamRecord } from '../../src/record.ts';
import { Driver } from '../../src/testing.ts';

// Hash and partition of 6 and of 12, from the Java client.
const fromJava: [string, number, number, number][] = [
  ['', 275646681, 3, 9],
  ['a', -1563381124, 4, 4],
  ['0', 971027396, 2, 8],
  ['G-0001', 1068311898, 0, 6],
  ['G-0042', -369505713, 5, 11],
  ['generatorID', 941218256, 2, 8],
  ['größe', 588164084, 2, 8],
  ['sensor/7/temperature', -1303061987, 3, 9],
  ['3f2504e0-4f89-11d3-9a0c-0305e82c3301', 149263511, 5, 11],
  ['🚀 stream', 1782280853, 5, 5],
];

describe('partition', () => {
  test.each(fromJava)('puts %j where the Java client puts it', (key, hash, of6, of12) => {
    expect([murmur2(key), kafkaPartition(key, 6), kafkaPartition(key, 12)]).toEqual([hash, of6, of12]);
    const [result] = new Driver(partition, { count: 6 }).push(new StreamRecord({}, key)).output;
    expect(result!.partition).toBe(of6);
  });

  test('hashes numbers and booleans as their JSON text', () => {
    for (const key of [0, -1, 1.5, 1e21, true, false])
      expect(kafkaPartition(key, 97)).toBe(kafkaPartition(JSON.stringify(key), 97));
  });

  test('rejects a record without a key', () => {
    const driver = new Driver(partition, { count: 6 }).push(new StreamRecord({}), new StreamRecord({}, ''));
    expect([driver.rejectedCodes(), driver.output.length]).toEqual([['key-missing'], 1]);
  });

  test('hashes the UTF-8 bytes of any text, ASCII or not, long or short', () =>
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string({ unit: 'binary' }),
          fc.string({ unit: 'grapheme', minLength: 300, maxLength: 500 }),
        ),
        fc.constantFrom('', 'é', '\u007f', '\u0080', '𐍈', '\ud800'),
        fc.nat(6),
        (text, odd, at) => {
          const key = text.slice(0, at) + odd + text.slice(at);
          expect(murmur2(key)).toBe(murmur2Bytes(Buffer.from(key, 'utf8')));
        },
      ),
      { numRuns: 2_000 },
    ));

  test('stays within its count', () =>
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 100_000 }), (key, count) => {
        const chosen = kafkaPartition(key, count);
        expect(Number.isInteger(chosen) && chosen >= 0 && chosen < count).toBe(true);
      }),
    ));
});
