import fc from 'fast-check';
import { Partitioners } from 'kafkajs';
import { describe, expect, test } from 'vitest';
import { type Owned, shareBySubscription, shareOut } from '../../operators/kafka/assigner.ts';
import { kafkaPartition } from '../../src/murmur2.ts';

describe('partitions of keys', () => {
  test('any bytes go where the client library would send them', () => {
    const choose = Partitioners.DefaultPartitioner();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 64 }), (bytes, count) => {
        const key = Buffer.from(bytes);
        const partitionMetadata = Array.from({ length: count }, (_, partitionId) => ({ partitionId, leader: 0 }));
        const chosen = choose({
          topic: 't',
          partitionMetadata: partitionMetadata as never,
          message: { key, value: '' },
        });
        expect(kafkaPartition(key, count)).toBe(chosen);
      }),
    );
  });
});

describe('shares of a group', () => {
  const names = ['m1', 'm2', 'm3', 'm4', 'm5'];
  const topics = fc
    .array(fc.nat(7), { minLength: 1, maxLength: 3 })
    .map((counts) =>
      counts.map((count, i) => ({ topic: `t${i}`, partitions: Array.from({ length: count }, (_, p) => p) })),
    );
  // Claims may overlap, be out of date, and name topics that are gone.
  const claims: fc.Arbitrary<Owned> = fc.dictionary(fc.constantFrom('t0', 't1', 'gone'), fc.uniqueArray(fc.nat(8)));
  const groups = fc
    .tuple(fc.integer({ min: 1, max: 5 }), fc.array(claims, { minLength: 5, maxLength: 5 }))
    .map(([size, all]) => new Map(names.slice(0, size).map((name, i): [string, Owned] => [name, all[i]!])));
  const flat = (owned: Owned) =>
    Object.entries(owned).flatMap(([topic, partitions]) => partitions.map((partition) => `${topic}/${partition}`));

  test('each partition has one owner, and shares differ by one at most', () => {
    fc.assert(
      fc.property(groups, topics, (members, all) => {
        const shares = [...shareOut(members, all).values()].map(flat);
        const wanted = all.flatMap(({ topic, partitions }) => partitions.map((partition) => `${topic}/${partition}`));
        expect(shares.flat().sort()).toEqual(wanted.sort());
        const sizes = shares.map((share) => share.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('a second sharing out changes nothing', () => {
    fc.assert(
      fc.property(groups, topics, (members, all) => {
        const first = shareOut(members, all);
        const sorted = (shares: Map<string, Owned>) => [...shares].map(([id, owned]) => [id, flat(owned).sort()]);
        expect(sorted(shareOut(first, all))).toEqual(sorted(first));
      }),
    );
  });

  test('when a member leaves, only what it had moves; when one joins, only its share moves', () => {
    fc.assert(
      fc.property(groups, topics, (members, all) => {
        const before = shareOut(members, all);
        const kept = (after: Map<string, Owned>) =>
          [...before].flatMap(([id, owned]) => {
            const now = new Set(flat(after.get(id) ?? {}));
            return flat(owned).filter((name) => now.has(name));
          }).length;
        const total = all.reduce((sum, { partitions }) => sum + partitions.length, 0);
        const joined = shareOut(new Map<string, Owned>([...before, ['m9', {}]]), all);
        expect(kept(joined)).toBe(total - flat(joined.get('m9')!).length);
        if (before.size === 1) return;
        const [leaver, share] = [...before][0]!;
        const left = shareOut(new Map([...before].filter(([id]) => id !== leaver)), all);
        expect(kept(left)).toBe(total - flat(share).length);
      }),
    );
  });

  test('a topic goes to those who read it, evenly, and to nobody else', () => {
    const reads = fc.array(fc.subarray(['t0', 't1', 't2']), { minLength: 5, maxLength: 5 });
    fc.assert(
      fc.property(groups, topics, reads, (members, all, read) => {
        const claims = new Map([...members].map(([id, owned], i) => [id, { owned, topics: read[i]! }]));
        const shares = shareBySubscription(claims, all);
        expect([...shares.keys()].sort()).toEqual([...members.keys()].sort());
        for (const { topic, partitions } of all) {
          const readers = [...claims].filter(([, claim]) => claim.topics.includes(topic)).map(([id]) => id);
          const given = [...shares].flatMap(([id, share]) =>
            (share[topic] ?? []).map((partition) => ({ id, partition })),
          );
          expect(given.filter(({ id }) => !readers.includes(id))).toEqual([]);
          const wanted = readers.length > 0 ? [...partitions].sort() : [];
          expect(given.map(({ partition }) => partition).sort()).toEqual(wanted);
        }
        const everything = new Map(
          [...members].map(([id, owned]) => [id, { owned, topics: all.map(({ topic }) => topic) }]),
        );
        expect(shareBySubscription(everything, all)).toEqual(shareOut(members, all));
      }),
    );
  });
});
