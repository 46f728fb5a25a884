import { describe, expect, test } from 'vitest';
import { driven, loaded, mqtt, problemsOf, t0 } from './topologies.ts';

const streams = (steps: string, key = '{ keyBy: id }') => `
  a: [${mqtt('a')}, { validate: ./reading.json }, ${steps}]
  b: [${mqtt('b')}, { validate: ./price.json }, ${key}]
`;

describe('merge', () => {
  test('lets records in unchanged behind what stands before it, and they go on from there', async () => {
    const run = await driven(`
  a: [${mqtt('a')}, { set: { from: a } }, { merge: [b, c] }, { set: { seen: true } }, { print: }]
  b: [${mqtt('b')}, { keyBy: id }, { print: }]
  c: [${mqtt('c')}]
`);
    await run.push('a', { topic: 'a/x', value: { t: t0 + 1 } });
    await run.push('b', { topic: 'b/y', value: { t: t0 + 2 } });
    await run.push('c', { topic: 'c/z', value: { t: t0 + 3 } });
    await run.push('a', { topic: 'a/x', value: { t: t0 + 4 } });
    await run.end();
    expect(run.output('a').map(({ value, key, time, origin }) => ({ value, key, time, origin }))).toEqual([
      {
        value: { t: t0 + 1, id: 'x', from: 'a', seen: true },
        key: undefined,
        time: t0 + 1,
        origin: expect.stringMatching(/^a\./),
      },
      { value: { t: t0 + 2, id: 'y', seen: true }, key: 'y', time: t0 + 2, origin: expect.stringMatching(/^b\./) },
      {
        value: { t: t0 + 3, id: 'z', seen: true },
        key: undefined,
        time: t0 + 3,
        origin: expect.stringMatching(/^c\./),
      },
      {
        value: { t: t0 + 4, id: 'x', from: 'a', seen: true },
        key: undefined,
        time: t0 + 4,
        origin: expect.stringMatching(/^a\./),
      },
    ]);
    expect(run.output('b')).toHaveLength(1);
  });

  test('makes a window behind it wait for the slower of the two streams', async () => {
    const run = await driven(
      streams(
        '{ keyBy: id }, { merge: b }, { id: w, window: { tumbling: 1s, aggregate: { n: count } } }, { print: }',
      ).replaceAll(/\{ validate: [^}]*\}, /g, ''),
    );
    await run.push('a', { topic: 'a/x', value: { t: t0 + 100 } }, { topic: 'a/x', value: { t: t0 + 5_000 } });
    expect(run.output('a')).toEqual([]);
    await run.push('b', { topic: 'b/x', value: { t: t0 + 999 } }, { topic: 'b/x', value: { t: t0 + 1_000 } });
    expect(run.output('a').map(({ value }) => value)).toEqual([{ n: 2 }]);
  });

  test('knows what both streams have in common', () => {
    const { plan } = loaded(streams('{ merge: b }, { print: }'));
    expect(plan!.streams[0]!.steps[2]).toMatchObject({
      inputs: ['b'],
      type: { properties: { id: { type: 'string' }, temperature: {}, euro: {} }, required: ['id'] },
    });
    expect(problemsOf(streams('{ merge: b }, { filter: tmperature < 1 }, { print: }'))[0]).toMatch(
      /^unknown-field .*`tmperature`/,
    );
  });

  test('needs a key in both streams for a step behind it that works per key', () => {
    const window = '{ id: w, window: { tumbling: 1s, aggregate: { n: count } } }, { print: }';
    expect(problemsOf(streams(`{ keyBy: id }, { merge: b }, ${window}`))).toEqual([]);
    expect(problemsOf(streams(`{ merge: b }, { keyBy: id }, ${window}`, '{ set: { x: 1 } }'))).toEqual([]);
    expect(problemsOf(streams(`{ keyBy: id }, { merge: b }, ${window}`, '{ set: { x: 1 } }'))[0]).toMatch(
      /^missing-key-by .*no `keyBy` before it/,
    );
  });

  test('refuses a stream that is not there, its own, and one that it feeds', () => {
    expect(problemsOf(streams('{ merge: bb }, { print: }'))[0]).toMatch(/^unknown-stream .*`bb`. Did you mean `b`\?/);
    expect(problemsOf(streams('{ merge: a }, { print: }'))[0]).toMatch(/^cycle .*`a` → `a`/);
    const round = `
  a: [${mqtt('a')}, { merge: b }]
  b: [{ from: a }, { print: }]
`;
    expect(problemsOf(round)[0]).toMatch(/^cycle /);
    expect(problemsOf('\n  a: [{ merge: b }, { print: }]\n  b: [{ simulate: }]\n')[0]).toMatch(/^no-source /);
  });
});
