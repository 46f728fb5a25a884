import { expect, test } from 'vitest';
import { kinds } from '../chaos/check.ts';
import { killRounds, type Outcome } from '../chaos/kill-rounds.ts';
import { scaleOutAndIn } from '../chaos/scale.ts';
import { streamsEos } from '../chaos/streams-eos.ts';
import { zombieRounds } from '../chaos/zombies.ts';
import { needs } from './services.ts';

const { describe, KAFKA_BROKERS: brokers } = needs('KAFKA_BROKERS', 'KAFKA_CLASSPATH');
const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000);

function expectExactlyOnce({ verdict, trouble, text }: Outcome): void {
  console.log(text);
  expect(trouble, text).toEqual([]);
  expect(verdict.wrong, text).toBe(0);
  expect(verdict.passed).toBe(verdict.fed);
  expect(verdict.windows).toBeGreaterThan(1_000);
}

describe('exactly once from Kafka to Kafka', () => {
  test('holds over 20 kills with SIGKILL, in the eyes of a client that reads all the time', {
    timeout: 400_000,
  }, async () => {
    expectExactlyOnce(await killRounds({ brokers, rounds: 20, records: 40_000, seed }));
  });

  test('is not what the judge sees where each record is delivered at least once', { timeout: 200_000 }, async () => {
    const { verdict, text } = await killRounds({
      brokers,
      rounds: 4,
      records: 10_000,
      seed: 6,
      delivery: 'atLeastOnce',
      every: '300ms',
    });
    const found = Object.keys(kinds).filter((kind) => verdict.counts.has(kind as keyof typeof kinds));
    expect(found, text).toContain('duplicated');
    expect(found, text).not.toContain('lost');
    expect(verdict.passed).toBe(verdict.fed);
  });

  test('holds when a process sleeps longer than its session, and wakes while another has its work', {
    timeout: 400_000,
  }, async () => {
    expectExactlyOnce(await zombieRounds({ brokers, rounds: 2, records: 20_000, seed }));
  });

  test('holds while one instance becomes three and three become two', { timeout: 300_000 }, async () => {
    expectExactlyOnce(await scaleOutAndIn({ brokers, records: 30_000, seed }));
  });

  test.each([
    ['simple', false, 6],
    ['complex', true, 3],
  ])(
    "is what Kafka's own judge says of the %s application, killed in between",
    {
      timeout: 400_000,
    },
    async (_, complex, rounds) => {
      const said = await streamsEos({ rounds, complex, seed, delivery: 'exactlyOnce' });
      expect(said).toContain('ALL-RECORDS-DELIVERED');
    },
  );
});
